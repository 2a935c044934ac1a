"""A world small enough for a run of a second: coloured squares, and a network of five thin stages."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

FROSTLINE = str(Path(sys.executable).parent / "frostline")
NETWORK = """
from torch import nn

MEAN, STD, INPUT_SIZE = 0.5, 0.25, (3, 16, 16)


class Net(nn.Sequential):
    def __init__(self, width):
        super().__init__(
            nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(width, 5),
        )


def net(width=8):
    return Net(width)
"""


def write_images(root: Path, counts: Mapping[str, int], seed: int = 0) -> Path:
    """Noisy images of 20 x 18 pixels in folders `name` (with slashes for parts), one hue a class."""
    rng = np.random.default_rng(seed)
    hues = {name: i for i, name in enumerate(sorted({name.rpartition("/")[2] for name in counts}))}
    for name, count in counts.items():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            values = rng.normal(110, 40, (18, 20, 3))
            values[..., hues[name.rpartition("/")[2]] % 3] += 25
            Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(folder / f"{index}.png")
    return root


def write_network(root: Path, text: str = NETWORK) -> tuple[str, str]:
    """Spec and weights of the small network."""
    root.mkdir(parents=True, exist_ok=True)
    file, weights = root / "net.py", root / "weights.safetensors"
    file.write_text(text, encoding="utf-8")
    scope = runpy.run_path(str(file))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        save_file(scope["net"]().state_dict(), weights)
    return f"torch:{file}:net", str(weights)


def frostline(*words: object, cwd: Path, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The installed command in a process of its own, on one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if cache is not None:
        environment["FROSTLINE_CACHE"] = str(cache)
    command = [FROSTLINE, *(str(word) for word in words)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=400)
