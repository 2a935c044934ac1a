"""`frostline predict`: classes and probabilities for new files from a run's model."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

from frostline.base.cells import csv_text
from frostline.base.errors import RecipeError
from frostline.base.files import write_atomic
from frostline.cli import options as o
from frostline.cli.screen import print_json, print_table, print_text, print_warning

if TYPE_CHECKING:
    from frostline.bundle.predict import Prediction

CsvOption = Annotated[
    str | None,
    o.value_option(o.OUTPUT_PANEL, "--csv", "Write a table with one column p:CLASS per class; - is stdout.", "FILE|-"),
]


def predict_verb(
    run: o.RunArgument,
    files: o.FilesArgument,
    csv: CsvOption = None,
    json: o.JsonOption = False,
    trust_code: o.TrustCodeOption = False,
    device: o.DeviceOption = "auto",
) -> None:
    """Predict the classes of images or texts with the model of a RUN folder."""
    if csv == "-" and json:
        raise RecipeError("--csv - and --json would both write to stdout.", "Give one of them, or --csv FILE.")
    if csv is not None and csv != "-":
        check_writable(Path(csv))
    from frostline.base.device import prepare_process

    prepare_process(None)
    from frostline.bundle.predict import predict_paths

    predictions = predict_paths(run, files, trust_code=trust_code, device=device, on_bad=warn_of_file)
    if csv == "-":
        print_csv(predictions)
    elif csv is not None:
        write_csv_file(Path(csv), predictions)
    if json:
        print_json([prediction_json(p) for p in predictions])
    elif csv is None:
        print_predictions(predictions)


def check_writable(path: Path) -> None:
    """Raise RecipeError, before any work is done, where a file can't be written."""
    reason = ""
    if path.is_dir():
        reason = "it is a folder"
    elif not path.parent.is_dir():
        reason = f"there is no folder {path.parent}"
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        reason = "writing there isn't allowed"
    if reason:
        raise RecipeError(f"--csv {path} can't be written: {reason}.", "Name a file in a folder of yours.")


def warn_of_file(file: str, reason: str) -> None:
    """Warn of a file that is skipped."""
    print_warning(f"{file} can't be read and is skipped: {reason}")


def prediction_json(p: Prediction) -> dict[str, Any]:
    """Return `file`, `predicted`, `probabilities`, and `sure` where the model has a threshold."""
    values: dict[str, Any] = {"file": p.file, "predicted": p.predicted, "probabilities": p.probabilities}
    if p.sure is not None:
        values["sure"] = p.sure
    return values


def write_csv(handle: TextIO, predictions: Sequence[Prediction]) -> None:
    """Write columns `file`, `predicted` and one `p:CLASS` per class, as in a run's predictions.csv.

    `sure` follows `predicted` where the model has a threshold.
    """
    classes = list(predictions[0].probabilities) if predictions else []
    abstains = any(p.sure is not None for p in predictions)
    start = ["file", "predicted"]
    if abstains:
        start.append("sure")
    rows = []
    for p in predictions:
        cells = [p.file.encode("utf-8", "backslashreplace").decode(), p.predicted]  # names may be any bytes
        if abstains:
            cells.append("true" if p.sure else "false")
        rows.append([*cells, *(repr(p.probabilities[name]) for name in classes)])
    handle.write(csv_text([*start, *(f"p:{name}" for name in classes)], rows))


def write_csv_file(path: Path, predictions: Sequence[Prediction]) -> None:
    """Write the table as a whole or not at all; into a pipe or a device as it comes."""
    text = StringIO(newline="")
    write_csv(text, predictions)
    content = text.getvalue().encode()
    if path.exists() and not path.is_file():
        path.write_bytes(content)
    else:
        write_atomic(path.resolve(), content)


def print_csv(predictions: Sequence[Prediction]) -> None:
    """Write the table to stdout; to a terminal as it may be shown there, to a file or a pipe as it is."""
    if not sys.stdout.isatty():
        write_csv(sys.stdout, predictions)
        return
    text = StringIO()
    write_csv(text, predictions)
    print_text(text.getvalue())


def print_predictions(predictions: Sequence[Prediction]) -> None:
    """Print file, class (`unsure (CLASS)` below the threshold), its probability, and the runner-up."""
    rows = []
    for p in predictions:
        runner_up = ""
        ranked = sorted(p.probabilities, key=lambda name: -p.probabilities[name])
        if len(ranked) > 1:
            runner_up = f"{ranked[1]} {p.probabilities[ranked[1]]:.3f}"
        predicted = f"unsure ({p.predicted})" if p.sure is False else p.predicted
        rows.append((p.file, predicted, f"{p.probabilities[p.predicted]:.3f}", runner_up))
    print_table(("file", "predicted", "probability", "runner-up"), rows, right=("probability",))
