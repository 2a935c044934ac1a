"""The short race: train only what can still change the answer, told by forecasts and by what was measured so far.

Forecasts decide what is run; they enter no verdict and no test of significance (docs/decisions/0017).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from frostline.base.records import FloatArray
from frostline.race.compare import difference_variance, one_sample
from frostline.race.standing import Standing, best_of
from frostline.race.verdict import decide
from frostline.recipe.recipe import named_for, source_and_strategy
from frostline.stats.contributions import metric_text

PROBE = "probe"
BELOW = 0.03  # by so much a measured strategy may miss its forecast
FORECAST_ERROR = 0.01  # standard deviation of a forecast difference of two depths, besides that of its samples
EARLY = 0.08  # standard deviation of what other rates and lengths add to an early reading
EARLY_CHANCE = 0.02  # of beating `probe`, below which an early reading is enough
RUN_LUCK = 0.015  # standard deviation of one training's score by the luck of its batches
SURPRISE = 2.0  # standard errors by which an early reading refutes a forecast that is too low
CHANCE = 0.3  # of changing the verdict, below which a strategy isn't trained
AS_LIKELY_AS_NOT = 0.5  # chance of being as good, below which a cheaper strategy isn't trained
END_CHANCE = 0.01  # of losing the verdict, below which the race ends
ENOUGH = 200  # held-out samples that a verdict rests on at least, where the race ends early
STOP_CHANCE = 0.2  # of changing the verdict, below which one that is trained runs no further blocks


@dataclass(frozen=True, kw_only=True)
class Foresight:
    """Forecast standings by strategy, on the blocks of the race, `probe` among them.

    `choose` says that strategies may be spared at all: the user didn't ask for each by name. `may_end`: nor for a
    number of blocks, so the race may end before the last one.
    """

    standings: Mapping[str, Standing]
    choose: bool
    may_end: bool = False

    @property
    def stepped(self) -> list[Standing]:
        """The forecast strategies that take steps."""
        return [s for s in self.standings.values() if s.cost]

    @cached_property
    def favourite(self) -> str | None:
        """The cheapest strategy that takes steps among those whose forecasts can't be told from the best one."""
        if not self.stepped:
            return None
        top = best_of(self.stepped).score
        near = [s for s in self.stepped if s.score >= top - FORECAST_ERROR]
        return min(near, key=lambda s: (s.cost, s.log_loss, s.name)).name


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a verdict depends on besides the standings: samples per block, the margin, and how many blocks there are."""

    n_train: float
    n_test: float
    margin: float
    blocks: int  # that are planned


def runs_first(name: str, foresight: Foresight, measured: Sequence[Standing], terms: Terms) -> bool:
    """True for a strategy that is trained before others are judged: one without a forecast, or the favourite where it
    may change the verdict."""
    if not foresight.choose or name not in foresight.standings:
        return True
    return name == foresight.favourite and chance_to_matter(name, foresight, measured, terms) >= CHANCE


def refutes(early: Standing, foresight: Foresight) -> bool:
    """True where an early reading lies so far above the forecast of the same samples that forecasts can't be trusted
    here: by more than SURPRISE standard errors of the paired difference."""
    foreseen = on_blocks(foresight.standings[early.name], early.block_indices)
    variance = difference_variance(early, foreseen)
    return early.score - foreseen.score > SURPRISE * math.sqrt(variance / len(early.keys))


def chance_to_matter(name: str, foresight: Foresight, measured: Sequence[Standing], terms: Terms) -> float:
    """Probability, in [0, 1], that measuring a forecast strategy would change the verdict.

    Its score is predicted from `probe` and those strategies that were both forecast and trained: their measured scores
    plus the forecast difference to each, weighted by precision, so that a near depth says most; how far these disagree
    counts as uncertainty. One that fell BELOW its forecast doesn't count. It changes the verdict if it beats the
    present one by more than `margin`; or, where it is cheaper, if it comes within `margin` of the best, and is as
    likely as not to. Only blocks that all of these finished count.
    """
    known = [s for s in measured if s.name in foresight.standings and s.blocks and not _is_below(s, foresight)]
    if not known:
        return 1.0
    shared = set.intersection(*(set(s.block_indices) for s in known))
    running = [s for s in measured if not s.is_baseline and not s.eliminated]
    finished = [on_blocks(s, shared) for s in running if shared <= set(s.block_indices)]
    own = foresight.standings[name]
    predicted, spread = _predicted(own, [on_blocks(s, shared) for s in known], foresight)
    chosen = _verdict_among(finished, terms)
    allowed = max(terms.margin, one_sample(finished))
    chance = float(ndtr((predicted - chosen.score - allowed) / spread))
    if own.cost < _cost_beforehand(chosen, foresight):
        as_good = float(ndtr((predicted - best_of(finished).score + allowed) / spread))
        if as_good >= AS_LIKELY_AS_NOT:
            chance = max(chance, as_good)
    return chance


def _predicted(own: Standing, known: Sequence[Standing], foresight: Foresight) -> tuple[float, float]:
    """Mean and standard deviation of the score that a strategy would measure, by those that were measured."""
    differences = [_difference(own, foresight.standings[s.name]) for s in known]
    predictions = np.array([s.score + mean for s, (mean, _) in zip(known, differences, strict=True)])
    weights = np.array([1 / (FORECAST_ERROR**2 + deviation**2) for _, deviation in differences])
    weights /= weights.sum()
    predicted = float(weights @ predictions)
    disagreement = math.sqrt(float(weights @ (predictions - predicted) ** 2))
    of_samples = min(deviation for _, deviation in differences)
    return predicted, math.hypot(FORECAST_ERROR, of_samples, disagreement)


def _cost_beforehand(standing: Standing, foresight: Foresight) -> float:
    """What a strategy costs at the length assumed before any is chosen, at which those that wait are counted."""
    if standing.name in foresight.standings:
        return foresight.standings[standing.name].cost
    return standing.cost


def _is_below(standing: Standing, foresight: Foresight) -> bool:
    """True for a strategy that stays BELOW under its forecast: badly trained, it doesn't speak for other depths."""
    foreseen = on_blocks(foresight.standings[standing.name], standing.block_indices)
    return standing.metric != "log-loss" and foreseen.score - standing.score > BELOW


