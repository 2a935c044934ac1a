"""Class maps: equal names, a map by hand, and every way in which a map can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from frostline.base.errors import DataError
from frostline.data.class_map import map_classes, read_label_map, read_source_classes

SOURCE = ("ant", "bee", "crane", "bee eater", "crane", "cat")


def test_equal_names_map_by_themselves_and_the_map_says_the_rest() -> None:
    found, missing = map_classes(SOURCE, ("bees", "cat"), {"bees": ("bee eater", "bee")})
    assert found is not None
    assert (found.groups, missing) == (((1, 3), (5,)), [])


def test_what_nothing_means_is_told() -> None:
    assert map_classes(SOURCE, ("ant", "dog", "crane"), {}) == (None, ["dog", "crane"])  # two cranes: which one?


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ants": ("ant", "antt")}, "no class 'antt' among its 5"),
        ({"dogs": ("cat",)}, "the data has no class 'dogs'"),
        ({"ants": ("crane",)}, r"several classes called 'crane' \(outputs 3, 5\)"),
        ({"ants": ("ant",), "bees": ("ant",)}, "'ant' is mapped to both 'ants' and 'bees'"),
    ],
)
def test_a_wrong_map_is_refused_with_the_names(given: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        map_classes(SOURCE, ("ants", "bees"), given)


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(DataError) as error:
        map_classes(SOURCE, ("ants",), {"ants": ("ants",)})
    assert "'ant'" in error.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[1]", "not hold a JSON object"),
        ("{}", "not hold a JSON object"),
        ('{"a": 3}', "'a' has no list of names"),
        ('{"a": []}', "'a' has no list of names"),
        ('{"a": "x", "a": "y"}', "names 'a' twice"),
    ],
)
def test_a_file_of_another_form_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text(text)
    with pytest.raises(DataError, match=said):
        read_label_map(tmp_path / "map.json")


def test_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text(json.dumps({"a": "x", "b": ["y", "y", "z"]}))
    assert read_label_map(tmp_path / "map.json") == {"a": ("x",), "b": ("y", "z")}
    (tmp_path / "names.txt").write_bytes("﻿ant\r\nbee \n\n".encode())
    assert read_source_classes(tmp_path / "names.txt") == ("ant", "bee")
    (tmp_path / "names.txt").write_text("ant\n\nbee\n")
    with pytest.raises(DataError, match=r"Line 2 of .* is empty"):
        read_source_classes(tmp_path / "names.txt")
    with pytest.raises(DataError, match="can't be read: No such file"):
        read_source_classes(tmp_path / "none.txt")
