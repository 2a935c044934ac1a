"""The saved model: it reloads as it was, and one that was tampered with is refused in a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from frostline.base.device import Compute
from frostline.base.errors import BundleError, FrostlineError
from frostline.bundle import saved as saved_module
from frostline.bundle import trust
from frostline.bundle.predict import Bundle, predict_paths, predict_samples
from frostline.bundle.saved import Abstain, SavedModel, cut_from, cut_note, load_model, named_tensors, save_model
from frostline.cutting.stages import stage_map
from frostline.models.network import Network, NetworkOptions, example_call, pretrained
from frostline.models.new_heads import CutNetwork, HeadForm, new_head
from frostline.models.sources import load_network
from frostline.recipe.selection import make_recipe
from helpers.data_makers import images_of

CODE = """
import torch
from torch import nn

MEAN, STD, INPUT_SIZE = (0.5,), (0.25,), (3, 16, 16)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 6, 3, 2)
        self.norm, self.fc = nn.BatchNorm2d(6), nn.Linear(6, 5)
        self.register_buffer("grid", torch.ones(3), persistent=False)

    def forward(self, x):
        return self.fc(self.norm(self.b(self.a(x).relu())).relu().mean((2, 3)))


def net():
    return Net()


def own():
    torch.manual_seed(3)
    return Net()
