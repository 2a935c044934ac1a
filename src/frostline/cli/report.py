"""`frostline report`: the page of a finished run, made again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from frostline.base.errors import shown_from
from frostline.cli import options as o
from frostline.cli.screen import print_json, print_text

ReportOutOption = Annotated[
    Path | None, o.value_option(o.OUTPUT_PANEL, "--out", "The page to write. Default: RUN/report.html.", "FILE.html")
]
FiguresOption = Annotated[
    Path | None,
    o.value_option(
        o.OUTPUT_PANEL,
        "--figures",
        "Also write the picture of accuracy against frozen depth, for a paper (SVG, PDF, PNG), into this folder.",
        "DIR",
    ),
]
NoExamplesOption = Annotated[
    bool, o.flag_option(o.OUTPUT_PANEL, "--no-examples", "Leave your own images and texts out of the page.")
]


def report_verb(
    run: o.RunArgument,
    out: ReportOutOption = None,
    figures: FiguresOption = None,
    no_examples: NoExamplesOption = False,
    json: o.JsonOption = False,
) -> None:
    """Write the page of a RUN folder again: one file that opens without a connection."""
    from frostline.report.page import write_report
    from frostline.report.stored import read_stored

    written = []
    with shown_from(run):
        stored = read_stored(run)
        if figures:
            from frostline.report.paper import write_figures

            written = write_figures(stored.result, figures)
        written.insert(0, write_report(stored, out, examples=not no_examples))
    if json:
        print_json({"written": [str(path) for path in written]})
    else:
        print_text("\n".join(str(path) for path in written))
