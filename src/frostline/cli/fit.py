"""`frostline fit`: compare strategies on the user's data, refit the verdict, test it once."""

# ruff: noqa: ARG001  (the options are declared by the signature and reach the body through ctx.params)
from __future__ import annotations

import typer

from frostline.cli import options as o
from frostline.cli.draw import drawing
from frostline.cli.parse import settings_from_options
from frostline.cli.screen import print_text, stdout_width


def fit_verb(
    ctx: typer.Context,
    data: o.DataArgument,
    model: o.SourcesOption,
    weights: o.WeightsOption = None,
    model_args: o.ModelArgsOption = None,
    mean: o.MeanOption = None,
    std: o.StdOption = None,
    size: o.SizeOption = None,
    stages: o.StagesOption = None,
    source_classes: o.SourceClassesOption = None,
    label_map: o.LabelMapOption = None,
    pretrain: o.PretrainOption = None,
    pretrain_method: o.PretrainMethodOption = None,
    pretrain_epochs: o.PretrainEpochsOption = None,
    target: o.TargetOption = None,
    source_data: o.SourceDataOption = None,
    labels_per_class: o.LabelsPerClassOption = None,
    min_per_class: o.MinPerClassOption = None,
    pool_validation: o.PoolValidationOption = False,
    blocks: o.BlocksOption = None,
    strategies: o.StrategiesOption = "auto",
    head: o.HeadOption = "linear",
    metric: o.MetricOption = "accuracy",
    margin: o.MarginOption = 0.01,
    prefer: o.PreferOption = "cheapest",
    budget: o.BudgetOption = None,
    abstain: o.AbstainOption = None,
    evaluate_all: o.EvaluateAllOption = False,
    seed: o.SeedOption = 0,
    epochs: o.EpochsOption = None,
    lr: o.LrOption = None,
    layer_decay: o.LayerDecayOption = None,
    class_weights: o.ClassWeightsOption = False,
    batch_size: o.BatchSizeOption = None,
    augment: o.AugmentOption = None,
    batchnorm: o.BatchnormOption = None,
    out: o.OutOption = None,
    device: o.DeviceOption = "auto",
    precision: o.PrecisionOption = "auto",
    threads: o.ThreadsOption = None,
    max_memory: o.MaxMemoryOption = None,
    store: o.StoreOption = None,
    trust_code: o.TrustCodeOption = False,
    track: o.TrackOption = None,
    resume: o.ResumeOption = False,
    conclude: o.ConcludeOption = False,
    plain: o.PlainOption = False,
    json: o.JsonOption = False,
) -> None:
    """Compare ways to reuse a pre-trained network on DATA: a verdict with evidence, and a refitted model."""
    settings = settings_from_options(ctx.params)
    from frostline.base.device import prepare_process
    from frostline.tracking import both, listener

    tracker = listener(track)
    prepare_process(settings.threads)
    from frostline.pipeline import run

    with drawing(plain=plain, json_lines=json, session=ctx.obj) as screen:
        finished = run(settings, both(screen.emit, tracker), clock=ctx.obj.clock)
        result = finished.result.model_dump(mode="json", by_alias=True)
        screen.result(result, run=finished.path)
    if json:
        return
    from frostline.report.tables import result_text

    print_text(result_text(result, stdout_width()))
