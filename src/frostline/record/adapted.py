"""adapt.json composed from what an adaptation found."""

from __future__ import annotations

import datetime
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from frostline.adapt.arms import ARMS
from frostline.adapt.choice import AS_IS, Choice, Marks
from frostline.adapt.judge import ArmResult, Opened
from frostline.adapt.kept import plain
from frostline.adapt.scorers import SOURCES
from frostline.adapt.study import AdaptStudy, CrossValidated
from frostline.adapt.target import Target
from frostline.adapt.world import World
from frostline.base.cells import csv_text
from frostline.base.device import machine
from frostline.base.memory import peak_rss_mb
from frostline.base.packages import package_versions
from frostline.base.records import AuditCount, FloatArray, IntArray
from frostline.base.version import VERSION
from frostline.bundle.adapt_record import (
    AdaptArmRecord,
    AdaptChoiceRecord,
    AdaptCostRecord,
    AdaptResult,
    AdaptSourceRecord,
    AdaptTargetRecord,
    DiagnosisRecord,
    EstimatedGainRecord,
    OpenedRecord,
    VotesRecord,
)
from frostline.bundle.further_schema import RemedyRecord
from frostline.bundle.runfolder import hashes
from frostline.bundle.schema import PhaseRecord
from frostline.bundle.typed import ScoreRecord
from frostline.data.texts import Texts
from frostline.planning.run_source import RunSource
from frostline.record.compose import audit_record
from frostline.shift.findings import Diagnosis
from frostline.stats.intervals import wilson


@dataclass(frozen=True, kw_only=True, eq=False)
class Adaptation:
    """All that an adaptation found; `opened` where target labels were sealed."""

    world: World
    source: RunSource
    target: Target
    study: AdaptStudy
    diagnosis: Diagnosis | None
    opened: Mapping[str, Opened]
    history: Sequence[Mapping[str, Any]]
    seconds: float
    phases: Sequence[tuple[str, float]]


def adapt_result(made: Adaptation, settings: Mapping[str, Any], folder: Path) -> AdaptResult:
    """Compose the record; the other files of the folder are written already."""
    study = made.study
    rule: Literal["label-free", "target-labels"] = "label-free"
    if study.cross_validated:
        rule = "target-labels"
    audits = [one.adapted.audit for one in study.arms if one.adapted is not None]
    return AdaptResult(
        version=VERSION,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=shlex.join(sys.argv),
        seed=made.world.seed,
        settings=dict(settings),
        target=_target_record(made.target),
        source=_run_record(made),
        diagnosis=diagnosis_record(made.diagnosis),
        arms=[
            arm_record(made.world, one, study.choice, opened=made.opened, cross_validated=study.cross_validated)
            for one in study.arms
        ],
        scorers=dict(SOURCES),
        choice=AdaptChoiceRecord(
            arm=study.choice.arm, rule=rule, reason=study.choice.reason, shown=list(study.choice.shown)
        ),
        opened=opened_record(made.opened, study.choice, len(made.target.scored)),
        audit=audit_record(sum(audits, AuditCount())),
        cost=AdaptCostRecord(
            seconds=made.seconds,
            phases=[PhaseRecord(name=name, seconds=seconds) for name, seconds in made.phases],
            peak_rss_mb=peak_rss_mb(),
        ),
        history=[dict(entry) for entry in made.history],
        machine={**machine(), **asdict(made.world.target.compute)},
        packages=package_versions(),
        files=hashes(folder),
    )


def _target_record(target: Target) -> AdaptTargetRecord:
    return AdaptTargetRecord(
        path=str(target.data.path),
        n=len(target.data),
        modality="text" if isinstance(target.data.samples, Texts) else "image",
        target_labels=target.mode,
        chosen_by_default=target.by_default,
        labelled=len(target.scored),
        new_classes=list(target.new_classes),
        missing_classes=list(target.missing_classes),
        copies=target.copies,
        sha256=target.data.sha256,
    )