def chance_left(standing: Standing, foresight: Foresight, measured: Sequence[Standing], terms: Terms) -> float:
    """Probability, in [0, 1], that the blocks which a trained strategy has not run yet would change the verdict.

    The blocks to come are predicted by the paired difference so far and the forecast difference to `probe`, each by its
    precision; a block's own luck is that of its samples and of a single run.
    """
    blocks = set(standing.block_indices)
    others = [
        on_blocks(s, blocks)
        for s in measured
        if s.name != standing.name and blocks <= set(s.block_indices) and not s.is_baseline and not s.eliminated
    ]
    if not others or len(blocks) >= terms.blocks:
        return 1.0
    chosen = _verdict_among([*others, standing], terms)
    if chosen.name == standing.name:
        return 1.0
    done = len(blocks)
    left = terms.blocks - done
    per_block = difference_variance(standing, chosen) / terms.n_test + RUN_LUCK**2
    expected = standing.score - chosen.score
    precision = done / per_block
    if source_and_strategy(chosen.name)[1] == PROBE and {chosen.name, standing.name} <= set(foresight.standings):
        foreseen = foresight.standings[standing.name].score - foresight.standings[chosen.name].score
        trust = 1 / FORECAST_ERROR**2
        expected = (expected * precision + foreseen * trust) / (precision + trust)
        precision += trust
    final = (done * (standing.score - chosen.score) + left * expected) / terms.blocks
    spread = left / terms.blocks * math.sqrt(per_block / left + 1 / precision)
    allowed = max(terms.margin, one_sample(others))
    chance = ndtr((final - allowed) / spread)
    if standing.cost < chosen.cost:
        chance = max(chance, ndtr((chosen.score + final - best_of(others).score + allowed) / spread))
    return float(chance)


def chance_to_lose(measured: Sequence[Standing], stepped: Collection[str], terms: Terms) -> tuple[str | None, float]:
    """Which of the `stepped` strategies has the verdict, and the probability, in [0, 1], that the blocks to come would
    take it away: the chances of all others, added up.

    None and 1 where the verdict takes no steps (its blocks cost next to nothing) or rests on fewer than ENOUGH samples.
    """
    running = [s for s in measured if not s.is_baseline and not s.eliminated]
    shared = set.intersection(*(set(s.block_indices) for s in running)) if running else set()
    done = len(shared)
    if not 0 < done < terms.blocks:
        return None, 1.0
    finished = [on_blocks(s, shared) for s in running]
    leader = _verdict_among(finished, terms)
    if leader.name not in stepped or len(leader.keys) < ENOUGH:
        return None, 1.0
    left = terms.blocks - done
    allowed = max(terms.margin, one_sample(finished))
    chance = 0.0
    for other in (s for s in finished if s is not leader):
        per_block = difference_variance(leader, other) / terms.n_test + RUN_LUCK**2
        spread = left / terms.blocks * math.sqrt(per_block / left + per_block / done)
        needed = -allowed
        if other.cost < leader.cost:
            needed = allowed
        chance += float(ndtr((needed - leader.score + other.score) / spread))
    return leader.name, min(1.0, chance)


