"""`fit --pretrain FOLDER`: own unlabelled data first, as arms beside those without it, on the same samples."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from cases.small_world import FROSTLINE, write_images
from frostline.bundle.runfolder import WORK
from helpers.in_process import frostline

COLOURS = {"reddish": 12, "greenish": 12}
COMMON = ("--strategies", "probe,finetune", "--blocks", "2", "--epochs", "2", "--threads", "1", "--plain")
FIRST = ("--pretrain", "unlabelled", "--pretrain-method", "vicreg", "--pretrain-epochs", "3")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A folder with labelled and unlabelled images, two of the latter sealed ones, and a finished run."""
    root = tmp_path_factory.mktemp("arm")
    write_images(root / "data" / "train", COLOURS)
    sealed = write_images(root / "data" / "test", {"reddish": 4, "greenish": 4}, seed=1)
    write_images(root / "unlabelled", {"any": 40}, seed=2)
    for place, path in enumerate(sorted(sealed.rglob("*.png"))[:2]):
        shutil.copy(path, root / "unlabelled" / "any" / f"sealed-{place}.png")
    words = ["fit", "data", "--model", "glyphs", *COMMON]
    done = frostline(*words, *FIRST, "--out", "run", cwd=root, cache=root / "cache")
    assert done.returncode == 0, done.stderr
    plain = frostline(*words, "--out", "plain", cwd=root, cache=root / "cache")
    assert plain.returncode == 0, plain.stderr
    record = json.loads((root / "run" / "result.json").read_text())
    return SimpleNamespace(root=root, words=words, record=record, said=done.stderr)


def rows_of(run: Path) -> dict[str, np.ndarray]:
    table = pq.read_table(run / "oof.parquet").to_pandas()
    numbers = [name for name in table.columns if name.startswith("p:")]
    return {name: rows[numbers].to_numpy() for name, rows in table.groupby("strategy")}


def test_arms_with_and_without_are_paired(world: SimpleNamespace) -> None:
    names = {s["name"] for s in world.record["strategies"]}
    assert names == {"probe", "finetune", "pretrain+probe", "pretrain+finetune"}
    pairs = {frozenset((p["a"], p["b"])) for p in world.record["pairs"]}
    assert frozenset(("probe", "pretrain+probe")) in pairs
    assert [s["label"] for s in world.record["sources"]] == ["", "pretrain"]
    assert "What training on the unlabelled data of unlabelled first was worth" in " ".join(
        frostline("show", "run", cwd=world.root).stdout.split()
    )


def test_the_arms_without_it_are_those_of_a_plain_run_to_the_bit(world: SimpleNamespace) -> None:
    run, plain = rows_of(world.root / "run"), rows_of(world.root / "plain")
    for name in ("probe", "finetune"):
        assert np.array_equal(run[name], plain[name])
    assert not np.array_equal(run["pretrain+probe"], plain["probe"])


def test_sealed_images_are_left_out_of_it_and_said_to_be(world: SimpleNamespace) -> None:
    assert "2 images of the sealed part were left out" in world.said
    (entry,) = [e for e in world.record["sources"][1]["history"] if e["what"] == "vicreg"]
    assert entry["n"] == 40


def test_its_operations_count_as_costs(world: SimpleNamespace) -> None:
    cost = {s["name"]: s["operations"] for s in world.record["strategies"]}
    stages = world.record["sources"][1]["stages"]
    forward = sum(stage["operations"] for stage in stages)
    trained = 3 * forward * 2 * 40 * 3  # three passes a step, two views of 40 images, three epochs
    assert cost["pretrain+probe"] - cost["probe"] == pytest.approx(trained, rel=1e-6)


def test_killed_while_it_is_trained_and_resumed_it_ends_with_the_same_bits(world: SimpleNamespace) -> None:
    root = world.root
    command = [FROSTLINE, *world.words, *FIRST, "--out", "cut"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FROSTLINE_CACHE": str(root / "cache")}
    process = subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    checkpoints = root / "cut" / WORK / "pretrain"
    deadline = time.monotonic() + 120
    while not (checkpoints.is_dir() and any(checkpoints.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (root / "cut" / "result.json").exists()
    done = frostline(*world.words, *FIRST, "--out", "cut", "--resume", cwd=root, cache=root / "cache")
    assert done.returncode == 0, done.stderr
    for name in ("model/model.safetensors", "predictions.csv"):
        assert (root / "cut" / name).read_bytes() == (root / "run" / name).read_bytes()
    assert {k: v.tolist() for k, v in rows_of(root / "cut").items()} == {
        k: v.tolist() for k, v in rows_of(root / "run").items()
    }


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--pretrain-epochs", "2"), "--pretrain-epochs without --pretrain has nothing to train on."),
        (("--pretrain", "unlabelled", "--pretrain-method", "simclir"), "--pretrain-method 'simclir' is not known."),
        (("--pretrain", "nowhere"), "nowhere"),
        (("--pretrain", "unlabelled", "--budget", "2m"), "--budget can't plan for --pretrain."),
        (("--pretrain", "unlabelled", "--strategies", "scratch"), "--pretrain doesn't apply"),
        (("--pretrain", "unlabelled", "--pretrain-method", "mlm"), "--method mlm is for texts"),
    ],
)
def test_what_cannot_be_meant_is_refused(world: SimpleNamespace, words: tuple[str, ...], sentence: str) -> None:
    done = frostline("fit", "data", "--model", "glyphs", *words, "--out", f"refused-{len(sentence)}", cwd=world.root)
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
