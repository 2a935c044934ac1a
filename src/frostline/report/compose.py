"""From plan, race, verdict and sealed test to result.json."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from frostline.base.records import AuditCount, Comparison, Dataset, FloatArray, IntArray, Verdict
from frostline.base.seeds import numpy_generator
from frostline.bundle import record as r
from frostline.engines.afford import Affordable
from frostline.models.network import Network
from frostline.race.compare import compare_all, score_interval, versus_best
from frostline.race.plan import Plan, PlanRow
from frostline.race.race import RaceResult, block_sizes
from frostline.race.standing import Standing
from frostline.recipe.terms import origin_summary, skipped_term, term
from frostline.stats.contributions import contributions
from frostline.stats.intervals import bootstrap_interval, wilson
from frostline.stats.metrics import accuracy, balanced_accuracy, ece, log_loss, per_class
from frostline.train.refit import Fitted
from frostline.train.study import Study

PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn", "pillow", "safetensors", "imagehash")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the race showed."""

    plan: Plan
    race: RaceResult
    standings: Sequence[Standing]  # by the metric of the plan
    accuracies: Sequence[Standing]  # the same by accuracy
    verdict: Verdict
    margin: float
    fitted: Mapping[str, Fitted]  # strategies that were refitted, the verdict among them
    tests: Mapping[str, FloatArray]  # sealed probabilities of strategies that were tested
    budget: r.BudgetRecord | None = None


def data_record(dataset: Dataset) -> r.DataRecord:
    """What the data set was."""
    groups = {s.group for s in dataset.samples}
    return r.DataRecord(
        path=dataset.path,
        kind=dataset.kind,
        classes=list(dataset.classes),
        n_development=len(dataset.development),
        n_test=len(dataset.sealed),
        sealed=dataset.sealed_from,
        groups=len(groups),
        warnings=[
            r.WarningRecord(kind=w.kind, count=w.count, examples=list(w.examples), handled=w.handled)
            for w in dataset.warnings
        ],
    )


def model_record(network: Network, plan: Plan, study: Study) -> r.ModelRecord:
    """What the source network was, with its stage map and how its own classes were mapped."""
    parameters = sum(p.numel() for p in study.trunk.model.parameters())
    stages = [
        r.StageRecord(index=s.index, name=s.name, parameters=s.parameters, cuttable=s.cuttable,
                      output_shape=list(s.output_shape), operations=s.operations, why_not=s.why_not)
        for s in plan.scale.stages
    ]  # fmt: skip
    return r.ModelRecord(spec=network.spec, weights_sha256=network.weights_sha256, parameters=parameters, stages=stages,
                         class_map=_class_map(study))  # fmt: skip


def _class_map(study: Study) -> dict[str, list[str]] | None:
    found = study.class_map
    if found is None:
        return None
    return {name: [found.source[i] for i in group]
            for name, group in zip(study.dataset.classes, found.groups, strict=True)}  # fmt: skip


def block_records(plan: Plan) -> list[r.BlockRecord]:
    return [
        r.BlockRecord(index=b.index, repeat=b.repeat, fold=b.fold, n_train=len(b.train), n_validation=len(b.validation))
        for b in plan.race_blocks()
    ]


def strategy_records(evidence: Evidence, labels: IntArray) -> list[r.StrategyRecord]:
    """One row a strategy: raced and eliminated ones, failed ones, then those that were skipped."""
    plan = evidence.plan
    pairs = pair_comparisons(evidence)
    rows = [_strategy(evidence, row, pairs, labels) for row in plan.rows]
    return rows + [_skipped(name, reason) for name, reason in plan.skipped.items()]


def pair_comparisons(evidence: Evidence) -> tuple[Comparison, ...]:
    n_train, n_test = block_sizes(evidence.plan)
    return compare_all(evidence.standings, n_train=n_train, n_test=n_test, margin=evidence.margin)


def _strategy(evidence: Evidence, row: PlanRow, pairs: Sequence[Comparison], labels: IntArray) -> r.StrategyRecord:
    name, race = row.recipe.name, evidence.race
    standing = next((s for s in evidence.standings if s.name == name and s.blocks), None)
    plain = next((s for s in evidence.accuracies if s.name == name and s.blocks), None)
    done, raced = [o for o in race.outcomes if o.strategy == name], [o for o in race.of(name) if o.ok]
    fitted, versus = evidence.fitted.get(name), versus_best(pairs, evidence.verdict.best).get(name)
    n_train, n_test = block_sizes(evidence.plan)
    return r.StrategyRecord(
        name=name,
        term=term(row.recipe),
        origin_summary=origin_summary(row.recipe),
        trained_parameters=row.trained_parameters,
        operations=evidence.plan.use_cost(row.recipe, race.steps(name)),
        status="failed" if name in race.failed else "eliminated" if name in race.eliminated else "raced",
        reason=race.failed.get(name) or race.eliminated.get(name),
        rate=race.rates.get(name),
        rates_tried=[
            {"rate": o.rate or 0.0, "log_loss": o.log_loss, "accuracy": o.accuracy} for o in race.of(name, "tune")
        ],
        l2=fitted.l2 if fitted else None,
        mix=fitted.mix if fitted else race.mix(name),
        epochs=fitted.epochs if fitted else (float(np.median([o.epochs for o in raced])) if raced else None),
        steps=fitted.steps if fitted else race.steps(name),
        undertrained=any(o.undertrained for o in raced) or bool(fitted and fitted.undertrained),
        blocks=[r.BlockScoreRecord(index=b.index, accuracy=b.score, log_loss=b.log_loss) for b in plain.blocks]
        if plain
        else [],
        seconds=sum(o.seconds for o in done),
        accuracy=plain.score if plain else None,
        accuracy_ci=score_interval(plain, n_train=n_train, n_test=n_test) if plain else None,
        log_loss=standing.log_loss if standing else None,
        score=_positive(standing, standing.score) if standing else None,
        score_ci=_score_ci(standing, n_train=n_train, n_test=n_test) if standing else None,
        versus_best=_versus(evidence, versus) if versus else None,
        test=_score(evidence.tests[name], labels) if name in evidence.tests else None,
    )


