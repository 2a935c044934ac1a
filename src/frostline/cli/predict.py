"""`frostline predict`: classes and probabilities for new files from a run's model."""

from __future__ import annotations

import csv as csv_format
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from frostline.base.errors import RecipeError
from frostline.cli import options as o
from frostline.cli.screen import print_json, print_table

if TYPE_CHECKING:
    from frostline.bundle.predict import Prediction

Csv = Annotated[
    str | None,
    typer.Option("--csv", metavar="FILE|-", help="Write a table with one p:CLASS column a class; - is stdout."),
]


def predict(
    run: o.Run,
    files: o.Files,
    csv: Csv = None,
    json: o.Json = False,
    trust_code: o.TrustCode = False,
    device: o.Device = "auto",
) -> None:
    """Predict the class of images or texts with the model of a RUN folder."""
    if csv == "-" and json:
        raise RecipeError("--csv - and --json would both write to stdout.", "Give one of them, or --csv FILE.")
    from frostline.base.device import prepare_process

    prepare_process(None)
    from frostline.bundle.predict import predict_paths

    predictions = predict_paths(run, files, trust_code=trust_code, device=device, on_bad=warn)
    if csv == "-":
        write_csv(sys.stdout, predictions)
    elif csv is not None:
        with Path(csv).open("w", encoding="utf-8", newline="") as handle:
            write_csv(handle, predictions)
    if json:
        print_json([as_json(p) for p in predictions])
    elif csv is None:
        draw(predictions)


def warn(file: str, reason: str) -> None:
    """Name a file that is left out."""
    sys.stderr.write(f"warning: {file} is left out, it can't be read: {reason}\n")


def as_json(p: Prediction) -> dict[str, Any]:
    """`file`, `predicted`, `probabilities`; and `sure` where the model has a threshold."""
    found = {"file": p.file, "predicted": p.predicted, "probabilities": p.probabilities}
    return found if p.sure is None else {**found, "sure": p.sure}


def write_csv(handle: TextIO, predictions: Sequence[Prediction]) -> None:
    """Columns `file`, `predicted` and one `p:CLASS` a class, as in a run's predictions.csv; `sure` after `predicted`
    where the model has a threshold."""
    classes = list(predictions[0].probabilities) if predictions else []
    writer = csv_format.writer(handle, lineterminator="\n")
    sure = any(p.sure is not None for p in predictions)
    writer.writerow(["file", "predicted", *(["sure"] if sure else []), *(f"p:{name}" for name in classes)])
    for p in predictions:
        told = ["true" if p.sure else "false"] if sure else []
        writer.writerow([p.file, p.predicted, *told, *(repr(p.probabilities[name]) for name in classes)])


def draw(predictions: Sequence[Prediction]) -> None:
    """File, class (`unsure (CLASS)` below the threshold), its probability, and the runner-up."""
    rows = []
    for p in predictions:
        second = sorted(p.probabilities, key=lambda name: -p.probabilities[name])[1:2]
        runner_up = f"{second[0]} {p.probabilities[second[0]]:.3f}" if second else ""
        named = f"unsure ({p.predicted})" if p.sure is False else p.predicted
        rows.append((p.file, named, f"{p.probabilities[p.predicted]:.3f}", runner_up))
    print_table(("file", "predicted", "probability", "runner-up"), rows, right=("probability",))
