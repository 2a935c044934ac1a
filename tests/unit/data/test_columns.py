"""Columns whose names nearly say what they hold are never passed over in silence."""

from __future__ import annotations

from typing import Any

import pytest

from frostline.base.errors import DataError
from frostline.data.columns import check_names
from frostline.data.given import list_given

pd: Any = pytest.importorskip("pandas")

KNOWN = ("text", "label", "split", "group")


@pytest.mark.parametrize("name", ["Split", "SPLIT", "splits", " split", "Groups", "LABEL", "Text_"])
def test_a_known_name_in_another_spelling_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="but the column that is read is called") as error:
        check_names({name: ["a"], "x": ["b"]}, KNOWN, "t.csv")
    assert "Rename it to" in error.value.hint


@pytest.mark.parametrize("values", [["train", "test"], ["Training", "VAL"], ["train", "", "test_set"]])
def test_a_column_of_parts_under_another_name_is_refused(values: list[str]) -> None:
    with pytest.raises(DataError, match="column 'phase' with the values"):
        check_names({"text": [], "label": [], "phase": values}, KNOWN, "t.csv")
    assert not check_names({"split": ["train"], "phase": values}, KNOWN, "t.csv")


@pytest.mark.parametrize("values", [["train", "bus"], ["test", "test"], [1, 2], []])
def test_columns_that_say_something_else_pass(values: list[Any]) -> None:
    assert not check_names({"text": [], "label": [], "vehicle": values}, KNOWN, "t.csv")


def test_a_column_of_patients_is_told_where_its_values_repeat() -> None:
    (warning,) = check_names({"Patient_ID": [1, 1, 2]}, KNOWN, "t.csv")
    assert (warning.kind, warning.examples) == ("possible-groups", ("Patient_ID",))
    assert not check_names({"Patient_ID": [1, 2, 3]}, KNOWN, "t.csv")
    assert not check_names({"Patient_ID": [1, 1, 2], "group": [1, 1, 2]}, KNOWN, "t.csv")


def test_frames_and_mappings_are_looked_through_alike() -> None:
    columns = {"text": ["a", "b"], "label": ["x", "y"], "Split": ["train", "test"]}
    for data in (columns, pd.DataFrame(columns)):
        with pytest.raises(DataError, match="'Split', but the column that is read is called 'split'"):
            list_given(data)
    frame = pd.DataFrame({"text": ["a", "b", "c"], "label": ["x", "y", "x"], "patient": ["p", "p", "q"]})
    (warning,) = list_given(frame).warnings
    assert warning.kind == "possible-groups"


def test_a_missing_label_in_a_frame_leaves_its_row_out() -> None:
    for labels in (["a", "b", None], ["a", "b", float("nan")], pd.array([0, 1, None], dtype="Int64")):
        listing = list_given(pd.DataFrame({"text": ["a", "b", "c"], "label": labels}))
        assert [bool(row.class_name) for row in listing.rows] == [True, True, False]
    with pytest.raises(DataError, match="label is empty in every row, row 0 the first"):
        list_given(pd.DataFrame({"text": ["a", "b"], "label": [None, float("nan")]}))


def test_ids_that_repeat_are_told() -> None:
    columns = {"text": list("abc"), "label": list("xyx"), "Image_ID": [7, 8, 7], "note": ["n", "n", "n"]}
    (warning,) = list_given(pd.DataFrame(columns)).warnings
    assert (warning.kind, warning.count, warning.examples) == ("duplicate-ids", 1, ("Image_ID '7' in 2 rows",))
