"""`frostline compare`: finished runs side by side."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from frostline.base.errors import shown_from
from frostline.cli import options as o
from frostline.cli.screen import print_json, print_text, stdout_width

RunsArgument = Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Folders that `frostline fit` wrote.")]
CompareOutOption = Annotated[
    Path | None, o.value_option(o.OUTPUT_PANEL, "--out", "Also write a page with the figures.", "FILE.html")
]


def compare_verb(runs: RunsArgument, out: CompareOutOption = None, json: o.JsonOption = False) -> None:
    """Put finished runs side by side: the same data with different networks, or different data."""
    from frostline.report.compare import compare_folders, compared_text

    with shown_from("One of the runs"):
        stored, compared = compare_folders(runs)
        if out:
            from frostline.report.compare_page import compare_page
            from frostline.report.page import write_page

            write_page(out, compare_page(stored, compared))
        if json:
            print_json(asdict(compared))
        else:
            print_text(compared_text(compared, stdout_width()))