def _run_record(made: Adaptation) -> AdaptSourceRecord:
    world = made.world
    return AdaptSourceRecord(
        run=str(made.source.run),
        spec=made.source.result.model.spec,
        strategy=made.source.recipe.name,
        classes=list(made.source.classes),
        samples=len(world.source.development) if world.source else 0,
        held_out=len(world.held.development) if world.held else 0,
        out_of_fold=len(world.outputs.labels) if world.outputs else 0,
        reason=made.source.no_samples or None,
    )


def arm_record(
    world: World,
    one: ArmResult,
    choice: Choice,
    *,
    opened: Mapping[str, Opened],
    cross_validated: Mapping[str, CrossValidated],
) -> AdaptArmRecord:
    """Record one arm: whether it ran, what the scorers say of it, and what its labels said."""
    adapted = one.adapted
    votes = choice.votes.get(one.arm)
    return AdaptArmRecord(
        name=one.arm,
        term=ARMS[one.arm].term,
        reason=one.reason,
        unsuited=one.marks.unsuited or None if one.marks else None,
        scores=dict(one.scores),
        estimated_accuracy=one.estimate,
        gain=_gain_record(one.marks),
        votes=VotesRecord(prefer=list(votes.prefer), against=list(votes.against)) if votes else None,
        cross_validated=_score_record(cross_validated.get(one.arm)),
        test=_score_record(opened.get(one.arm)),
        held_out=_held_out(world, one),
        steps=adapted.steps if adapted else 0,
        rate=adapted.rate if adapted else None,
        prior=adapted.prior.tolist() if adapted and adapted.prior is not None else None,
        detail=plain(adapted.detail) if adapted else {},
        seconds=adapted.seconds if adapted else 0.0,
    )


def _gain_record(marks: Marks | None) -> EstimatedGainRecord | None:
    if marks is None or marks.gain is None:
        return None
    gain = marks.gain
    return EstimatedGainRecord(
        difference=gain.difference, ci=gain.ci, level=gain.level, changed=gain.changed, shown=gain.shown
    )


def _score_record(found: Opened | CrossValidated | None) -> ScoreRecord | None:
    if found is None:
        return None
    return ScoreRecord(accuracy=found.accuracy, ci=found.ci)


def _held_out(world: World, one: ArmResult) -> ScoreRecord | None:
    if one.adapted is None or one.adapted.held is None or world.held is None:
        return None
    labels = world.held.dataset.labels[world.held.development]
    right = int((one.adapted.held.argmax(axis=1) == labels).sum())
    return ScoreRecord(accuracy=right / len(labels), ci=wilson(right, len(labels)))


def diagnosis_record(found: Diagnosis | None) -> DiagnosisRecord | None:
    """Record the situation that was found, with its reasons."""
    if found is None:
        return None
    return DiagnosisRecord(
        situation=found.situation,
        level=found.level,
        sentences=list(found.sentences),
        cannot_see=list(found.cannot_see),
        remedies=[RemedyRecord(arm=r.arm, action=r.action, reason=r.reason, source=r.source) for r in found.remedies],
    )


def opened_record(opened: Mapping[str, Opened], choice: Choice, count: int) -> OpenedRecord | None:
    """Record what the sealed target labels said of the choice."""
    if not opened:
        return None
    best = max(opened, key=lambda name: opened[name].accuracy)
    chosen = opened[choice.arm].accuracy
    return OpenedRecord(
        n=count,
        chosen=chosen,
        as_is=opened[AS_IS].accuracy,
        best=best,
        regret=opened[best].accuracy - chosen,
    )


def predictions_csv(
    ids: Sequence[str], labels: IntArray | None, names: Sequence[str], probabilities: FloatArray, classes: Sequence[str]
) -> bytes:
    """Write the target's predictions: `id`, `label` (empty where there is none), `predicted`, one `p:CLASS` a class.

    `labels` (N,) are numbers of `names`, -1 for none.
    """
    header = ("id", "label", "predicted", *(f"p:{name}" for name in classes))
    known = np.full(len(ids), -1) if labels is None else labels
    rows = (
        (sample, names[label] if label >= 0 else "", classes[int(row.argmax())], *(f"{p:.9g}" for p in row))
        for sample, label, row in zip(ids, known.tolist(), probabilities, strict=True)
    )
    return csv_text(header, rows).encode()
