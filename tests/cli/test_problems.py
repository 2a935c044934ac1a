"""Everything that goes wrong ends in one sentence, a hint and its exit code."""

from __future__ import annotations

import errno
import json
import os

import pytest

from frostline.base.errors import AuditError, DataError
from frostline.cli.problems import access_problem
from frostline.cli.session import Session


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("fti",), ("frostline has no verb 'fti'.", "Did you mean fit?")),
        (("nonsense",), ("frostline has no verb 'nonsense'.", "Verbs: check, fit, forecast, predict")),
        (("fit", "d", "--modl", "m"), ("frostline fit has no option --modl.", "Did you mean --model?")),
        (("fit", "d", "--model", "m", "--sharpness", "1"), ("no option --sharpness", "frostline fit --help")),
        (("fit", "d"), ("frostline fit needs --model, which is missing.", "torchvision:NAME")),
        (("fit", "--model", "m"), ("frostline fit needs DATA, which is missing.", "Usage: frostline fit")),
        (("show",), ("frostline show needs RUN, which is missing.",)),
        (("fit", "d", "--model"), ("--model", "requires an argument")),
        (("fit", "d", "--model", "m", "--epochs", "many"), ("--epochs", "integer")),
        (("strategies", "extra"), ("extra",)),
    ],
)
def test_usage_errors_are_a_sentence_with_a_hint(command, words, says) -> None:
    done = command(*words)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("error: ")
    first = done.err.splitlines()[0]
    assert first.endswith(".")
    assert 2 <= len(done.err.splitlines()) <= 3
    for part in says:
        assert part in done.err


def failing(error: BaseException):
    def run(settings, emit, **_):
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (DataError("No images in d.", "Give a folder of class folders."), 2, "No images in d.\n  Give a folder"),
        (KeyError("x"), 1, "bug in frostline: KeyError: 'x' (test_problems.py:"),
        (AuditError("stem.weight was frozen and changed."), 1, "stem.weight was frozen and changed."),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/a"), 2, "Can't access runs/a: No space left"),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_exit_codes_of_what_a_run_raises(command, stand_in, error, code, says) -> None:
    stand_in("frostline.pipeline", run=failing(error))
    done = command("fit", "d", "--model", "m")
    assert done.code == code
    assert says in done.err
    assert "Traceback" not in done.err


def test_the_traceback_of_a_bug_is_printed_on_request(command, stand_in, monkeypatch) -> None:
    monkeypatch.setenv("FROSTLINE_DEBUG", "1")
    stand_in("frostline.pipeline", run=failing(KeyError("x")))
    done = command("fit", "d", "--model", "m")
    assert done.code == 1
    assert "Traceback" in done.err


@pytest.mark.parametrize(
    ("error", "code", "kind", "section"),
    [
        (DataError("No images.", "Give a folder."), 2, "DataError", "dataerror"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS), "runs"), 2, "FrostlineError", "frostlineerror"),
        (AuditError("It changed."), 1, "AuditError", "auditerror"),
        (KeyError("x"), 1, "KeyError", "exit-code-1"),
        (KeyboardInterrupt(), 130, "KeyboardInterrupt", "exit-code-130"),
    ],
)
def test_programs_get_the_error_as_the_last_line_of_json(command, stand_in, error, code, kind, section) -> None:
    stand_in("frostline.pipeline", run=failing(error))
    done = command("fit", "d", "--model", "m", "--json")
    told = json.loads(done.out.splitlines()[-1])
    assert (done.code, told["kind"], told["data"]["exit_code"]) == (code, "error", code)
    assert told["data"]["class"] == kind
    assert told["data"]["docs"] == f"docs/errors.md#{section}"


def test_a_full_disk_asks_for_room_and_says_how_to_go_on() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "runs/d-1/oof.parquet")
    begun = access_problem(full, Session(argv=["fit", "d"], run="runs/d-1"))
    assert begun.message == "Can't access runs/d-1/oof.parquet: No space left on device."
    assert "frostline cache --clear" in begun.hint
    assert begun.hint.endswith("\nfrostline fit d --out runs/d-1 --resume")
    assert access_problem(full, Session(argv=["fit", "d"])).hint.endswith("and run the command again.")


def test_only_fit_can_be_resumed() -> None:
    assert Session(argv=["predict", "r", "f"]).resume_command() is None
    assert Session(argv=["fit", "d", "--out=o"], run="o").resume_command() == "frostline fit d --out=o --resume"
    stopped = Session(argv=["fit", "d", "--resume"], run="runs/d-1")
    assert stopped.conclude_command() == "frostline fit d --out runs/d-1 --conclude"
    assert Session(argv=["fit", "d"]).conclude_command() is None  # nothing was begun
    assert Session(argv=["pretrain", "d"], run="o").conclude_command() is None
