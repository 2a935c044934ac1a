"""The RUN folder: outcomes survive bit for bit, damaged ones count as not finished, other folders are left alone."""

from __future__ import annotations

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frostline.base.errors import BundleError
from frostline.base.records import AuditCount, CurvePoint, Outcome
from frostline.bundle.runfolder import (
    RunFolder,
    check_out,
    make_next_out,
    next_out,
    open_run,
    read_result,
    write_oof,
    write_predictions,
    write_trials,
)

SHARE = st.floats(0, 1)


def outcome(**changed: Any) -> Outcome:
    values: dict[str, Any] = {
        "key": "block/freeze@2/0/0.001",
        "strategy": "freeze@2",
        "purpose": "block",
        "block": 0,
        "rate": 1e-3,
        "rows": (4, 7),
        "probabilities": ((0.1, 0.9), (1 / 3, 2 / 3)),
        "accuracy": 0.5,
        "log_loss": 0.7,
        "steps": 120,
        "epochs": 2.5,
        "undertrained": True,
        "l2": None,
        "seconds": 1.25,
        "operations": 3e9,
        "curve": (CurvePoint(step=10, train_loss=0.6), CurvePoint(step=20, train_loss=0.5, validation_loss=0.55)),
        "audit": AuditCount(frozen_tensors=3, frozen_unchanged=3, trained_tensors=2, no_gradient=("fc.bias",)),
    }
    return Outcome(**{**values, **changed})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return open_run(tmp_path / "run", {"seed": 0}, inputs="i", resume=False)


def outcome_file(folder: RunFolder) -> Path:
    (found,) = (folder.work / "outcomes").iterdir()
    return found


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    probabilities=st.lists(st.tuples(SHARE, SHARE, SHARE), min_size=1, max_size=4),
    loss=st.floats(0, 30),
    rate=st.none() | st.floats(1e-6, 1),
    error=st.none() | st.text(max_size=20),
)
def test_outcomes_come_back_as_they_were(
    folder: RunFolder, probabilities: list[tuple[float, ...]], loss: float, rate: float | None, error: str | None
) -> None:
    saved = outcome(
        probabilities=tuple(probabilities), rows=tuple(range(len(probabilities))), log_loss=loss, rate=rate, error=error
    )
    folder.save_outcome(saved)
    assert folder.load_outcome(saved.key) == saved


def test_an_outcome_never_saved_is_none(folder: RunFolder) -> None:
    assert folder.load_outcome("block/probe/0/-") is None


