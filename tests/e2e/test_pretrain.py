"""`frostline pretrain` without labels through the installed command: from a folder of pictures to a fitted network."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cases.small_world import FROSTLINE, write_images, write_network
from frostline.cli.main import main
from helpers.in_process import frostline

SHORT = ("--method", "simclr", "--batch-size", "16", "--threads", "1", "--plain")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 pictures without labels, a few with labels, and a thin network."""
    folder = tmp_path_factory.mktemp("pretrain")
    write_images(folder / "pictures", {".": 40, "more": 20})
    write_images(folder / "labelled", {"reddish": 10, "greenish": 10}, seed=1)
    write_network(folder)
    return folder


def told(*words: str) -> tuple[int, str]:
    """Exit code and messages of a command line, in this process."""
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        code = main(list(words))
    return code, err.getvalue()


@pytest.mark.slow
def test_pictures_without_labels_make_a_network_that_is_then_fitted(world: Path) -> None:
    made = frostline(
        *("pretrain", "pictures", "--model", "torch:net.py:net", "--epochs", "3", *SHORT, "--out", "ssl"), cwd=world
    )
    assert made.returncode == 0, made.stderr
    assert "frostline fit DATA --model run:ssl" in made.stdout
    record = json.loads((world / "ssl" / "pretrain.json").read_text(encoding="utf-8"))
    assert (record["data"]["n"], record["method"], record["collapsed"]) == (60, "simclr", False)
    assert [point["epoch"] for point in record["curve"]] == [0, 1, 2, 3]

    fitted = frostline(
        *("fit", "labelled", "--model", "run:ssl", "--strategies", "probe", "--store", "off", "--out", "f"), cwd=world
    )
    assert fitted.returncode == 0, fitted.stderr
    assert "The weights: simclr on 60 samples of pictures without labels." in fitted.stdout
    shown = frostline("show", "ssl", cwd=world)
    assert shown.returncode == 0
    assert "PRE-TRAINED  torch:net.py:net by simclr on 60 images without labels" in shown.stdout
    assert json.loads(frostline("show", "ssl", "--json", cwd=world).stdout) == record

    for words in (("predict", "ssl", "pictures"), ("report", "ssl"), ("compare", "ssl", "f"), ("replay", "ssl")):
        code, message = told(*(str(world / word) if (world / word).exists() else word for word in words))
        assert code == 2, words
        assert "pre-trained without labels" in message
        assert f"frostline fit DATA --model run:{world / 'ssl'}" in message


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_bytes(world: Path) -> None:
    words = ("pretrain", "pictures", "--model", "torch:net.py:net", "--epochs", "12", *SHORT)
    whole = frostline(*words, "--out", "whole", cwd=world)
    assert whole.returncode == 0, whole.stderr
    command = [FROSTLINE, *words, "--out", "killed"]
    process = subprocess.Popen(
        command, cwd=world, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    checkpoint = world / "killed" / ".work" / "checkpoint.safetensors"
    waited = time.monotonic()
    while not checkpoint.exists() and time.monotonic() - waited < 60:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (world / "killed" / "pretrain.json").exists()
    resumed = frostline(*words, "--out", "killed", "--resume", cwd=world)
    assert resumed.returncode == 0, resumed.stderr
    assert "going on after epoch" in resumed.stderr
    for name in ("model.safetensors", "recipe.json"):
        assert (world / "killed" / "model" / name).read_bytes() == (world / "whole" / "model" / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "simclr", "--labels-per-class", "3"), "--labels-per-class has no effect with --method simclr"),
        (("--method", "simclr", "--augment", "light"), "--augment has no effect with --method simclr"),
        (("--method", "supervised", "--weights", "x.safetensors"), "--weights has no effect with --method supervised"),
        (("--method", "simclr", "--batch-size", "1"), "--batch-size 1"),
        ((), "Where there are no labels: --method simclr"),
    ],
)
def test_options_without_effect_are_refused(world: Path, words: tuple[str, ...], message: str) -> None:
    code, found = told("pretrain", str(world / "pictures"), "--model", f"torch:{world / 'net.py'}:net", *words)
    assert code == 2
    assert message in found
