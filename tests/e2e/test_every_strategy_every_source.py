"""Every strategy of the catalogue on a small network from every source: what is frozen is the file's own bit for bit,
what is trained has changed, and each saved model gives the same answers in a fresh process."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from cases.every_source import NO_HEAD, prepared, reloaded, run_all
from cases.source_networks import SOURCES
from frostline.recipe.catalogue import CATALOGUE

PACKAGES = {"hf": "transformers", "keras": "keras"}
LACKING = {  # what a network has nothing to train for
    "timm: resnet": {"bias"},
    "keras: a name": {"bias"},
    "torchvision: mobilenet": {"bias"},
    "hf: an encoder": {"as-is", "continue"},
}

FREEZING = ("as-is", "probe", "freeze", "reinit-freeze", "norm", "bias", "lora")


@pytest.mark.slow
@pytest.mark.parametrize("half", [("torch", "timm", "torchvision"), ("hf", "keras")], ids="-".join)
def test_frozen_is_identical_trained_has_moved_and_saved_models_reload(half: tuple[str, ...], tmp_path: Path) -> None:
    absent = [source for source in half if source in PACKAGES and find_spec(PACKAGES[source]) is None]
    names = [n for n in SOURCES if n.partition(":")[0] in half and n.partition(":")[0] not in absent]
    if not names:
        pytest.skip(f"packages of {absent} aren't installed")
    rows, inputs = [], {}
    for number, name in enumerate(names):
        folder = tmp_path / str(number)
        (folder / "network").mkdir(parents=True)
        made = prepared(SOURCES[name](folder / "network"), folder / "data")
        found = run_all(name, made, folder / "runs")
        strategies = {row.strategy.partition("@")[0] for row in found}
        assert {n.partition("@")[0] for n in CATALOGUE} - strategies == {"baseline", *LACKING.get(name, ())}, name
        assert ("as-is" in made.skipped) == (made.skipped.get("as-is") == NO_HEAD), name
        rows += found
        inputs[name] = made.inputs
    assert {(row.source, row.strategy): row.wrong for row in rows if row.wrong} == {}
    assert all(row.changed > 0 or row.strategy == "as-is" for row in rows)
    assert all(row.frozen > 0 for row in rows if row.strategy.partition("@")[0] in FREEZING)
    same = reloaded(rows, inputs, tmp_path)
    assert [(row.source, row.strategy) for row in rows if not same.get(row.folder)] == []
