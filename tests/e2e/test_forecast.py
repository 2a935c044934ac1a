"""`frostline forecast`: every depth before anything is trained, by the installed command and in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cases.small_world import frostline as installed
from cases.small_world import write_images, write_network
from helpers.in_process import frostline

COUNTS = {"circles": 10, "squares": 10}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("forecast")
    write_images(root / "images", COUNTS)
    return root


def test_every_depth_is_forecast_and_nothing_is_written(world: Path) -> None:
    network = write_network(world)
    words = ("forecast", world / "images", "--model", network[0], "--weights", network[1])
    first = installed(*words, "--json", cwd=world)
    assert first.returncode == 0, first.stderr
    result = json.loads(first.stdout)
    names = [row["name"] for row in result["strategies"]]
    assert names[0] == "probe"
    assert "finetune" in names
    assert sum(name.startswith("freeze@") for name in names) >= 1
    assert result["rows"] == result["development"] > 0
    for row in result["strategies"]:
        assert row["accuracy_ci"][0] <= row["accuracy"] <= row["accuracy_ci"][1]
    assert not (world / "runs").exists()

    again = frostline(*words, "--json", "--store", "off", cwd=world)
    for one in (result, other := json.loads(again.stdout)):
        one.pop("seconds")
    assert other == result

    text = frostline(*words, cwd=world)
    assert "against probe" in text.stdout
    assert "no strategy was trained" in text.stdout


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (("--strategies", "scratch"), "None of these strategies can be forecast"),
        (("--strategies", "freeze@99"), "there is no stage '99'"),
        (("--strategies", "nonsense"), "Unknown strategy 'nonsense'"),
    ],
)
def test_what_cannot_be_forecast_is_refused_in_a_sentence(world: Path, extra: tuple[str, ...], message: str) -> None:
    network = write_network(world)
    words = ("forecast", world / "images", "--model", network[0], "--weights", network[1], *extra)
    refused = frostline(*words, cwd=world)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_default_comparison_forecasts_first_and_concludes_from_what_it_measured(world: Path) -> None:
    network = write_network(world)
    words = ("fit", world / "images", "--model", network[0], "--weights", network[1], "--epochs", "2", "--out", "run")
    done = frostline(*words, cwd=world)
    assert done.returncode == 0, done.stderr
    result = json.loads((world / "run" / "result.json").read_text(encoding="utf-8"))
    events = [json.loads(line) for line in (world / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    kinds = [event["kind"] for event in events]
    stepped = next(i for i, e in enumerate(events) if e["kind"] == "trial" and e["data"]["steps"])
    assert kinds.index("provisional") < stepped
    assert "Provisional verdict" in done.stderr
    assert result["forecast"]["provisional"] == events[kinds.index("provisional")]["data"]["strategy"]
    measured = {s["name"] for s in result["strategies"] if s["accuracy"] is not None}
    for s in result["strategies"]:
        if s["status"] == "forecast":
            assert s["accuracy"] is None
            assert s["versus_best"] is None
            assert s["forecast"]["accuracy_ci"][0] <= s["forecast"]["accuracy"] <= s["forecast"]["accuracy_ci"][1]
            assert "probability" in s["reason"]
    assert {p["a"] for p in result["pairs"]} | {p["b"] for p in result["pairs"]} <= measured
    assert result["verdict"]["strategy"] in measured
    assert result["cost"]["peak_anonymous_mb"] > 0
    shown = frostline("show", "run", cwd=world)
    assert shown.returncode == 0, shown.stderr
