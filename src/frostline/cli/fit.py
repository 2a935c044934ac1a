"""`frostline fit`: compare strategies on the user's data, refit the verdict, test it once."""

# ruff: noqa: ARG001  (the options are declared by the signature and reach the body through ctx.params)
from __future__ import annotations

import typer

from frostline.cli import options as o
from frostline.cli.draw import drawing
from frostline.cli.parse import settings_from_options
from frostline.cli.screen import print_text, stdout_width


def fit(
    ctx: typer.Context,
    data: o.Data,
    model: o.Model,
    weights: o.Weights = None,
    model_args: o.ModelArgs = None,
    mean: o.Mean = None,
    std: o.Std = None,
    size: o.Size = None,
    stages: o.Stages = None,
    source_classes: o.SourceClasses = None,
    label_map: o.LabelMap = None,
    labels_per_class: o.LabelsPerClass = None,
    min_per_class: o.MinPerClass = None,
    pool_validation: o.PoolValidation = False,
    blocks: o.Blocks = None,
    strategies: o.Strategies = "auto",
    head: o.Head = "linear",
    metric: o.Metric = "accuracy",
    margin: o.Margin = 0.01,
    prefer: o.Prefer = "cheapest",
    budget: o.Budget = None,
    abstain: o.Abstain = None,
    evaluate_all: o.EvaluateAll = False,
    seed: o.Seed = 0,
    epochs: o.Epochs = None,
    lr: o.Lr = None,
    layer_decay: o.LayerDecay = None,
    class_weights: o.ClassWeights = False,
    batch_size: o.BatchSize = None,
    augment: o.Augment = None,
    batchnorm: o.Batchnorm = None,
    out: o.Out = None,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    threads: o.Threads = None,
    store: o.Store = None,
    trust_code: o.TrustCode = False,
    resume: o.Resume = False,
    plain: o.Plain = False,
    json: o.Json = False,
) -> None:
    """Compare ways of re-using a pre-trained network on DATA: a verdict with evidence, and a refitted model."""
    settings = settings_from_options(ctx.params)
    from frostline.base.device import prepare_process

    prepare_process(settings.threads)
    from frostline.pipeline import run

    with drawing(plain=plain, json_lines=json, session=ctx.obj) as screen:
        finished = run(settings, screen.emit, clock=ctx.obj.clock)
        result = finished.result.model_dump(mode="json", by_alias=True)
        if json:
            screen.result(result, run=finished.path)
            return
    from frostline.report.tables import result_text

    print_text(result_text(result, stdout_width()))
