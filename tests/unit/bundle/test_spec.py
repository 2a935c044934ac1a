"""`run:RUN`: a network that a run left behind, taken up by the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frostline.base.errors import BundleError, ModelError
from frostline.bundle.saved import load_model
from frostline.bundle.spec import resolve_network
from frostline.models.network import NetworkOptions, example_call, pretrained
from frostline.pipeline import fit


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on three kinds of noise that ends with the network fine-tuned."""
    return _fitted(tmp_path_factory.mktemp("spec") / "run", "finetune")


def _fitted(out: Path, strategy: str) -> Path:
    rng = np.random.default_rng(0)
    levels = np.repeat([40, 120, 200], 8)
    images = np.clip(rng.normal(levels[:, None, None], 30, (24, 32, 32)), 0, 255).astype(np.uint8)
    steps: dict[str, Any] = {"epochs": 1, "lr": 1e-3, "batch_size": 8} if strategy == "finetune" else {}
    labels = [f"c{level}" for level in levels]
    fit(
        (images, labels), "glyphs", weights="random", strategies=strategy, out=out, store="off", augment="none", **steps
    )
    return out


def test_it_computes_what_the_run_left(run: Path) -> None:
    network = resolve_network(f"run:{run}")
    (inputs,) = example_call(network.preprocess).tensors
    with torch.no_grad():
        ours, saved = pretrained(network), load_model(run / "model").model
        assert torch.allclose(ours(inputs), saved(inputs), atol=1e-5)  # another layout in memory
    for (name, one), (same, other) in zip(ours.state_dict().items(), saved.state_dict().items(), strict=True):
        assert name == same
        assert torch.equal(one, other)
    assert network.classes == ("c120", "c200", "c40")
    assert network.load_report is not None
    assert not network.load_report.head_differs


def test_other_weights_make_another_fingerprint(run: Path) -> None:
    assert resolve_network(f"run:{run}").fingerprint != resolve_network("glyphs").fingerprint
    random = resolve_network(f"run:{run}", NetworkOptions(weights="random"))
    assert random.weights is None
    assert random.classes is None


def test_its_bundle_stands_alone(run: Path, tmp_path: Path) -> None:
    images = np.full((12, 32, 32), 80, dtype=np.uint8) + np.arange(12, dtype=np.uint8)[:, None, None] * 12
    made = fit(
        (images, ["a", "b"] * 6), f"run:{run}", strategies="probe", out=tmp_path / "next", store="off", augment="none"
    )
    assert load_model(made.path / "model").recipe["source"]["spec"] == "glyphs"


def test_other_specs_go_to_the_sources() -> None:
    assert resolve_network("glyphs").spec == "glyphs"


@pytest.mark.parametrize("options", [NetworkOptions(size=64), NetworkOptions(weights="x"), NetworkOptions(mean=(0.5,))])
def test_the_run_brings_its_own(run: Path, options: NetworkOptions) -> None:
    with pytest.raises(ModelError, match="brings its own"):
        resolve_network(f"run:{run}", options)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not a saved model"):
        resolve_network(f"run:{tmp_path}")
    with pytest.raises(ModelError, match="nothing after the colon"):
        resolve_network("run:")


def test_a_network_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    short = _fitted(tmp_path / "short", "probe@3")
    with pytest.raises(BundleError, match="cut short"):
        resolve_network(f"run:{short}")
