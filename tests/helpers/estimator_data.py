"""Small images as arrays, a small network, and rows of numbers drawn as images."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.utils.validation import check_is_fitted, validate_data

from frostline import TransferClassifier

SIDE = 16
NETWORK = """
from torch import nn

MEAN, STD, INPUT_SIZE = 0.5, 0.25, (3, 16, 16)


def net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 5),
    )
"""


def spec_and_weights(root: Path) -> tuple[str, str]:
    file, weights = root / "net.py", root / "weights.safetensors"
    file.write_text(NETWORK, encoding="utf-8")
    with torch.random.fork_rng():
        torch.manual_seed(5)
        save_file(runpy.run_path(str(file))["net"]().state_dict(), weights)
    return f"torch:{file}:net", str(weights)


def images(count: int, seed: int = 0, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Noise (N, 18, 20, 3) with one brighter channel a class, and the class of each."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % classes
    values = rng.normal(110, 40, (count, 18, 20, 3))
    values += 60 * np.eye(3)[y][:, None, None, :]
    return np.clip(values, 0, 255).astype(np.uint8), y


class RowsAsImages(TransferClassifier):
    """What scikit-learn's own checks can feed: each number of a row becomes a bar of its brightness."""

    def fit(self, X: Any, y: Any) -> Self:  # type: ignore[override]  # rows have no groups
        X, y = validate_data(self, X, y)
        self.low_, self.high_ = X.min(axis=0), X.max(axis=0)
        super().fit(self._draw(X), y)
        self.n_features_in_ = X.shape[1]
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return super().predict_proba(self._draw(validate_data(self, X, reset=False)))

    def _draw(self, X: np.ndarray) -> np.ndarray:
        span = np.where(self.high_ > self.low_, self.high_ - self.low_, 1)
        bars = np.clip((X - self.low_) / span, 0, 1)[:, np.arange(SIDE) * X.shape[1] // SIDE]
        return np.broadcast_to(bars[:, None, :, None], (len(X), SIDE, SIDE, 3))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags
