"""`frostline replay`: run a record again and report what differs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frostline.base.errors import BundleError
from frostline.cli import options as o
from frostline.cli.draw import drawing
from frostline.cli.screen import print_json, print_text

if TYPE_CHECKING:
    from frostline.rerun import Replay

Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Folder to keep; by default only a replay that differs is kept.",
        rich_help_panel=o.MACHINE,
    ),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Where the data lie by now.", rich_help_panel=o.DATA),
]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="SPEC", help="Where the network lies by now.", rich_help_panel=o.NETWORK),
]
Weights = Annotated[
    str | None,
    typer.Option("--weights", metavar="FILE", help="Where its weights lie by now.", rich_help_panel=o.NETWORK),
]


def replay(
    ctx: typer.Context,
    run: o.Run,
    out: Out = None,
    data: Data = None,
    model: Model = None,
    weights: Weights = None,
    trust_code: o.TrustCode = False,
    plain: o.Plain = False,
    json: o.Json = False,
) -> None:
    """Run the record of a RUN folder again and report what differs; exit code 0 says that all is equal."""
    from frostline.base.device import prepare_process
    from frostline.bundle.runfolder import read_result

    prepare_process(read_result(run).settings.get("threads"))  # before torch is imported
    from frostline.rerun import replay as run_again

    with drawing(plain=plain, json_lines=json, session=ctx.obj) as screen:
        done = run_again(run, data=data, model=model, weights=weights, out=out, trust_code=trust_code, emit=screen.emit)
    if json:
        print_json(
            {"kind": "result", "text": done.sentence(), "run": str(done.path or run), "data": report(done)}, indent=None
        )
    else:
        print_text(text(done))
    if not done.equal:
        raise BundleError(done.sentence(), f"The replay is kept in {done.path}." if done.path else "")


def report(done: Replay) -> dict[str, Any]:
    """The outcome as JSON-able values."""
    from dataclasses import asdict

    found = done.differences
    return {
        "equal": done.equal,
        "compared": dict(found.compared),
        "altered": list(found.altered),
        "changes": [asdict(c) for c in done.changes],
        "differences": [asdict(d) for d in found.found],
        "kept": str(done.path) if done.path else None,
    }


def text(done: Replay) -> str:
    """The outcome as lines: what changed, what was compared, what differs."""
    from frostline.report.differences import difference_lines

    lines = [f"REPLAY  {done.run}: {'all equal' if done.equal else 'something differs'}", ""]
    lines += [f"Changed: {change.sentence()}" for change in done.changes]
    lines += [f"{done.differences.counts()}."]
    lines += [f"  {line}" for line in difference_lines(done.differences)]
    return "\n".join(lines)
