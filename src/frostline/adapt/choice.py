"""Which arm to use when no target label may be looked at: pure functions. The rule was fixed before the full runs.

The network as it is always takes part. Another arm is chosen only where all of this holds; otherwise the verdict is no
adaptation:

- it fits the kind of shift that was diagnosed;
- it neither collapses nor forgets: unsure or wrong networks can be made sure of their answers, and all scorers that go
  by sureness fall for that;
- the interval of its estimated gain lies above 0, corrected for the number of arms;
- most of the other scorers prefer it too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from frostline.adapt.scorers import ROUNDING, EstimatedGain
from frostline.shift.findings import Situation
from frostline.stats.paired import PairedResult

AS_IS = "as-is"
PRIOR_ARMS = ("em", "bbse")  # other proportions of the classes, and nothing else
LEVEL = 0.05  # for all arms together
PRIMARY = "atc"  # the scorer whose gain has an interval; the others vote
NO_VOTE = (PRIMARY, "atc-confidence")  # the latter repeats the former
FORGOTTEN = 0.05  # accuracy that an arm may lose on the source's held-out samples, even where a loss is shown
NO_ADAPTATION = "No adaptation:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What the scorers say of one arm.

    Attributes:
        arm: its name.
        scores: by scorer, more is better; those that can't say anything are left out.
        of_as_is: the same scorers on the network as it is, on the same samples.
        gain: estimated accuracy less that of the network as it is; None where the source samples for it are missing.
        unsuited: why the arm can't be chosen here, as a clause; empty where it can.
    """

    arm: str
    scores: Mapping[str, float]
    of_as_is: Mapping[str, float]
    gain: EstimatedGain | None = None
    unsuited: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """Scorers, but for the primary one, that prefer an arm to the network as it is, and those that don't."""

    prefer: tuple[str, ...]
    against: tuple[str, ...]

    @property
    def agree(self) -> bool:
        """Whether most prefer the arm; where nobody can vote, nobody objects."""
        return len(self.prefer) > len(self.against) or not (self.prefer or self.against)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The arm to use and why, in a sentence; `shown`: arms whose gain is shown, `votes` of the other scorers by arm."""

    arm: str
    reason: str
    shown: tuple[str, ...] = ()
    votes: Mapping[str, Votes] = field(default_factory=dict)


def unsuited(arm: str, situation: Situation | None, *, covariate_left: bool) -> str:
    """Return why an arm can't be chosen where a diagnosis found this situation, as a clause; empty where it can.

    `situation` None: there was no diagnosis. `covariate_left`: features still differ once the classes' proportions are
    made up for. Sources: docs/adapt.md.
    """
    if arm == AS_IS:
        return ""
    if situation in _NOTHING_FITS:
        return _NOTHING_FITS[situation]
    if arm in PRIOR_ARMS:
        if situation not in ("label", "mixed"):
            return "other proportions of the classes are not what the diagnosis found"
        if covariate_left:
            return "the features differ beyond the proportions of the classes"
        return ""
    if situation == "label":
        return "only the proportions of the classes differ, and this arm would undo that difference in the features"
    return ""


_NOTHING_FITS: Mapping[Situation | None, str] = {
    "none-shown": "no shift is shown",
    "cannot-tell": "the diagnosis can't tell what kind of shift this is",
    "concept": "the labels themselves mean something else here, which takes labelled target samples",
    "new-classes": "the target has classes that the network doesn't know",
}


def fault(lost: PairedResult | None, distance: float, distance_as_is: float, noise: float) -> str:
    """Return why the estimates of an arm can't be trusted, as a clause; empty where nothing speaks against it.

    Args:
        lost: accuracy on the source's held-out samples, of the network as it is less the arm's; None where unknown.
        distance: between the shares of the classes among the arm's answers and among the source's labels.
        distance_as_is: the same of the network as it is.
        noise: of such a distance, by luck.
    """
    if distance > distance_as_is + 2 * noise:
        return "it collapses: its answers are spread over the classes less like the source's labels than before"
    if lost is not None and lost.ci[0] > 0 and lost.mean > FORGOTTEN:
        return f"it forgets: it loses {100 * lost.mean:.0f} points on source samples that neither learnt from"
    return ""


def interval_level(arms: int) -> float:
    """Return the level of each arm's interval, so that all of them together hold at 95 % (Bonferroni)."""
    return 1 - LEVEL / max(1, arms)


