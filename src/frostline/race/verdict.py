"""Who won, what is shown, and what to use: pure functions over what every strategy scored on the same paired blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from frostline.base.errors import TrialError
from frostline.base.records import Comparison, FloatArray, IntArray, Outcome, Verdict
from frostline.stats.intervals import Interval, corrected_interval, wilson
from frostline.stats.paired import PairedResult, corrected_paired, holm, paired_samples, sample_variance
from frostline.stats.sample_size import equivalent_samples_needed, paired_samples_needed

ROUNDING = 1e-9  # scores are ratios of small counts: differences below this are equal scores


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockScore:
    """What a strategy scored on one block: `score` in [0, 1], more is better; `log_loss` in nats; `n` samples."""

    index: int
    score: float
    log_loss: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Standing:
    """Where one strategy stands after the blocks so far.

    `cost`: counted operations of inference and training. `keys` (M, 2): block and dataset row of every prediction out
    of fold, in ascending order; `correct` (M,): 1 where it was right, else 0.
    """

    name: str
    cost: float
    trained_parameters: int
    blocks: tuple[BlockScore, ...]
    keys: IntArray
    correct: FloatArray
    eliminated: bool = False
    is_baseline: bool = False

    @property
    def score(self) -> float:
        return float(np.mean([b.score for b in self.blocks]))

    @property
    def log_loss(self) -> float:
        return float(np.mean([b.log_loss for b in self.blocks]))

    @property
    def block_indices(self) -> tuple[int, ...]:
        return tuple(b.index for b in self.blocks)


def standing_from(outcomes: Sequence[Outcome], labels: IntArray, *, cost: float | None = None, trained_parameters: int,
                  eliminated: bool = False, is_baseline: bool = False) -> Standing:  # fmt: skip
    """The standing of one strategy from its outcomes of purpose 'block'; others and failed ones are left out.

    `labels` (N,) are those of the whole dataset, which `Outcome.rows` index. `cost` defaults to the mean counted
    operations of these trials. Raises ValueError on outcomes of several strategies or none, or two of one block.
    """
    names = {o.strategy for o in outcomes}
    if len(names) != 1:
        raise ValueError(f"expected the outcomes of one strategy, found {sorted(names) or 'none'}")
    done = sorted((o for o in outcomes if o.purpose == "block" and o.ok), key=lambda o: o.block)
    if len({o.block for o in done}) < len(done):
        raise ValueError(f"{names} has several outcomes of one block")
    keys, correct = [np.empty((0, 2), dtype=np.int64)], [np.empty(0)]
    for o in done:
        rows, order = np.array(o.rows), np.argsort(o.rows)
        right = np.array(o.probabilities).argmax(axis=1) == np.asarray(labels)[rows]
        keys.append(np.column_stack([np.full(len(rows), o.block), rows[order]]))
        correct.append(right[order].astype(np.float64))
    return Standing(
        name=names.pop(),
        cost=float(np.mean([o.operations for o in done])) if cost is None and done else cost or 0.0,
        trained_parameters=trained_parameters,
        blocks=tuple(
            BlockScore(index=o.block, score=o.accuracy, log_loss=o.log_loss, n=len(o.rows)) for o in done
        ),
        keys=np.concatenate(keys),
        correct=np.concatenate(correct),
        eliminated=eliminated,
        is_baseline=is_baseline,
    )  # fmt: skip


def complete(standings: Sequence[Standing]) -> list[Standing]:
    """Those that were not eliminated and have a score on every block that any strategy has one on."""
    blocks = {index for s in standings for index in s.block_indices}
    return [s for s in standings if blocks and not s.eliminated and set(s.block_indices) == blocks]


def best_of(standings: Sequence[Standing]) -> Standing:
    """Highest mean score; ties go to the lower log loss, then the cheaper, then the name. ValueError on none."""
    top = max(s.score for s in standings)
    return min((s for s in standings if s.score >= top - ROUNDING), key=lambda s: (s.log_loss, s.cost, s.name))


def score_interval(standing: Standing, *, n_train: float, n_test: float, level: float = 0.95) -> Interval:
    """Interval of a strategy's expected score, within [0, 1].

    Over blocks it covers the luck of the training set, its variance averaged with that of the samples as in `compare`;
    with a single block it is Wilson's over samples and doesn't.
    Raises ValueError on no block.
    """
    right, n = float(standing.correct.sum()), len(standing.correct)
    if len(standing.blocks) < 2:
        return wilson(right, n, level)
    share = (right + 2) / (n + 4)  # Agresti & Coull 1998: never 0 or 1, so equal blocks keep a width
    scores = np.array([b.score for b in standing.blocks])
    low, high = corrected_interval(scores, n_train=n_train, n_test=n_test, level=level,
                                   floor=share * (1 - share) / n_test, floor_df=len(scores) - 1)  # fmt: skip
    return max(low, 0.0), min(high, 1.0)


def compare(a: Standing, b: Standing, *, n_train: float, n_test: float, level: float = 0.95) -> PairedResult:
    """Paired difference a - b of two strategies that met the same blocks.

    With several blocks: the corrected resampled t test, its variance averaged with (and never below) the one that the
    samples' own differences give, as docs/decisions/0002 explains. With one block: over samples.
    Raises ValueError when the two were not judged on the same rows.
    """
    if not np.array_equal(a.keys, b.keys) or a.block_indices != b.block_indices:
        raise ValueError(f"{a.name} and {b.name} were not judged on the same rows")
    if len(a.blocks) == 1:
        return paired_samples(a.correct, b.correct, level=level)
    differences = np.array([x.score - y.score for x, y in zip(a.blocks, b.blocks, strict=True)])
    return corrected_paired(differences, n_train=n_train, n_test=n_test, level=level,
                            floor=sample_variance(a.correct, b.correct) / n_test,
                            floor_df=len(differences) - 1)  # fmt: skip


def compare_all(standings: Sequence[Standing], *, n_train: float, n_test: float, margin: float,
                level: float = 0.05) -> tuple[Comparison, ...]:  # fmt: skip
    """All pairs of complete strategies, `baseline` included, their p-values corrected by Holm.

    `worse` or `better`: corrected p below `level`. Else `as-good`: both one-sided 95 % bounds (at level 0.05) within
    the margin, or one sample where that is more. Else `undecided`. The interval of a pair is its own, uncorrected one.
    """
    pairs = list(combinations(complete(standings), 2))
    results = [compare(a, b, n_train=n_train, n_test=n_test, level=1 - level) for a, b in pairs]
    adjusted = holm([r.p for r in results])
    allowed = max(margin, one_sample(standings))
    return tuple(
        Comparison(
            a=a.name,
            b=b.name,
            difference=r.mean,
            ci=r.ci,
            p=float(p),
            outcome=_outcome(r, p, margin=allowed, level=level),
        )
        for (a, b), r, p in zip(pairs, results, adjusted, strict=True)
    )


def _outcome(
    result: PairedResult, p: float, *, margin: float, level: float
) -> Literal["worse", "better", "as-good", "undecided"]:
    if p < level:
        return "worse" if result.mean < 0 else "better"
    return "as-good" if result.within(margin, 1 - level) else "undecided"


def versus_best(comparisons: Sequence[Comparison], best: str) -> dict[str, Comparison]:
    """The pair of each other strategy with `best`, turned so that the difference reads strategy - best."""
    found = {c.a: c for c in comparisons if c.b == best}
    return found | {c.b: _turned(c) for c in comparisons if c.a == best}


def _turned(c: Comparison) -> Comparison:
    opposite: Mapping[str, Literal["worse", "better"]] = {"worse": "better", "better": "worse"}
    return Comparison(a=c.b, b=c.a, difference=-c.difference, ci=(-c.ci[1], -c.ci[0]), p=c.p,
                      outcome=opposite.get(c.outcome, c.outcome))  # fmt: skip


def one_sample(standings: Sequence[Standing]) -> float:
    """The finest step of a mean score: one sample judged otherwise in one block (0 where nothing was scored)."""
    blocks = max((s.blocks for s in standings), key=len, default=())
    return max((1 / (len(blocks) * b.n) for b in blocks), default=0.0)


def decide(standings: Sequence[Standing], *, n_train: float, n_test: float, margin: float,
           prefer: Literal["cheapest", "accuracy"] = "cheapest") -> Verdict:  # fmt: skip
    """The cheapest strategy whose mean deficit to the best is within one standard error of that paired difference and
    within `margin` (or one sample, where that is more); `prefer` 'accuracy' takes the best.

    Only strategies that completed every block take part, `baseline` never. `n_train`, `n_test`: samples per block.
    Raises TrialError when no strategy completed all blocks. Source: own, after Breiman et al. 1984 (one-SE rule).
    """
    candidates = [s for s in complete(standings) if not s.is_baseline]
    if not candidates:
        raise TrialError("No strategy but the baseline finished every block, so there is no verdict.",
                         "See the errors of the single trials in trials.jsonl.")  # fmt: skip
    best = best_of(candidates)
    allowed = max(margin, one_sample(candidates))
    chosen = best
    if prefer == "cheapest":
        near = [s for s in candidates if s is best or _near(s, best, n_train=n_train, n_test=n_test, allowed=allowed)]
        chosen = min(near, key=lambda s: (s.cost, s.trained_parameters, -s.score, s.name))
    others = [s for s in candidates if s is not chosen]
    runner_up = best_of(others) if others else None
    pairs = compare_all(standings, n_train=n_train, n_test=n_test, margin=margin)
    return Verdict(
        strategy=chosen.name,
        best=best.name,
        reason=_reason(chosen, best, standings=standings, margin=margin, prefer=prefer),
        runner_up=runner_up.name if runner_up else None,
        samples_needed=_samples_needed(chosen, runner_up, pairs=pairs, allowed=allowed, ratio=n_test / n_train)
        if runner_up
        else None,
    )


def _near(s: Standing, best: Standing, *, n_train: float, n_test: float, allowed: float) -> bool:
    deficit = compare(best, s, n_train=n_train, n_test=n_test)
    return deficit.mean <= min(deficit.se, allowed) + ROUNDING


def _samples_needed(chosen: Standing, other: Standing, *, pairs: Sequence[Comparison], allowed: float,
                    ratio: float) -> int | None:  # fmt: skip
    """Labelled samples that would show the two apart, or alike within `allowed`, whichever takes fewer; None if shown.

    The sample's own variance is scaled up as the correction does, and the level down to that of the first step of
    Holm, so that the answer is never below the samples that have just proved too few.
    """
    if versus_best(pairs, other.name)[chosen.name].outcome != "undecided":
        return None
    blocks, difference = len(chosen.blocks), chosen.correct - other.correct
    discordance = max(float(np.abs(difference).mean()), 1 / len(difference))
    delta = abs(float(difference.mean()))
    counts = [equivalent_samples_needed(delta, discordance, margin=allowed)] if delta < allowed else []
    if delta > 0:
        counts.append(paired_samples_needed(delta, discordance, level=0.05 / len(pairs)))
    inflation = 1 + blocks * ratio if blocks > 1 else 1.0
    return max(round(min(counts) * inflation), len(np.unique(chosen.keys[:, 1])) + 1)


def _reason(chosen: Standing, best: Standing, *, standings: Sequence[Standing], margin: float, prefer: str) -> str:
    finished = [s for s in complete(standings) if not s.is_baseline]
    blocks = len(chosen.blocks)
    where = f"on {blocks} blocks" if blocks > 1 else f"on the {chosen.blocks[0].n} samples of a single block"
    fine = one_sample(standings)
    room = "one sample" if fine > margin else f"{100 * margin:g} point{'s' * (margin != 0.01)}"
    mean = f"{chosen.score:.3f} {where}"
    if len(finished) == 1:
        text = f"{chosen.name} is the only strategy that finished every block: accuracy {mean}"
    elif chosen is not best:
        text = (f"{chosen.name} is the cheapest strategy within one standard error and {room} of the best "
                f"({best.name}, {best.score:.3f}): {mean}")  # fmt: skip
    elif prefer == "accuracy":
        text = f"{chosen.name} has the best mean accuracy of {len(finished)} strategies, as you preferred: {mean}"
    elif chosen.cost <= min(s.cost for s in finished):
        text = f"{chosen.name} has the best mean accuracy of {len(finished)} strategies and costs least: {mean}"
    else:
        text = (f"{chosen.name} has the best mean accuracy, and nothing cheaper comes within one standard error "
                f"and {room} of it: {mean}")  # fmt: skip
    if blocks == 1:
        text += ", so the luck of the training set is not covered"
    rivals = [s for s in complete(standings) if s.is_baseline and s.score > chosen.score + ROUNDING]
    if rivals:
        text += f", BUT {rivals[0].name}, which uses no network at all, DOES BETTER with {rivals[0].score:.3f}"
    return text + "."
