"""`--track tensorboard`: what TensorBoard reads is what the RUN folder says, and the run is the same without it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from frostline.base.events import Emit, Event
from frostline.bundle.runfolder import read_result
from frostline.bundle.schema import without_volatile
from frostline.pipeline import run
from frostline.recipe.settings import settings_from
from frostline.tracking import both, tensorboard

accumulators = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="the extra `track` isn't installed"
)
Fit = Callable[..., SimpleNamespace]
RACE = ("--strategies", "probe,freeze@1,finetune", "--blocks", "2", "--epochs", "6", "--threads", "1")
STOPPED_AFTER = 4  # trials


@pytest.fixture(scope="module")
def tracked(fit: Fit, squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tracked") / "run"
    done = fit(squares, *RACE, "--out", out, "--track", "tensorboard")
    assert done.code == 0, done.err
    return out


def trials(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "trials.jsonl").read_text(encoding="utf-8").splitlines()]


def name_of(key: str) -> str:
    """TensorBoard run of a trial whose epochs were given."""
    purpose, strategy, block, rate, *labels = key.split("/")
    parts = [f"{strategy}/{purpose}-{int(block) + 1}"]
    if rate != "-":
        parts.append(f"rate-{rate}")
    parts += [f"labels-{count}" for count in labels]
    return "-".join(parts)


def scalars(out: Path) -> dict[str, dict[str, Any]]:
    """Run -> tag -> points of all that lies below RUN/tensorboard, as tensorboard reads it."""
    found = {}
    root = out / "tensorboard"
    for file in sorted(root.rglob("*tfevents*")):
        read = accumulators.EventAccumulator(str(file.parent), size_guidance={"scalars": 0}).Reload()
        points = {tag: [(p.step, p.value) for p in read.Scalars(tag)] for tag in read.Tags()["scalars"]}
        found[file.parent.relative_to(root).as_posix()] = points
    return found


def test_every_trial_is_read_as_trials_jsonl_has_it(tracked: Path) -> None:
    written = scalars(tracked)
    assert written.pop("verdict") == {}
    expected: dict[str, Any] = {}
    for trial in trials(tracked):
        end = trial["steps"]
        tags = ("accuracy", "log_loss", "rate", "steps", "seconds")
        points = {tag: [(end, np.float32(trial[tag]))] for tag in tags if trial[tag] is not None}
        if trial["curve"]:
            points["loss/train"] = [(p["step"], np.float32(p["train_loss"])) for p in trial["curve"]]
        expected[name_of(trial["key"])] = points
    assert written == expected
    assert any("loss/train" in points for points in written.values())


def test_the_verdict_is_read_as_the_record_has_it(tracked: Path) -> None:
    verdict = read_result(tracked).verdict
    read = accumulators.EventAccumulator(str(tracked / "tensorboard" / "verdict")).Reload()
    (told,) = read.Tensors("verdict")
    assert told.tensor_proto.string_val[0].decode() == f"**{verdict.strategy}**\n\n{verdict.reason}"


def test_a_run_is_the_same_without_it(fit: Fit, squares: Path, tracked: Path, tmp_path: Path) -> None:
    done = fit(squares, *RACE, "--out", tmp_path / "plain")
    assert done.code == 0, done.err
    plain = read_result(tmp_path / "plain")
    result = read_result(tracked)
    assert result.files == plain.files
    assert result.settings == plain.settings
    assert without_volatile(result) == without_volatile(plain)
    assert {f.name for f in tracked.iterdir()} == {"tensorboard", *(f.name for f in (tmp_path / "plain").iterdir())}


@pytest.mark.parametrize("begun", ["with it", "without it"])
def test_a_run_that_goes_on_holds_every_trial_once(
    fit: Fit, squares: Path, network: tuple[str, str], tracked: Path, tmp_path: Path, begun: str
) -> None:
    out = tmp_path / "stopped"
    seen: list[Event] = []

    def interrupt(event: Event) -> None:
        if event.kind == "trial":
            seen.append(event)
        if len(seen) == STOPPED_AFTER:
            raise KeyboardInterrupt

    emit: Emit = interrupt
    if begun == "with it":
        emit = both(tensorboard(), interrupt)
    options = {"strategies": "probe,freeze@1,finetune", "blocks": 2, "epochs": 6, "threads": 1}
    settings = settings_from(squares, network[0], {**options, "weights": network[1], "out": out})
    with pytest.raises(KeyboardInterrupt):
        run(settings, emit)
    assert len(list(out.rglob("*tfevents*"))) == (STOPPED_AFTER if begun == "with it" else 0)

    done = fit(squares, *RACE, "--out", out, "--resume", "--track", "tensorboard")
    assert done.code == 0, done.err
    names = [name_of(trial["key"]) for trial in trials(out)]
    assert sorted(scalars(out)) == sorted([*names, "verdict"])
    assert untimed(scalars(out)) == untimed(scalars(tracked))


def untimed(written: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {run: {tag: points for tag, points in tags.items() if tag != "seconds"} for run, tags in written.items()}
