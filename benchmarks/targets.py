"""Equal steps, the ratios, and what they are to reach (DESIGN section 7)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from measure import Measured

Runs = dict[tuple[str, str], list[Measured]]
TORCH = ("plain", "HF Trainer", "Lightning", "fastai")
FASTEST, FASTEST_BY_HAND = "fastest PyTorch tool", "fastest, bf16 and channels_last by hand"
GROUPS = {FASTEST: TORCH, FASTEST_BY_HAND: tuple(f"{name} fast" for name in TORCH)}
TRIALS = (
    2 + 4
)  # the least that a strategy of the whole comparison runs: two rates on the first block, one on each other
EPOCHS = {"head": 10, "full": 5, "sweep": 3, "text": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A ratio of two contenders of a task that should stay at or below a limit (None: told, not judged)."""

    row: int  # of the table in DESIGN section 7
    what: str
    task: str
    against: str  # a contender, or one of GROUPS: the fastest of those that were measured
    limit: float | None
    of: str = "frostline"
    field: str = "wall"  # or 'anonymous_mb'
    against_task: str = ""  # where the other one ran, if not in `task`
    part: str = ""  # of our result, in seconds, in the place of the whole wall


def _against_tools() -> list[Target]:
    rows = (
        (1, "head only", "head", 1 / 5, 1 / 2),
        (2, "full fine-tuning", "full", 1 / 3, 1 / 2),
        (3, "freeze sweep", "sweep", 1 / 3, 2 / 5),
        (4, "whole comparison", "whole", 1 / 5, 2 / 5),
    )
    made = []
    for row, what, task, torch_limit, keras_limit in rows:
        limits = {
            FASTEST: torch_limit,
            "Keras": keras_limit,
            FASTEST_BY_HAND: None,
            "Keras fast": None,
            "timm+sklearn": None,
            **dict.fromkeys(TORCH),
        }
        made += [Target(row=row, what=what, task=task, against=a, limit=limit) for a, limit in limits.items()]
    return made


TARGETS = (
    *_against_tools(),
    Target(row=9, what="texts, full fine-tuning", task="text", against="HF Trainer", limit=0.7),
    Target(row=9, what="texts, full fine-tuning", task="text", against="HF Trainer fast", limit=1.0),
    Target(row=10, what="verdict by default", task="verdict", against="Keras", against_task="full", limit=5.0),
    Target(
        row=10,
        what="forecast",
        task="verdict",
        against="Keras",
        against_task="full",
        limit=1.0,
        part="forecast_seconds",
    ),
    Target(row=5, what="whole runs, stored and not", task="twin", against="store off", limit=None),
    *(
        Target(row=7, what=f"anonymous memory, {task}", task=task, against="plain", limit=1.5, field="anonymous_mb")
        for task in ("head", "full", "sweep")
    ),
)


def equal_wall(task: str, done: Measured, ours: Measured | None) -> float:
    """Seconds of a peer had it done all the steps of the task.

    Epochs left out by --quick count as the median epoch run (the first is left aside where there are more). In the
    whole comparison a peer runs every strategy once, on one block; its seconds are scaled to the steps that our trials
    of that strategy took, over all rates and blocks. Start-up counts once. Anything else is left as measured.
    """
    wall = done.wall
    for training in done.result.get("trainings", ()):
        if task in EPOCHS:
            pace = statistics.median(training["epochs"][1:] or training["epochs"])
            wall += (EPOCHS[task] - len(training["epochs"])) * pace
        elif ours is not None:
            steps = ours.result["steps_by_strategy"].get(training["name"], 0)
            wall += training["seconds"] * (steps / training["steps"] - 1)
    return wall


def all_trials(done: Measured) -> float:
    """Seconds of a peer for every trial of the whole comparison (all rates, all blocks), none left out."""
    return done.wall + float(sum(t["seconds"] for t in done.result["trainings"])) * (TRIALS - 1)


def median(done: Sequence[Measured], field: str) -> float:
    """Median of one figure over the rounds."""
    return statistics.median(float(getattr(m, field)) for m in done)


def value(runs: Runs, task: str, name: str, field: str) -> float | None:
    """Median of a figure over the rounds, walls at equal steps; None where it wasn't measured."""
    done = runs.get((task, name))
    if not done:
        return None
    if field != "wall":
        return median(done, field)
    ours = runs.get((task, "frostline"))
    return statistics.median(equal_wall(task, m, ours[-1] if ours else None) for m in done)


def fastest(runs: Runs, task: str, names: Sequence[str]) -> str | None:
    """The name with the lowest wall of those that were measured."""
    walls = {name: wall for name in names if (wall := value(runs, task, name, "wall")) is not None}
    return min(walls, key=walls.__getitem__) if walls else None


def ratios(runs: Runs, lone: dict[str, Any]) -> list[dict[str, Any]]:
    """One entry a target whose two sides were measured, then the scripts that measure on their own (`lone`)."""
    found: list[dict[str, Any]] = []
    for t in TARGETS:
        task = t.against_task or t.task
        against = fastest(runs, task, GROUPS[t.against]) if t.against in GROUPS else t.against
        ours, theirs = _our_value(runs, t), value(runs, task, against or "", t.field)
        if ours is not None and theirs is not None:
            told = f"{t.against}: {against}" if t.against in GROUPS else t.against
            found.append(_row(t.row, t.what, told, ours / theirs, t.limit))
    if "suffix" in lone:
        found.append(_row(5, "training on the store", "the suffix alone", lone["suffix"]["ratio"], 1.15))
    if "stages" in lone:
        found.append(_row(6, "stage map of a 300-module network", "seconds", lone["stages"]["seconds"], 5.0))
    if "growth" in lone:
        found += [_row(8, g["what"], g["against"], g["ratio"], g["limit"]) for g in lone["growth"]["ratios"]]
    return found


def _our_value(runs: Runs, target: Target) -> float | None:
    done = runs.get((target.task, target.of))
    if not target.part or not done:
        return value(runs, target.task, target.of, target.field)
    return statistics.median(float(m.result[target.part]) for m in done)


def _row(row: int, what: str, against: str, ratio: float, limit: float | None) -> dict[str, Any]:
    return {
        "row": row,
        "what": what,
        "against": against,
        "ratio": ratio,
        "limit": limit,
        "met": None if limit is None else ratio <= limit,
    }
