"""The diagnosis of the shift between a run's data and a target, and what it means for the choice of an arm."""

from __future__ import annotations

import time

from frostline.adapt.judge import Found
from frostline.base.events import Emit, ProgressEvent, silent
from frostline.data.unlabelled import Unlabelled
from frostline.planning.run_source import RunSource
from frostline.shift.findings import Diagnosis
from frostline.shift.study import Place, compare_with_run, diagnose_compared


def diagnose_target(place: Place, source: RunSource, target: Unlabelled, emit: Emit) -> Diagnosis:
    """Say how the target differs from the run's data; `target` has no labels but those that may be learnt from."""
    compared = compare_with_run(place, source, target, silent)
    begun = time.perf_counter()

    def progress(share: float, text: str) -> None:
        left = None
        if share > 0:
            left = (time.perf_counter() - begun) / share * (1 - share)
        emit(ProgressEvent(kind="progress", text=text, done=share, total=1.0, seconds_left=left))

    return diagnose_compared(compared, seed=place.settings.seed, progress=progress)


def found_of(diagnosis: Diagnosis | None) -> Found:
    """Return what a diagnosis says that matters to the choice.

    Only `label` means that the features agree once the classes' shares are made up for; `mixed` means that they don't.
    """
    if diagnosis is None:
        return Found()
    return Found(situation=diagnosis.situation, covariate_left=diagnosis.situation != "label")
