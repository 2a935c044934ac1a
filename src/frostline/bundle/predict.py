"""From files and texts to class probabilities: the one path that training's sealed test, `predict` and Python share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from frostline.base.device import apply_threads
from frostline.base.errors import BundleError, DataError
from frostline.base.records import FloatArray
from frostline.bundle.notebook import bundle_html, bundle_text
from frostline.bundle.saved import LoadedModel, load_model
from frostline.cutting.inputs import call_of
from frostline.data.contract import Samples, evaluation_views, input_lengths, to_inputs
from frostline.data.decode import Lazy, Source, decode_all
from frostline.data.folder_tree import read_tree
from frostline.data.preprocess import Preprocess
from frostline.data.raw import arrange, as_numpy, is_array, raw_images
from frostline.data.table_files import READERS, ArrowImages, Place
from frostline.data.tables import image_source, read_columns, read_lines
from frostline.data.texts import TextPreprocess, Texts, check_texts, read_texts
from frostline.features.inference import grouped, scores_in_chunks
from frostline.stats.proportions import corrected

FORM = "Give images, folders of them, or tables (.csv, .tsv, .jsonl, .parquet) with a column image."
BadFile = Callable[[str, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One file's answer, or that of a table's row: its image's path as the table has it, or `FILE:ROW`, rows counted
    from 1.

    `sure` is None where the model has no threshold.
    """

    file: str
    predicted: str
    probabilities: dict[str, float]
    sure: bool | None = None


@dataclass(frozen=True)
class Bundle:
    """A saved model, ready to predict. Its probabilities are calibrated by `temperature` (1: as the network has them).

    `threshold` is the probability below which an answer is unsure; None where the run had no `--abstain`, or where no
    threshold reached what it asked for. A notebook shows the model as a table.
    """

    loaded: LoadedModel
    folder: Path | None = None  # where it was read from

    def __repr__(self) -> str:
        return bundle_text(self.loaded, self.folder)

    def _repr_html_(self) -> str:
        return bundle_html(self.loaded, self.folder)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.loaded.classes

    @property
    def temperature(self) -> float:
        return self.loaded.temperature

    @property
    def threshold(self) -> float | None:
        if self.loaded.abstain:
            return self.loaded.abstain.threshold
        return None

    def sure(self, probabilities: FloatArray) -> NDArray[np.bool_]:
        """Which rows (N,) of :meth:`predict_proba` (N, C) reach the threshold; BundleError where there is none."""
        if self.threshold is None:
            raise BundleError("This model has no threshold to abstain by.", "Run frostline fit with --abstain 0.95.")
        found: NDArray[np.bool_] = np.asarray(probabilities).max(axis=1, initial=0.0) >= self.threshold
        return found

    def predict_proba(self, images: Any) -> FloatArray:
        """Class probabilities (N, C) of images or texts, whichever the network reads, calibrated.

        Args:
            images: image files (paths), or arrays as `frostline.fit` takes them: (N, H, W), (N, H, W, C),
                (N, C, H, W) or a list of images; converted as there. Or a list of texts.

        Raises:
            DataError: a file that can't be read, by its name; arrays that don't fit the network; an empty text.
        """
        if isinstance(images, Sequence) and not len(images):
            return np.zeros((0, len(self.classes)))
        if isinstance(self.loaded.preprocess, TextPreprocess):
            return predict_samples(self.loaded, _given_texts(images, self.loaded.preprocess))
        sources = arrange(raw_images(images, "images"), self.loaded.preprocess, "images")
        decoded, bad = decode_all(
            sources, self.loaded.preprocess, threads=self.loaded.compute.threads, spill_dir=None, progress=None
        )
        if bad:
            index, reason = next(iter(bad.items()))
            raise DataError(f"{sources[index]} can't be read: {reason}.", "Leave it out.")
        return predict_samples(self.loaded, decoded)

    def predict(self, images: Any) -> list[str]:
        """The most probable class of each image or text, unsure or not; `images` as for :meth:`predict_proba`."""
        return [self.classes[i] for i in self.predict_proba(images).argmax(axis=1)]


def load(path: str | Path, *, trust_code: bool = False, device: str = "auto") -> Bundle:
    """The model of a RUN folder (or its `model/` folder).

    Args:
        path: a RUN folder.
        trust_code: let network code run that this user has not named before.
        device: 'auto', 'cpu', 'cuda', 'mps'.

    Raises:
        BundleError: no saved model there, or its code isn't trusted.
    """
    folder = Path(path)
    model = folder
    if (folder / "model").is_dir():
        model = folder / "model"
    if not model.is_dir():
        raise BundleError(f"{folder} is not a RUN folder.", "Give the folder that frostline fit wrote.")
    loaded = load_model(model, trust_code=trust_code, device=device)
    if loaded.recipe["headless"] is not None:
        raise BundleError(
            f"{folder} holds a network that knows no classes: {loaded.recipe['headless']}.",
            f"Fit it to labelled data first: frostline fit DATA --model run:{folder}.",
        )
    apply_threads(loaded.compute)
    return Bundle(loaded, model)


def _given_texts(given: Any, preprocess: TextPreprocess) -> Texts:
    if isinstance(given, (str, bytes)) or not (is_array(given) or isinstance(given, Sequence)):
        raise DataError(f"The network reads texts, but a {type(given).__name__} was given.", "Give a list of texts.")
    if is_array(given):
        words = as_numpy(given).tolist()
    else:
        words = list(given)
    bad = check_texts(words)
    if bad:
        index, reason = next(iter(bad.items()))
        raise DataError(f"Text {index} can't be read: {reason}.", "Leave it out.")
    return read_texts(words, preprocess)[0]


