"""`frostline adapt` on scikit-learn's digits: arms, choice, labels, the saved model, bad input, and a killed run."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import frostline as library
from cases.small_world import FROSTLINE
from frostline.bundle.adapt_record import read_adapted
from frostline.cli.main import main

ARMS = "adabn,em"
VOLATILE = ("created", "command", "cost", "files", "settings")


def adapt(*words: object) -> SimpleNamespace:
    """`frostline adapt` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in ("adapt", *words, "--threads", "1", "--plain")])
    return SimpleNamespace(code=code, out=out.getvalue(), err=err.getvalue())


def noisy(image: np.ndarray, number: int) -> np.ndarray:
    """A fainter scan on a grey, noisy ground."""
    noise = np.random.default_rng(number).normal(0, 45, image.shape)
    return np.asarray(np.clip(image * 0.6 + 60 + noise, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plain digits to fit to, other digits, and targets of several kinds."""
    root = tmp_path_factory.mktemp("adapt")
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(images)).tolist()

    def write(name: str, rows: list[int], *, shifted: bool = False) -> None:
        for i in rows:
            folder = root / name / str(digits.target[i])
            folder.mkdir(parents=True, exist_ok=True)
            image = images[i].repeat(4, 0).repeat(4, 1)
            Image.fromarray(noisy(image, i) if shifted else image).save(folder / f"{i}.png")

    write("plain", order[:200])
    write("noisy", order[200:320], shifted=True)
    write("tiny", order[320:325], shifted=True)
    return root


@pytest.fixture(scope="module")
def run(world: Path) -> Path:
    """A run of `probe` on the plain digits."""
    out = world / "run"
    words = ["fit", world / "plain", "--model", "glyphs", "--strategies", "probe", "--blocks", "2", "--augment", "none"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert main([str(word) for word in (*words, "--threads", "1", "--out", out)]) == 0
    return out


@pytest.fixture(scope="module")
def adapted(world: Path, run: Path) -> SimpleNamespace:
    """The noisy digits, with two arms; their folders name the classes, so the labels are sealed."""
    out = world / "adapted"
    done = adapt(world / "noisy", "--model", f"run:{run}", "--strategies", ARMS, "--out", out)
    assert done.code == 0, done.err
    return SimpleNamespace(path=out, done=done, result=json.loads((out / "adapt.json").read_text()))


def by_name(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {arm["name"]: arm for arm in result["arms"]}


def predictions(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row.get("id") or Path(row["file"]).as_posix(): row for row in csv.DictReader(file)}


def test_every_arm_is_judged_and_the_labels_are_opened_after_the_choice(adapted: SimpleNamespace) -> None:
    result = adapted.result
    assert [arm["name"] for arm in result["arms"]] == ["as-is", "adabn", "em"]
    assert (result["target"]["target_labels"], result["target"]["chosen_by_default"]) == ("sealed", True)
    assert "--target-labels sealed" in adapted.done.err
    arms = by_name(result)
    opened = result["opened"]
    assert opened["n"] == 120
    assert opened["chosen"] == arms[result["choice"]["arm"]]["test"]["accuracy"]
    assert opened["regret"] == pytest.approx(max(a["test"]["accuracy"] for a in arms.values()) - opened["chosen"])
    assert arms["adabn"]["gain"]["ci"][0] <= arms["adabn"]["gain"]["difference"]
    assert arms["em"]["prior"] is not None
    assert arms["em"]["unsuited"] or result["diagnosis"]["situation"] == "label"
    assert result["audit"]["frozen_tensors"] == result["audit"]["frozen_unchanged"] > 0
    assert not (adapted.path / ".work").exists()


def test_hidden_labels_change_nothing_before_they_are_opened(adapted: SimpleNamespace, world: Path, run: Path) -> None:
    """The same images with their labels exchanged: all but what the labels say is the same."""
    shutil.copytree(world / "noisy", world / "exchanged")
    (world / "exchanged" / "0").rename(world / "exchanged" / "x")
    (world / "exchanged" / "1").rename(world / "exchanged" / "0")
    (world / "exchanged" / "x").rename(world / "exchanged" / "1")
    again = library.adapt_network(
        _in_order(world / "exchanged", world / "noisy"),
        f"run:{run}",
        strategies=ARMS,
        threads=1,
        out=world / "blind",
    )
    plain = library.adapt_network(
        _in_order(world / "noisy", world / "noisy"),
        f"run:{run}",
        strategies=ARMS,
        target_labels="none",
        threads=1,
        out=world / "unlabelled",
    )
    first, second = (one.result.model_dump(mode="json", by_alias=True) for one in (again, plain))
    assert first["choice"] == second["choice"]
    for a, b in zip(first["arms"], second["arms"], strict=True):
        assert (a["scores"], a["gain"], a["estimated_accuracy"]) == (b["scores"], b["gain"], b["estimated_accuracy"])
        assert b["test"] is None
    assert first["opened"]["n"] == 120
    assert second["opened"] is None


def _in_order(folder: Path, like: Path) -> dict[str, Any]:
    """The images of a folder in the order of another one's, with the labels that their folders have now."""
    where = {file.name: file.parent.name for file in folder.glob("*/*.png")}
    files = sorted(like.glob("*/*.png"))
    return {"image": np.stack([np.asarray(Image.open(f)) for f in files]), "label": [where[f.name] for f in files]}


def test_predict_gives_what_predictions_csv_says(
    adapted: SimpleNamespace, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = world / "table.csv"
    assert main(["predict", str(adapted.path), str(world / "noisy"), "--csv", str(table)]) == 0
    written = predictions(adapted.path / "predictions.csv")
    told = {name.removeprefix(f"{(world / 'noisy').as_posix()}/"): row for name, row in predictions(table).items()}
    assert set(told) == set(written)
    for name, row in written.items():
        assert row["predicted"] == told[name]["predicted"]
        assert float(row["p:3"]) == pytest.approx(float(told[name]["p:3"]), rel=1e-6)
        assert row["label"] == name.partition("/")[0]
    assert main(["show", str(adapted.path)]) == 0
    assert capsys.readouterr().out == adapted.done.out


def test_an_arm_that_labels_choose_is_saved_and_read_back(world: Path, run: Path) -> None:
    """40 labels are enough to tell that BatchNorm's statistics help here; the saved network has them."""
    few = world / "few"
    for place, file in enumerate(sorted((world / "noisy").glob("*/*.png"))):
        folder = few / file.parent.name if place % 3 == 0 else few
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / file.name)
    done = adapt(few, "--model", f"run:{run}", "--strategies", ARMS, "--target-labels", "few", "--out", world / "by")
    assert done.code == 0, done.err
    result = read_adapted(world / "by")
    assert (result.choice.arm, result.choice.rule) == ("adabn", "target-labels")
    assert result.target.labelled == 40
    arms = {arm.name: arm for arm in result.arms}
    better, before = arms["adabn"].cross_validated, arms["as-is"].cross_validated
    assert better is not None
    assert before is not None
    assert better.accuracy > before.accuracy
    assert result.history[-1]["what"] == "adapt"
    loaded = library.load(world / "by")
    assert loaded.loaded.recipe["strategy"] == "adabn"


def test_prior_factors_are_saved_with_the_model(world: Path, run: Path) -> None:
    """Two classes alone, and labels that say so: the correction is chosen, and prediction uses its factors."""
    target = world / "two"
    for name in ("0", "1"):
        shutil.copytree(world / "plain" / name, target / name)
    for file in target.glob("*/*.png"):  # other files than the run's own
        image = np.asarray(Image.open(file)).copy()
        image[0, 0] = 7
        Image.fromarray(image).save(file)
    done = adapt(target, "--model", f"run:{run}", "--strategies", "em", "--target-labels", "few", "--out", world / "p")
    assert done.code == 0, done.err
    result = read_adapted(world / "p")
    prior = next(arm.prior for arm in result.arms if arm.name == "em")
    assert prior is not None
    assert np.argsort(prior)[-2:].tolist() in ([0, 1], [1, 0])
    loaded = library.load(world / "p").loaded
    if result.choice.arm == "em":
        assert loaded.prior is not None
        assert loaded.prior.tolist() == prior


def test_tiny_and_familiar_targets_are_left_alone(world: Path, run: Path) -> None:
    done = adapt(world / "tiny", "--model", f"run:{run}", "--out", world / "t")
    assert done.code == 0, done.err
    assert "No adaptation: 5 target samples are too few to show anything (at least 20)." in done.out
    kept = run / "model" / "model.safetensors"
    assert (world / "t" / "model" / "model.safetensors").read_bytes() == kept.read_bytes()
    done = adapt(world / "plain", "--model", f"run:{run}", "--out", world / "own")
    assert "all 200 target samples are in the run's own data" in done.out.replace("\n", " ")
    assert all(arm.steps == 0 for arm in read_adapted(world / "own").arms)


def test_data_that_moved_leave_what_the_run_keeps(world: Path, run: Path) -> None:
    """Without the source's samples its out-of-fold probabilities still judge a network that wasn't trained."""
    (world / "plain").rename(world / "elsewhere")
    try:
        done = adapt(world / "noisy", "--model", f"run:{run}", "--strategies", "adabn,coral", "--out", world / "m")
        found = read_adapted(world / "m")
        there = adapt(
            *(world / "noisy", "--model", f"run:{run}", "--strategies", "adabn", "--out", world / "n"),
            *("--source", world / "elsewhere"),
        )
    finally:
        (world / "elsewhere").rename(world / "plain")
    assert done.code == there.code == 0, (done.err, there.err)
    assert found.source.reason is not None
    arms = {arm.name: arm for arm in found.arms}
    assert arms["coral"].reason
    assert arms["adabn"].gain is not None
    assert read_adapted(world / "n").source.samples > 0


def test_what_cannot_be_meant_is_refused_in_one_sentence(world: Path, run: Path, adapted: SimpleNamespace) -> None:
    (world / "empty").mkdir()
    (world / "texts.csv").write_text("text\nhello\nworld\n")
    for name in ("cat", "dog"):
        shutil.copytree(world / "noisy" / "1", world / "strange" / name)
    shutil.copytree(world / "noisy" / "3", world / "one" / "3")
    noisy_words = (world / "noisy", "--model", f"run:{run}")
    cases = {
        "holds no images": (world / "empty", "--model", f"run:{run}"),
        "does not exist": (world / "nowhere", "--model", f"run:{run}"),
        "holds texts, but the network reads images": (world / "texts.csv", "--model", f"run:{run}"),
        "glyphs is no run": (world / "noisy", "--model", "glyphs"),
        "is not a finished run": (world / "noisy", "--model", f"run:{world / 'empty'}"),
        "was adapted already": (world / "noisy", "--model", f"run:{adapted.path}"),
        "has no arm 'adabm'": (*noisy_words, "--strategies", "adabm"),
        "learns from target labels": (*noisy_words, "--strategies", "surgical-first"),
        "some is not known": (*noisy_words, "--target-labels", "some"),
        "names none of the run's classes": (world / "strange", "--model", f"run:{run}", "--target-labels", "sealed"),
        "are of one class (3)": (world / "one", "--model", f"run:{run}", "--target-labels", "few"),
        "holds another adaptation": (*noisy_words, "--out", adapted.path),
        "doesn't say which run is meant": (*noisy_words, "--resume"),
        "was made with other settings": (*noisy_words, "--out", adapted.path, "--resume", "--seed", "3"),
    }
    for sentence, words in cases.items():
        done = adapt(*words)
        assert done.code == 2, (sentence, done.err)
        assert sentence in done.err
        assert done.err.splitlines()[-1].startswith("  ")  # what to type next


def test_a_target_without_known_classes_is_read_without_labels(world: Path, run: Path) -> None:
    for name in ("fox", "owl"):
        shutil.copytree(world / "noisy" / "2", world / "animals" / name)
    done = adapt(world / "animals", "--model", f"run:{run}", "--strategies", "adabn", "--out", world / "a")
    assert done.code == 0, done.err
    assert "'fox', 'owl'" in done.err
    assert read_adapted(world / "a").opened is None


@pytest.mark.slow
def test_a_killed_adaptation_ends_with_the_same_bits(adapted: SimpleNamespace, world: Path, run: Path) -> None:
    out = world / "killed"
    words = [world / "noisy", "--model", f"run:{run}", "--strategies", ARMS, "--out", out]
    command = [str(word) for word in (FROSTLINE, "adapt", *words, "--threads", "1", "--plain")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while len(list(out.glob(".work/arms/*.json"))) < 2:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert not (out / "adapt.json").exists()
    done = adapt(*words, "--resume")
    assert done.code == 0, done.err
    for name in ("predictions.csv", "model/model.safetensors", "model/recipe.json", "ledger.json"):
        assert (out / name).read_bytes() == (adapted.path / name).read_bytes()
    assert comparable(json.loads((out / "adapt.json").read_text())) == comparable(adapted.result)


def comparable(result: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in result.items() if key not in VOLATILE}
    kept["arms"] = [{k: v for k, v in arm.items() if k != "seconds"} for arm in result["arms"]]
    return kept
