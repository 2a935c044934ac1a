"""`frostline check`: what was understood of the data, in seconds, before anything is trained."""

# ruff: noqa: ARG001  (the options are declared by the signature and reach the body through ctx.params)
from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frostline.cli import options as o
from frostline.cli.parse import settings_from_options
from frostline.cli.screen import print_json, print_text, stdout_width

ModelOption = Annotated[
    str,
    o.value_option(o.NETWORK_PANEL, "--model", f"Network: {o.SPECS}. Without one the data alone are checked.", "SPEC"),
]
SheetOption = Annotated[
    Path | None,
    o.value_option(o.OUTPUT_PANEL, "--sheet", "Where to draw example images as the network gets them.", "FILE.png"),
]


def check_verb(
    ctx: typer.Context,
    data: o.DataArgument,
    model: ModelOption = "",
    weights: o.WeightsOption = None,
    model_args: o.ModelArgsOption = None,
    mean: o.MeanOption = None,
    std: o.StdOption = None,
    size: o.SizeOption = None,
    labels_per_class: o.LabelsPerClassOption = None,
    min_per_class: o.MinPerClassOption = None,
    pool_validation: o.PoolValidationOption = False,
    seed: o.SeedOption = 0,
    threads: o.ThreadsOption = None,
    trust_code: o.TrustCodeOption = False,
    sheet: SheetOption = None,
    json: o.JsonOption = False,
) -> None:
    """Show what is understood of DATA, and what the network would get of it; nothing is trained."""
    settings = settings_from_options({**ctx.params, "strategies": "auto"})
    from frostline.base.device import prepare_process

    prepare_process(settings.threads)
    from frostline.checkup import run_check, sheet_path

    found = run_check(settings, sheet or sheet_path(settings)).to_json()
    if json:
        print_json(found)
        return
    from frostline.report.check import check_text

    print_text(check_text(found, stdout_width()))
