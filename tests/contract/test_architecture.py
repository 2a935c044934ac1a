"""The map of the house says what the linter checks: the same rooms in the same order."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOM = re.compile(r"^\| `(\w+)` \|")


def rooms_of(page: str) -> list[str]:
    """First column of the page's table of rooms, from low to high."""
    lines = page.splitlines()
    headers = [i for i, line in enumerate(lines) if line.startswith("| room |")]
    assert len(headers) == 1, "the page has one table of rooms"
    names = []
    for line in lines[headers[0] + 2 :]:
        match = ROOM.match(line)
        if match is None:
            break
        names.append(match[1])
    return names


def floors_of(layers: Sequence[str]) -> list[set[str]]:
    """The contract's layers from low to high; siblings (`(a) | (b)`, `a | b`, `a : b`) share a floor."""
    return [{name.strip(" ()") for name in re.split(r"[|:]", layer)} for layer in reversed(layers)]


def in_floors(rooms: Sequence[str], floors: Sequence[set[str]]) -> list[set[str]]:
    """The rooms put together as the floors are: equal to them where names and order agree."""
    left = list(rooms)
    found = []
    for floor in floors:
        found.append(set(left[: len(floor)]))
        del left[: len(floor)]
    return [*found, *({name} for name in left)]


@pytest.fixture
def floors(root: Path) -> list[set[str]]:
    config = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    return floors_of(next(c for c in config["contracts"] if c["type"] == "layers")["layers"])


def test_the_table_of_rooms_is_the_linters_contract(root: Path, floors: list[set[str]]) -> None:
    rooms = rooms_of((root / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert in_floors(rooms, floors) == floors


def test_the_decision_on_layers_names_the_same(root: Path, floors: list[set[str]]) -> None:
    page = (root / "docs" / "decisions" / "0001-layers.md").read_text(encoding="utf-8")
    stack = re.findall(r"^    ([\w() ]+)$", page, re.MULTILINE)
    assert [set(re.findall(r"\w+", line)) for line in reversed(stack)] == [f for f in floors if f != {"__main__"}]


def test_a_room_that_is_missing_new_or_elsewhere_is_seen() -> None:
    floors = floors_of(["top", "(left) | (right)", "a : b", "bottom"])
    assert floors == [{"bottom"}, {"a", "b"}, {"left", "right"}, {"top"}]
    right = ["bottom", "b", "a", "left", "right", "top"]
    assert in_floors(right, floors) == floors
    for wrong in (right[1:], [*right, "roof"], ["a", "bottom", *right[2:]], ["bottom", "left", "a", "b", *right[4:]]):
        assert in_floors(wrong, floors) != floors
