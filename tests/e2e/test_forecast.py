"""`frostline forecast`: every depth before anything is trained, by the installed command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cases.small_world import frostline, write_images, write_network

COUNTS = {"circles": 10, "squares": 10}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("forecast")
    write_images(root / "images", COUNTS)
    return root


def test_every_depth_is_forecast_and_nothing_is_written(world: Path) -> None:
    network = write_network(world)
    words = ("forecast", world / "images", "--model", network[0], "--weights", network[1])
    first = frostline(*words, "--json", cwd=world)
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
    assert "nothing was trained" in text.stdout


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
