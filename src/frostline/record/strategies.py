"""The rows of strategies and pairs in result.json."""

from __future__ import annotations

import numpy as np

from frostline.base.records import Comparison, FloatArray, IntArray
from frostline.base.seeds import numpy_generator
from frostline.bundle import schema
from frostline.race.compare import score_interval, versus_best
from frostline.race.plan import PlanRow
from frostline.race.race import block_sizes
from frostline.race.standing import Standing
from frostline.recipe.terms import origin_summary, skipped_term, term
from frostline.record.evidence import Evidence
from frostline.stats.intervals import bootstrap_interval, wilson
from frostline.stats.metrics import accuracy


def strategy_records(evidence: Evidence, labels: IntArray) -> list[schema.StrategyRecord]:
    """One row a strategy: raced and eliminated ones, failed ones, then those that were skipped."""
    plan = evidence.plan
    rows = [_strategy(evidence, row, labels) for row in plan.rows]
    return rows + [_skipped(name, reason) for name, reason in plan.skipped.items()]


def _strategy(evidence: Evidence, row: PlanRow, labels: IntArray) -> schema.StrategyRecord:
    name, race = row.recipe.name, evidence.race
    standing = next((s for s in evidence.standings if s.name == name and s.blocks), None)
    plain = next((s for s in evidence.accuracies if s.name == name and s.blocks), None)
    done, raced = [o for o in race.outcomes if o.strategy == name], [o for o in race.of(name) if o.ok]
    refitted, versus = evidence.refits.get(name), versus_best(evidence.pairs, evidence.verdict.best).get(name)
    n_train, n_test = block_sizes(evidence.plan)
    return schema.StrategyRecord(
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
        l2=refitted.l2 if refitted else None,
        mix=refitted.mix if refitted else race.mix(name),
        epochs=refitted.epochs if refitted else (float(np.median([o.epochs for o in raced])) if raced else None),
        steps=refitted.steps if refitted else race.steps(name),
        undertrained=any(o.undertrained for o in raced) or bool(refitted and refitted.undertrained),
        blocks=[schema.BlockScoreRecord(index=b.index, accuracy=b.score, log_loss=b.log_loss) for b in plain.blocks]
        if plain
        else [],
        seconds=sum(o.seconds for o in done),
        accuracy=plain.score if plain else None,
        accuracy_ci=score_interval(plain, n_train=n_train, n_test=n_test) if plain else None,
        log_loss=standing.log_loss if standing else None,
        score=_positive(standing, standing.score) if standing else None,
        score_ci=_score_ci(standing, n_train=n_train, n_test=n_test) if standing else None,
        versus_best=_versus(evidence, versus) if versus else None,
        test=tested(evidence.tests[name], labels) if name in evidence.tests else None,
    )


def _positive(standing: Standing, score: float) -> float:
    """Log loss is compared by its negative, but told as a positive number of nats."""
    return 0.0 - score if standing.metric == "log-loss" else score


def _score_ci(standing: Standing, *, n_train: float, n_test: float) -> schema.Interval:
    low, high = sorted(_positive(standing, v) for v in score_interval(standing, n_train=n_train, n_test=n_test))
    return low, high


def sample_interval(evidence: Evidence, a: str, b: str) -> schema.Interval:
    """Interval of a - b for these very models on new samples: bootstrap over the rows that both predicted."""
    low, high = sorted((a, b))  # drawn once for a pair, whichever way round it is asked for
    first, second = (next(s for s in evidence.standings if s.name == name) for name in (low, high))
    _, row = np.unique(first.keys[:, 1], return_inverse=True)
    differences = np.bincount(row, weights=first.values - second.values) / np.bincount(row)
    found = bootstrap_interval(differences, rng=numpy_generator(0, "sample-interval", low, high))
    return found if a == low else (0.0 - found[1], 0.0 - found[0])  # a bound of 0 stays 0.0, not -0.0


def _versus(evidence: Evidence, comparison: Comparison) -> schema.VersusRecord:
    narrow = sample_interval(evidence, comparison.a, comparison.b)
    return schema.VersusRecord(
        difference=comparison.difference,
        ci=comparison.ci,
        ci_samples=narrow,
        p=comparison.p,
        outcome=comparison.outcome,
    )


def tested(probabilities: FloatArray, labels: IntArray) -> schema.ScoreRecord:
    """Accuracy on the sealed part with Wilson's interval."""
    share = accuracy(probabilities, labels)
    return schema.ScoreRecord(accuracy=share, ci=wilson(round(share * len(labels)), len(labels)))


def _skipped(name: str, reason: str) -> schema.StrategyRecord:
    return schema.StrategyRecord(
        name=name,
        term=skipped_term(name),
        origin_summary="",
        trained_parameters=0,
        operations=0.0,
        status="skipped",
        reason=reason,
        rate=None,
        rates_tried=[],
        l2=None,
        mix=None,
        epochs=None,
        steps=None,
        undertrained=False,
        blocks=[],
        seconds=0.0,
        accuracy=None,
        accuracy_ci=None,
        log_loss=None,
        score=None,
        score_ci=None,
        versus_best=None,
        test=None,
    )


def pair_records(evidence: Evidence) -> list[schema.PairRecord]:
    """Every pair that was compared."""
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
