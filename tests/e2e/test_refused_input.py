"""Bad input: exit 2, one sentence and a hint on stderr, no traceback, and no half-made RUN folder."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

from cases.small_world import write_images
from frostline.models.sources import hub

Fit = Callable[..., SimpleNamespace]
TWO = {"a": 4, "b": 4}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test runs in an empty folder, in which none of the refused runs may leave anything."""
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    monkeypatch.chdir(cwd)
    yield
    assert not list(cwd.iterdir())


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("good"), TWO)


def assert_refused(done: SimpleNamespace, *says: str) -> None:
    assert done.code == 2, done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    lines = done.err[done.err.index("error: ") :].splitlines()
    assert lines[0].endswith(".")
    assert len(lines) == 2, done.err
    assert lines[1].startswith("  ")
    for part in says:
        assert part in done.err


@pytest.mark.parametrize(
    ("counts", "words", "says"),
    [
        (None, (), ("does not exist.", "Expected DATA/<class>")),
        ({}, (), ("holds no images", "Expected DATA/<class>")),
        ({"a": 4}, (), ("holds one class ('a')", "Add a folder of anything else.")),
        ({"a": 4, "b": 1}, (), ("Class 'b' has a single image", "--min-per-class 2")),
        ({"train/a": 4, "train/b": 4, "val/a": 2}, (), ("differ: 'b' missing in val/", "--min-per-class")),
        ({"train/a": 4, "train/b": 4, "val/a": 2, "val/b": 2}, ("--pool-validation",), ("--pool-validation doesn't",)),
        (
            {f"{part}/{name}": 4 for part in ("train", "val", "test") for name in "ab"},
            ("--blocks", "2"),
            ("--blocks 2 doesn't apply", "--pool-validation"),
        ),
        (TWO, ("--pool-validation",), ("--pool-validation doesn't apply", "Leave it out")),
    ],
    ids=["missing", "empty", "one-class", "single", "differ", "val-only", "blocks-beside-val", "pool-nothing"],
)
def test_data_that_cannot_be_compared_on_is_refused(
    fit: Fit, tmp_path: Path, counts: dict[str, int] | None, words: tuple[str, ...], says: tuple[str, ...]
) -> None:
    data = tmp_path / "data"
    if counts is not None:
        data.mkdir()
        write_images(data, counts)
    assert_refused(fit(data, *words), *says)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--strategies", "probe,fintune"), ("Unknown strategy 'fintune'.", "Did you mean 'finetune'?")),
        (("--strategies", "freeze@9"), ("there is no stage '9'", "Stages are 1 to 3")),
        (("--strategies", "probe@layer7"), ("there is no stage 'layer7'",)),
        (("--strategies", "freeze"), ("needs a stage",)),
        (("--strategies", "finetune@2"), ("takes no stage",)),
        (("--strategies", "probe,probe@1,probe@1,probe@layer0"), ("twice",)),
        (("--strategies", "baseline"), ("can't run alone", "probe")),
        (("--lr", "-0.001"), ("--lr -0.001 is not a learning rate", "above 0")),
        (("--margin", "-0.1"), ("--margin -0.1",)),
        (("--lr", "0.1", "--strategies", "probe"), ("--lr doesn't apply", "finetune")),
        (("--batchnorm", "all"), ("--batchnorm doesn't apply: the network has no BatchNorm",)),
        (("--labels-per-class", "0"), ("below 1",)),
        (("--min-per-class", "9"), ("No class has 9 images", "Lower --min-per-class")),
        (("--device", "cuda:99"), ("is not on this machine",)),
        (("--mean", "0.5,0.5"), ("--mean has 2 numbers",)),
        (("--model-args", '{"depth": 3}'), ("fails with", "--model-args")),
    ],
    ids=lambda value: "-".join(value).strip("-") if isinstance(value, tuple) else None,
)
def test_options_that_do_not_fit_are_refused(
    fit: Fit, good: Path, tmp_path: Path, words: tuple[str, ...], says: tuple[str, ...]
) -> None:
    assert_refused(fit(good, *words), *says)
    assert_refused(fit(good, *words, "--out", tmp_path / "deep" / "run"), *says)
    assert not (tmp_path / "deep").exists()


class Whole(nn.Module):
    """A network that was saved as a whole, code and all."""


def test_weights_that_do_not_fit_are_refused(fit: Fit, good: Path, tmp_path: Path) -> None:
    other, pickled, nothing = tmp_path / "other.pt", tmp_path / "whole.pt", tmp_path / "none.pt"
    torch.save({"conv.weight": torch.zeros(3, 3)}, other)
    torch.save(Whole(), pickled)
    assert_refused(fit(good, weights=str(other)), "another architecture", "conv.weight", "this very network")
    assert_refused(fit(good, weights=str(pickled)), "holds pickled Python objects", "safetensors")
    pickled.write_bytes(pickle.dumps({"a": 1}))
    assert_refused(fit(good, weights=str(pickled)))
    assert_refused(fit(good, weights=str(nothing)), "There is no weights file", "--weights FILE")
    assert_refused(fit(good, weights=None), "gives random weights", "--weights random")


@pytest.mark.parametrize("spec", ["torchvision:resnet18", "timm:test_resnet.r160_in1k"])
def test_names_of_a_hub_are_refused_at_once_where_there_is_no_network(
    fit: Fit, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    monkeypatch.setattr(hub, "reachable", lambda *_: False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr("frostline.models.sources.timm_source._cached", lambda _: None)
    assert_refused(fit(good, model=spec, weights=None), f"The weights of {spec}", "no connection", "--weights FILE")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("resnet18", ""),
        ("torchvision:resnet81", "Did you mean"),
        ("torch:nothing.py:net", "There is no file"),
        ("torch:nothing.py", "FILE.py:factory"),
    ],
)
def test_networks_that_do_not_exist_are_refused(fit: Fit, good: Path, spec: str, says: str) -> None:
    assert_refused(fit(good, model=spec, weights="random"), says)


def test_out_that_holds_something_is_refused_and_left_as_it_was(fit: Fit, good: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert_refused(fit(good, "--out", out), "a folder with other files")
    (out / "result.json").write_text("{}")
    assert_refused(fit(good, "--out", out), "holds another run", "--resume")
    assert_refused(fit(good, "--out", out, "--resume"), "not a record of this version")
    assert_refused(fit(good, "--out", out / "notes.txt"), "is a file")
    assert sorted(f.name for f in out.iterdir()) == ["notes.txt", "result.json"]


def test_a_truncated_picture_is_named_and_the_run_goes_on(fit: Fit, tmp_path: Path) -> None:
    import json

    data, out = write_images(tmp_path / "data", {"a": 6, "b": 6}), tmp_path / "run"
    whole = tmp_path / "whole.jpg"
    Image.effect_noise((64, 64), 60).convert("RGB").save(whole)
    (data / "a" / "broken.jpg").write_bytes(whole.read_bytes()[:-300])
    done = fit(data, "--strategies", "probe", "--out", out)
    assert done.code == 0, done.err
    assert "a/broken.jpg" in done.err
    (warning,) = [
        w for w in json.loads((out / "result.json").read_text())["data"]["warnings"] if w["kind"] == "unreadable"
    ]
    assert warning["count"] == 1
    assert warning["examples"] == ["a/broken.jpg: cut short (the end is missing)"]
    assert warning["handled"] == "left out"
