"""Every file, value and figure is compared; times and machines aren't; what changed says what may differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from frostline.base.device import default_threads
from frostline.base.errors import BundleError
from frostline.base.hashing import hash_file
from frostline.base.packages import RECORDED_PACKAGES, package_versions
from frostline.bundle.schema import RunResult
from frostline.report.changes import MAY_DIFFER, compute_changes, environment_changes, overruled
from frostline.report.differences import compare_runs, difference_lines
from helpers.report_records import record

TRIAL = {"key": "probe-0", "accuracy": 0.9, "seconds": 1.0, "curve": [{"step": 1, "train_loss": 0.5}]}


def written(path: Path, trial: dict[str, Any] | None = None, text: str = "a", **changed: Any) -> tuple[Path, RunResult]:
    """A RUN folder with one file, one trial and the made-up record."""
    path.mkdir()
    (path / "oof.parquet").write_text(text)
    (path / "trials.jsonl").write_text(json.dumps({**TRIAL, **(trial or {})}) + "\n")
    files = {"oof.parquet": hash_file(path / "oof.parquet")}
    return path, RunResult(**{**record(), "files": files, **changed})


def test_equal_runs_are_equal_whenever_and_wherever_they_ran(tmp_path: Path) -> None:
    one, two = (
        written(tmp_path / "1"),
        written(
            tmp_path / "2",
            {"seconds": 9.0},
            created="later",
            command="other",
            machine={"cores": 64},
            packages={},
            version="9",
        ),
    )
    found = compare_runs(one[0], two[0], (one[1], two[1]), except_=())
    assert found.equal
    assert found.counts().startswith("1 of 1 files, ")
    assert found.counts().endswith("4 of 4 trials' figures are equal")
    assert difference_lines(found) == []


def test_each_difference_is_found_and_told_where(tmp_path: Path) -> None:
    data = {**record()["data"], "classes": ["ant", "wasp"], "n_test": 51}
    one, two = written(tmp_path / "1"), written(tmp_path / "2", {"accuracy": 0.8}, text="b", data=data, blocks=[])
    found = compare_runs(one[0], two[0], (one[1], two[1]), except_=())
    where = {(d.kind, d.where): (d.recorded, d.replayed) for d in found.found}
    assert where["value", "data.n_test"] == ("50", "51")
    assert where["value", "data.classes[1]"] == ("bee", "wasp")
    assert where["value", "blocks[0].n_train"] == ("80", "absent")
    assert where["trial", "probe-0.accuracy"] == ("0.9", "0.8")
    assert ("file", "oof.parquet") in where
    assert not found.equal
    assert found.altered == ()
    lines = difference_lines(found)
    assert "value: " in "".join(lines)
    assert any(line.startswith("file oof.parquet: ") for line in lines)
    left = compare_runs(one[0], two[0], (one[1], two[1]), except_=("data", "blocks"))
    assert {d.kind for d in left.found} <= {"trial", "file", "value"}
    assert not [d for d in left.found if d.where.startswith("data")]


def test_a_file_that_was_changed_after_the_run_is_told(tmp_path: Path) -> None:
    one, two = written(tmp_path / "1"), written(tmp_path / "2")
    (one[0] / "oof.parquet").write_text("spoilt")
    found = compare_runs(one[0], two[0], (one[1], two[1]), except_=())
    assert (found.found, found.altered, found.equal) == ((), ("oof.parquet",), False)
    lied = RunResult(**{**record(), "files": {"oof.parquet": "0" * 64}})
    found = compare_runs(two[0], two[0], (lied, two[1]), except_=())
    assert found.altered == found.misrecorded == ("oof.parquet",)
    assert "so the record was changed" in difference_lines(found)[0]
    (one[0] / "trials.jsonl").write_text("{")
    with pytest.raises(BundleError, match="trials"):
        compare_runs(one[0], two[0], (one[1], two[1]), except_=())


def test_every_package_has_words_for_what_it_may_change() -> None:
    assert {*RECORDED_PACKAGES, "frostline", "python"} <= set(MAY_DIFFER)
    assert set(package_versions()) <= set(RECORDED_PACKAGES)


def test_changed_packages_and_machines_are_named() -> None:
    versions = {**package_versions(), "torch": "1.0"}
    del versions["numpy"]
    found = {c.what: c for c in environment_changes(RunResult(**record(packages=versions)))}
    assert found["torch"].before == "1.0"
    assert "last bits of trained tensors" in found["torch"].sentence()
    assert "numpy was not there and is" in found["numpy"].sentence()
    assert "scipy" not in found
    assert "cpu_capability" in found


def test_what_a_rule_would_decide_otherwise_is_told() -> None:
    compute = {"device": "cpu", "precision": "fp32", "channels_last": True, "threads": 9, "chunk": 16}
    result = RunResult(**record(machine={**compute, "channels_last": False}))
    assert [c.what for c in compute_changes(result, compute)] == ["channels_last"]
    assert "9 threads by rule" in overruled(result)[0]
    assert overruled(RunResult(**record(machine={**compute, "threads": default_threads()}))) == []
