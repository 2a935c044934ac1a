"""The entries of strategies and pairs in result.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from frostline.base.records import Comparison, FloatArray, IntArray, Outcome
from frostline.base.seeds import numpy_generator
from frostline.bundle import schema
from frostline.bundle.typed import Interval, ScoreRecord
from frostline.race.compare import compare, score_interval, versus_best
from frostline.race.plan import PlanRow
from frostline.race.result import RaceResult, block_sizes
from frostline.race.short import BELOW, on_blocks
from frostline.race.standing import Standing, standing_from
from frostline.recipe.terms import origin_summary, skipped_term, stage_fates, term
from frostline.record.elsewhere import target_score
from frostline.record.evidence import Evidence
from frostline.stats.intervals import bootstrap_interval, wilson
from frostline.stats.metrics import accuracy
from frostline.train.refit import RefitResult

Fields = dict[str, Any]  # some fields of a StrategyRecord

# What a strategy's entry holds as long as nothing has run.
NOT_RUN: Mapping[str, Any] = {
    "origin_summary": "",
    "stages": [],
    "trained_parameters": 0,
    "operations": 0.0,
    "rate": None,
    "rates_tried": [],
    "l2": None,
    "mix": None,
    "epochs": None,
    "steps": None,
    "undertrained": False,
    "blocks": [],
    "seconds": 0.0,
    "accuracy": None,
    "accuracy_ci": None,
    "log_loss": None,
    "score": None,
    "score_ci": None,
    "versus_best": None,
    "test": None,
    "target": None,
    "forecast": None,
    "below_forecast": False,
}


def strategy_records(evidence: Evidence, labels: IntArray) -> list[schema.StrategyRecord]:
    """Compose one entry per strategy: those that ran in the order of the plan, then those that were skipped.

    `labels` (N,) are those of the sealed part.
    """
    plan = evidence.plan
    records = [_ran(evidence, row, labels) for row in plan.rows]
    for name, reason in plan.skipped.items():
        fields = {**NOT_RUN, "name": name, "term": skipped_term(name), "status": "skipped", "reason": reason}
        records.append(schema.StrategyRecord(**fields))
    return records


def _ran(evidence: Evidence, row: PlanRow, labels: IntArray) -> schema.StrategyRecord:
    """Compose the entry of a strategy that was raced, whether or not it finished."""
    name = row.recipe.name
    race = evidence.race
    fields: Fields = {
        **NOT_RUN,
        "name": name,
        "source": row.recipe.source,
        "term": term(row.recipe),
        "origin_summary": origin_summary(row.recipe),
        "stages": list(stage_fates(row.recipe)),
        "trained_parameters": row.trained_parameters,
        "operations": evidence.plan.use_cost(row.recipe, race.steps(name)),
        "status": _status(race, name),
        "reason": race.failed.get(name) or race.eliminated.get(name) or race.spared.get(name),
        "seconds": sum(o.seconds for o in race.outcomes if o.strategy == name),
        **_training_fields(race, name, evidence.refits.get(name)),
        **_score_fields(evidence, name),
        **_best_fields(evidence, name),
        **_forecast_fields(evidence, name),
    }
    if name in evidence.tests:
        fields["test"] = tested(evidence.tests[name], labels)
    if evidence.on_target is not None:
        fields["target"] = target_score(evidence.on_target, evidence.on_target.tests.get(name))
    return schema.StrategyRecord(**fields)


def _status(race: RaceResult, name: str) -> str:
    if name in race.failed:
        return "failed"
    if name in race.eliminated:
        return "eliminated"
    if name in race.spared:
        return "forecast"
    return "raced"


def _training_fields(race: RaceResult, name: str, refitted: RefitResult | None) -> Fields:
    """Return how it was trained: by the refit where there is one, otherwise by the race."""
    finished = [o for o in race.of(name) if o.ok]
    tried = rates_tried(race, name)
    fields: Fields = {
        "rate": race.rate(name),
        "rates_tried": tried,
        "undertrained": any(o.undertrained for o in finished) and not _tried_longer(tried, race, name),
    }
    if refitted is None:
        return {**fields, "mix": race.mix(name), "epochs": _median_epochs(finished), "steps": race.steps(name)}
    return {
        **fields,
        "l2": refitted.l2,
        "mix": refitted.mix,
        "epochs": refitted.epochs,
        "steps": refitted.steps,
        "undertrained": fields["undertrained"] or (refitted.undertrained and not _tried_longer(tried, race, name)),
    }


def rates_tried(race: RaceResult, name: str) -> list[dict[str, float]]:
    """List every rate and length that was tried, with its mean scores over the splits that it ran on."""
    groups: dict[tuple[float, int], list[Outcome]] = {}
    chosen = race.chosen.get(name)
    for o in [*race.of(name, "tune"), *race.of(name)]:
        if o.rate is None or chosen is None:
            continue
        steps = o.steps
        if chosen.steps is None:  # --epochs: their number differs from split to split
            steps = race.steps(name) or 0
        groups.setdefault((o.rate, steps), []).append(o)
    if len(groups) < 2:  # there was nothing to choose
        return []
    return [
        {
            "rate": rate,
            "steps": steps,
            "log_loss": float(np.mean([o.log_loss for o in found])),
            "accuracy": float(np.mean([o.accuracy for o in found])),
            "splits": len(found),
        }
        for (rate, steps), found in sorted(groups.items())
    ]


def _tried_longer(tried: Sequence[Mapping[str, float]], race: RaceResult, name: str) -> bool:
    """True where a longer training at the chosen rate was tried, and wasn't better."""
    steps = race.steps(name)
    return steps is not None and any(t["rate"] == race.rate(name) and t["steps"] > steps for t in tried)


