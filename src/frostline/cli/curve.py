"""`frostline curve`: how well the features of a network transfer at every depth."""

# ruff: noqa: ARG001  (the options are declared by the signature and reach the body through ctx.params)
from __future__ import annotations

from typing import Annotated

import typer

from frostline.cli import options as o
from frostline.cli.draw import drawing
from frostline.cli.parse import settings_from_options
from frostline.cli.screen import print_json, print_text, stdout_width

SplitClassesOption = Annotated[
    str | None,
    o.value_option(
        o.COMPARISON_PANEL,
        "--split-classes",
        "Full protocol: train networks on halves A and B of the classes, drawn at random or named in a JSON file.",
        "auto|FILE",
    ),
]
SplitsOption = Annotated[
    int | None, o.value_option(o.COMPARISON_PANEL, "--splits", "Number of random halves. Default: 4.", "N")
]
SeedsOption = Annotated[
    int | None,
    o.value_option(
        o.COMPARISON_PANEL, "--seeds", "Trainings of every arm. Default: 2 with --split-classes, else 1.", "N"
    ),
]
CurveEpochsOption = Annotated[
    int | None,
    o.value_option(o.TRAINING_PANEL, "--epochs", "Length of every training in epochs. Default: 300 steps.", "N"),
]
CurveLrOption = Annotated[
    float | None,
    o.value_option(
        o.TRAINING_PANEL, "--lr", "Learning rate of every training. Default: chosen once, for the base.", "X"
    ),
]


def curve_verb(
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
    split_classes: SplitClassesOption = None,
    splits: SplitsOption = None,
    seeds: SeedsOption = None,
    seed: o.SeedOption = 0,
    epochs: CurveEpochsOption = None,
    lr: CurveLrOption = None,
    class_weights: o.ClassWeightsOption = False,
    batch_size: o.BatchSizeOption = None,
    augment: o.AugmentOption = None,
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
    """Measure how well features transfer at every depth (Yosinski et al. 2014): your network, or ones trained here."""
    settings = settings_from_options({**ctx.params, "strategies": "auto"})
    from frostline.base.device import prepare_process

    prepare_process(settings.threads)
    from frostline.curve.run import Protocol, run_curve

    protocol = Protocol(split_classes=split_classes, splits=splits, seeds=seeds)
    with drawing(plain=plain or json, json_lines=False, session=ctx.obj) as screen:
        finished = run_curve(settings, protocol, screen.emit)
    record = finished.record.model_dump(mode="json", by_alias=True)
    if json:
        print_json(record)
        return
    from frostline.report.curve import transfer_text

    print_text(transfer_text(record, stdout_width(), finished.path))
