"""Halves of the classes: drawn, read from a file, and a data set restricted to one of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from frostline.base.errors import DataError, RecipeError
from frostline.curve.splits import check_held_out, class_splits, draw_splits, half_of, read_splits
from helpers.train_studies import dataset

TEN = tuple("0123456789")


def test_halves_hold_every_class_once_and_no_two_splits_are_alike() -> None:
    splits = draw_splits(TEN, 4, seed=3)
    assert [split.number for split in splits] == [1, 2, 3, 4]
    for split in splits:
        assert sorted(split.a + split.b) == list(TEN)
        assert len(split.a) == len(split.b) == 5
        assert split.kind == "disjoint"
    assert len({frozenset((frozenset(s.a), frozenset(s.b))) for s in splits}) == 4


def test_the_same_seed_gives_the_same_splits() -> None:
    assert draw_splits(TEN, 4, seed=3) == draw_splits(TEN, 4, seed=3) != draw_splits(TEN, 4, seed=4)


def test_all_three_divisions_of_four_classes_and_no_fourth() -> None:
    assert len(draw_splits(TEN[:4], 3, seed=0)) == 3
    with pytest.raises(DataError, match=r"4 classes have only 3 different halves"):
        draw_splits(TEN[:4], 4, seed=0)


def test_of_an_odd_number_one_half_has_one_class_more() -> None:
    (split,) = draw_splits(TEN[:5], 1, seed=0)
    assert (len(split.a), len(split.b)) == (3, 2)


def test_three_classes_are_too_few() -> None:
    with pytest.raises(DataError, match="3 classes, but two halves"):
        draw_splits(TEN[:3], 1, seed=0)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"A": ["1", "0"], "B": ["2", "3"]}, "disjoint"),
        ({"A": ["0", "1"], "B": ["1", "0"]}, "self-transfer"),
        ([{"A": ["0", "1"], "B": ["1", "2"]}], "overlapping"),
    ],
)
def test_a_file_says_the_halves_in_the_order_of_the_data(value: object, kind: str, tmp_path: Path) -> None:
    file = tmp_path / "halves.json"
    file.write_text(json.dumps(value))
    (split,) = read_splits(file, TEN)
    assert split.a == ("0", "1")
    assert split.kind == kind


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "holds no split"),
        ('{"A": ["0", "1"]}', "keys A and B"),
        ('{"A": ["0", "1"], "B": "23"}', "half B: a list of names"),
        ('{"A": ["0", "1"], "B": ["2", "x"]}', "no class 'x'"),
        ('{"A": ["0", "0"], "B": ["2", "3"]}', "names '0' twice"),
        ('{"A": ["0"], "B": ["2", "3"]}', "half A has 1 class"),
    ],
)
def test_a_wrong_file_gets_one_sentence(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "halves.json"
    file.write_text(text)
    with pytest.raises(RecipeError, match=words):
        read_splits(file, TEN)


def test_a_missing_file_and_a_number_beside_a_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="can't be read"):
        read_splits(tmp_path / "none.json", TEN)
    with pytest.raises(RecipeError, match="--splits 2 doesn't apply"):
        class_splits(str(tmp_path / "none.json"), 2, TEN, 0)


def test_a_half_has_its_own_labels_and_is_judged_on_what_was_sealed() -> None:
    whole = dataset(12, classes=4, sealed=4)
    half, kept = half_of(whole, ("c1", "c3"))
    assert half.classes == ("c1", "c3")
    assert [whole.samples[i].label for i in kept] == [1, 3] * 4
    assert half.labels.tolist() == [0, 1] * 4
    assert len(half.rows("development")) == 6
    assert len(half.rows("validation")) == 2
    assert not len(half.sealed)


def test_a_class_without_held_out_samples_is_named() -> None:
    with pytest.raises(DataError, match="class c2 has no sample in the held-out part"):
        check_held_out(dataset(12, classes=4, sealed=2))
