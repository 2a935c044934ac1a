"""What all peers share, whatever library they use: options, the trainings of a task, the clock, the RESULT line.

Nothing here imports a network library, so that no peer pays for another's start-up.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BATCH = 32
WORKERS = 2
HEAD = -1  # freeze everything but the classifier
EPOCHS = {"head": 10, "full": 5, "sweep": 3, "whole": 2, "text": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training run, named as frostline names the strategy. `frozen` counts leading stages, or is HEAD."""

    name: str
    frozen: int = 0
    scratch: bool = False  # start from random weights
    epochs: int


def trainings(task: str, epochs: int | None = None) -> list[Training]:
    """What a task trains, in turn.

    `whole` names the stepped strategies of a comparison. frostline solves the head of lp-ft without steps; here it is
    left out, so that lp-ft costs as much as finetune.
    """
    names = {
        "head": ("probe",),
        "full": ("finetune",),
        "text": ("finetune",),
        "sweep": ("probe", "freeze@2", "freeze@4", "freeze@5", "finetune"),
        "whole": ("freeze@1", "freeze@2", "freeze@3", "freeze@4", "freeze@5", "lp-ft", "finetune", "scratch"),
    }[task]
    return [
        Training(
            name=name,
            frozen=HEAD if name == "probe" else int(name.partition("@")[2] or 0),
            scratch=name == "scratch",
            epochs=epochs or EPOCHS[task],
        )
        for name in names
    ]


class Clock:
    """Times the epochs of one training, evaluation included, and counts its steps."""

    def __init__(self) -> None:
        self.steps = 0
        self.epochs: list[float] = []
        self._last = 0.0

    def start(self) -> None:
        """The first epoch begins."""
        self._last = time.perf_counter()

    def mark(self) -> None:
        """An epoch has ended."""
        now = time.perf_counter()
        self.epochs.append(round(now - self._last, 3))
        self._last = now


Train = Callable[[Training, Clock], float]  # returns the accuracy on val/


def options(about: str | None) -> argparse.ArgumentParser:
    """The options that every peer takes."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", type=Path, required=True, help="folder with train/ and val/, or a table of texts")
    made.add_argument("--model", required=True, help="FILE.py:factory, or a text encoder's folder")
    made.add_argument("--weights", type=Path, help="safetensors file; a text encoder's is in its folder")
    made.add_argument("--task", choices=sorted(EPOCHS), default="head")
    made.add_argument("--epochs", type=int, help="of each training; by default the task's own number")
    made.add_argument("--fast", action="store_true", help="what a knowing user switches on by hand")
    made.add_argument("--seed", type=int, default=0)
    return made


def classes(data: Path) -> list[str]:
    """Names of the class folders, sorted."""
    return sorted(p.name for p in (data / "train").iterdir() if p.is_dir())


def user_module(model: str) -> tuple[Any, str]:
    """The user's file as a module, and the factory's name."""
    path, _, factory = model.rpartition(":")
    spec = importlib.util.spec_from_file_location("user_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, factory


def run(args: argparse.Namespace, train: Train) -> None:
    """Every training of the task, then the RESULT line."""
    done = []
    for training in trainings(args.task, args.epochs):
        begun, clock = time.perf_counter(), Clock()
        accuracy = train(training, clock)
        seconds = round(time.perf_counter() - begun, 3)
        done.append(
            {
                "name": training.name,
                "steps": clock.steps,
                "seconds": seconds,
                "epochs": clock.epochs,
                "accuracy": accuracy,
            }
        )
    result(accuracy=max(d["accuracy"] for d in done), steps=sum(d["steps"] for d in done), trainings=done)


def result(**values: Any) -> None:
    """Print the line that compare.py reads."""
    print("RESULT " + json.dumps(values), flush=True)
