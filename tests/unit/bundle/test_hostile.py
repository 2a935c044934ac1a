"""RUN folders that somebody else made or changed: nothing in them runs, leads elsewhere, or never ends."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from frostline import load
from frostline.base.errors import FrostlineError
from frostline.base.hashing import hash_file
from frostline.bundle.runfolder import read_result
from frostline.bundle.spec import resolve_network
from frostline.models.sources.user_code import read_code

NETWORK = """
import os, pathlib
import torch

pathlib.Path(r"{mark}").mkdir(exist_ok=True)


def make():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1024, 10))
"""


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    """A copy without the record, so that nothing but the model's own checks stands between it and the reader."""
    shutil.copytree(trained_run / "model", tmp_path / "run" / "model")
    return tmp_path / "run"


def change(run: Path, name: str, edit: Callable[[Any], Any]) -> None:
    file = run / "model" / name
    value = json.loads(file.read_text())
    file.write_text(json.dumps(edit(value) or value))


def source(**values: Any) -> Callable[[Any], None]:
    return lambda note: note["source"].update(values)


def both_refuse(run: Path, words: str) -> None:
    """`frostline.load` and `--model run:RUN` refuse it."""
    for read in (lambda: load(run), lambda: resolve_network(f"run:{run}")):
        with pytest.raises(FrostlineError) as found:
            read()
        assert words in found.value.message


def test_code_outside_the_folder_is_never_run(run: Path, tmp_path: Path) -> None:
    evil = tmp_path / "evil.py"
    evil.write_text(NETWORK.format(mark=tmp_path / "mark"))
    change(run, "recipe.json", source(spec=f"torch:{evil}:make", code_sha256=None))
    both_refuse(run, "outside its folder")
    shutil.copy(evil, run / "model" / "evil.py")
    change(run, "recipe.json", source(spec="torch:evil.py:make", code_sha256=None))
    both_refuse(run, "outside its folder")
    assert not (tmp_path / "mark").exists()


def test_other_code_than_the_user_trusts_is_never_run_whatever_hash_the_note_names(run: Path, tmp_path: Path) -> None:
    code = run / "model" / "code.py"
    code.write_text(NETWORK.format(mark=tmp_path / "mark"))
    for digest in (hash_file(code), read_code(code).sha256, "00"):
        change(run, "recipe.json", source(spec="torch:code.py:make", code_sha256=digest))
        both_refuse(run, "you have not named yourself")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "spec", ["hf:/etc", "timm:/etc", "keras:/etc/x.keras", "keras:../x.keras", "hf:~/x", "timm:a/../../b", "hf:C:\\x"]
)
def test_networks_outside_the_folder_are_refused(run: Path, spec: str) -> None:
    change(run, "recipe.json", source(spec=spec))
    both_refuse(run, "outside its folder")


@pytest.mark.parametrize("name", ["../x.py", "/x.py", "a\\..\\x.py", "x.txt"])
def test_files_of_code_outside_the_folder_are_refused(run: Path, name: str) -> None:
    change(run, "recipe.json", source(siblings=[name], code_sha256="00"))
    both_refuse(run, "source.siblings")


@pytest.mark.parametrize("name", ["recipe.json", "classes.json", "preprocess.json"])
@pytest.mark.parametrize("content", ["[" * 100_000 + "]" * 100_000, "9" * 9000, "\udcff"])
def test_notes_that_nest_or_count_without_end_or_are_no_text_are_refused(run: Path, name: str, content: str) -> None:
    (run / "model" / name).write_bytes(content.encode(errors="surrogateescape"))
    both_refuse(run, "damaged")


@pytest.mark.parametrize("name", ["recipe.json", "classes.json", "preprocess.json", "model.safetensors"])
@pytest.mark.parametrize("kind", ["device", "pipe", "terabyte"])
def test_files_without_an_end_are_refused_unread(run: Path, name: str, kind: str) -> None:
    file = run / "model" / name
    file.unlink()
    if kind == "device":
        os.symlink("/dev/zero", file)
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        with file.open("wb") as made:
            made.truncate(1 << 40)
    with pytest.raises(FrostlineError, match=name):
        load(run)


def test_a_record_without_an_end_is_refused_unread(tmp_path: Path) -> None:
    os.symlink("/dev/zero", tmp_path / "result.json")
    with pytest.raises(FrostlineError, match=r"no plain file|holds no result"):
        read_result(tmp_path)
    (tmp_path / "result.json").unlink()
    (tmp_path / "result.json").write_text("[" * 100_000)
    with pytest.raises(FrostlineError, match="not a record"):
        read_result(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("chunk", 1 << 60), ("chunk", 0), ("chunk", -1), ("chunk", True), ("precision", "x"), ("channels_last", 1)],
)
def test_settings_that_would_take_all_memory_are_refused(run: Path, key: str, value: Any) -> None:
    change(run, "recipe.json", lambda note: note["compute"].update({key: value}))
    both_refuse(run, "'compute'")


def test_a_class_that_is_named_twice_is_refused(run: Path) -> None:
    change(run, "classes.json", lambda names: [names[0], *names[:-1]])
    both_refuse(run, "twice")


def test_weights_that_lie_about_their_size_are_refused(run: Path) -> None:
    (run / "model" / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    both_refuse(run, "model.safetensors can't be read")
