"""From files to class probabilities: the one path that training's sealed test, `predict` and Python share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from frostline.base.device import apply_threads, autocast
from frostline.base.errors import BundleError, DataError
from frostline.base.records import FloatArray
from frostline.bundle.saved import Loaded, load_model
from frostline.data.decode import Pictures, decode_all
from frostline.data.preprocess import to_input
from frostline.data.raw import arrange, raw_pictures
from frostline.data.scan import is_picture
from frostline.data.views import augment_policy, make_views
from frostline.models.guard import exact
from frostline.models.heads import flat_logits

BadFile = Callable[[str, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One file's answer. `sure` is None where the model has no threshold."""

    file: str
    predicted: str
    probabilities: dict[str, float]
    sure: bool | None = None


@dataclass(frozen=True)
class Bundle:
    """A saved model, ready to predict. Its probabilities are calibrated by `temperature` (1: as the network has them).

    `threshold` is the probability below which an answer is unsure; None where the run had no `--abstain`, or where no
    threshold reached what it asked for.
    """

    loaded: Loaded

    @property
    def classes(self) -> tuple[str, ...]:
        return self.loaded.classes

    @property
    def temperature(self) -> float:
        return self.loaded.temperature

    @property
    def threshold(self) -> float | None:
        return self.loaded.abstain.threshold if self.loaded.abstain else None

    def sure(self, probabilities: FloatArray) -> NDArray[np.bool_]:
        """Which rows (N,) of :meth:`predict_proba` (N, C) reach the threshold; BundleError where there is none."""
        if self.threshold is None:
            raise BundleError("This model has no threshold to abstain by.", "Run frostline fit with --abstain 0.95.")
        found: NDArray[np.bool_] = np.asarray(probabilities).max(axis=1, initial=0.0) >= self.threshold
        return found

    def predict_proba(self, pictures: Any) -> FloatArray:
        """Class probabilities (N, C) of pictures, calibrated.

        Args:
            pictures: picture files (paths), or arrays as `frostline.fit` takes them: (N, H, W), (N, H, W, C),
                (N, C, H, W) or a list of pictures; converted as there.

        Raises:
            DataError: a file that can't be read, by its name; arrays that don't fit the network.
        """
        if isinstance(pictures, Sequence) and not len(pictures):
            return np.zeros((0, len(self.classes)))
        sources = arrange(raw_pictures(pictures, "pictures"), self.loaded.preprocess, "pictures")
        decoded, bad = decode_all(
            sources, self.loaded.preprocess, threads=self.loaded.compute.threads, spill_dir=None, progress=None
        )
        if bad:
            index, reason = next(iter(bad.items()))
            raise DataError(f"{sources[index]} can't be read: {reason}.", "Leave it out.")
        return predict_pictures(self.loaded, decoded)

    def predict(self, pictures: Any) -> list[str]:
        """The most probable class of each picture, unsure or not; `pictures` as for :meth:`predict_proba`."""
        return [self.classes[i] for i in self.predict_proba(pictures).argmax(axis=1)]


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
    model = folder / "model" if (folder / "model").is_dir() else folder
    if not model.is_dir():
        raise BundleError(f"{folder} is not a RUN folder.", "Give the folder that frostline fit wrote.")
    loaded = load_model(model, trust_code=trust_code, device=device)
    apply_threads(loaded.compute)
    return Bundle(loaded)


def predict_pictures(loaded: Loaded, pictures: Pictures) -> FloatArray:
    """Probabilities (N, C) of decoded pictures, in chunks of the recorded size; partial chunks are padded.

    softmax(logits / temperature) in float64: in float32 a high temperature could make two classes equal.
    """
    policy = augment_policy("none", loaded.preprocess)
    compute, parts = loaded.compute, []
    for start in range(0, len(pictures), compute.chunk):
        rows = np.arange(start, min(start + compute.chunk, len(pictures)))
        padded = np.concatenate([rows, np.repeat(rows[-1:], compute.chunk - len(rows))])
        views = make_views(pictures.select(padded), [""] * compute.chunk, loaded.preprocess, policy, seed=0, view=0,
                           threads=compute.threads)  # fmt: skip
        inputs = to_input(torch.from_numpy(views), loaded.preprocess, device=compute.device,
                          channels_last=compute.channels_last)  # fmt: skip
        with torch.inference_mode(), autocast(compute), exact():
            logits = flat_logits(loaded.model(inputs))
        parts.append((logits.cpu().double() / loaded.temperature).softmax(1).numpy()[: len(rows)])
    return np.concatenate(parts) if parts else np.zeros((0, len(loaded.classes)))


def predict_paths(run: Path, paths: Sequence[Path], *, trust_code: bool = False, device: str = "auto",
                  on_bad: BadFile = lambda _file, _reason: None) -> list[Prediction]:  # fmt: skip
    """Predict files and whole folders. Unreadable ones are told to `on_bad` and left out; DataError if none is left."""
    files = _expand(paths)
    bundle = load(run, trust_code=trust_code, device=device)
    pictures, bad = decode_all(
        files, bundle.loaded.preprocess, threads=bundle.loaded.compute.threads, spill_dir=None, progress=None
    )
    for index, reason in bad.items():
        on_bad(str(files[index]), reason)
    good = [i for i in range(len(files)) if i not in bad]
    if not good:
        raise DataError(f"None of {len(files)} files can be read as a picture.", "Give JPEG, PNG or similar files.")
    probabilities = predict_pictures(bundle.loaded, pictures.select(np.array(good)))
    sure = [None] * len(good) if bundle.threshold is None else bundle.sure(probabilities).tolist()
    return [
        Prediction(file=str(files[i]), predicted=bundle.classes[int(row.argmax())], sure=known,
                   probabilities=dict(zip(bundle.classes, map(float, row), strict=True)))
        for i, row, known in zip(good, probabilities, sure, strict=True)
    ]  # fmt: skip


def _expand(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(f for f in path.rglob("*") if f.is_file() and is_picture(f.name))
            if not inside:
                raise DataError(f"The folder {path} holds no pictures.", "Give picture files or a folder of them.")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise DataError(f"{path} doesn't exist.", "Give picture files or a folder of them.")
    return files
