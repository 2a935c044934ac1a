"""What a run says of data beside those of its comparison: the target, and the network's first task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from frostline.report.plot import text_table

Values = Mapping[str, Any]
Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]  # sentence, header, rows

TARGET_HEADER = ("strategy", "sealed test", "95 % interval", "target", "95 % interval")
ARM_HEADER = ("adaptation", "estimated", "target", "95 % interval", "note")
MEMORY_HEADER = ("strategy", "first head", "95 % interval", "new linear head", "95 % interval")


def elsewhere_tables(result: Values) -> list[Table]:
    """Return (sentence, header, rows) of each table that the record has figures for."""
    tables: list[Table] = []
    target = result.get("target")
    rows = target_rows(result)
    if target is not None and rows:
        name = PurePath(target["path"]).name
        sentence = f"Accuracy here and on {name} ({target['labelled']} labelled samples of known classes there):"
        tables.append((sentence, TARGET_HEADER, rows))
    if target is not None and target["arms"]:
        sentence = "Adapted to the target without its labels; estimates rest on confidence alone:"
        tables.append((sentence, ARM_HEADER, arm_rows(target["arms"], target["choice"])))
    task = result.get("source_task")
    if task is not None:
        name = PurePath(task["path"]).name
        sentence = f"What the network still knows of its first task ({task['n']} samples of {name}):"
        tables.append((sentence, MEMORY_HEADER, memory_rows(task)))
    return tables


def target_rows(result: Values) -> list[tuple[str, ...]]:
    """Return a row of TARGET_HEADER for each strategy that was tested on the target, the best there first."""
    tested = [s for s in result["strategies"] if s.get("target") and s["test"]]
    tested.sort(key=lambda s: -s["target"]["accuracy"])
    verdict = result["verdict"]["strategy"]
    rows: list[tuple[str, ...]] = []
    for s in tested:
        name = str(s["name"])
        if name == verdict:
            name += " *"
        rows.append((name, *_score_cells(s["test"]), *_score_cells(s["target"])))
    return rows


def arm_rows(arms: Sequence[Values], choice: str | None) -> list[tuple[str, ...]]:
    """Return a row of ARM_HEADER for each way of adapting; `*` marks the choice."""
    rows: list[tuple[str, ...]] = []
    for arm in arms:
        name = str(arm["name"])
        if name == choice:
            name += " *"
        estimated = "-"
        if arm["estimated_accuracy"] is not None:
            estimated = f"{arm['estimated_accuracy']:.3f}"
        rows.append((name, estimated, *_score_cells(arm["test"]), str(arm["reason"] or "")))
    return rows


def memory_rows(task: Values) -> list[tuple[str, ...]]:
    """Return a row of MEMORY_HEADER for the network as it came, and for each strategy."""
    rows: list[tuple[str, ...]] = []
    for memory in (task["before"], *task["after"]):
        name = str(memory["strategy"] or "before training")
        rows.append((name, *_score_cells(memory["head"]), *_score_cells(memory["probe"])))
    return rows


def _score_cells(score: Values | None) -> tuple[str, str]:
    if score is None:
        return "-", ""
    low, high = score["ci"]
    return f"{score['accuracy']:.3f}", f"{low:.3f} - {high:.3f}"


def elsewhere_sentences(result: Values) -> list[str]:
    """Say what the diagnosis found, what was chosen, and what the second table can't show."""
    sentences = []
    target = result.get("target")
    if target is not None:
        sentences.append(f"Shift between the data and {PurePath(target['path']).name}: {target['situation']}.")
        sentences += [*target["sentences"], *target["cannot_see"]]
        sentences.append(target["reason"])
    task = result.get("source_task")
    if task is not None and task["reason"]:
        sentences.append(f"The network's first head wasn't read: {task['reason']}.")
    return [sentence for sentence in sentences if sentence]


def elsewhere_lines(result: Values) -> list[str]:
    """Return the tables as plain lines; empty where the run had no further data."""
    lines: list[str] = []
    for sentence, header, rows in elsewhere_tables(result):
        lines += [sentence, text_table(header, rows), ""]
    return lines
