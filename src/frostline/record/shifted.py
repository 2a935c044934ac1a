"""shift.json composed from what a diagnosis found."""

from __future__ import annotations

import datetime
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from frostline.base.device import machine
from frostline.base.hashing import hash_values
from frostline.base.memory import peak_rss_mb
from frostline.base.packages import package_versions
from frostline.base.records import FloatArray
from frostline.base.version import VERSION
from frostline.bundle.further_schema import RemedyRecord
from frostline.bundle.schema import PhaseRecord
from frostline.bundle.shift_record import (
    ClassShareRecord,
    EvidenceRecord,
    ProportionsRecord,
    ShiftClassesRecord,
    ShiftCostRecord,
    ShiftNetworkRecord,
    ShiftResult,
    SideRecord,
    TypicalRecord,
    TypicalSampleRecord,
)
from frostline.data.texts import Texts
from frostline.record.examples import sample_entries
from frostline.shift.findings import Diagnosis, Proportions, Test
from frostline.shift.study import Compared
from frostline.train.study import Study

TYPICAL = 8  # samples of a side that are shown

Cards = dict[str, list[dict[str, str]]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Shifted:
    """All that a diagnosis found: `paths` and `found` of the source and the target, `notes` made on the way, `run` that
    the network is from, if so."""

    compared: Compared
    diagnosis: Diagnosis
    paths: tuple[str, str]
    found: tuple[int, int]
    notes: Sequence[str]
    run: str | None
    seconds: float
    phases: Sequence[tuple[str, float]]


def shift_result(made: Shifted, settings: Mapping[str, Any]) -> ShiftResult:
    """Compose the record."""
    compared = made.compared
    diagnosis = made.diagnosis
    study = compared.target_study
    known = compared.classes[: compared.known]
    return ShiftResult(
        version=VERSION,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=shlex.join(sys.argv),
        situation=diagnosis.situation,
        level=diagnosis.level,
        sentences=list(diagnosis.sentences),
        cannot_see=list(diagnosis.cannot_see),
        remedies=[RemedyRecord(**asdict(remedy)) for remedy in diagnosis.remedies],
        source=_source_record(made),
        target=_side_record(made, 1, study, _labelled(compared.target.labels, compared.known)),
        modality="text" if isinstance(study.features.source.images, Texts) else "image",
        copies=compared.copies,
        network=ShiftNetworkRecord(
            spec=study.network.spec,
            weights_sha256=study.network.weights_sha256,
            stages=[stage.name for stage in study.stages.stages],
            compared=sorted(compared.stages),
            probabilities=compared.probabilities,
            run=made.run,
        ),
        evidence=[_evidence_record(test, compared.stages) for test in diagnosis.tests],
        proportions=[_proportions_record(one, known) for one in diagnosis.proportions],
        classes=ShiftClassesRecord(
            source=list(known),
            new=[compared.classes[label] for label in diagnosis.new_classes],
            missing=[compared.classes[label] for label in diagnosis.missing_classes],
        ),
        typical=_typical_record(compared, diagnosis),
        notes=list(made.notes),
        seed=study.seed,
        settings=dict(settings),
        machine={**machine(), **asdict(study.compute)},
        packages=package_versions(),
        cost=ShiftCostRecord(
            seconds=made.seconds,
            phases=[PhaseRecord(name=name, seconds=seconds) for name, seconds in made.phases],
            peak_rss_mb=peak_rss_mb(),
        ),
    )


def typical_cards(compared: Compared, result: ShiftResult) -> Cards:
    """Return the samples that are most typical of either side as the page shows them: each with its `id`, its `label`
    where there is one, and an `image` (a data address) or the beginning of its `text`."""
    if result.typical is None:
        return {}
    cards = {"target": _side_cards(compared.target_study, [one.id for one in result.typical.target])}
    if compared.source_study is not None:
        cards["source"] = _side_cards(compared.source_study, [one.id for one in result.typical.source])
    return cards


def _side_cards(study: Study, ids: Sequence[str]) -> list[dict[str, str]]:
    dataset = study.dataset
    places = {sample.id: place for place, sample in enumerate(dataset.samples)}
    rows = [places[name] for name in ids]
    source = study.features.source
    entries = sample_entries(source.images, rows, source.preprocess)
    labels = [dataset.samples[row].label for row in rows]
    return [
        {"id": name, "label": dataset.classes[label] if label >= 0 else "", **entry}
        for name, label, entry in zip(ids, labels, entries, strict=True)
    ]


def _labelled(labels: np.typing.NDArray[np.int64] | None, known: int) -> int:
    if labels is None:
        return 0
    return int(((labels >= 0) & (labels < known)).sum())


def _source_record(made: Shifted) -> SideRecord:
    compared = made.compared
    if compared.source is not None and compared.source_study is not None:
        return _side_record(made, 0, compared.source_study, _labelled(compared.source.labels, compared.known))
    kept = 0
    if compared.outputs is not None:
        kept = len(compared.outputs[1])
    return SideRecord(path=made.paths[0], found=made.found[0], n=0, labelled=kept, sha256=None)


def _side_record(made: Shifted, side: int, study: Study, labelled: int) -> SideRecord:
    samples = study.dataset.samples
    return SideRecord(
        path=made.paths[side],
        found=made.found[side],
        n=len(samples),
        labelled=labelled,
        sha256=hash_values([sample.id for sample in samples], [sample.sha256 for sample in samples]),
    )


def _evidence_record(test: Test, stages: Mapping[int, str]) -> EvidenceRecord:
    name = None
    if test.stage is not None:
        name = stages[test.stage]
    return EvidenceRecord(
        name=test.name,
        stage=test.stage,
        stage_name=name,
        statistic=test.statistic,
        p=test.p,
        shown=test.shown,
        detail=dict(test.detail),
    )


def _proportions_record(found: Proportions, classes: Sequence[str]) -> ProportionsRecord:
    return ProportionsRecord(
        method=found.method,
        classes=[
            ClassShareRecord(
                name=name,
                source=float(found.source[k]),
                target=float(found.target[k]),
                interval=(float(found.interval[k][0]), float(found.interval[k][1])),
            )
            for k, name in enumerate(classes)
        ],
    )


def _typical_record(compared: Compared, diagnosis: Diagnosis) -> TypicalRecord | None:
    if diagnosis.typical is None:
        return None
    source, target = diagnosis.typical
    return TypicalRecord(
        source=_most_typical(source, compared.source_ids), target=_most_typical(target, compared.target_ids)
    )


def _most_typical(scores: FloatArray, ids: Sequence[str]) -> list[TypicalSampleRecord]:
    order = np.argsort(-scores, kind="stable")[:TYPICAL].tolist()
    return [TypicalSampleRecord(id=ids[row], score=float(scores[row])) for row in order]
