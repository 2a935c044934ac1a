"""`frostline replay`: run a record again and report what differs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frostline.cli import options as o
from frostline.cli.draw import drawing
from frostline.cli.problems import USER_ERROR, complain
from frostline.cli.screen import print_json, print_text

if TYPE_CHECKING:
    from frostline.rerun import Replay

ReplayOutOption = Annotated[
    Path | None,
    o.value_option(o.OUTPUT_PANEL, "--out", "Folder to keep the replay in. Default: kept only if it differs.", "DIR"),
]
MovedDataOption = Annotated[Path | None, o.value_option(o.DATA_PANEL, "--data", "Current location of the data.", "DIR")]
MovedModelOption = Annotated[
    str | None, o.value_option(o.NETWORK_PANEL, "--model", "Current location of the network.", "SPEC")
]
MovedWeightsOption = Annotated[
    str | None, o.value_option(o.NETWORK_PANEL, "--weights", "Current location of its weights.", "FILE")
]


def replay_verb(
    ctx: typer.Context,
    run: o.RunArgument,
    out: ReplayOutOption = None,
    data: MovedDataOption = None,
    model: MovedModelOption = None,
    weights: MovedWeightsOption = None,
    trust_code: o.TrustCodeOption = False,
    plain: o.PlainOption = False,
    json: o.JsonOption = False,
) -> None:
    """Run the record of a RUN folder again and report what differs; exit code 0 means that all is equal."""
    from frostline.base.device import prepare_process
    from frostline.bundle.runfolder import read_result

    prepare_process(read_result(run).settings.get("threads"))  # before torch is imported
    from frostline.rerun import replay

    with drawing(plain=plain, json_lines=json, session=ctx.obj) as screen:
        finished = replay(
            run, data=data, model=model, weights=weights, out=out, trust_code=trust_code, emit=screen.emit
        )
    if json:
        print_json(replay_json(finished), indent=None)
    else:
        print_text(replay_text(finished))
    if not finished.equal:
        complain(finished.sentence(), f"The replay is kept in {finished.path}.")
        raise typer.Exit(USER_ERROR)


def replay_json(finished: Replay) -> dict[str, Any]:
    """Return the outcome as JSON-able values, in the form of the last event of `--json`."""
    from dataclasses import asdict

    differences = finished.differences
    data = {
        "equal": finished.equal,
        "compared": dict(differences.compared),
        "altered": list(differences.altered),
        "changes": [asdict(c) for c in finished.changes],
        "differences": [asdict(d) for d in differences.found],
        "kept": str(finished.path) if finished.path else None,
    }
    run = str(finished.path or finished.run)
    return {"kind": "result", "text": finished.sentence(), "run": run, "data": data}


def replay_text(finished: Replay) -> str:
    """Return the outcome as lines: what changed, what was compared, what differs."""
    from frostline.report.differences import difference_lines

    outcome = "all equal" if finished.equal else "something differs"
    lines = [f"REPLAY  {finished.run}: {outcome}", ""]
    lines += [f"Changed: {change.sentence()}" for change in finished.changes]
    lines += [f"{finished.differences.counts()}."]
    lines += [f"  {line}" for line in difference_lines(finished.differences)]
    return "\n".join(lines)
