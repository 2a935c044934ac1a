"""`frostline shift`: how do two data sets differ, as a network sees them, and what helps?"""

# ruff: noqa: ARG001  (the options are declared by the signature and reach the body through ctx.params)
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from frostline.base.errors import DataError
from frostline.cli import options as o
from frostline.cli.draw import drawing
from frostline.cli.parse import settings_from_options
from frostline.cli.screen import print_json, print_text, stdout_width
from frostline.recipe.settings import Settings

SidesArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="[SOURCE] TARGET",
        help="Two data sets, labelled or not: folders, tables or files. With --model run:RUN the run's own data are "
        "the source, and TARGET is enough.",
    ),
]
NoExamplesOption = Annotated[
    bool, o.flag_option(o.OUTPUT_PANEL, "--no-examples", "Leave your images and texts out of the page.")
]
ShiftOutOption = Annotated[
    Path | None,
    o.value_option(o.OUTPUT_PANEL, "--out", "Folder to write. Default: runs/TARGET-shift-N.", "RUN"),
]


def shift_verb(
    ctx: typer.Context,
    sides: SidesArgument,
    model: o.ModelOption,
    weights: o.WeightsOption = None,
    model_args: o.ModelArgsOption = None,
    mean: o.MeanOption = None,
    std: o.StdOption = None,
    size: o.SizeOption = None,
    stages: o.StagesOption = None,
    seed: o.SeedOption = 0,
    out: ShiftOutOption = None,
    no_examples: NoExamplesOption = False,
    device: o.DeviceOption = "auto",
    precision: o.PrecisionOption = "auto",
    threads: o.ThreadsOption = None,
    store: o.StoreOption = None,
    trust_code: o.TrustCodeOption = False,
    plain: o.PlainOption = False,
    json: o.JsonOption = False,
) -> None:
    """Say how TARGET differs from SOURCE as a network sees them: the kind of shift, its evidence, what helps."""
    source, target = source_and_target(sides)
    common = shift_settings(ctx.params, target)
    from frostline.base.device import prepare_process

    prepare_process(threads)
    from frostline.diagnosis import ShiftSettings, run_shift

    settings = ShiftSettings(common=common, source=source, target=target, examples=not no_examples)
    with drawing(plain=plain or json, json_lines=False, session=ctx.obj) as screen:
        finished = run_shift(settings, screen.emit)
    result = finished.result.model_dump(mode="json", by_alias=True)
    if json:
        print_json(result)
        return
    from frostline.report.shift import shift_text

    print_text(shift_text(result, finished.path, stdout_width()))


def source_and_target(sides: list[Path]) -> tuple[Path | None, Path]:
    """Return the source, None where a run brings it, and the target. Raises DataError for more than two paths."""
    if len(sides) > 2:
        raise DataError(f"{len(sides)} data sets were given, but two are compared.", "Give SOURCE and TARGET.")
    if len(sides) == 1:
        return None, sides[0]
    return sides[0], sides[1]


def shift_settings(params: Mapping[str, Any], target: Path) -> Settings:
    """Return the settings that hold for both sides; `data` is the target."""
    defaults = {f.name: f.default for f in fields(Settings) if f.default is not MISSING}
    return settings_from_options({**defaults, **params, "data": target, "strategies": "auto"})
