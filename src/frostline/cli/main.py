"""The command `frostline`: the list of verbs, and the one place where errors become sentences and exit codes."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from typing import Annotated

import typer

from frostline import __version__
from frostline.base.clock import Clock
from frostline.cli.adapt import adapt_verb
from frostline.cli.cache import cache_verb
from frostline.cli.check import check_verb
from frostline.cli.compare import compare_verb
from frostline.cli.curve import curve_verb
from frostline.cli.demo import demo_verb
from frostline.cli.doctor import doctor_verb
from frostline.cli.fit import fit_verb
from frostline.cli.forecast import forecast_verb
from frostline.cli.predict import predict_verb
from frostline.cli.pretrain import pretrain_verb
from frostline.cli.problems import DONE, handle, unknown_verb
from frostline.cli.rank import rank_verb
from frostline.cli.recipe import recipe_verb
from frostline.cli.replay import replay_verb
from frostline.cli.report import report_verb
from frostline.cli.session import Session
from frostline.cli.shift import shift_verb
from frostline.cli.show import show_verb
from frostline.cli.stages import stages_verb
from frostline.cli.strategies import strategies_verb
from frostline.cli.supervise import is_supervised, supervise

VERBS: dict[str, Callable[..., None]] = {
    "check": check_verb,
    "fit": fit_verb,
    "forecast": forecast_verb,
    "predict": predict_verb,
    "show": show_verb,
    "report": report_verb,
    "compare": compare_verb,
    "replay": replay_verb,
    "stages": stages_verb,
    "strategies": strategies_verb,
    "recipe": recipe_verb,
    "pretrain": pretrain_verb,
    "rank": rank_verb,
    "curve": curve_verb,
    "shift": shift_verb,
    "adapt": adapt_verb,
    "demo": demo_verb,
    "cache": cache_verb,
    "doctor": doctor_verb,
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
for _name, _verb in VERBS.items():
    app.command(_name)(_verb)


INTERRUPTIONS_APART = 1.0  # seconds


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"frostline {__version__}")
        raise typer.Exit


@app.callback()
def frostline(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """How much of a pre-trained network should you freeze? Measure it on your own data."""


def main(argv: list[str] | None = None) -> int:
    """Run one command line (by default the process's own) and return its exit code; never raises.

    Exit codes: 0 done, 2 user error (one sentence and a hint on stderr), 1 a bug, 130 interrupted.
    """
    if argv is not None:
        return _run_command(Session(argv=list(argv) or ["--help"]))
    session = Session(argv=sys.argv[1:] or ["--help"], clock=Clock.of_process())
    if is_supervised(session.argv):
        code = supervise(session)
        if code is not None:
            return code
    _interrupt_on_signals()
    return _run_command(session)


def _run_command(session: Session) -> int:
    words = session.argv
    try:
        if not words[0].startswith("-") and words[0] not in VERBS:
            raise unknown_verb(words[0], VERBS)
        command = typer.main.get_command(app)
        with command.make_context("frostline", list(words), obj=session) as context:
            command.invoke(context)
        sys.stdout.flush()
    except BaseException as problem:
        return handle(problem, session)
    return DONE


def _interrupt_on_signals() -> None:
    """Let SIGTERM interrupt as Ctrl-C does, and let one that comes right after another count for nothing.

    A terminal's Ctrl-C reaches every process of its group, and some of them pass it on.
    """
    last = -INTERRUPTIONS_APART

    def interrupt(_number: int, _frame: object) -> None:
        nonlocal last
        before = last
        last = time.monotonic()
        if last - before >= INTERRUPTIONS_APART:
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
