"""From what was measured to curve.json."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from frostline.base.device import machine
from frostline.base.memory import peak_rss_mb
from frostline.base.packages import package_versions
from frostline.base.version import VERSION
from frostline.bundle import curve_record as form
from frostline.curve.full import HALVES
from frostline.curve.gaps import GAPS, GapName, UnitMean, gap_estimate, row_estimate
from frostline.curve.measured import Measured, TriedRate
from frostline.curve.sentences import Gaps, StageGap, near_guessing, sentences, warning_of_guessing
from frostline.curve.splits import ClassSplit, half_of
from frostline.curve.training import Given
from frostline.data.contract import policy_for
from frostline.features.extract import Trunk
from frostline.recipe.catalogue import WEIGHT_DECAY
from frostline.record.compose import audit_record, data_record, stage_records
from frostline.train.trial import WORST_LOG_LOSS

RULES = {
    "full": "base trainings of both halves of split 1 on 80 % of the samples to learn from, judged on the other 20 %: "
    "highest mean accuracy of the last readings, then lowest log loss, then lowest rate",
    "applied": "training from scratch on 80 % of what fold 1 learns from, judged on the other 20 %: highest accuracy "
    "of the last readings, then lowest log loss, then lowest rate",
    "given": "given by the user (--lr)",
}
SCHEDULE = "warm-up over a tenth of the steps (50 at most), then a cosine to zero; weights are not averaged"
SPLITS_METHOD = (
    "95 %, Student's t over the splits: directions and seeds of a split are averaged first; gaps are paired differences"
)
SPLITS_NOTE = (
    "They cover the luck of the halves and of training. Splits share their images, and each stage stands for itself: "
    "other images, other classes and the number of stages looked at are not allowed for."
)
FOLDS_METHOD = (
    "95 %, corrected for folds that share their training samples (Nadeau & Bengio 2003); gaps are paired differences; "
    "seeds of a fold are averaged first"
)
FOLDS_NOTE = "They cover the luck of the training samples and of training. Each stage stands for itself."
SAMPLES_METHOD = "95 %, over the samples of the one validation part (Wilson; of gaps, paired by sample)"
SAMPLES_NOTE = (
    "They hold for the networks trained here on new samples; the luck of the training samples is not covered. "
    "--pool-validation merges the validation part into the development data and gives several folds."
)
HELD_OUT = {
    "full": "the sealed part of the data, restricted to the classes of the half: rate and length are decided on the "
    "samples to learn from, and no reading is chosen, so nothing is selected on it; arms are compared on it",
    "applied": "the folds of the development samples; the sealed part of the data stays sealed",
}


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run whose trainings are all done: what they gave, and of what; `splits` is empty for an applied curve."""

    given: Given
    measured: Measured
    splits: Sequence[ClassSplit]
    seeds: int
    trunk: Trunk
    seconds: float

    @property
    def kind(self) -> Literal["full", "applied"]:
        if self.splits:
            return "full"
        return "applied"


def compose(done: Finished, identity: Mapping[str, Any]) -> form.TransferCurveRecord:
    """Return the record of a finished run; `identity` holds its settings as the user gave them."""
    given = done.given
    measured = done.measured
    rows = row_records(given, measured)
    gaps = gap_records(given, measured)
    return form.TransferCurveRecord(
        version=VERSION,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=" ".join(sys.argv),
        seed=given.settings.seed,
        kind=done.kind,
        data=data_record(given.dataset, given.samples),
        held_out=HELD_OUT[done.kind],
        model=network_record(done),
        settings=settings_record(done, identity),
        splits=[split_record(given, split) for split in done.splits],
        folds=[form.CurveFoldRecord(train=n, held_out=held) for n, held in measured.sizes],
        rows=rows,
        gaps=[record for record, _ in gaps],
        intervals=intervals_record(done),
        sentences=_supported(done, rows, depths_of(gaps)),
        failed=failure_records(measured),
        audit=audit_record(measured.audit),
        cost=form.CurveCostRecord(
            seconds=done.seconds,
            trainings=measured.trainings,
            undertrained=measured.undertrained,
            operations=measured.operations,
            peak_rss_mb=peak_rss_mb(),
        ),
        machine={**machine(), **asdict(done.trunk.compute)},
        packages=dict(package_versions()),
    )


def _supported(done: Finished, rows: Sequence[form.CurveRowRecord], gaps: Gaps) -> list[str]:
    """Return what the figures support; of bases that hardly beat guessing, that they support nothing."""
    said = sentences(done.kind, gaps)
    base = next((row.mean for row in rows if row.arm == "base"), None)
    if base is None or not near_guessing(base, _chance(done)):
        return said
    warning = warning_of_guessing(done.kind, base, _chance(done))
    if done.kind == "full":
        return [warning]
    if done.measured.rate.tried:
        return [*said, warning]
    return said


def _chance(done: Finished) -> float:
    """Return the accuracy of guessing among equally frequent classes."""
    if not done.splits:
        return 1 / len(done.given.dataset.classes)
    return float(np.mean([1 / len(half) for split in done.splits for half in (split.a, split.b)]))


def network_record(done: Finished) -> form.CurveModelRecord:
    """Describe the network; in the full protocol it has no weights of its own."""
    network = done.given.network
    return form.CurveModelRecord(
        spec=network.spec,
        weights_sha256=network.weights_sha256,
        parameters=sum(p.numel() for p in done.trunk.model.parameters()),
        stages=stage_records(done.given.stages.stages),
    )