def _median_epochs(finished: list[Outcome]) -> float | None:
    if not finished:
        return None
    return float(np.median([o.epochs for o in finished]))


def _score_fields(evidence: Evidence, name: str) -> Fields:
    """Return the scores on the blocks, by accuracy and by the metric of the plan."""
    n_train, n_test = block_sizes(evidence.plan)
    fields: Fields = {}
    by_accuracy = _find_standing(evidence.accuracies, name)
    if by_accuracy is not None:
        fields["accuracy"] = by_accuracy.score
        fields["accuracy_ci"] = score_interval(by_accuracy, n_train=n_train, n_test=n_test)
        fields["blocks"] = [
            schema.BlockScoreRecord(index=b.index, accuracy=b.score, log_loss=b.log_loss) for b in by_accuracy.blocks
        ]
    by_metric = _find_standing(evidence.standings, name)
    if by_metric is not None:
        fields["log_loss"] = by_metric.log_loss
        fields["score"] = _positive(by_metric, by_metric.score)
        fields["score_ci"] = _score_ci(by_metric, n_train=n_train, n_test=n_test)
    return fields


def _forecast_fields(evidence: Evidence, name: str) -> Fields:
    """Return what was forecast, and whether training fell well below it."""
    if evidence.forecast is None or evidence.foresight is None:
        return {}
    outcomes = evidence.forecast.of(name)
    if not outcomes:
        return {}
    n_train, n_test = block_sizes(evidence.plan)
    foreseen = standing_from(outcomes, evidence.labels, trained_parameters=0, purpose="forecast")
    record = schema.ForecastScoreRecord(
        accuracy=foreseen.score,
        accuracy_ci=score_interval(foreseen, n_train=n_train, n_test=n_test),
        log_loss=foreseen.log_loss,
    )
    below = False
    measured = _find_standing(evidence.accuracies, name)
    if measured is not None:
        foreseen = on_blocks(foreseen, set(measured.block_indices))
        if np.array_equal(measured.keys, foreseen.keys):
            missed = compare(foreseen, measured, n_train=n_train, n_test=n_test)
            below = missed.mean > BELOW
    return {"forecast": record, "below_forecast": below}


def forecast_record(evidence: Evidence) -> schema.ForecastRecord | None:
    """Record what the forecast of a comparison rests on; None where none was made."""
    found = evidence.forecast
    if found is None:
        return None
    return schema.ForecastRecord(
        rows=found.rows,
        seconds=found.seconds,
        left_out=dict(found.left_out),
        missing=dict(found.missing),
        provisional=evidence.race.provisional,
        ended=evidence.race.ended,
    )


def _find_standing(standings: Sequence[Standing], name: str) -> Standing | None:
    return next((s for s in standings if s.name == name and s.blocks), None)


def _best_fields(evidence: Evidence, name: str) -> Fields:
    comparison = versus_best(evidence.pairs, evidence.verdict.best).get(name)
    if comparison is None:
        return {}
    return {"versus_best": versus_record(evidence, comparison)}


def _positive(standing: Standing, score: float) -> float:
    """Return the score as shown: log loss is compared by its negative, but shown as a positive number of nats."""
    if standing.metric == "log-loss":
        return 0.0 - score
    return score


def _score_ci(standing: Standing, *, n_train: float, n_test: float) -> Interval:
    low, high = sorted(_positive(standing, v) for v in score_interval(standing, n_train=n_train, n_test=n_test))
    return low, high


def sample_interval(evidence: Evidence, a: str, b: str) -> Interval:
    """Return the interval of a - b for these very models on new samples: bootstrap over the rows both predicted."""
    low, high = sorted((a, b))  # drawn once per pair, whichever way round it is asked for
    first, second = (next(s for s in evidence.standings if s.name == name) for name in (low, high))
    _, row = np.unique(first.keys[:, 1], return_inverse=True)
    differences = np.bincount(row, weights=first.values - second.values) / np.bincount(row)
    interval = bootstrap_interval(differences, rng=numpy_generator(0, "sample-interval", low, high))
    if a == low:
        return interval
    return 0.0 - interval[1], 0.0 - interval[0]  # a bound of 0 stays 0.0, not -0.0


def versus_record(evidence: Evidence, comparison: Comparison) -> schema.VersusRecord:
    """Record how a strategy compares with the best."""
    return schema.VersusRecord(
        difference=comparison.difference,
        ci=comparison.ci,
        ci_samples=sample_interval(evidence, comparison.a, comparison.b),
        p=comparison.p,
        outcome=comparison.outcome,
    )


def tested(probabilities: FloatArray, labels: IntArray) -> ScoreRecord:
    """Record the accuracy on the sealed part with Wilson's interval."""
    share = accuracy(probabilities, labels)
    return ScoreRecord(accuracy=share, ci=wilson(round(share * len(labels)), len(labels)))


def pair_records(evidence: Evidence) -> list[schema.PairRecord]:
    """Record every pair that was compared."""
    return [
        schema.PairRecord(
            a=c.a,
            b=c.b,
            difference=c.difference,
            ci=c.ci,
            p=c.p,
            outcome=c.outcome,
            ci_samples=sample_interval(evidence, c.a, c.b),
        )
        for c in evidence.pairs
    ]