def chance_early(accuracy: float, probe: float, variance: float, samples: int, margin: float) -> float:
    """Probability, in [0, 1], that a strategy without a forecast could still beat `probe` by more than `margin`.

    Both accuracies are those on the first block, the strategy's at its middle rate and the shortest length; what
    other rates and lengths may add counts as uncertainty. `variance` is that of what one sample adds to the difference.
    """
    spread = math.sqrt(variance / samples + EARLY**2)
    return float(ndtr((accuracy - probe - margin) / spread))


def _verdict_among(finished: Sequence[Standing], terms: Terms) -> Standing:
    verdict = decide(finished, n_train=terms.n_train, n_test=terms.n_test, margin=terms.margin)
    return next(s for s in finished if s.name == verdict.strategy)


def on_blocks(standing: Standing, blocks: Collection[int]) -> Standing:
    """Return where a strategy stands on these blocks alone."""
    kept = np.isin(standing.keys[:, 0], list(blocks))
    return replace(
        standing,
        blocks=tuple(b for b in standing.blocks if b.index in blocks),
        keys=standing.keys[kept],
        correct=standing.correct[kept],
        values=standing.values[kept],
        probabilities=None if standing.probabilities is None else standing.probabilities[kept],
        labels=None if standing.labels is None else standing.labels[kept],
    )


def _difference(a: Standing, b: Standing) -> tuple[float, float]:
    """Mean and standard deviation of a forecast difference, over the samples that both predict."""
    values = _by_sample(a) - _by_sample(b)
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def _by_sample(standing: Standing) -> FloatArray:
    """What each sample adds to the score, averaged over the repeats."""
    _, row = np.unique(standing.keys[:, 1], return_inverse=True)
    return np.asarray(np.bincount(row, weights=standing.values) / np.bincount(row))


def spared_reason(name: str, foresight: Foresight, chance: float) -> str:
    """Say why a strategy isn't trained."""
    own = foresight.standings[name]
    return (
        f"{name} isn't trained: forecast at {metric_text(own.metric, own.score)}, it would change the verdict with a "
        f"probability of {chance:.0%}."
    )


def settled_reason(name: str, blocks: int, chance: float) -> str:
    """Say why a trained strategy runs no further blocks."""
    return f"{name} stopped after {blocks} blocks: more would change the verdict with a probability of {chance:.0%}."


def ended_text(name: str, blocks: int, chance: float) -> str:
    """Say why the race ends before its last block."""
    return (
        f"The race ends after {blocks} blocks: the probability that more would take the verdict from {name} is "
        f"{max(chance, 0.0001):.2%}."
    )


def early_reason(name: str, accuracy: float, probe: float) -> str:
    """Say why an early reading is enough."""
    return (
        f"{name} is dropped on an early reading: accuracy {accuracy:.3f} on the first block at the shortest length, "
        f"where probe has {probe:.3f}."
    )


def tested_text(early: Standing, foresight: Foresight, *, refuted: bool) -> str:
    """Say how an early reading compares with its forecast."""
    foreseen = on_blocks(foresight.standings[early.name], early.block_indices)
    scores = [metric_text(s.metric, s.score) for s in (early, foreseen)]
    text = (
        f"A test of the forecast: {early.name}, untuned, reaches {scores[0]} on the first block, forecast {scores[1]}"
    )
    if refuted:
        return text + ". So much better that it is trained in full."
    return text + "; nothing speaks against the forecast."


def provisional_text(verdict: str, measured: Sequence[Standing], foresight: Foresight) -> str:
    """Say what solved heads and forecasts suggest, before anything is trained in steps."""
    chosen = next(s for s in measured if s.name == verdict)
    text = (
        f"Provisional verdict, before any stage is trained: {verdict}, measured "
        f"{metric_text(chosen.metric, chosen.score)}."
    )
    if not foresight.stepped:
        return text
    top = best_of(foresight.stepped)
    text += f" Forecast of training stages too: at best {metric_text(top.metric, top.score)} ({top.name})"
    probe = foresight.standings.get(named_for(source_and_strategy(top.name)[0], PROBE))
    if probe is not None:
        text += f", against {metric_text(probe.metric, probe.score)} for {probe.name} by the same method"
    return text + ". Training now measures what can still change this."
