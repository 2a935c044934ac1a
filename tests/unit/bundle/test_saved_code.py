"""A network of several files is saved, trusted, read and started from as a whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from frostline.base.device import Compute
from frostline.base.errors import BundleError, FrostlineError
from frostline.bundle import trust
from frostline.bundle.origin import code_hash, code_siblings
from frostline.bundle.saved import SavedModel, load_model, named_tensors, save_model
from frostline.bundle.spec import resolve_network
from frostline.cutting.stages import stage_map
from frostline.models.network import Network, NetworkOptions, example_call, pretrained
from frostline.models.new_heads import HeadForm, new_head
from frostline.models.sources import load_network
from frostline.recipe.selection import make_recipe

MAIN = """from torch import nn
from parts.body import body
MEAN, STD, INPUT_SIZE = 0.5, 0.5, (3, 8, 8)
def net():
    return nn.Sequential(body(), nn.Linear(4, 5))
"""
BODY = """from torch import nn
def body():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.{0}(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""
COMPUTE = Compute(device="cpu", precision="fp32", channels_last=False, threads=1, chunk=2)
SIBLINGS = ["parts/__init__.py", "parts/body.py"]


def write_code(folder: Path, kind: str = "ReLU") -> Path:
    (folder / "parts").mkdir(parents=True)
    (folder / "net.py").write_text(MAIN, encoding="utf-8")
    (folder / "parts" / "__init__.py").write_text("", encoding="utf-8")
    (folder / "parts" / "body.py").write_text(BODY.format(kind), encoding="utf-8")
    return folder / "net.py"


def save(network: Network, folder: Path) -> Network:
    """Save the network with a new head, as a run's model/."""
    model = pretrained(network)
    stages = stage_map(model, call=example_call(network.preprocess))
    new_head(model, stages.head, 2)
    saved = SavedModel(
        model=model.eval(),
        recipe=make_recipe("probe", stages.stages),
        form=HeadForm(),
        rate=None,
        network=network,
        head=stages.head,
        cut=None,
        compute=COMPUTE,
        classes=["ant", "bee"],
        tensors=frozenset(named_tensors(model)),
    )
    save_model(folder, saved)
    return network


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run whose network's code has gone from where it was."""
    file = write_code(tmp_path / "code")
    save(load_network(f"torch:{file}:net", NetworkOptions(weights="random")), tmp_path / "run" / "model")
    shutil.rmtree(tmp_path / "code")
    return tmp_path / "run"


def test_all_files_are_beside_each_other_and_the_model_reads_without_the_originals(run: Path) -> None:
    model = run / "model"
    assert [p.relative_to(model).as_posix() for p in sorted(model.rglob("*.py"))] == ["code.py", *SIBLINGS]
    note = json.loads((model / "recipe.json").read_text())
    assert (note["format"], note["source"]["siblings"]) == (6, SIBLINGS)
    assert code_siblings(run) == tuple(SIBLINGS)
    assert code_hash(run) == note["source"]["code_sha256"]
    assert load_model(model, trust_code=True, device="cpu").classes == ("ant", "bee")


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who has named no code yet."""
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("changed", ["code.py", "parts/body.py", "parts/__init__.py"])
def test_trust_is_in_all_files_together(run: Path, changed: str) -> None:
    model = run / "model"
    with pytest.raises(BundleError, match="not named yourself"):
        load_model(model, device="cpu")
    trust.remember(str(code_hash(run)))
    assert load_model(model, device="cpu").classes == ("ant", "bee")
    with (model / changed).open("a", encoding="utf-8") as file:
        file.write("\nprint('more')\n")
    with pytest.raises(BundleError, match="not named yourself"):
        load_model(model, device="cpu")


@pytest.mark.usefixtures("nobody")
def test_a_file_less_in_the_note_is_another_code(run: Path) -> None:
    model = run / "model"
    trust.remember(str(code_hash(run)))
    note = json.loads((model / "recipe.json").read_text())
    note["source"]["siblings"] = SIBLINGS[:1]
    (model / "recipe.json").write_text(json.dumps(note))
    with pytest.raises(BundleError, match="not named yourself"):
        load_model(model, device="cpu")
    with pytest.raises(FrostlineError, match=r"No module named 'parts\.body'"):
        load_model(model, device="cpu", trust_code=True)


def test_two_models_with_parts_of_one_name_answer_each_by_its_own(tmp_path: Path) -> None:
    models = []
    for kind in ("ReLU", "Tanh"):
        file = write_code(tmp_path / kind, kind)
        network = load_network(f"torch:{file}:net", NetworkOptions(weights="random"))
        models.append(tmp_path / f"model {kind}")
        save(network, models[-1])
    for order in (models, models[::-1]):
        loaded = {path: load_model(path, trust_code=True, device="cpu").model for path in order}
        kinds = [type(loaded[path].get_submodule("0.1")).__name__ for path in models]
        assert kinds == ["ReLU", "Tanh"]


def test_a_run_can_be_started_from_and_saves_all_files_again(run: Path, tmp_path: Path) -> None:
    network = save(resolve_network(f"run:{run}", trust_code=True), tmp_path / "next" / "model")
    shutil.rmtree(run)
    assert network.code is not None
    assert [name for name, _ in network.code.siblings] == SIBLINGS
    loaded = load_model(tmp_path / "next" / "model", trust_code=True, device="cpu")
    assert loaded.model(torch.ones(1, 3, 8, 8)).shape == (1, 2)
    assert code_hash(tmp_path / "next") == network.code.sha256


@pytest.mark.parametrize("name", ["Code.py", "CODE.PY"])
def test_a_file_that_would_take_the_place_of_the_networks_own_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "net.py").write_text(MAIN.replace("parts.body", Path(name).stem))
    (tmp_path / f"{Path(name).stem}.py").write_text(BODY.format("ReLU"))
    network = load_network(f"torch:{tmp_path / 'net.py'}:net", NetworkOptions(weights="random"))
    with pytest.raises(BundleError, match=r"net\.py imports C\w+\.py from beside it") as caught:
        save(network, tmp_path / "model")
    assert "Rename C" in caught.value.hint
