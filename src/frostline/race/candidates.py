"""Ways to train one strategy, and the choice among them by log loss on held-out samples. Pure.

A candidate is a learning rate with a length. Every candidate is run exactly as it would be handed over, on splits whose
held-out samples judge it; the rule is written in docs/decisions/0018.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from frostline.base.records import FloatArray, IntArray, Outcome
from frostline.recipe.schedule import next_length
from frostline.stats.metrics import sample_losses

NEAR = 0.5  # standard errors of the paired difference within which a lower rate is as good
OPEN = 1.0  # standard errors within which a second candidate is still in question
LOWEST, HIGHEST = 1e-6, 1e-1  # rates beyond which nothing is tried


@dataclass(frozen=True, slots=True, order=True)
class Candidate:
    """A way to train; the gentler one comes first. `steps` is None where --epochs gives the length."""

    rate: float
    steps: int | None = None


Readings = Mapping[Candidate, Mapping[int, Outcome]]  # of one strategy: what each candidate scored, by block


def ranked(readings: Readings, judges: Collection[int], labels: IntArray) -> list[Candidate]:
    """Return the candidates that finished on all `judges`, the chosen one first, then by mean log loss.

    Each rate stands with the length of its lowest loss. The lowest rate within NEAR standard errors (of the paired
    difference) of the lowest loss is chosen. `labels` (N,) are those of the whole data set.
    """
    losses = {c: _losses(found, judges, labels) for c, found in readings.items() if _finished(found, judges)}
    if not losses:
        return []
    by_loss = sorted(losses, key=lambda c: (float(losses[c].mean()), c))
    best = by_loss[0]
    best_of_rate = {c.rate: c for c in reversed(by_loss)}
    chosen = next(c for _, c in sorted(best_of_rate.items()) if _within(losses[c] - losses[best], NEAR))
    return [chosen, *(c for c in by_loss if c != chosen)]


def in_question(order: Sequence[Candidate], readings: Readings, judge: int, labels: IntArray) -> list[Candidate]:
    """Return the first of these candidates, and the next one if its loss lies within OPEN standard errors."""
    losses = [_losses(readings[c], [judge], labels) for c in order[:2]]
    if len(losses) == 2 and _within(losses[1] - losses[0], OPEN):
        return list(order[:2])
    return list(order[:1])


def chosen_on(readings: Readings, block: int, judges: Collection[int], labels: IntArray) -> Candidate | None:
    """Return the candidate that counts on a block: chosen by the judges other than this block, as far as there are any.

    None where nothing finished there.
    """
    here = {c: found for c, found in readings.items() if _finished(found, [block])}
    others = [j for j in judges if j != block and any(_finished(found, [j]) for found in here.values())]
    order = ranked(here, others or [block], labels) or ranked(here, [block], labels)
    if order:
        return order[0]
    return None


def wants_higher(readings: Readings, tried: Sequence[Candidate], judge: int, *, hurried: bool) -> bool:
    """True where a higher rate than the middle one is worth trying: the lower one was no better; and, where one is
    `hurried`, the middle one hadn't fitted its training samples yet.

    `tried`: the middle candidate and the lower one.
    """
    middle, lower = (readings.get(c, {}).get(judge) for c in tried[:2])
    if middle is not None and middle.ok and lower is not None and lower.ok and lower.log_loss < middle.log_loss:
        return False
    if not hurried:
        return True
    return middle is not None and middle.ok and middle.undertrained


def longer(candidate: Candidate, found: Outcome, tried: Collection[Candidate], most: int) -> list[Candidate]:
    """Return what to try where the training loss still fell at the end: the next length, with this rate and with the
    next lower one that was tried, which needs more steps."""
    more = _next(candidate, most)
    if more is None or not found.undertrained:
        return []
    lower = [c.rate for c in tried if c.rate < candidate.rate]
    return [more, *(replace(more, rate=rate) for rate in sorted(lower)[-1:])]


def _next(candidate: Candidate, most: int) -> Candidate | None:
    if candidate.steps is None:
        return None
    steps = next_length(candidate.steps, most)
    if steps is None:
        return None
    return replace(candidate, steps=steps)


def second_look(candidate: Candidate, tried: Collection[Candidate], most: int) -> Candidate | None:
    """Return what else to try for a strategy that stays well below its forecast: the next rate outside of those tried
    where the chosen one lies at their edge, else the next length."""
    rates = {c.rate for c in tried}
    lower = next_rate(candidate.rate, -1)
    if candidate.rate == min(rates) and lower >= LOWEST:
        return Candidate(lower, candidate.steps)
    higher = next_rate(candidate.rate, 1)
    if candidate.rate == max(rates) and higher <= HIGHEST:
        return Candidate(higher, candidate.steps)
    return _next(candidate, most)


def _finished(found: Mapping[int, Outcome], blocks: Collection[int]) -> bool:
    return all(block in found and found[block].ok for block in blocks)


def _losses(found: Mapping[int, Outcome], judges: Collection[int], labels: IntArray) -> FloatArray:
    """Log loss of every held-out sample of these judges, (M,), in ascending order of judge and sample."""
    parts = []
    for judge in sorted(judges):
        rows = np.asarray(found[judge].rows, dtype=np.int64)
        order = np.argsort(rows)
        parts.append(sample_losses(np.asarray(found[judge].probabilities)[order], labels[rows[order]]))
    return np.concatenate(parts)


def _within(difference: FloatArray, errors: float) -> bool:
    """True where the mean of these paired differences lies at most so many standard errors above 0."""
    error = float(difference.std()) / math.sqrt(len(difference))
    return float(difference.mean()) <= errors * error


def next_rate(rate: float, places: int) -> float:
    """Return a rate so many half decades further on, as people write them: 1e-4, 3e-4, 1e-3."""
    half_decade = round(2 * math.log10(rate)) + places
    return float(f"{10 ** (half_decade / 2):.0e}")