def settings_record(done: Finished, identity: Mapping[str, Any]) -> form.CurveSettingsRecord:
    """Describe how every training was done."""
    given = done.given
    rate = done.measured.rate
    rule = RULES["given"]
    if rate.tried:
        rule = RULES[done.kind]
    return form.CurveSettingsRecord(
        rate=rate.rate,
        rate_rule=rule,
        rates_tried=[_tried_record(tried) for tried in rate.tried],
        epochs=given.settings.epochs,
        steps=given.steps,
        batch_size=given.settings.batch_size or 0,
        last_k=form.LastKRecord(count=given.readings.count, spacing=given.readings.spacing),
        seeds=done.seeds,
        optimiser="adamw",
        schedule=SCHEDULE,
        weight_decay=WEIGHT_DECAY,
        batchnorm="frozen stages in inference mode; all others in training mode, their statistics moving",
        augment=policy_for(given.settings.augment, given.network.preprocess).name,
        given=dict(identity),
    )


def _tried_record(tried: TriedRate) -> form.RateTriedRecord:
    good = [outcome for outcome in tried.outcomes if outcome.ok]
    return form.RateTriedRecord(
        rate=tried.rate,
        accuracy=float(np.mean([o.accuracy for o in good])) if good else 0.0,
        log_loss=float(np.mean([o.log_loss for o in good])) if good else WORST_LOG_LOSS,
        failed=len(tried.outcomes) - len(good),
    )


def split_record(given: Given, split: ClassSplit) -> form.CurveSplitRecord:
    """Describe the halves of a split."""
    train: dict[str, int] = {}
    held_out: dict[str, int] = {}
    for half in HALVES:
        dataset, _ = half_of(given.dataset, split.classes(half))
        train[half] = len(dataset.rows("development"))
        held_out[half] = len(dataset.rows("validation"))
    return form.CurveSplitRecord(A=list(split.a), B=list(split.b), kind=split.kind, train=train, held_out=held_out)


def row_records(given: Given, measured: Measured) -> list[form.CurveRowRecord]:
    """Return every arm at every stage, with its trainings and the mean over the units."""
    rows = []
    for arm, stage in measured.places():
        scores = measured.scores[arm, stage]
        accuracies = [
            form.CurveAccuracyRecord(
                split=unit.split, direction=unit.direction, seed=unit.seed, accuracy=judged.accuracy
            )
            for unit, judged in scores.items()
        ]
        mean = None
        ci = None
        if scores:
            estimate = row_estimate(scores, measured.folds)
            mean = estimate.mean
            ci = estimate.ci
        name = given.stages[stage].name if stage else None
        rows.append(form.CurveRowRecord(arm=arm, stage=stage, name=name, accuracies=accuracies, mean=mean, ci=ci))
    return rows


Gap = tuple[form.CurveGapRecord, UnitMean]


def gap_records(given: Given, measured: Measured) -> list[Gap]:
    """Return every gap whose two arms were measured, at every stage, with its estimate."""
    found = []
    for name, (first, second) in GAPS.items():
        for stage in given.stages.stages:
            estimate = gap_estimate(measured.at(first, stage.index), measured.at(second, stage.index), measured.folds)
            if estimate is None:
                continue
            record = form.CurveGapRecord(
                name=name,
                stage=stage.index,
                stage_name=stage.name,
                mean=estimate.mean,
                ci=estimate.ci,
                units=estimate.units,
            )
            found.append((record, estimate))
    return found


def depths_of(gaps: Sequence[Gap]) -> dict[GapName, list[StageGap]]:
    """Sort the gaps by name."""
    depths: dict[GapName, list[StageGap]] = {}
    for record, estimate in gaps:
        depths.setdefault(record.name, []).append(StageGap(stage=record.stage, estimate=estimate))
    return depths


def intervals_record(done: Finished) -> form.CurveIntervalsRecord:
    """Say what the intervals cover and what they don't."""
    if done.kind == "full":
        units = len(done.splits)
        return form.CurveIntervalsRecord(method=SPLITS_METHOD, of="splits", units=units, note=_splits_note(units))
    units = len(done.measured.sizes)
    if units == 1:
        return form.CurveIntervalsRecord(method=SAMPLES_METHOD, of="samples", units=1, note=SAMPLES_NOTE)
    return form.CurveIntervalsRecord(method=FOLDS_METHOD, of="folds", units=units, note=FOLDS_NOTE)


def _splits_note(units: int) -> str:
    if units == 1:
        return (
            "With a single split there is no interval: nothing tells how another choice of halves would have come out."
        )
    if units == 2:
        return SPLITS_NOTE + " Two splits leave one degree of freedom, so only very large differences can be shown."
    return SPLITS_NOTE


def failure_records(measured: Measured) -> list[form.CurveFailureRecord]:
    """List the trainings that diverged and are in no mean."""
    return [
        form.CurveFailureRecord(
            arm=failure.arm,
            stage=failure.stage,
            split=failure.unit.split,
            direction=failure.unit.direction,
            seed=failure.unit.seed,
            reason=failure.reason,
        )
        for failure in measured.failures
    ]
