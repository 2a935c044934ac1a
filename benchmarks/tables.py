"""The tables of a comparison."""

from __future__ import annotations

from typing import Any

from measure import Measured
from targets import Runs, all_trials, median, value

COLUMNS = (
    "task",
    "contender",
    "wall s",
    "at equal steps s",
    "CPU s",
    "anonymous MB",
    "resident MB",
    "steps run",
    "accuracy",
)


def runs_table(runs: Runs) -> str:
    """What was measured, medians over the rounds; ratios are taken of the walls at equal steps."""
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS))]
    for (task, name), done in runs.items():
        wall, cpu, anonymous, rss = (median(done, f) for f in ("wall", "cpu", "anonymous_mb", "rss_mb"))
        last = done[-1].result
        lines.append(
            _line(
                [
                    task,
                    name,
                    f"{wall:.1f}",
                    f"{value(runs, task, name, 'wall'):.1f}",
                    f"{cpu:.1f}",
                    f"{anonymous:.0f}",
                    f"{rss:.0f}",
                    str(last.get("steps", "")),
                    f"{last.get('accuracy', float('nan')):.3f}",
                ]
            )
        )
    return "\n".join([*lines, *_whole(runs)]) + "\n"


def _whole(runs: Runs) -> list[str]:
    """What the whole comparison counts as equal: the steps and trials behind the scaled seconds."""
    ours = runs.get(("whole", "frostline"))
    if not ours:
        return []
    did = ours[-1].result
    trials = did["trials_by_strategy"]
    steps = ", ".join(f"{name} {n} in {trials[name]}" for name, n in did["steps_by_strategy"].items() if n)
    lines = [
        "",
        f"whole: {sum(did['steps_by_strategy'].values())} steps of ours in trials ({steps}), and a refit of "
        f"{did['verdict']}.",
    ]
    return lines + [
        _share(name, done[-1], did) for (task, name), done in runs.items() if task == "whole" and name != "frostline"
    ]


def _share(name: str, done: Measured, did: dict[str, Any]) -> str:
    ran, counted = done.result["steps"], sum(did["steps_by_strategy"].values())
    return (
        f"whole, {name}: {ran} steps run, {ran / counted:.0%} of the {counted} it is scaled to, strategy by "
        f"strategy; without elimination it would take {all_trials(done):.0f} s."
    )


def ratios_table(rows: list[dict[str, Any]]) -> str:
    """Ratios and what they are to reach; those without a limit are told for comparison."""
    lines = ["| row | what | against | ratio | to reach | |", "|---|---|---|---|---|---|"]
    for row in rows:
        goal = f"{row['limit']:.2f}" if row["limit"] is not None else ""
        verdict = "" if row["met"] is None else "yes" if row["met"] else "NO"
        lines.append(_line([str(row["row"]), row["what"], row["against"], f"{row['ratio']:.2f}", goal, verdict]))
    return "\n".join(lines)


def _line(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"
