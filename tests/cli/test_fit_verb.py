"""`frostline fit`: options become settings, events are drawn, the result goes to stdout."""

from __future__ import annotations

import json
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from frostline.cli.main import VERBS
from frostline.recipe.settings import Settings, option

FIT = ("fit", "images", "--model", "torchvision:resnet18")


def test_options_of_fit_are_exactly_the_settings() -> None:
    options = set(VERBS["fit"].__annotations__) - {"ctx", "return", "plain", "json", "track"}
    assert options == {f.name for f in fields(Settings)}


def test_defaults_of_fit_are_the_defaults_of_the_settings(command, fake_fit) -> None:
    assert command(*FIT).code == 0
    assert fake_fit == [Settings(data=Path("images"), model="torchvision:resnet18")]


# What is typed for each setting, and what the setting is then; `data` and `model` are in every command line.
TYPED: dict[str, tuple[str | None, Any]] = {
    "weights": ("random", "random"),
    "model_args": ('{"width": 0.5}', {"width": 0.5}),
    "mean": ("0.5", (0.5,)),
    "std": ("0.1,0.2,0.3", (0.1, 0.2, 0.3)),
    "size": ("64", 64),
    "stages": ("stages.txt", Path("stages.txt")),
    "source_classes": ("names.txt", Path("names.txt")),
    "label_map": ("map.json", Path("map.json")),
    "out": ("runs/a", Path("runs/a")),
    "strategies": ("probe, freeze@4", ("probe", "freeze@4")),
    "head": ("mlp", "mlp"),
    "metric": ("f1-macro", "f1-macro"),
    "class_weights": (None, True),
    "batchnorm": ("all", "all"),
    "pretrain": ("more", Path("more")),
    "pretrain_method": ("vicreg", "vicreg"),
    "pretrain_epochs": ("3", 3),
    "target": ("field", Path("field")),
    "source_data": ("before", Path("before")),
    "labels_per_class": ("5", 5),
    "min_per_class": ("3", 3),
    "pool_validation": (None, True),
    "blocks": ("2", 2),
    "epochs": ("7", 7),
    "lr": ("1e-3", 1e-3),
    "layer_decay": ("0.75", 0.75),
    "batch_size": ("8", 8),
    "augment": ("light", "light"),
    "budget": ("1.5h", 5400.0),
    "margin": ("0.02", 0.02),
    "prefer": ("accuracy", "accuracy"),
    "abstain": ("0.95", 0.95),
    "evaluate_all": (None, True),
    "seed": ("4", 4),
    "device": ("cpu", "cpu"),
    "precision": ("fp32", "fp32"),
    "threads": ("1", 1),
    "store": ("off", "off"),
    "max_memory": ("4GB", "4GB"),
    "trust_code": (None, True),
    "resume": (None, True),
    "conclude": (None, True),
}
ALWAYS: dict[str, Any] = {"data": Path("images"), "model": "torchvision:resnet18"}
DEFAULTS = Settings(**ALWAYS)


def typed(name: str) -> list[str]:
    text, _ = TYPED[name]
    return [option(name)] if text is None else [option(name), text]


@pytest.mark.parametrize("name", [f.name for f in fields(Settings) if f.name not in ALWAYS])
def test_an_option_reaches_its_setting_and_no_other(command, fake_fit, name) -> None:
    value = TYPED[name][1]
    assert value != getattr(DEFAULTS, name)
    assert command(*FIT, *typed(name)).code == 0
    assert fake_fit == [replace(DEFAULTS, **{name: value})]


def test_all_options_together_reach_their_settings(command, fake_fit) -> None:
    words = [word for name in TYPED for word in typed(name)]
    assert command(*FIT, *words).code == 0
    assert fake_fit == [Settings(**ALWAYS, **{name: value for name, (_, value) in TYPED.items()})]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--lr", "-1"), "--lr -1 is not a learning rate"),
        (("--epochs", "0"), "--epochs 0 is below 1"),
        (("--batch-size", "1"), "single sample"),
        (("--mean", "a,b"), "--mean 'a,b' is neither a number"),
        (("--model-args", "[1]"), "but an object is expected"),
        (("--model-args", "{"), "is not JSON"),
        (("--augment", "strong"), "--augment 'strong' is not known"),
        (("--strategies", " , "), "--strategies is empty"),
        (("--batchnorm", "frosen"), "Did you mean 'frozen'?"),
    ],
)
def test_values_out_of_range_are_refused_before_anything_runs(command, fake_fit, words, says) -> None:
    done = command(*FIT, *words)
    assert done.code == 2
    assert says in done.err
    assert done.err.startswith("error: ")
    assert len(done.err.splitlines()) == 2
    assert fake_fit == []


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("mlflow", "--track 'mlflow' is not known.\n  Known: tensorboard.\n"),
        ("tensorboard", "isn't installed (tensorboard).\n  pip install 'frostline[track]'\n"),
    ],
)
@pytest.mark.parametrize("words", [FIT, ("demo",)], ids=["fit", "demo"])
def test_a_tracker_that_is_unknown_or_missing_is_refused_before_anything_runs(
    command, fake_fit, stand_in, monkeypatch, words, value, says
) -> None:
    stand_in("frostline.demo", demo=fake_fit.append, explain=None)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    done = command(*words, "--track", value)
    assert done.code == 2
    assert says in done.err
    assert fake_fit == []


def test_result_goes_to_stdout_and_progress_to_stderr(command, fake_fit) -> None:
    done = command(*FIT)
    assert done.out == "verdict: probe\n"
    for words in (
        "all frozen",
        "1,538",
        "320 G",
        "5 trials.",
        "warning: 1 image [x]",
        "race ...",
        "race: 12 s",
        "Use probe.",
    ):
        assert words in done.err
    assert "\x1b" not in done.err


def test_json_gives_every_event_as_a_line_and_the_result_last(command, fake_fit) -> None:
    done = command(*FIT, "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    kinds = [line["kind"] for line in lines]
    assert kinds == ["plan", "phase", "progress", "trial", "warning", "phase", "verdict", "result"]
    assert lines[2]["seconds_left"] == 125.0
    assert lines[-1]["data"]["verdict"]["strategy"] == "probe"
    assert lines[-1]["run"] == str(Path("runs/x-1"))
    assert done.err == ""


def test_an_interrupted_run_prints_the_command_that_goes_on(command, stand_in, events) -> None:
    def run(settings, emit, **_):
        emit(events[0])
        raise KeyboardInterrupt

    stand_in("frostline.pipeline", run=run)
    done = command("fit", "my images", "--model", "torchvision:resnet18")
    assert done.code == 130
    assert "frostline fit 'my images' --model torchvision:resnet18 --out runs/x-1 --resume" in done.err
    done = command("fit", "d", "--model", "m", "--out", "runs/o", "--resume")
    assert "\n  frostline fit d --model m --out runs/o --resume\n" in done.err