def predict_samples(loaded: LoadedModel, samples: Samples) -> FloatArray:
    """Probabilities (N, C) of decoded images or tokenised texts, in chunks of the recorded size; partial chunks are
    padded.

    softmax(logits / temperature) in float64: in float32 a high temperature could make two classes equal. The factors
    of another prior, where the model has them, multiply the result before it is normalised again.
    """
    compute = loaded.compute
    if not len(samples):
        return np.zeros((0, len(loaded.classes)))

    def forward(chunk: Tensor) -> Any:
        views = evaluation_views(samples.select(chunk.numpy()), loaded.preprocess, compute.threads)
        inputs = to_inputs(views, loaded.preprocess, device=compute.device, channels_last=compute.channels_last)
        return call_of(inputs).run(loaded.model)

    groups = grouped(input_lengths(samples, loaded.preprocess), compute)
    scores = scores_in_chunks(forward, torch.arange(len(samples)), groups, compute)
    probabilities: FloatArray = (scores.cpu().double() / loaded.temperature).softmax(1).numpy()
    if loaded.prior is None:
        return probabilities
    return corrected(probabilities, loaded.prior)


def predict_paths(
    run: Path,
    paths: Sequence[Path],
    *,
    trust_code: bool = False,
    device: str = "auto",
    on_bad: BadFile = lambda _file, _reason: None,
) -> list[Prediction]:
    """Predict image files, whole folders of them and tables with a column `image`; or texts: tables with a column
    `text`, .txt with one text a line. What can't be read is told to `on_bad` and left out; DataError if nothing is
    left."""
    bundle = load(run, trust_code=trust_code, device=device)
    names, samples, bad = _read_files(paths, bundle.loaded)
    for index, reason in bad.items():
        on_bad(names[index], reason)
    good = [i for i in range(len(names)) if i not in bad]
    if not good and isinstance(samples, Texts):
        raise DataError(f"None of {len(names)} texts can be read.", "Give tables with a column text, or .txt files.")
    if not good:
        raise DataError(f"None of {len(names)} files can be read as an image.", "Give JPEG, PNG or similar files.")
    probabilities = predict_samples(bundle.loaded, samples.select(np.array(good)))
    if bundle.threshold is None:
        sure = [None] * len(good)
    else:
        sure = bundle.sure(probabilities).tolist()
    return [
        Prediction(
            file=names[i],
            predicted=bundle.classes[int(row.argmax())],
            sure=known,
            probabilities=dict(zip(bundle.classes, map(float, row), strict=True)),
        )
        for i, row, known in zip(good, probabilities, sure, strict=True)
    ]


def _read_files(paths: Sequence[Path], loaded: LoadedModel) -> tuple[list[str], Samples, dict[int, str]]:
    """What each sample is called, the samples, and those that can't be read, with the reason."""
    if isinstance(loaded.preprocess, Preprocess):
        found = [pair for path in paths for pair in images_at(path)]
        images, bad = decode_all(
            [source for _, source in found],
            loaded.preprocess,
            threads=loaded.compute.threads,
            spill_dir=None,
            progress=None,
        )
        return [name for name, _ in found], images, bad
    rows = [(f"{path}:{k}", text) for path in paths for k, text in enumerate(read_lines(path), 1)]
    bad = check_texts([text for _, text in rows])
    words = ["" if k in bad else text for k, (_, text) in enumerate(rows)]  # a tokenizer takes valid text alone
    return [name for name, _ in rows], read_texts(words, loaded.preprocess)[0], bad


def images_at(path: Path) -> list[tuple[str, Source]]:
    """Names and places of the images that a path stands for: itself, those below a folder, those of a table's rows.

    A row is called by its path as the table has it, one that holds the image's bytes `FILE:ROW`. Raises DataError for
    a path that isn't there, a folder without images, and tables as :func:`frostline.data.tables.read_table` does,
    except that a table needs no labels.
    """
    if path.is_dir():
        tree = read_tree(path, strict=True)  # what fit would see: nothing hidden, no folder of a system
        inside = sorted(tree.all_images())
        if not inside:
            raise DataError(f"The folder {path} holds no images.", FORM)
        return [(str(path / name), path / name) for name in inside]
    if not path.is_file():
        what = "is neither a file nor a folder" if path.exists() else "doesn't exist"  # a pipe, a device
        raise DataError(f"{path} {what}.", FORM)
    if path.suffix.lower() in READERS:
        return _rows_of(path)
    return [(str(path), path)]


def _rows_of(path: Path) -> list[tuple[str, Source]]:
    columns = read_columns(path)
    if "image" not in columns:
        known = ", ".join(map(repr, columns)) or "none"
        raise DataError(f"{path} has no column 'image', which the model reads; its columns are {known}.", FORM)
    images = columns["image"]
    if not images:
        raise DataError(f"{path} holds no rows.", FORM)
    folder = path.parent.resolve()
    return [_image_of(images, row, path, folder) for row in range(len(images))]


def _image_of(images: Sequence[Any], row: int, table: Path, folder: Path) -> tuple[str, Source]:
    source = image_source(images, row, folder, Place(table.name))
    if isinstance(source, Lazy):
        return f"{table}:{row + 1}", source
    return str(images.path(row) if isinstance(images, ArrowImages) else images[row]), source
