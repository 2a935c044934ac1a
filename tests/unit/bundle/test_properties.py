"""What frostline wrote and reads again: taken as it was, refused as a BundleError, or counted as not there."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.base.errors import BundleError, FrostlineError, RecipeError
from frostline.bundle.origin import recorded_settings
from frostline.bundle.predict import load
from frostline.bundle.runfolder import RunFolder, check_recorded, open_run, read_result
from frostline.bundle.spec import resolve_network
from frostline.cli.report import report_verb
from frostline.cli.show import show_verb
from frostline.report.stored import read_stored
from helpers.odd_values import FEW, FEWER, JSON, SEEDS, as_json, damaged, edited

RECORDS = ("result.json", "trials.jsonl", "ledger.json", "samples.csv", "predictions.csv", "examples.json")


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of the files of a finished run that reports are made from."""
    for name in RECORDS:
        (tmp_path / name).write_bytes((trained_run / name).read_bytes())
    return tmp_path


@FEWER
@given(seed=SEEDS)
def test_an_edited_record_is_shown_or_refused(run: Path, seed: int, trained_run: Path) -> None:
    value = json.loads((trained_run / "result.json").read_bytes())
    for content in (as_json(edited(value, seed)), damaged(as_json(value), seed)):
        (run / "result.json").write_bytes(content)
        with contextlib.suppress(BundleError, RecipeError):  # a setting may be one that no run takes
            recorded_settings(run, read_result(run))
            show_verb(run)


@FEW
@given(value=JSON)
def test_no_other_json_value_is_a_record(run: Path, value: Any) -> None:
    (run / "result.json").write_bytes(as_json(value))
    with pytest.raises(BundleError, match=r"result\.json"):
        read_result(run)


@pytest.mark.parametrize("name", RECORDS[1:])
@FEWER
@given(seed=SEEDS)
def test_a_damaged_file_beside_the_record_is_read_or_refused(
    run: Path, name: str, seed: int, trained_run: Path
) -> None:
    (run / name).write_bytes(damaged((trained_run / name).read_bytes(), seed))
    with contextlib.suppress(BundleError):
        read_stored(run)


@FEW
@given(value=JSON, text=st.text(max_size=20))
def test_a_damaged_note_of_how_a_run_was_begun_is_refused(tmp_path: Path, value: Any, text: str) -> None:
    path = tmp_path / "run"
    open_run(path, {"seed": 0}, inputs="i", resume=True)
    study = path / ".work" / "study.json"
    before = study.read_bytes()
    for content in (as_json(value), text.encode("utf-8", "surrogatepass"), as_json({"settings": value, "inputs": "i"})):
        study.write_bytes(content)
        with pytest.raises(BundleError):
            open_run(path, {"seed": 0}, inputs="i", resume=True)
    study.write_bytes(before)
    assert isinstance(open_run(path, {"seed": 0}, inputs="i", resume=True), RunFolder)


# What tools/fuzz.py has found, in the smallest form.


def change(path: Path, *keys: Any, value: Any) -> None:
    """Put another value into a JSON file."""
    record = json.loads(path.read_bytes())
    place = record
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("verdict", "strategy"), "no strategy of this run"),
        (("test", "per_class", 0), {}),
    ],
)
def test_a_record_that_does_not_hold_together_is_refused(run: Path, keys: tuple[Any, ...], value: Any) -> None:
    change(run / "result.json", *keys, value=value)
    with pytest.raises(BundleError):
        report_verb(run)


def test_a_shape_that_is_no_list_of_numbers_is_refused(run: Path) -> None:
    change(run / "ledger.json", 0, "shape", value=["a", "b"])
    with pytest.raises(BundleError):
        report_verb(run)


@pytest.mark.parametrize(("name", "value"), [("data", 5), ("mean", 1.0), ("strategies", None), ("strategies", [1])])
def test_settings_of_another_type_are_refused(run: Path, name: str, value: Any) -> None:
    change(run / "result.json", "settings", name, value=value)
    with pytest.raises(BundleError):
        recorded_settings(run, read_result(run))


@pytest.mark.parametrize("name", ["model.safetensors", "classes.json", "preprocess.json", "recipe.json"])
def test_a_model_whose_bytes_the_record_does_not_know_is_refused(trained_run: Path, tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run / "model", run / "model")
    shutil.copy(trained_run / "result.json", run)
    data = bytearray((run / "model" / name).read_bytes())
    if name.endswith(".json"):
        data[data.index(b'"') + 1] = ord("x")
    else:
        data[-1] ^= 1
    (run / "model" / name).write_bytes(bytes(data))
    with pytest.raises(FrostlineError) as found:
        load(run)
    if name in ("model.safetensors", "classes.json"):
        assert f"{name} isn't what the run wrote" in found.value.message
        with pytest.raises(BundleError, match="isn't what the run wrote"):
            resolve_network(f"run:{run}")


def test_a_folder_without_a_record_or_with_a_damaged_one_is_loaded(trained_run: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_run / "model", tmp_path / "model")
    for content in (None, b"{", b'{"files": [1]}', b'{"files": {"model/gone.json": "00", "model/../other": "00"}}'):
        if content is not None:
            (tmp_path / "result.json").write_bytes(content)
        check_recorded(tmp_path / "model")


@pytest.mark.parametrize(
    ("file", "keys", "value"),
    [
        ("recipe.json", ("head",), {"path": "fc"}),
        ("recipe.json", ("head_form", "groups"), 5),
        ("recipe.json", ("tensors", 0), []),
        ("recipe.json", ("compute", "chunk"), None),
        ("recipe.json", ("cut",), {"module": "s1"}),
        ("preprocess.json", ("resize",), 10**30),
        ("preprocess.json", ("size",), [1 << 20, 8]),
        ("preprocess.json", ("size", 0), float("inf")),
        ("preprocess.json", ("mean", 0), 10**400),
        ("classes.json", (0,), None),
    ],
)
def test_a_saved_model_that_does_not_hold_together_is_refused(
    trained_run: Path, tmp_path: Path, file: str, keys: tuple[Any, ...], value: Any
) -> None:
    shutil.copytree(trained_run / "model", tmp_path / "model")
    change(tmp_path / "model" / file, *keys, value=value)
    with pytest.raises(FrostlineError):
        load(tmp_path)
