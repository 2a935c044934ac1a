"""`frostline rank`: which of several networks to start from, and at which depth."""

# ruff: noqa: ARG001  (the options are declared by the signature and reach the body through ctx.params)
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Annotated, Any

import typer

from frostline.cli import options as o
from frostline.cli.draw import drawing
from frostline.cli.parse import parse_names, settings_from_options
from frostline.cli.screen import print_json, print_text, stdout_width
from frostline.recipe.settings import Settings

ModelsOption = Annotated[
    str,
    o.value_option(
        o.NETWORK_PANEL,
        "--models",
        "Networks with commas between, each with its weights: SPEC, SPEC=FILE or SPEC=random.",
        "SPEC,SPEC",
    ),
]
MeasureOption = Annotated[
    str,
    o.value_option(
        o.COMPARISON_PANEL, "--measure", "Then train every source with these strategies, such as finetune.", "a,b"
    ),
]
NoForecastOption = Annotated[
    bool, o.flag_option(o.COMPARISON_PANEL, "--no-forecast", "Leave out the forecast of fine-tuning.")
]
MeasureEpochsOption = Annotated[
    int | None,
    o.value_option(o.TRAINING_PANEL, "--epochs", "Train for exactly N epochs; needs --measure.", "N"),
]


def rank_verb(
    ctx: typer.Context,
    data: o.DataArgument,
    models: ModelsOption,
    labels_per_class: o.LabelsPerClassOption = None,
    min_per_class: o.MinPerClassOption = None,
    pool_validation: o.PoolValidationOption = False,
    blocks: o.BlocksOption = None,
    measure: MeasureOption = "",
    no_forecast: NoForecastOption = False,
    epochs: MeasureEpochsOption = None,
    augment: o.AugmentOption = None,
    seed: o.SeedOption = 0,
    out: o.OutOption = None,
    device: o.DeviceOption = "auto",
    precision: o.PrecisionOption = "auto",
    threads: o.ThreadsOption = None,
    store: o.StoreOption = None,
    trust_code: o.TrustCodeOption = False,
    resume: o.ResumeOption = False,
    plain: o.PlainOption = False,
    json: o.JsonOption = False,
) -> None:
    """Rank networks to start from, and the depths of each, on DATA: probes, transferability scores, forecasts."""
    settings = rank_settings(ctx.params)
    from frostline.base.device import prepare_process

    prepare_process(settings.threads)
    from frostline.rank.study import ranking_of, run_rank

    ranking = ranking_of(settings, parse_names(measure), foresees=not no_forecast)
    with drawing(plain=plain or json, json_lines=False, session=ctx.obj) as screen:
        finished = run_rank(ranking, screen.emit)
    result = finished.result.model_dump(mode="json", by_alias=True)
    if json:
        print_json(result)
        return
    from frostline.report.rank import rank_text

    print_text(rank_text(result, finished.path, stdout_width()))


def rank_settings(params: Mapping[str, Any]) -> Settings:
    """Return the settings that hold for every source; `model` is the list of them."""
    defaults = {f.name: f.default for f in fields(Settings) if f.default is not MISSING}
    return settings_from_options(
        {**defaults, **params, "model": params["models"], "model_args": None, "strategies": "auto"}
    )
