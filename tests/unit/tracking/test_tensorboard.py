"""Events become TensorBoard runs: read back with tensorboard's own reader, and TensorFlow is never asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from frostline.base.errors import RecipeError
from frostline.base.events import Event, silent
from frostline.recipe.recipe import Trial
from frostline.tracking import both, listener, tensorboard

accumulators = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="the extra `track` isn't installed"
)
CURVE = [
    {"step": 10, "train_loss": 1.1, "validation_loss": None},
    {"step": 20, "train_loss": 0.7, "validation_loss": 0.9},
    {"step": 30, "train_loss": 0.3, "validation_loss": 0.8},
]
ROW = {"name": "freeze@4", "happens": "stages 1-4 frozen", "trained_parameters": 149_002, "trials": 8}
PLAN = Event(kind="plan", text="8 trials.", data={"rows": [ROW]})
VERDICT = Event(kind="verdict", text="freeze@4 is the cheapest.", data={"strategy": "freeze@4"})


def named(run: object) -> Event:
    """What a run says as soon as its folder is there."""
    return Event(kind="note", text=f"writing {run}", data={"run": str(run)})


def trial(key: str = "block/freeze@4/2/0.001/30 steps", **changed: Any) -> Event:
    data = {
        "key": key,
        "strategy": key.split("/")[1],
        "purpose": key.split("/")[0],
        "block": int(key.split("/")[2]),
        "rate": 0.001,
        "accuracy": 0.9,
        "log_loss": 0.31,
        "steps": 30,
        "seconds": 2.5,
        "error": None,
        "curve": CURVE,
        **changed,
    }
    return Event(kind="trial", text="", data=data)


def read(run: Path) -> Any:
    """A TensorBoard run, all of its points."""
    return accumulators.EventAccumulator(str(run), size_guidance={"scalars": 0, "tensors": 0}).Reload()


def session(run: Path, part: str) -> Any:
    """What TensorBoard's HPARAMS reads of a run."""
    from tensorboard.plugins.hparams import metadata

    content = read(run).SummaryMetadata(f"_hparams_/{part}").plugin_data.content
    return getattr(metadata, f"parse_{part}_plugin_data")(content)


def parameters(run: Path) -> Mapping[str, Any]:
    values = session(run, "session_start_info").hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}


