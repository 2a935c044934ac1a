"""Density of lines, names, rooms and circles stay within the ceilings of docs/decisions/0016."""

from __future__ import annotations

import pytest

from tools.house import PACKAGE, House, inspect_package

FLOOR = 60  # lines of a module that only one other imports
# A verb is one file, however short; `python -m frostline` needs its own.
SHORT_MODULES = ("__main__.py", "cli/")


@pytest.fixture(scope="module")
def house() -> House:
    return inspect_package(PACKAGE)


def test_conditional_expressions_are_few_and_never_nested(house: House) -> None:
    assert not house.nested
    assert house.conditionals_per_thousand <= 12


def test_the_formatter_breaks_the_lines(house: House) -> None:
    assert house.skips <= 10, "fmt: skip is for tables of data"
    assert house.pairs <= 3 * house.lines / 1000


def test_a_name_says_one_thing(house: House) -> None:
    assert len(house.names) <= 25, house.names


def test_no_files_import_each_other_in_a_ring(house: House) -> None:
    assert house.circles == ()


def test_no_room_holds_more_than_a_sixth(house: House) -> None:
    name, share = house.largest_room
    assert share <= 0.17, name


def test_a_module_has_some_lines_or_two_importers(house: House) -> None:
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        if name.startswith(SHORT_MODULES) or path.name == "__init__.py":
            continue
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines >= FLOOR or house.importers.get(name, 0) > 1, (
            f"{name}: fold its {lines} lines into its only importer"
        )
