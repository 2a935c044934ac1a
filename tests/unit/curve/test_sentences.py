"""What is said of a curve goes no further than its intervals."""

from __future__ import annotations

from frostline.curve.gaps import UnitMean
from frostline.curve.sentences import StageGap, near_guessing, sentences, stage_list, warning_of_guessing


def depths(*intervals: tuple[float, float]) -> list[StageGap]:
    return [
        StageGap(stage=stage, estimate=UnitMean(mean=(low + high) / 2, ci=(low, high), units=4))
        for stage, (low, high) in enumerate(intervals, 1)
    ]


def test_a_loss_is_said_where_it_is_shown_and_not_before() -> None:
    said = sentences("full", {"loss": depths((-0.01, 0.01), (-0.03, 0.05), (0.01, 0.03), (0.08, 0.12))})
    assert said == [
        "Up to stage 2 no loss is shown. Freezing stages learnt on other classes costs accuracy against training all "
        "on these classes at stage 3 by 2.0 points (1.0 to 3.0), stage 4 by 10.0 points (8.0 to 12.0).",
        "A loss of 2 points or more is excluded at stage 1.",
        "A loss of 2 points or more can't be excluded at stage 2 (worst: stage 2 by 1.0 points (-3.0 to 5.0)).",
    ]


def test_wide_intervals_show_nothing() -> None:
    said = sentences("full", {"loss": depths((-0.2, 0.3)), "specificity": depths((-0.1, 0.4))})
    assert said[0].endswith("isn't shown to cost accuracy against training all on these classes at any stage.")
    assert "can't be excluded at stage 1" in said[1]
    assert said[2].startswith("At no stage is it shown that frozen features belong")


def test_a_gain_that_a_copy_of_the_same_classes_has_too_is_not_owed_to_others() -> None:
    said = sentences("full", {"gain": depths((0.01, 0.03)), "transfer": depths((-0.01, 0.01))})
    assert said[0].startswith(
        "Copied and trained on, the network beats random weights at stage 1, most at stage 1 by 2.0"
    )
    assert "may be owed to the longer training" in said[1]


def test_an_applied_curve_speaks_of_freezing_and_gain() -> None:
    said = sentences(
        "applied", {"freezing": depths((0.01, 0.03)), "gain": depths((-0.03, -0.01)), "loss": depths((0, 1))}
    )
    assert said == [
        "Freezing copied stages costs accuracy against training them on at stage 1 by 2.0 points (1.0 to 3.0).",
        "Copied and trained on, it falls behind random weights at stage 1 by 2.0 points (1.0 to 3.0).",
    ]


def test_without_intervals_nothing_is_said() -> None:
    alone = [StageGap(stage=1, estimate=UnitMean(mean=0.3, ci=None, units=1))]
    assert sentences("full", {"loss": alone}) == [
        "With a single split there are no intervals, so nothing here can be told from luck: use --splits 3 or more."
    ]


def test_bases_that_only_guess_are_named() -> None:
    assert near_guessing(0.25, 0.2)
    assert not near_guessing(0.3, 0.2)
    assert "nothing can be said of transfer" in warning_of_guessing("full", 0.25, 0.2)
    assert "The rate was chosen by that" in warning_of_guessing("applied", 0.25, 0.2)


def test_stages_are_listed_shortly() -> None:
    every = depths((0, 1), (0, 1), (0, 1), (0, 1))
    assert stage_list(every[:1]) == "stage 1"
    assert stage_list(every) == "stages 1 to 4"
    assert stage_list([every[0], every[2]]) == "stages 1, 3"