def runs(folder: Path) -> set[str]:
    return {file.parent.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def test_a_trial_is_a_run_with_curve_metrics_and_parameters(tmp_path: Path) -> None:
    emit = tensorboard()
    for event in (named(tmp_path), PLAN, trial(), VERDICT):
        emit(event)
    assert runs(tmp_path) == {"tensorboard/freeze@4/block-3-rate-0.001-steps-30", "tensorboard/verdict"}
    place = tmp_path / "tensorboard" / "freeze@4" / "block-3-rate-0.001-steps-30"
    points = {tag: [(p.step, p.value) for p in read(place).Scalars(tag)] for tag in read(place).Tags()["scalars"]}
    assert points == {
        "loss/train": [(10, np.float32(1.1)), (20, np.float32(0.7)), (30, np.float32(0.3))],
        "loss/validation": [(20, np.float32(0.9)), (30, np.float32(0.8))],
        "accuracy": [(30, np.float32(0.9))],
        "log_loss": [(30, np.float32(0.31))],
        "rate": [(30, np.float32(0.001))],
        "steps": [(30, 30.0)],
        "seconds": [(30, 2.5)],
    }
    assert parameters(place) == {
        "strategy": "freeze@4",
        "purpose": "block",
        "rate": 0.001,
        "steps": 30,
        "weights": "stages 1-4 frozen",
        "trained_parameters": 149_002,
    }
    (told,) = read(tmp_path / "tensorboard" / "verdict").Tensors("verdict")
    assert told.tensor_proto.string_val[0].decode() == "**freeze@4**\n\nfreeze@4 is the cheapest."


def test_every_key_of_a_trial_gives_a_name_of_its_own(tmp_path: Path) -> None:
    recipe: Any = SimpleNamespace(name="probe@2")
    rows = (0, 1, 2)
    cases: dict[str, dict[str, Any]] = {
        "block-1": {"purpose": "block", "block": 0, "rate": None},
        "block-2": {"purpose": "block", "block": 1, "rate": None},
        "block-2-rate-1e-05": {"purpose": "block", "block": 1, "rate": 1e-5},
        "tune-2-rate-1e-05": {"purpose": "tune", "block": 1, "rate": 1e-5},
        "tune-2-rate-1e-05-steps-150": {"purpose": "tune", "block": 1, "rate": 1e-5, "steps": 150},
        "curve-2-rate-1e-05-steps-150-labels-3": {"purpose": "curve", "block": 1, "rate": 1e-5, "steps": 150},
        "curve-2-labels-3": {"purpose": "curve", "block": 1, "rate": None},
    }
    emit = tensorboard()
    emit(named(tmp_path))
    for values in cases.values():
        made = Trial(recipe=recipe, train=rows, validation=rows, **values)
        emit(trial(made.key, rate=made.rate, steps=made.steps or 0))
    assert runs(tmp_path) == {f"tensorboard/probe@2/{name}" for name in cases}
    assert parameters(tmp_path / "tensorboard" / "probe@2" / "curve-2-labels-3")["labels"] == 3


def test_blocks_of_one_strategy_are_one_group_and_other_runs_are_others(tmp_path: Path) -> None:
    emit = tensorboard()
    groups = []
    for run, block in ((tmp_path / "a", 0), (tmp_path / "a", 1), (tmp_path / "b", 0)):
        emit(named(run))
        emit(trial(f"block/finetune/{block}/0.001"))
        place = run / "tensorboard" / "finetune" / f"block-{block + 1}-rate-0.001"
        groups.append(session(place, "session_start_info").group_name)
    assert groups[0] == groups[1] != groups[2]


def test_a_failed_trial_has_its_error_and_no_metrics(tmp_path: Path) -> None:
    from tensorboard.plugins.hparams import api_pb2

    emit = tensorboard()
    emit(named(tmp_path))
    emit(trial("block/finetune/0/1", error="The loss diverged.", accuracy=0.0, log_loss=27.6, steps=0, curve=[]))
    emit(trial("block/finetune/0/0.1"))
    place = tmp_path / "tensorboard" / "finetune"
    failed = read(place / "block-1-rate-1")
    assert not {"accuracy", "log_loss"} & set(failed.Tags()["scalars"])
    assert failed.Tensors("error")[0].tensor_proto.string_val[0] == b"The loss diverged."
    assert session(place / "block-1-rate-1", "session_end_info").status == api_pb2.STATUS_FAILURE
    assert session(place / "block-1-rate-0.1", "session_end_info").status == api_pb2.STATUS_SUCCESS


def test_a_trial_that_is_met_again_stands_once(tmp_path: Path) -> None:
    for _ in range(2):
        emit = tensorboard()
        emit(named(tmp_path))
        emit(trial("block/probe/0/-"))
    place = tmp_path / "tensorboard" / "probe" / "block-1"
    assert [file.name for file in place.iterdir()] == ["events.out.tfevents.frostline"]
    assert len(read(place).Scalars("accuracy")) == 1


def test_a_folder_of_ones_own_and_a_listener_beside_it(tmp_path: Path) -> None:
    seen: list[Event] = []
    emit = both(seen.append, tensorboard(tmp_path / "board"))
    emit(trial("block/early/0/-"))  # no run has been named, so there is none to write
    emit(named(tmp_path / "run"))
    emit(trial("block/probe/0/-"))
    assert runs(tmp_path) == {"board/probe/block-1"}
    assert [event.kind for event in seen] == ["trial", "note", "trial"]


def test_the_listener_goes_by_the_name_of_its_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    assert listener(None) is silent
    with pytest.raises(RecipeError, match=r"--track 'mlflow' is not known\. Known: tensorboard\."):
        listener("mlflow")
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(RecipeError, match=r"isn't installed \(tensorboard\)\. pip install 'frostline\[track\]'"):
        listener("tensorboard")


SCRIPT = """
import sys
from frostline.base.events import Event
from frostline.tracking import tensorboard
assert "tensorboard" not in sys.modules
emit = tensorboard()
data = dict(key="block/a/0/-", rate=None, accuracy=1.0, log_loss=0.0, steps=0, seconds=0.0, error=None, curve=[])
for event in (
    Event(kind="note", text="", data={"run": "run"}),
    Event(kind="trial", text="", data={**data, "strategy": "a", "purpose": "block", "block": 0}),
    Event(kind="verdict", text="", data={"strategy": "a"}),
):
    emit(event)
assert not {"tensorflow", "torch"} & set(sys.modules)
"""


def test_tensorflow_is_not_imported_where_it_is_installed(tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('tensorflow was imported')", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert len(runs(tmp_path / "run")) == 2
