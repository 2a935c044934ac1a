"""Who won, and what to use: pure functions over what every strategy scored on the same paired blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from frostline.base.errors import TrialError
from frostline.base.records import Comparison, Verdict
from frostline.race.compare import compare, compare_all, one_sample, versus_best
from frostline.race.standing import ROUNDING, Standing, best_of, complete
from frostline.stats.contributions import METRIC_WORDS, metric_text
from frostline.stats.paired import PairedResult, equivalent_samples_needed, paired_samples_needed


def decide(
    standings: Sequence[Standing],
    *,
    n_train: float,
    n_test: float,
    margin: float,
    prefer: Literal["cheapest", "accuracy"] = "cheapest",
) -> Verdict:
    """The cheapest of the strategies that are as good as the best by all that the samples tell; `prefer` 'accuracy'
    takes the best.

    As good: the mean deficit is within one standard error of that paired difference and within `margin` (or one sample,
    where that is more). Where the samples don't show it to be within that, and the metric is accuracy, the calibrated
    log loss also has to be at most `margin` nats above the lowest of these: it tells strategies apart by far fewer
    samples (docs/decisions/0020).

    Only strategies that completed every block take part, `baseline` never. `n_train`, `n_test`: samples per block.
    Raises TrialError when no strategy completed all blocks. Source: own, after Breiman et al. 1984 (one-SE rule).
    """
    candidates = [s for s in complete(standings) if not s.is_baseline]
    if not candidates:
        raise TrialError(
            "None of the strategies came to an end without a failure, so there is no verdict.",
            "What failed is in the run's log.jsonl; a lower --lr or more --epochs may help.",
        )
    best = best_of(candidates)
    allowed = max(margin, one_sample(candidates))
    chosen = best
    by_loss = False
    if prefer == "cheapest":
        deficits = {s.name: compare(best, s, n_train=n_train, n_test=n_test) for s in candidates if s is not best}
        near = [s for s in candidates if s is best or _is_near(deficits[s.name], allowed)]
        good = _with_low_loss(near, deficits, allowed=allowed, margin=margin)
        chosen = min(good, key=lambda s: (s.cost, s.trained_parameters, -s.score, s.name))
        by_loss = any(s.cost < chosen.cost for s in near)
    others = [s for s in candidates if s is not chosen]
    runner_up = None
    if others:
        runner_up = best_of(others)
    pairs = compare_all(standings, n_train=n_train, n_test=n_test, margin=margin)
    return Verdict(
        strategy=chosen.name,
        best=best.name,
        reason=_reason_for(chosen, best, standings=standings, margin=margin, prefer=prefer, by_loss=by_loss),
        runner_up=runner_up.name if runner_up else None,
        samples_needed=_samples_needed(chosen, runner_up, pairs=pairs, allowed=allowed, ratio=n_test / n_train)
        if runner_up
        else None,
    )


def _with_low_loss(
    near: Sequence[Standing], deficits: Mapping[str, PairedResult], *, allowed: float, margin: float
) -> list[Standing]:
    """Return those of the strategies near the best that are shown to be as good, or whose log loss says so too."""
    losses = {s.name: s.calibrated_loss for s in near if s.metric == "accuracy"}
    known = {name: loss for name, loss in losses.items() if loss is not None}
    if len(known) < len(near):
        return list(near)
    highest = min(known.values()) + margin + ROUNDING
    shown = {name for name, deficit in deficits.items() if deficit.within(allowed)}
    return [s for s in near if s.name in shown or known[s.name] <= highest]


def _is_near(deficit: PairedResult, allowed: float) -> bool:
    return deficit.mean <= min(deficit.se, allowed) + ROUNDING


def _samples_needed(
    chosen: Standing, other: Standing, *, pairs: Sequence[Comparison], allowed: float, ratio: float
) -> int | None:
    """Labelled samples that would show the two apart, or alike within `allowed`, whichever takes fewer; None if shown.

    The sample's own variance is scaled up as the correction does, and the level down to that of the first step of
    Holm, so that the answer is never below the samples that have just proved too few.
    """
    if chosen.metric != "accuracy" or versus_best(pairs, other.name)[chosen.name].outcome != "undecided":
        return None  # the formulas are those of a share of samples
    blocks = len(chosen.blocks)
    difference = chosen.correct - other.correct
    discordance = max(float(np.abs(difference).mean()), 1 / len(difference))
    delta = abs(float(difference.mean()))
    counts = []
    if delta < allowed:
        counts = [equivalent_samples_needed(delta, discordance, margin=allowed)]
    if delta > 0:
        counts.append(paired_samples_needed(delta, discordance, level=0.05 / len(pairs)))
    inflation = 1.0
    if blocks > 1:
        inflation = 1 + blocks * ratio
    return max(round(min(counts) * inflation), len(np.unique(chosen.keys[:, 1])) + 1)


def _margin_words(chosen: Standing, margin: float) -> str:
    if chosen.metric == "log-loss":
        return f"{margin:g} nats"
    return f"{100 * margin:g} point{'s' * (margin != 0.01)}"


def _reason_for(
    chosen: Standing, best: Standing, *, standings: Sequence[Standing], margin: float, prefer: str, by_loss: bool
) -> str:
    finished = [s for s in complete(standings) if not s.is_baseline]
    blocks = len(chosen.blocks)
    if blocks > 1:
        where = f"on {blocks} blocks"
    else:
        where = f"on the {chosen.blocks[0].n} samples of a single block"
    fine = one_sample(standings)
    if fine > margin:
        room = "one sample"
    else:
        room = _margin_words(chosen, margin)
    mean = f"{metric_text(chosen.metric, chosen.score)} {where}"
    word = METRIC_WORDS[chosen.metric]
    if len(finished) == 1:
        text = f"{chosen.name} is the only strategy that finished every block: {word} {mean}"
    elif chosen is not best:
        loss = f", and within {margin:g} nats of the lowest log loss of these" if by_loss else ""
        text = (
            f"{chosen.name} is the cheapest strategy within one standard error and {room} of the best "
            f"({best.name}, {metric_text(best.metric, best.score)}){loss}: {mean}"
        )
    elif prefer == "accuracy":
        text = f"{chosen.name} has the best mean {word} of {len(finished)} strategies, as you preferred: {mean}"
    elif chosen.cost <= min(s.cost for s in finished):
        text = f"{chosen.name} has the best mean {word} of {len(finished)} strategies and costs least: {mean}"
    elif by_loss:
        text = (
            f"{chosen.name} has the best mean {word}, and what is cheaper and comes within one standard error "
            f"and {room} of it has a higher log loss, by more than {margin:g} nats: {mean}"
        )
    else:
        text = (
            f"{chosen.name} has the best mean {word}, and nothing cheaper comes within one standard error "
            f"and {room} of it: {mean}"
        )
    if blocks == 1:
        text += ", so the luck of the training set is not covered"
    rivals = [s for s in complete(standings) if s.is_baseline and s.score > chosen.score + ROUNDING]
    if rivals:
        score = metric_text(chosen.metric, rivals[0].score)
        text += f", BUT {rivals[0].name}, which uses no network at all, DOES BETTER with {score}"
    return text + "."