@pytest.mark.parametrize(
    "damage", ["cut short", "a digit", "empty", "another value", "no sum", "a list", "a field too many", "bytes"]
)
def test_a_damaged_outcome_counts_as_not_finished(folder: RunFolder, damage: str) -> None:
    saved = outcome()
    folder.save_outcome(saved)
    file = outcome_file(folder)
    text = file.read_text(encoding="utf-8")
    note = json.loads(text)
    if damage == "cut short":
        text = text[: len(text) // 2]
    elif damage == "a digit":
        text = text.replace("0.7", "0.8", 1)
    elif damage == "empty":
        text = ""
    elif damage == "another value":
        note["outcome"]["accuracy"] = 1.0
        text = json.dumps(note)
    elif damage == "no sum":
        text = json.dumps({"outcome": note["outcome"]})
    elif damage == "a list":
        text = "[1, 2]"
    elif damage == "a field too many":
        note["outcome"]["more"] = 1
        text = json.dumps(note)
    file.write_bytes(b"\xff\xfe" if damage == "bytes" else text.encode())
    assert folder.load_outcome(saved.key) is None
    folder.save_outcome(saved)
    assert folder.load_outcome(saved.key) == saved


def test_a_failed_write_leaves_the_old_outcome(folder: RunFolder) -> None:
    folder.save_outcome(outcome())
    with pytest.raises(ValueError, match="not JSON compliant"):
        folder.save_outcome(outcome(log_loss=float("nan")))
    assert folder.load_outcome(outcome().key) == outcome()
    assert len(list((folder.work / "outcomes").iterdir())) == 1


def test_outcomes_of_two_trials_lie_apart(folder: RunFolder) -> None:
    keys = ["block/freeze@1/0/0.001", "block/freeze@1/1/0.001", "tune/freeze@1/0/0.001"]
    for block, key in enumerate(keys):
        folder.save_outcome(outcome(key=key, block=block))
    found = [folder.load_outcome(key) for key in keys]
    assert [o.block for o in found if o] == [0, 1, 2]


def test_a_file_and_a_folder_with_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.tex").write_text("x", encoding="utf-8")
    for resume in (False, True):
        with pytest.raises(BundleError, match=r"--out .*file is a file"):
            check_out(tmp_path / "file", resume=resume)
        with pytest.raises(BundleError, match=r"own is a folder with other files"):
            check_out(tmp_path / "own", resume=resume)
    (tmp_path / "empty").mkdir()
    check_out(tmp_path / "empty", resume=False)
    check_out(tmp_path / "absent", resume=False)


def test_another_run_is_refused_unless_resumed_with_its_own_settings(tmp_path: Path) -> None:
    out = tmp_path / "run"
    open_run(out, {"seed": 0, "strategies": ("probe", "finetune")}, inputs="i", resume=False)
    with pytest.raises(BundleError, match="holds another run") as refused:
        open_run(out, {"seed": 0, "strategies": ("probe", "finetune")}, inputs="i", resume=False)
    assert "--resume" in refused.value.hint
    with pytest.raises(BundleError, match=r"begun with other settings \(seed\)"):
        open_run(out, {"seed": 1, "strategies": ("probe", "finetune")}, inputs="i", resume=True)
    assert open_run(out, {"seed": 0, "strategies": ("probe", "finetune")}, inputs="i", resume=True).path == out


def test_other_inputs_are_refused(tmp_path: Path) -> None:
    open_run(tmp_path / "run", {"seed": 0}, inputs="old", resume=False)
    with pytest.raises(BundleError, match="the images, the network's code or its weights have changed"):
        open_run(tmp_path / "run", {"seed": 0}, inputs="new", resume=True)


def test_resume_names_settings_that_came_or_went(tmp_path: Path) -> None:
    open_run(tmp_path / "run", {"seed": 0, "old": 1}, inputs="i", resume=False)
    with pytest.raises(BundleError, match=r"\(new, old\)"):
        open_run(tmp_path / "run", {"seed": 0, "new": 1}, inputs="i", resume=True)


def test_default_folders_count_up(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    assert next_out(Path("data/ants"), root) == root / "ants-1"
    (root / "ants-1").mkdir(parents=True)
    assert next_out(Path("data/ants/"), root) == root / "ants-2"


def test_default_folder_keeps_dots_of_the_data_folder(tmp_path: Path) -> None:
    assert next_out(Path("data/flowers.v2"), tmp_path).name == "flowers.v2-1"


def test_no_result_says_whether_the_run_can_go_on(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"holds no result\.json") as empty:
        read_result(tmp_path)
    assert "--resume" not in empty.value.hint
    open_run(tmp_path / "run", {}, inputs="i", resume=False)
    with pytest.raises(BundleError) as begun:
        read_result(tmp_path / "run")
    assert "--resume" in begun.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}', '{"schema": "x"}'])
def test_a_record_of_another_kind_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match="is not a record of this version"):
        read_result(tmp_path)


def test_trials_are_lines_with_curves_and_without_probabilities(tmp_path: Path) -> None:
    write_trials(tmp_path / "t.jsonl", [outcome(), outcome(block=1)])
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["block"] for line in lines] == [0, 1]
    assert lines[0]["curve"][1] == {"step": 20, "train_loss": 0.5, "validation_loss": 0.55}
    assert not {"probabilities", "rows"} & set(lines[0])
    write_trials(tmp_path / "none.jsonl", [])
    assert (tmp_path / "none.jsonl").read_text(encoding="utf-8") == ""


def test_out_of_fold_table_holds_blocks_that_worked_only(tmp_path: Path) -> None:
    outcomes = [
        outcome(),
        outcome(purpose="tune"),
        outcome(block=1, rows=(0,), probabilities=((0.25, 0.75),)),
        outcome(block=2, probabilities=(), error="diverged"),
    ]
    write_oof(tmp_path / "oof.parquet", outcomes, [f"id{i}" for i in range(8)], ["ant", "bee"])
    table = pq.read_table(tmp_path / "oof.parquet").to_pydict()
    assert table["id"] == ["id4", "id7", "id0"]
    assert table["block"] == [0, 0, 1]
    assert table["p:ant"] == [0.1, 1 / 3, 0.25]
    assert table["strategy"] == ["freeze@2"] * 3


def test_predictions_name_labels_and_keep_nine_digits(tmp_path: Path) -> None:
    probabilities = np.array([[0.123456789012, 0.876543210988], [1e-12, 1 - 1e-12]])
    write_predictions(tmp_path / "p.csv", ["a/1,2.jpg", 'b/"x".jpg'], [0, 1], probabilities, ["ant", "bee, small"])
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["a/1,2.jpg", 'b/"x".jpg']
    assert [(row["label"], row["predicted"]) for row in rows] == [("ant", "bee, small"), ("bee, small", "bee, small")]
    assert float(rows[0]["p:ant"]) == pytest.approx(0.123456789012, rel=1e-8)
    assert float(rows[1]["p:ant"]) == pytest.approx(1e-12)


def test_runs_that_begin_at_once_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: make_next_out(Path("birds")), range(8)))
    assert sorted(made) == [Path(f"runs/birds-{number}") for number in range(1, 9)]
