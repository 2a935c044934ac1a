"""`frostline pretrain`: train a network before the transfer, on labels or on data without any."""

# ruff: noqa: ARG001  (the options are declared by the signature and reach the body through ctx.params)
from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frostline.base.errors import DataError, RecipeError, nearest
from frostline.cli import options as o
from frostline.cli.draw import drawing
from frostline.cli.parse import settings_from_options
from frostline.cli.screen import print_text, stdout_width
from frostline.recipe.settings import Settings, option

if TYPE_CHECKING:
    from frostline.pipeline import Run
    from frostline.pretrain.run import PretrainRun

SUPERVISED = "supervised"
TEXTS = "mlm"
METHODS = (SUPERVISED, "simclr", "vicreg", "rotation", "denoise", TEXTS)  # the others are pretrain.objectives.METHODS
# Options that say something to training on labels alone, and the one that says something to the others alone.
OF_LABELS = ("labels_per_class", "min_per_class", "augment", "store")
OF_OTHERS = ("weights",)
SUPERVISED_EPOCHS = 10
UNLABELLED = "Where there are no labels: --method simclr (images) or --method mlm (texts)."

PretrainDataArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="Labelled data as for fit; without labels: a folder of images, a table, an .npy file of images, or a .txt "
        "file with one text per line.",
    ),
]
MethodOption = Annotated[
    str | None,
    o.value_option(
        o.TRAINING_PANEL,
        "--method",
        "On labels: supervised. Without labels, images: simclr or vicreg (two views of one image), rotation (quarter "
        "turns; not for digits, letters or cells), denoise (fill holes); texts: mlm (guess hidden words). Default: "
        "supervised; for a network of texts mlm.",
        "NAME",
    ),
]
PretrainWeightsOption = Annotated[
    str | None,
    o.value_option(
        o.NETWORK_PANEL,
        "--weights",
        "Weights to go on from, without labels: a file, or random. Default: random; of run:RUN and for texts its own.",
        "FILE|random",
    ),
]
PretrainEpochsOption = Annotated[
    int | None,
    o.value_option(
        o.TRAINING_PANEL, "--epochs", "Passes over the data. Default: 10; without labels 50, of texts 5.", "N"
    ),
]
PretrainLrOption = Annotated[
    float | None,
    o.value_option(
        o.TRAINING_PANEL,
        "--lr",
        "Learning rate. Default: on labels three are tried, each for all epochs; without labels the method's own.",
        "X",
    ),
]


def pretrain_verb(
    ctx: typer.Context,
    data: PretrainDataArgument,
    model: o.ModelOption,
    method: MethodOption = None,
    weights: PretrainWeightsOption = None,
    model_args: o.ModelArgsOption = None,
    mean: o.MeanOption = None,
    std: o.StdOption = None,
    size: o.SizeOption = None,
    labels_per_class: o.LabelsPerClassOption = None,
    min_per_class: o.MinPerClassOption = None,
    seed: o.SeedOption = 0,
    epochs: PretrainEpochsOption = None,
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
    """Train a network on DATA for later transfer: on labels, or on images or texts that have none."""
    check_method(method)
    settings = scratch_settings(ctx.params)
    from frostline.base.device import prepare_process

    prepare_process(settings.threads)
    if method is None:
        method = method_by_default(settings)
    check_effect(method, ctx.params)
    if method == SUPERVISED:
        _supervised(ctx, settings)
    else:
        _without_labels(ctx, method)


def check_method(method: str | None) -> None:
    """Raise RecipeError for a method that doesn't exist."""
    if method is not None and method not in METHODS:
        raise RecipeError(f"--method {method!r} doesn't exist.", nearest(method, METHODS))


def check_effect(method: str, params: Mapping[str, Any]) -> None:
    """Raise RecipeError for an option that has no effect with this method."""
    refused: tuple[str, ...] = OF_LABELS
    why = "it learns without labels, and draws its own views"
    if method == SUPERVISED:
        refused = OF_OTHERS
        why = "all weights are trained from random values"
    given = next((name for name in refused if params[name] is not None), None)
    if given is None:
        return
    hint = "Leave it out."
    if given == "weights":
        hint = "To go on from given weights: frostline fit DATA --model SPEC --weights FILE --strategies finetune."
    raise RecipeError(f"{option(given)} has no effect with --method {method}: {why}.", hint)


def method_by_default(settings: Settings) -> str:
    """Return the method where none is named: `mlm` for a network of texts, else `supervised`."""
    if not settings.model.startswith(("hf:", "run:")):
        return SUPERVISED
    from frostline.pretrain.run import reads_texts

    if reads_texts(settings):
        return TEXTS
    return SUPERVISED


def scratch_settings(params: Mapping[str, Any]) -> Settings:
    """Return the settings of a run of `scratch` alone, with the verb's own options."""
    defaults = {f.name: f.default for f in fields(Settings) if f.default is not MISSING}
    epochs = params["epochs"]
    if epochs is None:
        epochs = SUPERVISED_EPOCHS
    return settings_from_options({**defaults, **params, "epochs": epochs, "weights": "random", "strategies": "scratch"})


def _supervised(ctx: typer.Context, settings: Settings) -> None:
    from frostline.pipeline import run

    params = ctx.params
    with drawing(plain=params["plain"], json_lines=params["json"], session=ctx.obj) as screen:
        try:
            finished = run(settings, screen.emit)
        except DataError as error:
            raise DataError(error.message, f"{error.hint}\n{UNLABELLED}".lstrip()) from error
        screen.result(finished.result.model_dump(mode="json", by_alias=True), run=finished.path)
    if not params["json"]:
        print_text(closing(finished, settings.model))


def _without_labels(ctx: typer.Context, method: str) -> None:
    from frostline.pretrain.run import PretrainSettings, run_pretraining
    from frostline.report.pretrained import pretrained_text

    params = ctx.params
    defaults = {f.name: f.default for f in fields(Settings) if f.default is not MISSING}
    settings = PretrainSettings(
        common=settings_from_options({**defaults, **params, "strategies": "auto"}), method=method
    )
    with drawing(plain=params["plain"], json_lines=params["json"], session=ctx.obj) as screen:
        finished = run_pretraining(settings, screen.emit)
        values = finished.record.model_dump(mode="json", by_alias=True)
        screen.result(values, run=finished.path)
    if not params["json"]:
        print_text(pretrained_text(values, stdout_width()) + onward(finished))


def onward(finished: PretrainRun) -> str:
    """Return the command that starts from the new weights."""
    return f"\nTo start from it:  {shlex.join(['frostline', 'fit', 'DATA', '--model', finished.spec])}\n"


def closing(finished: Run, model: str) -> str:
    """Return how well it went, and the commands that start from the new weights."""
    result = finished.result
    low, high = result.test.ci
    training = result.strategies[0]
    fit_words = ["frostline", "fit", "DATA", "--model"]
    weights = str(finished.path / "model" / "model.safetensors")
    alone = f"  or with the weights alone:  {shlex.join([*fit_words, model, '--weights', weights])}\n"
    if model.startswith("run:"):  # a run brings its own weights
        alone = ""
    return (
        f"Pre-trained {model} on {result.data.n_development:,} samples of {len(result.data.classes)} classes "
        f"({training.epochs or 0:g} epochs, rate {training.rate or 0:g}).\n"
        f"Sealed test ({result.data.sealed}, {result.test.n:,} samples, opened once): {result.test.accuracy:.3f}, "
        f"95 % interval {low:.3f} to {high:.3f}.\n"
        f"To start from it:  {shlex.join([*fit_words, f'run:{finished.path}'])}\n{alone}"
    )
