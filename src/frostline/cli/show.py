"""`frostline show`: the result of a run, once more."""

from __future__ import annotations

from frostline.cli import options as o
from frostline.cli.screen import print_json, print_text, stdout_width


def show(run: o.Run, json: o.Json = False) -> None:
    """Show the result of a RUN folder: verdict, table, evidence."""
    from frostline.bundle.runfolder import read_result

    result = read_result(run).model_dump(mode="json", by_alias=True)
    if json:
        print_json(result)
        return
    from frostline.report.tables import result_text

    print_text(result_text(result, stdout_width()))