"""
COMPUTE = Compute(device="cpu", precision="fp32", channels_last=True, threads=1, chunk=4)
PICTURES_RAW = [np.random.default_rng(i).integers(0, 255, (18, 20, 3), dtype=np.uint8) for i in range(5)]
PICTURES = images_of(PICTURES_RAW)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("code") / "net.py"
    file.write_text(CODE, encoding="utf-8")
    return file


def network(source: Path, factory: str = "net") -> Network:
    weights = "random" if factory == "net" else None
    return load_network(f"torch:{source}:{factory}", NetworkOptions(weights=weights))


def to_save(made: Network, strategy: str = "finetune") -> SavedModel:
    """A network with a head of random numbers, as after training."""
    model = pretrained(made)
    stages = stage_map(model, call=example_call(made.preprocess))
    recipe = make_recipe(strategy, stages.stages)
    new_head(model, stages.head, 2)
    cut = stages.cuts[recipe.keep - 1] if recipe.cut_short else None
    if recipe.cut_short:
        model = CutNetwork(stages.split(model, recipe.keep), 2)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.shape[0] == 2 or "head" in name:
                parameter.normal_()
    names = frozenset(named_tensors(model))
    kept = names if cut is None else frozenset(n for n in names if n.startswith(("head.", "base.a.")))
    return SavedModel(
        model=model.eval(),
        recipe=recipe,
        form=HeadForm(),
        rate=1e-3,
        network=made,
        head=stages.head,
        cut=cut,
        compute=COMPUTE,
        classes=["ant", "bee"],
        tensors=kept,
    )


@pytest.fixture(scope="module")
def saved(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_model(folder, to_save(network(source)))
    return folder


def answers(folder: Path) -> np.ndarray:
    return predict_samples(load_model(folder, trust_code=True, device="cpu"), PICTURES)


@pytest.mark.parametrize("strategy", ["finetune", "probe@1"])
def test_a_model_reloads_with_the_same_answers(strategy: str, source: Path, tmp_path: Path) -> None:
    made = to_save(network(source), strategy)
    save_model(tmp_path / "model", made)
    before = answers(tmp_path / "model")
    model = made.model.to(memory_format=torch.channels_last)
    loaded = load_model(tmp_path / "model", trust_code=True, device="cpu")
    assert np.array_equal(predict_samples(replace(loaded, model=model), PICTURES), before)
    assert loaded.classes == ("ant", "bee")
    assert before.sum(axis=1) == pytest.approx(np.ones(5))


def test_equal_models_are_equal_bytes_without_what_was_thrown_away(source: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_model(tmp_path / name, to_save(network(source), "probe@1"))
    files = [tmp_path / name / "model.safetensors" for name in ("one", "two")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert set(load_file(files[0])) == {"head.weight", "head.bias", "base.a.weight", "base.a.bias"}
    assert str(tmp_path).encode() not in files[0].read_bytes()
    note = json.loads((tmp_path / "one" / "recipe.json").read_text(encoding="utf-8"))
    assert note["source"]["spec"] == "torch:code.py:net"


def test_a_file_does_not_depend_on_its_company(saved: Path) -> None:
    loaded = load_model(saved, trust_code=True, device="cpu")
    whole = predict_samples(loaded, PICTURES)
    for i in range(5):
        assert np.array_equal(predict_samples(loaded, PICTURES.select([i])), whole[i : i + 1])
    assert predict_samples(loaded, PICTURES.select([])).shape == (0, 2)
    assert Bundle(loaded).classes == ("ant", "bee")


def test_a_temperature_divides_the_logits_and_leaves_the_weights(source: Path, saved: Path, tmp_path: Path) -> None:
    made = replace(to_save(network(source)), temperature=2.5)
    save_model(tmp_path / "model", made)
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == (saved / "model.safetensors").read_bytes()
    plain, warm = answers(saved), answers(tmp_path / "model")
    roots = plain ** (1 / 2.5)
    assert warm == pytest.approx(roots / roots.sum(axis=1, keepdims=True), rel=1e-9)
    assert np.array_equal(warm.argmax(axis=1), plain.argmax(axis=1))
    assert Bundle(load_model(tmp_path / "model", trust_code=True, device="cpu")).temperature == 2.5
    assert Bundle(load_model(saved, trust_code=True, device="cpu")).temperature == 1.0


def test_a_threshold_is_read_back_to_the_last_bit_and_marks_answers(source: Path, saved: Path, tmp_path: Path) -> None:
    confidence = answers(saved).max(axis=1)
    kept = Abstain(wanted_accuracy=0.9, threshold=float(np.sort(confidence)[2]))
    save_model(tmp_path / "model", replace(to_save(network(source)), abstain=kept))
    bundle = Bundle(load_model(tmp_path / "model", trust_code=True, device="cpu"))
    assert bundle.loaded.abstain == kept
    assert bundle.sure(answers(tmp_path / "model")).sum() == 3  # the third itself is answered
    assert bundle.sure(np.zeros((0, 2))).shape == (0,)
    for i in range(5):
        Image.fromarray(PICTURES_RAW[i]).save(tmp_path / f"{i}.png")
    found = predict_paths(tmp_path / "model", [tmp_path / f"{i}.png" for i in range(5)], trust_code=True, device="cpu")
    assert kept.threshold is not None
    assert [p.sure for p in found] == [max(p.probabilities.values()) >= kept.threshold for p in found]


def test_a_model_without_a_threshold_says_so(saved: Path) -> None:
    bundle = Bundle(load_model(saved, trust_code=True, device="cpu"))
    assert bundle.threshold is None
    with pytest.raises(BundleError, match="no threshold"):
        bundle.sure(answers(saved))


@pytest.mark.parametrize("format_before", [2, 3, 4, 5])
def test_a_model_of_a_format_before_is_read_as_it_was(saved: Path, tmp_path: Path, format_before: int) -> None:
    def older(note: dict[str, Any]) -> dict[str, Any]:
        later = {"prior"} | ({"history", "headless"} if format_before < 5 else set())
        later |= {"temperature", "abstain"} if format_before == 2 else set()
        source = {k: v for k, v in note["source"].items() if k != "siblings" or format_before >= 4}
        return {**{k: v for k, v in note.items() if k not in later}, "source": source, "format": format_before}

    shutil.copytree(saved, tmp_path / "model")
    edited("recipe.json", older)(tmp_path / "model")
    assert np.array_equal(answers(tmp_path / "model"), answers(saved))


def test_factors_of_another_prior_multiply_the_probabilities(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "model")
    classes = json.loads((saved / "classes.json").read_text())
    factors = [1.0 + k for k in range(len(classes))]
    edited("recipe.json", lambda note: {**note, "prior": factors})(tmp_path / "model")
    expected = answers(saved) * factors
    expected /= expected.sum(axis=1, keepdims=True)
    assert np.allclose(answers(tmp_path / "model"), expected, rtol=1e-12)


def test_a_cut_survives_its_note(source: Path) -> None:
    cut = to_save(network(source), "probe@1").cut
    assert cut is not None
    back = cut_from(json.loads(json.dumps(cut_note(cut))))
    assert (back.key, back.shape, back.dtype, back.channel_axis) == (cut.key, cut.shape, cut.dtype, cut.channel_axis)


def test_code_runs_only_where_its_content_was_named(saved: Path) -> None:
    with pytest.raises(BundleError, match="not named yourself") as refused:
        load_model(saved, device="cpu")
    assert "--trust-code" in refused.value.hint
    note = json.loads((saved / "recipe.json").read_text(encoding="utf-8"))
    trust.remember(note["source"]["code_sha256"])
    assert load_model(saved, device="cpu").classes == ("ant", "bee")


Tamper = Callable[[Path], None]


def edited(file: str, change: Callable[[Any], Any]) -> Tamper:
    def tamper(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")

    return tamper


def weights(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Tamper:
    def tamper(folder: Path) -> None:
        save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors")

    return tamper


def siblings(value: Any) -> Tamper:
    return edited("recipe.json", lambda n: {**n, "source": {**n["source"], "siblings": value}})


def gone(file: str) -> Tamper:
    return lambda folder: (folder / file).unlink()


def cut_short(file: str) -> Tamper:
    def tamper(folder: Path) -> None:
        (folder / file).write_bytes((folder / file).read_bytes()[:-9])

    return tamper


def without(key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda note: {k: v for k, v in note.items() if k != key}


KNOWN: dict[str, tuple[Tamper, str]] = {
    "no recipe": (gone("recipe.json"), r"recipe\.json is missing"),
    "no classes": (gone("classes.json"), r"classes\.json is missing"),
    "no preprocessing": (gone("preprocess.json"), r"preprocess\.json is missing"),
    "no weights": (gone("model.safetensors"), r"model\.safetensors can't be read"),
    "half a recipe": (cut_short("recipe.json"), "holds a damaged file"),
    "half the weights": (cut_short("model.safetensors"), "can't be read"),
    "another format": (edited("recipe.json", lambda n: {**n, "format": 7}), "has format 7, this version reads 2 to 6"),
    "a class more": (edited("classes.json", lambda c: [*c, "cat"]), r"doesn't fit its network \(fc\.bias, fc\.weight"),
    "foreign keys": (weights(lambda t: {**t, "x.weight": torch.zeros(2)}), r"doesn't fit its network \(x\.weight\)"),
    "wrong shapes": (weights(lambda t: {**t, "a.bias": torch.zeros(9)}), r"doesn't fit its network \(a\.bias\)"),
    "weights left out": (
        weights(lambda t: {k: v for k, v in t.items() if not k.startswith("b.")}),
        r"doesn't fit its network \(b\.bias, b\.weight\)",
    ),
    "no code": (gone("code.py"), r"code\.py is missing"),
    "no head": (edited("recipe.json", without("head")), "has no usable 'head'"),
    "no cut": (edited("recipe.json", without("cut")), "has no usable 'cut'"),
    "an empty head": (edited("recipe.json", lambda n: {**n, "head": None}), "has no usable 'head'"),
    "a source that is a word": (edited("recipe.json", lambda n: {**n, "source": "x"}), "has no usable 'source'"),
    "no list of siblings": (siblings(None), r"usable 'source\.siblings'"),
    "siblings that are a word": (siblings("parts.py"), r"usable 'source\.siblings'"),
    "a sibling above": (siblings(["../parts.py"]), r"usable 'source\.siblings'"),
    "a sibling at the root": (siblings(["/parts.py"]), r"usable 'source\.siblings'"),
    "a sibling that is no code": (siblings(["parts.so"]), r"usable 'source\.siblings'"),
    "a sibling that is gone": (siblings(["parts.py"]), r"parts\.py is missing"),
    "half a source": (edited("recipe.json", lambda n: {**n, "source": {"spec": "x"}}), r"usable 'source\.model_args'"),
    "a newer format": (edited("recipe.json", lambda _: {"format": 7}), "has format 7, this version reads 2 to 6"),
    "a history that is no list": (edited("recipe.json", lambda n: {**n, "history": {}}), "has no usable 'history'"),
    "a history of words": (edited("recipe.json", lambda n: {**n, "history": ["x"]}), "has no usable 'history'"),
    "an old format with half a recipe": (edited("recipe.json", lambda _: {"format": 2}), "has no usable 'source'"),
    "no prior": (edited("recipe.json", without("prior")), "has no usable 'prior'"),
    "a prior of 0": (edited("recipe.json", lambda n: {**n, "prior": [1.0, 0.0]}), "has no usable 'prior'"),
    "no temperature": (edited("recipe.json", without("temperature")), "has no usable 'temperature'"),
    "a temperature of 0": (edited("recipe.json", lambda n: {**n, "temperature": 0}), "has no usable 'temperature'"),
    "a temperature that is a word": (
        edited("recipe.json", lambda n: {**n, "temperature": "1"}),
        "has no usable 'temperature'",
    ),
    "half a threshold": (
        edited("recipe.json", lambda n: {**n, "abstain": {"threshold": 0.5}}),
        r"usable 'abstain\.wanted_accuracy'",
    ),
    "a recipe that is a list": (edited("recipe.json", lambda _: []), "of another form"),
    "classes that are a word": (edited("classes.json", lambda _: "ab"), "of another form"),
    "foreign preprocessing": (edited("preprocess.json", lambda p: {**p, "crop": "left"}), "crop='left'"),
}


@pytest.mark.parametrize("case", KNOWN)
def test_a_tampered_model_is_refused_in_a_sentence(case: str, saved: Path, tmp_path: Path) -> None:
    tamper, said = KNOWN[case]
    shutil.copytree(saved, tmp_path / "model")
    tamper(tmp_path / "model")
    with pytest.raises(FrostlineError, match=said):
        load_model(tmp_path / "model", trust_code=True, device="cpu")


def test_a_processor_keeps_the_precision_that_was_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    note = {"precision": "bf16", "channels_last": True, "chunk": 4}
    monkeypatch.setattr(saved_module, "has_bf16", lambda _device: False)
    monkeypatch.setattr(saved_module, "find_device", str)
    kept = {d: saved_module._compute(note, d).precision for d in ("cpu", "cuda", "mps")}
    assert kept == {"cpu": "bf16", "cuda": "fp32", "mps": "fp32"}


def test_a_network_that_loads_its_own_weights_can_be_saved_and_read(source: Path, tmp_path: Path) -> None:
    made = network(source, "own")
    assert made.self_loading
    save_model(tmp_path / "model", to_save(made))
    assert answers(tmp_path / "model").shape == (5, 2)


def test_tied_and_passing_buffers_are_named_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)
            self.b.weight = self.a.weight
            self.register_buffer("kept", torch.zeros(1))
            self.register_buffer("passing", torch.zeros(1), persistent=False)

    assert set(named_tensors(Tied())) == {"a.weight", "a.bias", "b.bias", "kept"}
