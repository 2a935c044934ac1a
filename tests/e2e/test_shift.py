"""`frostline shift`: the kind of difference between two data sets, by a network or by a run, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

import frostline
from cases.small_world import write_images
from helpers.report_runs import IMAGE, command, one_sentence

Fit = Callable[..., SimpleNamespace]
TIMES = ("created", "command", "cost")


@pytest.fixture(scope="module")
def world(network: tuple[str, str], fit: Fit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source; a target of the same kind; the same inverted; runs that keep and that move the network's stages."""
    root = tmp_path_factory.mktemp("shift")
    write_images(root / "source", {"reddish": 40, "greenish": 40}, seed=1)
    write_images(root / "same", {"reddish": 20, "greenish": 20}, seed=2)
    for file in sorted((root / "same").rglob("*.png")):
        place = root / "inverted" / file.parent.name / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        ImageOps.invert(Image.open(file)).save(place)
    for name, special in (("probe", ["probe"]), ("tuned", ["finetune", "--epochs", "1", "--lr", "0.001"])):
        words = ("--blocks", "2", "--threads", "1", "--out", root / name, "--strategies", *special)
        done = fit(root / "source", *words)
        assert done.code == 0, done.err
    return root


@pytest.fixture
def shift(world: Path, network: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fit:
    monkeypatch.chdir(tmp_path)

    def run(*words: object, model: str = network[0], weights: str | None = network[1]) -> SimpleNamespace:
        given = ["--weights", weights] if weights else []
        return command("shift", *words, "--model", model, *given, "--threads", 1, "--store", "off", "--plain")

    return run


def record(done: SimpleNamespace, out: Path) -> dict[str, Any]:
    assert done.code == 0, done.err
    value: dict[str, Any] = json.loads((out / "shift.json").read_text())
    return value


def test_another_look_is_named_with_its_evidence(shift: Fit, world: Path, tmp_path: Path) -> None:
    done = shift(world / "source", world / "inverted")
    found = record(done, tmp_path / "runs" / "inverted-shift-1")
    assert found["situation"] == "covariate"
    assert found["source"]["n"] == found["source"]["labelled"] == 80
    assert found["target"]["labelled"] == 40
    whole = next(test for test in found["evidence"] if test["name"] == "all-depths")
    assert whole["shown"]
    assert {test["stage"] for test in found["evidence"] if test["name"] == "c2st"} == set(found["network"]["compared"])
    assert found["network"]["compared"][0] == 0
    assert found["remedies"][0]["arm"] == "adabn"
    assert [one["method"] for one in found["proportions"]] == ["counted", "em", "bbse"]
    assert {one["id"].partition("/")[0] for one in found["typical"]["target"]} <= {"reddish", "greenish"}
    page = (tmp_path / "runs" / "inverted-shift-1" / "shift.html").read_text(encoding="utf-8")
    assert len(IMAGE.findall(page)) == 16
    assert done.out.startswith("Situation: covariate")
    again = command("show", tmp_path / "runs" / "inverted-shift-1")
    assert again.out == done.out.replace("runs/inverted", str(tmp_path / "runs" / "inverted"))
    shown = command("show", tmp_path / "runs" / "inverted-shift-1", "--json")
    assert json.loads(shown.out) == found


def test_the_same_kind_of_images_isnt_called_different_and_repeats_to_the_bit(
    shift: Fit, world: Path, tmp_path: Path
) -> None:
    words = (world / "source", world / "same", "--no-examples", "--seed", 3)
    found = [record(shift(*words, "--out", tmp_path / name), tmp_path / name) for name in ("a", "b")]
    assert found[0]["situation"] == "none-shown"
    same = [{key: value for key, value in one.items() if key not in TIMES} for one in found]
    assert same[0] == same[1]
    assert not IMAGE.findall((tmp_path / "a" / "shift.html").read_text(encoding="utf-8"))


def test_a_run_brings_its_own_source(shift: Fit, world: Path, tmp_path: Path) -> None:
    for name, count in (("probe", 80), ("tuned", 16)):
        model = f"run:{world / name}"
        out = tmp_path / name
        done = shift(world / "inverted", "--out", out, "--trust-code", model=model, weights=None)
        found = record(done, out)
        assert found["situation"] == "covariate", name
        assert found["source"]["n"] == count  # of a tuned network those alone that it never saw
        assert f"frostline adapt {world / 'inverted'} --model {model}" in done.out
        same = shift(world / "same", "--out", tmp_path / f"{name}-same", "--trust-code", model=model, weights=None)
        assert record(same, tmp_path / f"{name}-same")["situation"] == "none-shown"


def test_without_its_samples_what_a_run_keeps_stands_in(shift: Fit, world: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(world / "probe", tmp_path / "run"))
    text = (run / "result.json").read_text()
    (run / "result.json").write_text(text.replace(str(world / "source"), str(tmp_path / "gone")))
    model = f"run:{run}"
    done = shift(world / "inverted", "--out", tmp_path / "a", "--trust-code", model=model, weights=None)
    found = record(done, tmp_path / "a")
    assert found["source"]["n"] == 0
    assert {test["name"] for test in found["evidence"]} == {"moments", "predicted-classes"}
    assert found["situation"] in ("covariate", "cannot-tell")
    assert any("aren't at hand" in note for note in found["notes"])
    words = (world / "source", world / "inverted", "--out", tmp_path / "b", "--trust-code")
    assert record(shift(*words, model=model, weights=None), tmp_path / "b")["source"]["n"] == 80


def test_other_data_may_be_compared_by_a_run_that_learnt_from_them(shift: Fit, world: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    for name in ("reddish", "greenish"):
        (part / name).mkdir(parents=True)
        for index in range(15):
            shutil.copy(world / "source" / name / f"{index}.png", part / name)
    model = f"run:{world / 'tuned'}"
    words = (part, world / "same", "--out", tmp_path / "out", "--trust-code")
    done = shift(*words, model=model, weights=None)
    assert record(done, tmp_path / "out")["source"]["n"] == 30
    assert "was trained on" in done.err


def test_labels_of_the_target_may_be_missing_new_or_others(shift: Fit, world: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for index, file in enumerate(sorted((world / "same").rglob("*.png"))):
        shutil.copy(file, flat / f"{index}.png")
    found = record(shift(world / "source", flat, "--out", tmp_path / "a"), tmp_path / "a")
    assert found["target"]["labelled"] == 0
    assert "concept shift" in found["cannot_see"][0]
    others = Path(shutil.copytree(world / "same", tmp_path / "others"))
    for name in ("reddish", "greenish"):
        (others / name).rename(others / f"is-{name}")
    done = shift(world / "source", others, "--out", tmp_path / "b")
    assert record(done, tmp_path / "b")["target"]["labelled"] == 0
    assert "are none of the source's classes" in done.err
    (others / "is-reddish").rename(others / "reddish")
    found = record(shift(world / "source", others, "--out", tmp_path / "c"), tmp_path / "c")
    assert found["classes"]["new"] == ["is-greenish"]
    assert found["classes"]["missing"] == ["greenish"]
    assert found["situation"] in ("new-classes", "mixed")
    found = record(shift(flat, world / "inverted", "--out", tmp_path / "d"), tmp_path / "d")
    assert found["situation"] == "cannot-tell"
    assert found["classes"]["source"] == []


def test_tiny_damaged_and_copied_targets_get_an_answer(shift: Fit, world: Path, tmp_path: Path) -> None:
    tiny = tmp_path / "tiny"
    tiny.mkdir()
    for index in range(5):
        shutil.copy(world / "source" / "reddish" / f"{index}.png", tiny)
    (tiny / "broken.png").write_bytes(b"no image")
    done = shift(world / "source", tiny, "--out", tmp_path / "out")
    found = record(done, tmp_path / "out")
    assert found["situation"] == "cannot-tell"
    assert found["copies"] == 5
    assert found["typical"] is None
    assert any("broken.png" in note for note in found["notes"])
    assert "5 samples" in done.out


def refused(done: SimpleNamespace) -> str:
    """What a refused command says, after the phases that it got through: exit 2, one sentence and one hint."""
    assert done.code == 2, done.err
    assert done.out == ""
    start = done.err.index("error: ")
    return one_sentence(SimpleNamespace(code=2, out="", err=done.err[start:]))


def test_what_cant_be_meant_is_refused_in_refused(shift: Fit, world: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts.csv").write_text("text\none\ntwo\n", encoding="utf-8")
    run = f"run:{world / 'probe'}"
    source, same = world / "source", world / "same"
    assert "needs two" in refused(shift(same))
    assert "nothing to compare" in refused(shift(same, same))
    assert "3 data sets" in refused(shift(source, same, same))
    assert "holds no images" in refused(shift(source, tmp_path / "empty"))
    assert "holds texts, but the network reads images." in refused(shift(source, tmp_path / "texts.csv"))
    assert "does not exist" in refused(shift(source, tmp_path / "nowhere"))
    assert "the run brings its own" in refused(shift(same, model=run))
    assert "not a finished run" in refused(shift(same, model=f"run:{tmp_path}", weights=None))
    assert "no option --strategies" in refused(shift(source, same, "--strategies", "probe"))
    assert "several networks" in refused(shift(source, same, model="glyphs,glyphs=random", weights=None))
    assert not (tmp_path / "runs").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").touch()
    assert "other files" in refused(shift(source, same, "--out", other))
    assert "holds no shift.json" not in command("show", world / "probe").err


def test_data_in_memory_are_compared_in_python(network: tuple[str, str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (60, 16, 16, 3), dtype=np.uint8)
    labels = np.array(["a", "b"])[np.arange(60) % 2]
    images[labels == "a", ..., 0] //= 2
    options: dict[str, Any] = {"weights": network[1], "threads": 1, "store": "off"}
    found = frostline.diagnose_shift((images, labels), 255 - images, network[0], out=tmp_path / "a", **options)
    assert found.result.situation == "covariate"
    assert found.path == tmp_path / "a"
    found = frostline.diagnose_shift(images, images[:20], network[0], out=tmp_path / "b", **options)
    assert found.result.situation == "none-shown"
    assert found.result.copies == 20
    with pytest.raises(frostline.base.errors.FrostlineError, match="no option 'epochs'"):
        frostline.diagnose_shift(images, images[:20], network[0], epochs=3)


def test_texts_are_read_at_one_length(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra `text` isn't installed")
    from cases.hf_folders import write_sentences, write_text_network

    folder = write_text_network(tmp_path / "net")
    table = write_sentences(tmp_path / "short.csv", 60)
    rows = table.read_text(encoding="utf-8").splitlines()
    (tmp_path / "a.csv").write_text("\n".join(rows[:31]) + "\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("\n".join(["the red house of the dog " * 4 + str(i) for i in range(24)]))
    words = ("shift", tmp_path / "a.csv", tmp_path / "b.txt", "--model", f"hf:{folder}", "--threads", 1)
    done = command(*words, "--store", "off", "--out", tmp_path / "out", "--plain")
    found = record(done, tmp_path / "out")
    assert found["modality"] == "text"
    assert found["situation"] == "covariate"
    assert 0 not in found["network"]["compared"]
    assert "the red house of the dog" in (tmp_path / "out" / "shift.html").read_text(encoding="utf-8")
