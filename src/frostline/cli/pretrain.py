"""`frostline pretrain`: train a network from nothing on a large labelled set, so that others can start from it."""

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
Method = Annotated[
    str, typer.Option("--method", help="How it learns; supervised (from labels) is the one there is.", metavar="NAME")
]
Epochs = Annotated[int, typer.Option("--epochs", help="Passes over the data.", metavar="N", rich_help_panel=o.TRAINING)]
Lr = Annotated[
    float | None,
    typer.Option(
        "--lr",
        help="Learning rate; by default three are tried, each for all epochs.",
        metavar="X",
        rich_help_panel=o.TRAINING,
    ),
]


def pretrain(
    ctx: typer.Context,
    data: o.Data,
    model: o.Model,
    method: Method = METHOD,
    model_args: o.ModelArgs = None,
    mean: o.Mean = None,
    std: o.Std = None,
    size: o.Size = None,
    labels_per_class: o.LabelsPerClass = None,
    min_per_class: o.MinPerClass = None,
    seed: o.Seed = 0,
    epochs: Epochs = 10,
    lr: Lr = None,
    batch_size: o.BatchSize = None,
    augment: o.Augment = None,
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
    """Train every weight of a network on DATA, from random values: weights for later transfer, tested once."""
    if method != METHOD:
        raise RecipeError(f"--method {method!r} doesn't exist.", f"There is --method {METHOD}: learn from labels.")
    settings = scratch_settings(ctx.params)
    from frostline.base.device import prepare_process

    prepare_process(settings.threads)
    from frostline.pipeline import run

    with drawing(plain=plain, json_lines=json, session=ctx.obj) as screen:
        finished = run(settings, screen.emit)
        if json:
            screen.result(finished.result.model_dump(mode="json", by_alias=True), run=finished.path)
            return
    print_text(closing(finished, model))


def scratch_settings(params: Mapping[str, Any]) -> Settings:
    """The settings of the strategy `scratch` alone, with the verb's own options."""
    defaults = {f.name: None if f.default is MISSING else f.default for f in fields(Settings)}
    return settings_from_options({**defaults, **params, "weights": "random", "strategies": "scratch"})


def closing(finished: Run, model: str) -> str:
    """How well it went, and the command that starts from it."""
    result, weights = finished.result, finished.path / "model" / "model.safetensors"
    low, high = result.test.ci
    row = result.strategies[0]
    words = ["frostline", "fit", "DATA", "--model"]
    return (
        f"Pre-trained {model} on {result.data.n_development:,} images of {len(result.data.classes)} classes "
        f"({row.epochs or 0:g} epochs, rate {row.rate or 0:g}).\n"
        f"Sealed test ({result.data.sealed}, {result.test.n:,} images, opened once): {result.test.accuracy:.3f}, "
        f"95 % interval {low:.3f} to {high:.3f}.\n"
        f"To start from it:  {shlex.join([*words, f'run:{finished.path}'])}\n"
        f"  or with the weights alone:  {shlex.join([*words, model, '--weights', str(weights)])}\n"
    )