def _positive(standing: Standing, score: float) -> float:
    """Log loss is compared by its negative, but told as a positive number of nats."""
    return 0.0 - score if standing.metric == "log-loss" else score


def _score_ci(standing: Standing, *, n_train: float, n_test: float) -> r.Interval:
    low, high = sorted(_positive(standing, v) for v in score_interval(standing, n_train=n_train, n_test=n_test))
    return low, high


def sample_interval(evidence: Evidence, a: str, b: str) -> r.Interval:
    """Interval of a - b for these very models on new samples: bootstrap over the rows that both predicted."""
    low, high = sorted((a, b))  # drawn once for a pair, whichever way round it is asked for
    first, second = (next(s for s in evidence.standings if s.name == name) for name in (low, high))
    _, row = np.unique(first.keys[:, 1], return_inverse=True)
    differences = np.bincount(row, weights=first.values - second.values) / np.bincount(row)
    found = bootstrap_interval(differences, rng=numpy_generator(0, "sample-interval", low, high))
    return found if a == low else (0.0 - found[1], 0.0 - found[0])  # a bound of 0 stays 0.0, not -0.0


def _versus(evidence: Evidence, comparison: Comparison) -> r.VersusRecord:
    narrow = sample_interval(evidence, comparison.a, comparison.b)
    return r.VersusRecord(difference=comparison.difference, ci=comparison.ci, ci_samples=narrow, p=comparison.p,
                          outcome=comparison.outcome)  # fmt: skip


def _score(probabilities: FloatArray, labels: IntArray) -> r.ScoreRecord:
    share = accuracy(probabilities, labels)
    return r.ScoreRecord(accuracy=share, ci=wilson(round(share * len(labels)), len(labels)))


def _skipped(name: str, reason: str) -> r.StrategyRecord:
    return r.StrategyRecord(
        name=name, term=skipped_term(name), origin_summary="", trained_parameters=0, operations=0.0, status="skipped",
        reason=reason, rate=None, rates_tried=[], l2=None, mix=None, epochs=None, steps=None, undertrained=False,
        blocks=[], seconds=0.0, accuracy=None, accuracy_ci=None, log_loss=None, score=None,
        score_ci=None, versus_best=None, test=None,
    )  # fmt: skip


def pair_records(evidence: Evidence) -> list[r.PairRecord]:
    """Every pair that was compared."""
    return [
        r.PairRecord(
            a=c.a,
            b=c.b,
            difference=c.difference,
            ci=c.ci,
            p=c.p,
            outcome=c.outcome,
            ci_samples=sample_interval(evidence, c.a, c.b),
        )
        for c in pair_comparisons(evidence)
    ]


def verdict_record(verdict: Verdict) -> r.VerdictRecord:
    return r.VerdictRecord(strategy=verdict.strategy, best=verdict.best, reason=verdict.reason,
                           runner_up=verdict.runner_up, samples_needed=verdict.samples_needed)  # fmt: skip


def budget_record(limits: Affordable | None, race: RaceResult) -> r.BudgetRecord | None:
    """What `--budget` was, what was forecast, and what was left out before and during the race."""
    if limits is None:
        return None
    return r.BudgetRecord(seconds=limits.seconds, forecast_seconds=limits.forecast.total(),
                          left_out=[*limits.left_out, *race.left_out])  # fmt: skip


def sealed_record(probabilities: FloatArray, labels: IntArray, classes: Sequence[str]) -> r.TestRecord:
    """How the saved model did on the sealed part."""
    predicted = probabilities.argmax(axis=1).astype(np.int64)
    score = _score(probabilities, labels)
    return r.TestRecord(
        n=len(labels),
        accuracy=score.accuracy,
        ci=score.ci,
        balanced_accuracy=balanced_accuracy(probabilities, labels),
        f1_macro=float(contributions("f1-macro", probabilities, labels).mean()),
        log_loss=log_loss(probabilities, labels),
        ece=ece(probabilities, labels),
        per_class=[
            r.ClassRecord(name=classes[i], n=c.count, precision=c.precision, recall=c.recall, f1=c.f1)
            for i, c in enumerate(per_class(predicted, labels, len(classes)))
        ],
    )


def audit_record(counts: AuditCount) -> r.AuditRecord:
    """The proof in numbers."""
    return r.AuditRecord(
        frozen_tensors=counts.frozen_tensors,
        frozen_unchanged=counts.frozen_unchanged,
        moving_on_purpose=counts.moving_on_purpose,
        trained_tensors=counts.trained_tensors,
        trained_changed=counts.trained_changed,
        no_gradient=list(counts.no_gradient),
    )


def package_versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def plan_event(plan: Plan) -> dict[str, Any]:
    """The plan as an event's data: what will run, and its counted cost."""
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
    trials, blocks = sum(row.trials for row in plan.rows), len(plan.race_blocks())
    sentence = (
        f"{len(plan.rows)} strategies, {trials} trials on {blocks} paired block{'s' * (blocks != 1)}, "
        f"{plan.operations / 1e12:.1f} tera-operations counted, {plan.shared_operations / 1e12:.1f} of them "
        f"for features that all share.{skipped}"
    )
    return {"rows": rows, "total_operations": plan.operations, "sentence": sentence}
