"""The user's code may switch what it likes in the process: afterwards it is as it was."""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frostline.models.network import NetworkOptions
from frostline.models.sources import load_network
from frostline.models.sources.user_code_state import kept_state

NET = """
import os, random, sys, warnings
import numpy as np
import torch
from torch import nn
MEAN, STD, INPUT_SIZE = 0.5, 0.5, (3, 8, 8)

def change():
    {0}

def make():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    if {1}:
        change()
    return net

if not {1}:
    change()
"""


def numpy_state() -> Any:
    kind, keys, *rest = np.random.get_state()
    return (kind, tuple(keys), *rest)


Read = Callable[[], Any]
CHANGES: dict[str, tuple[str, Read]] = {
    "gradients": ("torch.set_grad_enabled(False)", torch.is_grad_enabled),
    "type": ("torch.set_default_dtype(torch.float64)", torch.get_default_dtype),
    "device": ("torch.set_default_device('meta')", torch.get_default_device),
    "threads": ("torch.set_num_threads(torch.get_num_threads() + 1)", torch.get_num_threads),
    "torch's seed": ("torch.manual_seed(3)", lambda: torch.get_rng_state().tolist()),
    "numpy's seed": ("np.random.seed(3)", numpy_state),
    "python's seed": ("random.seed(3)", random.getstate),
    "a draw": ("torch.rand(3), np.random.rand(3), random.random()", lambda: (random.getstate(), numpy_state())),
    "deterministic": (
        "torch.use_deterministic_algorithms(True, warn_only=True)",
        torch.are_deterministic_algorithms_enabled,
    ),
    "rounding": ("torch.set_float32_matmul_precision('medium')", torch.get_float32_matmul_precision),
    "rounding by backend": (
        "torch.backends.mkldnn.matmul.fp32_precision = 'bf16'",
        lambda: torch.backends.mkldnn.matmul.fp32_precision,  # type: ignore[attr-defined]
    ),
    "anomalies": ("torch.autograd.set_detect_anomaly(True)", torch.is_anomaly_enabled),
    "cudnn": ("torch.backends.cudnn.benchmark = True", lambda: torch.backends.cudnn.benchmark),
    "attention": ("torch.backends.mha.set_fastpath_enabled(False)", torch.backends.mha.get_fastpath_enabled),
    "numpy's errors": ("np.seterr(all='raise')", np.geterr),
    "filters": ("warnings.simplefilter('ignore')", lambda: list(warnings.filters)),
    "folder": ("os.chdir('/')", os.getcwd),
    "path": ("sys.path += ['/nowhere']", lambda: list(sys.path)),
    "stdout": ("sys.stdout = None", lambda: sys.stdout),
}


@pytest.mark.parametrize("place", ["file", "factory"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_the_code_switches_is_put_back(change: str, place: str, tmp_path: Path) -> None:
    code, read = CHANGES[change]
    (tmp_path / "net.py").write_text(NET.format(code, place == "factory"))
    before = read()
    network = load_network(f"torch:{tmp_path / 'net.py'}:make", NetworkOptions(weights="random"))
    assert read() == before
    module = network.build(1)
    assert read() == before
    assert next(module.parameters()).dtype == torch.float32


@pytest.mark.parametrize("change", [change for change in CHANGES if change != "path"])  # which UserCode keeps
def test_what_failing_code_switches_is_put_back(change: str, tmp_path: Path) -> None:
    code, read = CHANGES[change]
    before = read()
    scope = {"torch": torch, "np": np, "random": random, "os": os, "sys": sys, "warnings": warnings}

    def fail() -> None:
        with kept_state():
            exec(code, scope)  # the lines of this very test, as a file of the user would run them
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert read() == before


def test_filters_that_the_file_sets_hold_for_its_factory(tmp_path: Path) -> None:
    text = NET.format("warnings.simplefilter('ignore')", False)
    text = text.replace("    net =", "    warnings.warn('old layer', FutureWarning)\n    net =")
    (tmp_path / "net.py").write_text(text)
    network = load_network(f"torch:{tmp_path / 'net.py'}:make", NetworkOptions(weights="random"))
    network.build(1)
    with pytest.warns(FutureWarning):
        warnings.warn("ours", FutureWarning, stacklevel=1)


def test_a_folder_that_is_gone_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with kept_state():
        os.chdir(tmp_path)
