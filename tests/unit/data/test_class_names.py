"""Names of classes that can't be told apart by eye are one class, or are said to look alike."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from frostline.base.records import DataWarning
from frostline.data.class_names import in_order, with_plain_classes
from frostline.data.scan import Kind, Listing, Row


def settled(names: list[str], kind: Kind = "table") -> tuple[list[str], tuple[DataWarning, ...]]:
    rows = [Row(id=str(i), source=None, class_name=name, part=None, group=None) for i, name in enumerate(names)]
    listing = with_plain_classes(Listing(root=Path("t"), kind=kind, rows=tuple(rows)))
    return [row.class_name for row in listing.rows], listing.warnings


@pytest.mark.parametrize(
    "twin",
    [unicodedata.normalize("NFD", "caf\u00e9"), "caf\u00e9 ", "\u00a0caf\u00e9", "\ufeffcaf\u00e9", "caf\u00e9\u200b"],
)
def test_names_that_differ_in_nothing_to_be_seen_are_one_class(twin: str) -> None:
    names, warnings = settled(["caf\u00e9", twin, "tea"])
    assert names == ["caf\u00e9", "caf\u00e9", "tea"]
    assert [w.kind for w in warnings] == ["one-class"]
    assert ascii(twin) in warnings[0].examples[0]


@pytest.mark.parametrize(
    "names", [["A", "a"], ["1", "1.0"], ["1", "01"], ["True", "1"], ["big cat", "big_cat"], ["\ufb01sh", "fish"]]
)
def test_names_that_look_alike_are_kept_apart_and_said(names: list[str]) -> None:
    found, warnings = settled([*names, "other"])
    assert found == [*names, "other"]
    assert [w.kind for w in warnings] == ["twin-classes"]


@pytest.mark.parametrize("names", [["a", "b"], ["1", "2"], ["True", "False"], ["none", "some"], ["1.5", "1"]])
def test_usual_names_say_nothing(names: list[str]) -> None:
    assert settled(names) == (names, ())


def test_an_empty_cell_that_became_text_is_said_for_tables_alone() -> None:
    for name in ("nan", "None", "N/A"):
        assert [w.kind for w in settled([name, "a"])[1]] == ["missing-labels"]
        assert not settled([name, "a"], "class-folders")[1]


def test_equal_names_give_no_warning_however_many_rows_have_them() -> None:
    assert settled(["a"] * 5 + ["b"] * 5)[1] == ()


def test_names_made_of_other_names_are_said() -> None:
    for name in ("a|b", "a; b", "b,a", "['a', 'b']"):
        assert [w.kind for w in settled([name, "a", "b"])[1]] == ["combined-labels"]
    assert settled(["black, white", "salt+pepper", "x"])[1] == ()


def test_minus_one_beside_numbers_is_said_to_look_like_no_label() -> None:
    assert [w.kind for w in settled(["-1", "0", "1"])[1]] == ["missing-labels"]
    assert settled(["-1", "left"])[1] == ()


def test_whole_numbers_are_ordered_as_numbers() -> None:
    assert in_order(["10", "2", "1"]) == ("1", "2", "10")
    assert in_order(["10", "2", "x"]) == ("10", "2", "x")
