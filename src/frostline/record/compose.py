"""From plan, race, verdict and sealed test to result.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from frostline.base.cells import csv_text
from frostline.base.hashing import hash_values
from frostline.base.records import AuditCount, Dataset, FloatArray, IntArray, StageInfo, Verdict
from frostline.bundle import schema
from frostline.conclude.doubts import KINDS, Doubt, Doubts
from frostline.data.contract import Samples
from frostline.data.texts import Texts
from frostline.planning.afford import BudgetedPlan
from frostline.race.plan import Plan, Scale
from frostline.race.result import RaceResult
from frostline.recipe.terms import origin_summary
from frostline.record.strategies import tested
from frostline.stats.contributions import contributions
from frostline.stats.metrics import balanced_accuracy, confusion, ece, log_loss, per_class
from frostline.train.study import Study


def data_record(dataset: Dataset, samples: Samples) -> schema.DataRecord:
    """Describe the data set; `samples` tells whether it holds images or texts."""
    groups = {s.group for s in dataset.samples}
    return schema.DataRecord(
        path=dataset.path,
        kind=dataset.kind,
        classes=list(dataset.classes),
        n_development=len(dataset.development),
        n_test=len(dataset.sealed),
        sealed=dataset.sealed_from,
        groups=len(groups),
        modality="text" if isinstance(samples, Texts) else "image",
        sha256=dataset_hash(dataset),
        warnings=[
            schema.WarningRecord(kind=w.kind, count=w.count, examples=list(w.examples), handled=w.handled)
            for w in dataset.warnings
        ],
    )


def dataset_hash(dataset: Dataset) -> str:
    """Hash every sample's id, class, part, group and bytes, in order: equal for equal data, wherever it is stored."""
    return hash_values([(s.id, dataset.classes[s.label], s.part, s.group, s.sha256) for s in dataset.samples])


def model_record(study: Study, scale: Scale) -> schema.ModelRecord:
    """Describe the network of a study, with its stage map and how its own classes were mapped."""
    network = study.network
    parameters = sum(p.numel() for p in study.trunk.model.parameters())
    return schema.ModelRecord(
        spec=network.spec,
        weights_sha256=network.weights_sha256,
        parameters=parameters,
        history=[dict(entry) for entry in network.history],
        stages=stage_records(scale.stages),
        class_map=_class_map(study),
    )


def stage_records(stages: Sequence[StageInfo]) -> list[schema.StageRecord]:
    """Describe the stages of a network, from its input on."""
    return [
        schema.StageRecord(
            index=s.index,
            name=s.name,
            parameters=s.parameters,
            cuttable=s.cuttable,
            output_shape=list(s.output_shape),
            operations=s.operations,
            why_not=s.why_not,
        )
        for s in stages
    ]


def source_records(study: Study, plan: Plan) -> list[schema.ComparedNetworkRecord]:
    """Describe each of several networks under its label; empty where there is one network."""
    if not study.others:
        return []
    labels = [study.label, *study.others]
    scales = [plan.scale, *plan.scales.values()]
    return [
        schema.ComparedNetworkRecord(
            label=label,
            code_sha256=one.network.code.sha256 if one.network.code else None,
            **model_record(one, scale).model_dump(),
        )
        for label, one, scale in zip(labels, study.every(), scales, strict=True)
    ]


def _class_map(study: Study) -> dict[str, list[str]] | None:
    mapped = study.class_map
    if mapped is None:
        return None
    pairs = zip(study.dataset.classes, mapped.groups, strict=True)
    return {name: [mapped.source[i] for i in group] for name, group in pairs}


def block_records(plan: Plan) -> list[schema.BlockRecord]:
    """List the paired blocks of the race, by their sizes."""
    return [
        schema.BlockRecord(
            index=b.index, repeat=b.repeat, fold=b.fold, n_train=len(b.train), n_validation=len(b.validation)
        )
        for b in plan.race_blocks()
    ]


def verdict_record(verdict: Verdict) -> schema.VerdictRecord:
    """Record which strategy to use, and why."""
    return schema.VerdictRecord(
        strategy=verdict.strategy,
        best=verdict.best,
        reason=verdict.reason,
        runner_up=verdict.runner_up,
        samples_needed=verdict.samples_needed,
    )


