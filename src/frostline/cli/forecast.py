"""`frostline forecast`: what every depth of fine-tuning would reach, before anything is trained."""

# ruff: noqa: ARG001  (the options are declared by the signature and reach the body through ctx.params)
from __future__ import annotations

import typer

from frostline.cli import options as o
from frostline.cli.draw import drawing
from frostline.cli.parse import settings_from_options
from frostline.cli.screen import print_json, print_text, stdout_width


def forecast_verb(
    ctx: typer.Context,
    data: o.DataArgument,
    model: o.ModelOption,
    weights: o.WeightsOption = None,
    model_args: o.ModelArgsOption = None,
    mean: o.MeanOption = None,
    std: o.StdOption = None,
    size: o.SizeOption = None,
    stages: o.StagesOption = None,
    labels_per_class: o.LabelsPerClassOption = None,
    min_per_class: o.MinPerClassOption = None,
    pool_validation: o.PoolValidationOption = False,
    blocks: o.BlocksOption = None,
    strategies: o.StrategiesOption = "auto",
    seed: o.SeedOption = 0,
    class_weights: o.ClassWeightsOption = False,
    batchnorm: o.BatchnormOption = None,
    device: o.DeviceOption = "auto",
    precision: o.PrecisionOption = "auto",
    threads: o.ThreadsOption = None,
    store: o.StoreOption = None,
    trust_code: o.TrustCodeOption = False,
    plain: o.PlainOption = False,
    json: o.JsonOption = False,
) -> None:
    """Forecast what every depth of fine-tuning would reach on DATA, in about the time of three to four epochs."""
    settings = settings_from_options(ctx.params)
    from frostline.base.device import prepare_process

    prepare_process(settings.threads)
    from frostline.depths import run_forecast

    with drawing(plain=plain or json, json_lines=False, session=ctx.obj) as screen:
        result = run_forecast(settings, screen.emit).model_dump(mode="json")
    if json:
        print_json(result)
        return
    from frostline.report.forecast import forecast_text

    print_text(forecast_text(result, stdout_width()))