def choose(others: Sequence[Marks], left_out: Sequence[str] = ()) -> Choice:
    """Choose between the network as it is and other arms, by the rule above.

    Of several arms that pass, the one with the best mean rank over all scorers wins; ties go to the first. `left_out`:
    why arms didn't run, as clauses.
    """
    fitting = [marks for marks in others if not marks.unsuited]
    votes = {marks.arm: _votes(marks) for marks in others}
    shown = [marks for marks in fitting if marks.gain is not None and marks.gain.shown]
    passed = [marks for marks in shown if votes[marks.arm].agree]
    names = tuple(marks.arm for marks in shown)
    if not passed:
        return Choice(
            arm=AS_IS,
            reason=_why_no_arm([*left_out, *(m.unsuited for m in others)], fitting, shown, votes),
            shown=names,
            votes=votes,
        )
    best = passed[int(np.argmin(_mean_ranks(passed)))]
    assert best.gain is not None
    count = len(votes[best.arm].prefer) + len(votes[best.arm].against)
    agreement = f"and {len(votes[best.arm].prefer)} of {count} other scorers prefer it too" if count else ""
    rivals = ""
    if len(passed) > 1:
        rivals = f" Of {len(passed)} arms that passed it ranks best over all scorers."
    reason = f"{best.arm} is estimated to be {_gain_words(best.gain)} than the network as it is, {agreement}."
    return Choice(arm=best.arm, reason=f"{reason}{rivals}", shown=names, votes=votes)


def _votes(marks: Marks) -> Votes:
    voters = [name for name in marks.scores if name in marks.of_as_is and name not in NO_VOTE]
    prefer = tuple(name for name in voters if marks.scores[name] > marks.of_as_is[name] + ROUNDING)
    return Votes(prefer=prefer, against=tuple(name for name in voters if name not in prefer))


def _mean_ranks(passed: Sequence[Marks]) -> list[float]:
    """Return each arm's mean rank (1 is best) over the gain and the scorers that mark all of these arms."""
    columns = [[marks.gain.difference for marks in passed if marks.gain is not None]]
    common = set.intersection(*(set(marks.scores) for marks in passed)) - {PRIMARY}
    columns += [[marks.scores[name] for marks in passed] for name in sorted(common)]
    ranks = [[1 + sum(other > value + ROUNDING for other in column) for value in column] for column in columns]
    return [float(np.mean(of_arm)) for of_arm in zip(*ranks, strict=True)]


def _why_no_arm(
    clauses: Sequence[str], fitting: Sequence[Marks], shown: Sequence[Marks], votes: Mapping[str, Votes]
) -> str:
    if not fitting:
        reasons = dict.fromkeys(filter(None, clauses))
        return f"{NO_ADAPTATION} {'; '.join(reasons) or 'no arm was asked for'}."
    if shown:
        best = max(shown, key=_gain_of)
        assert best.gain is not None
        found = votes[best.arm]
        return (
            f"{NO_ADAPTATION} the scorers disagree. {best.arm} is estimated to be {_gain_words(best.gain)} than the "
            f"network as it is, but only {len(found.prefer)} of {len(found.prefer) + len(found.against)} other scorers "
            "prefer it."
        )
    judged = [marks for marks in fitting if marks.gain is not None]
    if not judged:
        return (
            f"{NO_ADAPTATION} nothing can be shown without source samples that the network didn't learn from "
            "(--source DIR says where the run's data are)."
        )
    best = max(judged, key=_gain_of)
    assert best.gain is not None
    return (
        f"{NO_ADAPTATION} no arm is shown to be better than the network as it is. The closest is {best.arm}, estimated "
        f"to be {_gain_words(best.gain)}."
    )


def _gain_of(marks: Marks) -> float:
    assert marks.gain is not None
    return marks.gain.difference


def _gain_words(gain: EstimatedGain) -> str:
    low, high = gain.ci
    word = "more"
    if gain.difference < 0:
        word = "less"
    points = abs(100 * gain.difference)
    interval = f"{100 * low:+.1f} to {100 * high:+.1f}, {100 * gain.level:.3g} % interval"
    return f"{points:.1f} points {word} accurate ({interval})"
