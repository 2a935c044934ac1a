"""The fuzzer: its inputs are the same in every run, it sees every kind of find, and a few inputs of each quick target
have none."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

import pytest

from frostline.base.errors import DataError
from tools.fuzz import TWICE, all_targets, fuzz_target, try_input
from tools.fuzzing.target import Target, WrongAnswerError

QUICK = ("tables", "folders", "recipes", "maps", "weights", "store")
INPUTS = 12


def write(random: Random, _valid: Path, folder: Path) -> None:
    (folder / "input.bin").write_bytes(random.randbytes(4))


def read(_valid: Path, folder: Path) -> str:
    """A reader with every kind of fault."""
    value = (folder / "input.bin").read_bytes()[0] % len(KINDS)
    if value == 1:
        raise DataError("The file is odd.", "Give another.")
    if value == 2:
        raise KeyError(value)
    if value == 3:
        raise WrongAnswerError("took what had changed")
    if value == 4:
        time.sleep(0.25)
    while value == 5:
        time.sleep(0.01)
    if value == 6:
        return str(time.perf_counter())
    return "fine"


KINDS = ("", "", "KeyError", "took what had changed", "took too long", "hangs", "two readings differ")
FAULTY = Target(name="faulty", write=write, read=read, seconds=0.2)


def number_of(value: int) -> int:
    """The first input that is read twice and has this fault."""
    numbers = range(0, 1000, TWICE)
    return next(n for n in numbers if Random(f"0/faulty/{n}").randbytes(4)[0] % len(KINDS) == value)


@pytest.mark.parametrize("value", range(len(KINDS)))
def test_every_kind_of_find_is_seen(value: int, tmp_path: Path) -> None:
    kind, _ = try_input(FAULTY, 0, number_of(value), tmp_path, tmp_path)
    assert kind.startswith(KINDS[value])
    assert bool(kind) == bool(KINDS[value])


def test_a_find_is_kept_with_its_input_and_how_to_see_it_again(tmp_path: Path) -> None:
    number = number_of(KINDS.index("KeyError"))
    tally = fuzz_target(FAULTY, 0, 0.0, tmp_path, number)
    (kept,) = (tmp_path / "finds").iterdir()
    assert list(tally.kinds.values()) == [1]
    assert (kept / "input" / "input.bin").read_bytes() == Random(f"0/faulty/{number}").randbytes(4)
    said = (kept / "what.txt").read_text()
    assert f"--only faulty --seed 0 --input {number}" in said
    assert "raise KeyError(value)" in said


def test_an_input_depends_on_seed_target_and_number_alone(tmp_path: Path) -> None:
    answers: list[bytes] = []
    for number, seed in ((3, 0), (3, 0), (4, 0), (3, 1)):
        folder = tmp_path / str(len(answers))
        folder.mkdir()
        try_input(FAULTY, seed, number, tmp_path, folder)
        answers.append((folder / "input.bin").read_bytes())
    assert answers[0] == answers[1]
    assert len(set(answers)) == 3


@pytest.mark.parametrize("name", QUICK)
def test_a_few_inputs_of_a_target_have_no_find(name: str, tmp_path: Path) -> None:
    (target,) = (target for target in all_targets() if target.name == name)
    valid = tmp_path / "valid"
    valid.mkdir()
    target.prepare(valid)
    for number in range(INPUTS):
        folder = tmp_path / str(number)
        folder.mkdir()
        kind, text = try_input(target, 0, number, valid, folder)
        assert not kind, text
