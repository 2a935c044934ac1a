"""Adding a source is one function and one entry: here it is added while the test runs, and goes through a whole run."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from frostline.base.errors import ModelError, nearest
from frostline.bundle.predict import load
from frostline.cli.options import SPECS
from frostline.data.preprocess import Preprocess
from frostline.models.network import Network, NetworkOptions, read_weights, seeded, tried
from frostline.models.sources import SOURCES, Source, load_network, spec_forms

WIDTHS: Mapping[str, int] = {"narrow": 4, "wide": 8}


def layers(width: int) -> nn.Module:
    blocks = [
        nn.Sequential(nn.Conv2d(3 if i == 0 else width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        for i in range(3)
    ]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5))


def load_plain(name: str, options: NetworkOptions) -> Network:
    """`plain:NAME`: the network, its weights, and how images are prepared for it."""
    if name not in WIDTHS:
        raise ModelError(f"plain: has no network {name!r}.", nearest(name, WIDTHS))
    random = options.weights in (None, "random")
    network = Network(
        spec=f"plain:{name}",
        source="plain",
        build=seeded(lambda: layers(WIDTHS[name])),
        weights=None if random else read_weights(str(options.weights)),
        weights_name="random" if random else Path(str(options.weights)).name,
        preprocess=Preprocess.default(options.size or 16, options.mean or (0.5,), options.std or (0.25,), 3),
        self_loading=False,
        classes=None,
        code=None,
    )
    return tried(network, identity={"spec": f"plain:{name}"})


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "plain", Source(load=load_plain, forms=("plain:NAME",)))


@pytest.mark.usefixtures("plain")
def test_a_source_that_is_one_entry_runs_from_spec_to_saved_model(fit: Any, squares: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ("--strategies", "probe,freeze@2", "--epochs", 2, "--blocks", 2, "--lr", "1e-3", "--evaluate-all")
    done = fit(squares, *words, "--out", out, model="plain:wide", weights="random")
    assert done.code == 0, done.err
    record = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert {s["name"]: s["status"] for s in record["strategies"]} == {"probe": "raced", "freeze@2": "raced"}
    assert [s["cuttable"] for s in record["model"]["stages"]] == [True] * 3
    assert record["audit"]["frozen_tensors"] == record["audit"]["frozen_unchanged"] > 0
    assert load(out).predict(sorted(str(p) for p in squares.rglob("*.png"))[:2])


@pytest.mark.usefixtures("plain")
def test_refusals_name_the_new_source(squares: Path) -> None:
    with pytest.raises(ModelError, match="plain: has no network 'wid'") as caught:
        load_network("plain:wid")
    assert "'wide'" in caught.value.hint
    with pytest.raises(ModelError, match="names no source") as caught:
        load_network("plane:wide")
    assert "Did you mean 'plain'?" in caught.value.hint
    assert "plain:NAME" in caught.value.hint


def test_help_lists_the_forms_of_every_source() -> None:
    assert set(SPECS.replace(" or ", ", ").split(", ")) == set(spec_forms())


def test_the_guide_shows_this_very_code() -> None:
    guide = (Path(__file__).resolve().parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert inspect.getsource(load_plain) in guide
    assert 'SOURCES["plain"] = Source(load=load_plain, forms=("plain:NAME",))' in guide
