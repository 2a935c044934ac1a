"""What a worker notes, and which work is known to end workers."""

from __future__ import annotations

import pytest

from frostline.base import worker
from frostline.base.worker import Board, Death


@pytest.fixture(autouse=True)
def nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_worker", None)


def death(work: str | None, strategy: str | None = None) -> Death:
    return Death(signal=9, held_mb=3120.4, work=work, strategy=strategy)


def test_a_board_gives_back_what_was_noted_last() -> None:
    board = Board()
    assert board.read() == {}
    board.write({"run": "runs/é-1", "work": None})
    assert board.read() == {"run": "runs/é-1", "work": None}
    board.write({"run": "x" * 100_000})
    assert board.read()["run"] == "runs/é-1"
    board.write({})
    assert board.read() == {}


def test_nothing_is_noted_where_nobody_watches() -> None:
    worker.note(run="runs/a-1")
    with worker.at_work("trial", "probe"):
        assert worker.is_deadly("trial", "probe") is None


def test_of_several_runs_the_first_is_the_one_to_resume() -> None:
    worker.begun("runs/nobody-watches")
    board = Board()
    worker.become(board, [])
    worker.begun("runs/ranking")
    worker.begun("runs/ranking/a")
    assert board.read() == {"run": "runs/ranking"}


def test_work_is_noted_while_it_lasts_also_when_it_fails() -> None:
    board = Board()
    worker.become(board, [])
    worker.note(run="runs/a-1")

    def fail() -> None:
        with worker.at_work("trial", "probe"):
            noted.update(board.read())
            raise ValueError("no")

    noted: dict[str, str] = {}
    with pytest.raises(ValueError, match="no"):
        fail()
    assert noted == {"run": "runs/a-1", "work": "trial", "strategy": "probe"}
    assert board.read() == {"run": "runs/a-1"}


@pytest.mark.parametrize(
    ("deaths", "work", "strategy", "deadly"),
    [
        ([], "a/1", "a", False),
        ([death("a/1", "a")], "a/1", "a", False),
        ([death("a/1", "a"), death("a/1", "a")], "a/1", "a", True),
        ([death("a/1", "a"), death("a/2", "a")], "a/1", "a", False),
        ([death("a/1", "a"), death("a/1", "a")], "a/2", "a", True),
        ([death("a/1", "a"), death("a/1", "a")], "b/1", "b", False),
        ([death(None), death(None)], "a/1", "a", False),
    ],
)
def test_two_deaths_in_one_trial_show_that_its_strategy_ends_workers(
    deaths: list[Death], work: str, strategy: str, deadly: bool
) -> None:
    worker.become(Board(), deaths)
    assert (worker.is_deadly(work, strategy) is not None) == deadly


def test_a_death_in_words() -> None:
    assert death("a").in_words() == "signal 9 (SIGKILL), when it had held up to 3,120 MB"
