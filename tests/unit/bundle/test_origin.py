"""Settings come back from a record as they were given; what the folder keeps stands in for what may be gone."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from frostline.base.errors import BundleError
from frostline.bundle.origin import KEPT, code_hash, fit_command, read_samples, recorded_settings
from frostline.bundle.schema import RunResult
from frostline.cli import parse
from frostline.recipe.settings import Settings
from helpers.report_records import record


def result_of(settings: dict[str, Any], names: tuple[str, ...] = ("probe",)) -> Any:
    strategies = [SimpleNamespace(name=name) for name in names]
    return SimpleNamespace(settings=json.loads(json.dumps(settings)), strategies=strategies, version="0.1.0")


def test_every_setting_that_counts_comes_back(tmp_path: Path) -> None:
    given = Settings(
        data=Path("d"),
        model="glyphs",
        mean=(0.1, 0.2),
        std=(1.0,),
        size=32,
        model_args={"a": [1]},
        strategies=("probe", "finetune"),
        metric="log-loss",
        blocks=3,
        lr=1e-4,
        margin=0.0,
        seed=4,
        store="off",
        augment="light",
        threads=2,
    )
    assert recorded_settings(tmp_path, result_of(given.identity())) == given


def test_the_command_of_settings_gives_these_settings() -> None:
    import typer

    from frostline.cli.main import app

    given = Settings(
        data=Path("my data"),
        model="glyphs",
        mean=(0.1, 0.2),
        std=(1.0,),
        model_args={"a": [1]},
        strategies=("probe", "finetune"),
        metric="log-loss",
        lr=1e-4,
        margin=0.0,
        evaluate_all=True,
        label_map=Path("m.json"),
        store="off",
    )
    verb: Any = typer.main.get_command(app)
    words = shlex.split(fit_command(given))
    context = verb.commands["fit"].make_context("fit", words[2:])
    assert parse.settings_from_options(context.params) == given


def test_recipes_and_label_map_are_the_kept_copies(tmp_path: Path) -> None:
    for name in ("recipes/one.json", "recipes/two.json", KEPT["label_map"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    given = Settings(
        data=Path("d"), model="glyphs", strategies=("/x/b.json", "probe", "a.json"), label_map=Path("gone")
    )
    found = recorded_settings(tmp_path, result_of(given.identity(), ("two", "probe", "one")))
    recipes = tmp_path / "recipes"
    assert found.strategies == (str(recipes / "two.json"), "probe", str(recipes / "one.json"))
    assert found.label_map == tmp_path / KEPT["label_map"]
    (recipes / "one.json").unlink()
    with pytest.raises(BundleError, match="keeps 1 of the 2 recipe files"):
        recorded_settings(tmp_path, result_of(given.identity(), ("two", "probe", "one")))


def test_a_setting_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    identity = Settings(data=Path("d"), model="glyphs").identity()
    with pytest.raises(BundleError, match="'warp'"):
        recorded_settings(tmp_path, result_of({**identity, "warp": 9}))
    del identity["model"]
    with pytest.raises(BundleError, match="lacks 'model'"):
        recorded_settings(tmp_path, result_of(identity))


def test_files_that_are_missing_are_said(tmp_path: Path) -> None:
    for read in (read_samples, code_hash):
        with pytest.raises(BundleError, match="can't be read"):
            read(tmp_path)
    assert RunResult(**record()).settings  # the made-up record is one