def budget_record(limits: BudgetedPlan | None, race: RaceResult) -> schema.BudgetRecord | None:
    """Record the `--budget`, the forecast, and what was left out before and during the race."""
    if limits is None:
        return None
    return schema.BudgetRecord(
        seconds=limits.seconds, forecast_seconds=limits.forecast.total(), left_out=[*limits.left_out, *race.left_out]
    )


def sealed_record(probabilities: FloatArray, labels: IntArray, classes: Sequence[str]) -> schema.TestRecord:
    """Record how the saved model did on the sealed part."""
    predicted = probabilities.argmax(axis=1).astype(np.int64)
    score = tested(probabilities, labels)
    return schema.TestRecord(
        n=len(labels),
        accuracy=score.accuracy,
        ci=score.ci,
        balanced_accuracy=balanced_accuracy(probabilities, labels),
        f1_macro=float(contributions("f1-macro", probabilities, labels).mean()),
        log_loss=log_loss(probabilities, labels),
        ece=ece(probabilities, labels),
        per_class=[
            schema.ClassRecord(name=classes[i], n=c.count, precision=c.precision, recall=c.recall, f1=c.f1)
            for i, c in enumerate(per_class(predicted, labels, len(classes)))
        ],
        confusion=confusion(predicted, labels, len(classes)).tolist(),
    )


def audit_record(counts: AuditCount) -> schema.AuditRecord:
    """Record how many tensors the audit compared, and how many had changed."""
    return schema.AuditRecord(
        frozen_tensors=counts.frozen_tensors,
        frozen_unchanged=counts.frozen_unchanged,
        moving_on_purpose=counts.moving_on_purpose,
        trained_tensors=counts.trained_tensors,
        trained_changed=counts.trained_changed,
        no_gradient=list(counts.no_gradient),
    )


def plan_event(plan: Plan) -> dict[str, Any]:
    """Describe the plan as an event's data: what will run, and its counted cost."""
    rows = [
        {
            "name": row.recipe.name,
            "happens": origin_summary(row.recipe),
            "trained_parameters": row.trained_parameters,
            "trials": row.trials,
            "operations": row.operations,
        }
        for row in plan.rows
    ]
    skipped = "".join(f" {name} is left out: {reason}." for name, reason in plan.skipped.items())
    trials = sum(row.trials for row in plan.rows)
    blocks = len(plan.race_blocks())
    sentence = (
        f"{len(plan.rows)} strategies, {trials} trials on {blocks} paired block{'s' * (blocks != 1)}, "
        f"{plan.operations / 1e12:.1f} tera-operations counted, {plan.shared_operations / 1e12:.1f} of them "
        f"for features that all share.{skipped}"
    )
    return {"rows": rows, "blocks": blocks, "total_operations": plan.operations, "sentence": sentence}


MOST_EXAMPLES = 20  # of each kind in result.json; doubts.csv has all


def doubts_csv(doubts: Doubts) -> bytes:
    """Write doubts.csv: all doubts, with the columns `kind`, `id`, `label`, `suggestion`, `score`, `detail`."""
    names = [f.name for f in fields(Doubt)]
    rows = ([_csv_cell(getattr(doubt, name)) for name in names] for doubt in doubts.found)
    return csv_text(names, rows).encode()


def _csv_cell(value: str | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value


def doubts_record(doubts: Doubts) -> schema.DoubtsRecord:
    """Compose the doubts for result.json, with the gravest of each kind as examples."""
    counts = Counter(doubt.kind for doubt in doubts.found)
    examples: list[Doubt] = []
    for kind in KINDS:
        examples += [doubt for doubt in doubts.found if doubt.kind == kind][:MOST_EXAMPLES]
    return schema.DoubtsRecord(
        method=doubts.method,
        counts={kind: counts[kind] for kind in KINDS},
        examples=[_doubt_record(doubt) for doubt in examples],
    )


def _doubt_record(doubt: Doubt) -> schema.DoubtRecord:
    score = doubt.score
    if score is not None:
        score = float(f"{score:.6g}")  # as in doubts.csv
    return schema.DoubtRecord(
        kind=doubt.kind,
        id=doubt.id,
        label=doubt.label,
        suggestion=doubt.suggestion,
        detail=doubt.detail,
        score=score,
    )
