"""What training then reaches: each source trained with fixed strategies, as `frostline fit` does, in OUT/fits/LABEL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from frostline.base.errors import RecipeError, nearest
from frostline.base.events import Emit, Event, ProgressEvent
from frostline.bundle.schema import RunResult
from frostline.data.scan import Listing
from frostline.pipeline import run
from frostline.rank.record import MeasuredSourceRecord, MeasureRecord
from frostline.recipe.catalogue import CATALOGUE
from frostline.recipe.settings import Settings
from frostline.recipe.sources import SourceSpec

ANCHOR = "probe"  # beside it, so that there is a race with an accuracy out of fold
FITS = "fits"
SELF_MADE = ("baseline", "as-is", "continue", "scratch")  # that say nothing of a source, or that not all can run
TRAINED = tuple(name for name in CATALOGUE if "@" not in name and name not in SELF_MADE)


def measured_strategies(names: Sequence[str]) -> tuple[str, ...]:
    """Return the strategies of `--measure`, `probe` among them. Raises RecipeError for those that don't apply."""
    for name in names:
        if "@" in name:
            raise RecipeError(
                f"--measure {name}: stages differ from network to network.", "Measure finetune, or another strategy."
            )
        if name not in TRAINED:
            raise RecipeError(f"--measure {name} can't be measured for every source.", nearest(name, TRAINED))
    if set(names) == {ANCHOR}:
        raise RecipeError("--measure probe: a probe of every depth is measured anyway.", "As in --measure finetune.")
    return tuple(dict.fromkeys((ANCHOR, *names)))


def measure_source(
    settings: Settings, source: SourceSpec, strategies: Sequence[str], listing: Listing | None, emit: Emit
) -> MeasuredSourceRecord:
    """Train one source, or take its finished run; `settings.out` is the folder of the ranking."""
    assert settings.out is not None
    place = Path(FITS) / source.label
    own = replace(
        settings,
        model=source.spec,
        weights=source.weights,
        strategies=tuple(strategies),
        out=settings.out / place,
        resume=True,
    )
    finished = run(own, _only_progress(emit, source.label), listing, early=False)
    result = finished.result
    return MeasuredSourceRecord(
        label=source.label, run=place.as_posix(), strategies=_measures(result), seconds=result.cost.seconds
    )


def _measures(result: RunResult) -> dict[str, MeasureRecord]:
    return {
        entry.name: MeasureRecord(accuracy=entry.accuracy, ci=entry.accuracy_ci or (entry.accuracy, entry.accuracy))
        for entry in result.strategies
        if entry.accuracy is not None and entry.status != "forecast"
    }


def _only_progress(emit: Emit, label: str) -> Emit:
    """Pass on what a fit says of its progress; the rest was said before, and is in its own log."""

    def forward(event: Event) -> None:
        if isinstance(event, ProgressEvent):
            emit(replace(event, text=f"train {label}: {event.text}"))

    return forward
