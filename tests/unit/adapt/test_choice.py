"""The rule by which an arm is chosen without target labels."""

from __future__ import annotations

import pytest

from frostline.adapt.choice import AS_IS, Marks, choose, fault, interval_level, unsuited
from frostline.adapt.scorers import EstimatedGain
from frostline.shift.findings import Situation
from frostline.stats.paired import PairedResult

BEFORE = {"atc": 0.6, "infomax": 1.0, "snd": 3.0, "ensv": 0.8}


def gain(difference: float, half: float = 0.02) -> EstimatedGain:
    return EstimatedGain(
        difference=difference,
        ci=(difference - half, difference + half),
        changed=0.4,
        level=0.95,
    )


def marks(arm: str, difference: float | None, preferring: int = 3, why: str = "") -> Marks:
    """Marks of which `preferring` of three other scorers prefer the arm."""
    others = [name for name in BEFORE if name != "atc"]
    scores = {name: BEFORE[name] + (0.1 if i < preferring else -0.1) for i, name in enumerate(others)}
    found = None if difference is None else gain(difference)
    return Marks(arm=arm, scores={"atc": 0.7, **scores}, of_as_is=BEFORE, gain=found, unsuited=why)


def lost(mean: float, low: float) -> PairedResult:
    return PairedResult(mean=mean, se=0.01, ci=(low, mean + 0.02), p=0.01, df=50)


def test_an_arm_that_is_shown_better_and_preferred_is_chosen() -> None:
    found = choose([marks("coral", 0.05, 2), marks("dann", 0.01)])
    assert found.arm == "coral"
    assert found.shown == ("coral",)
    assert "5.0 points more accurate (+3.0 to +7.0" in found.reason
    assert "2 of 3 other scorers" in found.reason


@pytest.mark.parametrize("difference", [0.0, 0.01, 0.02, -0.1])
def test_what_is_not_shown_is_not_chosen(difference: float) -> None:
    found = choose([marks("coral", difference)])
    assert found.arm == AS_IS
    assert "no arm is shown to be better" in found.reason


@pytest.mark.parametrize("preferring", [0, 1])
def test_scorers_that_disagree_mean_no_adaptation(preferring: int) -> None:
    found = choose([marks("coral", 0.2, preferring)])
    assert found.arm == AS_IS
    assert "the scorers disagree. coral is estimated" in found.reason
    assert f"only {preferring} of 3" in found.reason


def test_the_primary_scorer_and_its_twin_have_no_vote() -> None:
    twin = Marks(
        arm="coral",
        scores={"atc": 0.9, "atc-confidence": 0.9, "infomax": 0.5},
        of_as_is={"atc": 0.6, "atc-confidence": 0.6, "infomax": 1.0},
        gain=gain(0.2),
    )
    assert choose([twin]).arm == AS_IS
    assert choose([twin]).votes["coral"].against == ("infomax",)


def test_a_tie_of_scorers_is_no_majority() -> None:
    tied = Marks(
        arm="coral", scores={"infomax": 1.0, "snd": 4.0}, of_as_is={"infomax": 1.0, "snd": 3.0}, gain=gain(0.2)
    )
    assert choose([tied]).arm == AS_IS


def test_an_unsuited_arm_is_never_chosen() -> None:
    found = choose([marks("dann", 0.3, why="it collapses"), marks("coral", 0.05)])
    assert found.arm == "coral"
    alone = choose([marks("dann", 0.3, why="it collapses")])
    assert (alone.arm, alone.reason) == (AS_IS, "No adaptation: it collapses.")


def test_without_source_samples_nothing_is_shown() -> None:
    found = choose([marks("entropy", None)])
    assert found.arm == AS_IS
    assert "--source DIR" in found.reason


def test_of_several_the_best_mean_rank_wins_and_ties_go_to_the_first() -> None:
    strong = Marks(
        arm="dann", scores={"infomax": 2.0, "snd": 9.0}, of_as_is={"infomax": 1.0, "snd": 3.0}, gain=gain(0.1)
    )
    weak = Marks(
        arm="coral", scores={"infomax": 1.5, "snd": 4.0}, of_as_is={"infomax": 1.0, "snd": 3.0}, gain=gain(0.2)
    )
    assert choose([weak, strong]).arm == "dann"
    assert choose([marks("b", 0.1), marks("a", 0.1)]).arm == "b"


def test_nothing_to_choose_from_says_why() -> None:
    assert choose([], ["few samples", "few samples"]).reason == "No adaptation: few samples."
    assert choose([]).arm == AS_IS


@pytest.mark.parametrize(
    ("arm", "situation", "left", "fits"),
    [
        ("em", "label", False, True),
        ("em", "label", True, False),
        ("bbse", "mixed", False, True),
        ("bbse", "mixed", True, False),
        ("em", "covariate", False, False),
        ("em", None, False, False),
        ("coral", "label", False, False),
        ("entropy", "label", False, False),
        ("coral", "covariate", True, True),
        ("coral", "mixed", True, True),
        ("coral", None, True, True),
        ("coral", "none-shown", False, False),
        ("coral", "cannot-tell", True, False),
        ("dann", "new-classes", True, False),
        ("self-train", "concept", True, False),
        ("as-is", "none-shown", False, True),
    ],
)
def test_arms_fit_the_kind_of_shift(arm: str, situation: Situation | None, left: bool, fits: bool) -> None:
    assert (unsuited(arm, situation, covariate_left=left) == "") is fits


def test_collapse_and_forgetting_are_faults() -> None:
    assert fault(None, 0.5, 0.1, 0.04).startswith("it collapses")
    assert fault(None, 0.17, 0.1, 0.04) == ""
    assert fault(lost(0.2, 0.1), 0.0, 0.0, 0.04).startswith("it forgets: it loses 20 points")
    assert fault(lost(0.04, 0.01), 0.0, 0.0, 0.04) == ""  # shown, but small
    assert fault(lost(0.2, -0.01), 0.0, 0.0, 0.04) == ""  # large, but not shown


def test_the_level_makes_up_for_the_number_of_arms() -> None:
    assert interval_level(1) == pytest.approx(0.95)
    assert interval_level(5) == pytest.approx(0.99)
    assert interval_level(0) == pytest.approx(0.95)
