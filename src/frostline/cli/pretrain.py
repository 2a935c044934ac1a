"""`frostline pretrain`: train a network from random weights on a large labelled set, for transfer to other data."""

# ruff: noqa: ARG001  (the options are declared by the signature and reach the body through ctx.params)
from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frostline.base.errors import RecipeError
from frostline.cli import options as o
from frostline.cli.draw import drawing
from frostline.cli.parse import settings_from_options
from frostline.cli.screen import print_text
from frostline.recipe.settings import Settings

if TYPE_CHECKING:
    from frostline.pipeline import Run

METHOD = "supervised"
MethodOption = Annotated[
    str, o.value_option(o.TRAINING_PANEL, "--method", "Training method; only `supervised` exists.", "NAME")
]
PretrainEpochsOption = Annotated[int, o.value_option(o.TRAINING_PANEL, "--epochs", "Passes over the data.", "N")]
PretrainLrOption = Annotated[
    float | None,
    o.value_option(o.TRAINING_PANEL, "--lr", "Learning rate. Default: three are tried, each for all epochs.", "X"),
]


def pretrain_verb(
    ctx: typer.Context,
    data: o.DataArgument,
    model: o.ModelOption,
    method: MethodOption = METHOD,
    model_args: o.ModelArgsOption = None,
    mean: o.MeanOption = None,
    std: o.StdOption = None,
    size: o.SizeOption = None,
    labels_per_class: o.LabelsPerClassOption = None,
    min_per_class: o.MinPerClassOption = None,
    seed: o.SeedOption = 0,
    epochs: PretrainEpochsOption = 10,
    lr: PretrainLrOption = None,
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
    """Train all weights of a network on DATA from random values, for later transfer; tested once."""
    if method != METHOD:
        raise RecipeError(f"--method {method!r} doesn't exist.", f"Only --method {METHOD} does: training on labels.")
    settings = scratch_settings(ctx.params)
    from frostline.base.device import prepare_process

    prepare_process(settings.threads)
    from frostline.pipeline import run

    with drawing(plain=plain, json_lines=json, session=ctx.obj) as screen:
        finished = run(settings, screen.emit)
        screen.result(finished.result.model_dump(mode="json", by_alias=True), run=finished.path)
    if not json:
        print_text(closing(finished, model))


def scratch_settings(params: Mapping[str, Any]) -> Settings:
    """Return the settings of a run of `scratch` alone, with the verb's own options."""
    defaults = {f.name: f.default for f in fields(Settings) if f.default is not MISSING}
    return settings_from_options({**defaults, **params, "weights": "random", "strategies": "scratch"})


def closing(finished: Run, model: str) -> str:
    """Return how well it went, and the commands that start from the new weights."""
    result = finished.result
    low, high = result.test.ci
    training = result.strategies[0]
    fit_words = ["frostline", "fit", "DATA", "--model"]
    weights = str(finished.path / "model" / "model.safetensors")
    return (
        f"Pre-trained {model} on {result.data.n_development:,} samples of {len(result.data.classes)} classes "
        f"({training.epochs or 0:g} epochs, rate {training.rate or 0:g}).\n"
        f"Sealed test ({result.data.sealed}, {result.test.n:,} samples, opened once): {result.test.accuracy:.3f}, "
        f"95 % interval {low:.3f} to {high:.3f}.\n"
        f"To start from it:  {shlex.join([*fit_words, f'run:{finished.path}'])}\n"
        f"  or with the weights alone:  {shlex.join([*fit_words, model, '--weights', weights])}\n"
    )
