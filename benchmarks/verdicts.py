"""What does the verdict lose, and how far off was the forecast? Judged on finished runs of one data set, over seeds.

    frostline fit DATA --model SPEC --evaluate-all --seed 0 --out runs/sketch-0     (and so on, one run a seed)
    python benchmarks/verdicts.py runs/sketch-*

Prints a row for each strategy that every run measured: its forecast and measured accuracy out of fold and its accuracy
on the sealed part, as means over the runs. `regret` is how far the verdicts' sealed accuracy lies below that of the
strategy which is best on average: nobody could have known that one. The forecast's error is the mean over depths.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frostline.bundle.runfolder import read_result
from frostline.bundle.schema import RunResult, StrategyRecord

Rows = Mapping[str, Sequence[StrategyRecord]]


def main() -> None:
    """Read the runs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    results = [read_result(run) for run in parser.parse_args().runs]
    rows = measured_everywhere(results)
    for name, entries in rows.items():
        print(f"{name:12} {_figures(entries)}")
    print(f"verdicts: {', '.join(result.verdict.strategy for result in results)}")
    print(f"regret {100 * regret(results, rows):.1f} points on the sealed part")
    errors = forecast_errors(rows)
    if errors:
        print(f"forecast of depths: mean absolute error {100 * float(np.mean(np.abs(errors))):.1f} points")


def measured_everywhere(results: Sequence[RunResult]) -> Rows:
    """Return the entries of each strategy that has a sealed accuracy in every run."""
    by_name: dict[str, list[StrategyRecord]] = {}
    for result in results:
        for entry in result.strategies:
            if entry.test is not None and entry.accuracy is not None:
                by_name.setdefault(entry.name, []).append(entry)
    return {name: entries for name, entries in by_name.items() if len(entries) == len(results)}


def regret(results: Sequence[RunResult], rows: Rows) -> float:
    """Return the best strategy's mean sealed accuracy less that of the verdicts."""
    best = max(_mean_sealed(entries) for entries in rows.values())
    return best - float(np.mean([result.test.accuracy for result in results]))


def forecast_errors(rows: Rows) -> list[float]:
    """Return forecast less measured accuracy of every strategy that trains stages, as means over the runs."""
    return [
        float(np.mean([e.forecast.accuracy - (e.accuracy or 0.0) for e in entries if e.forecast]))
        for name, entries in rows.items()
        if name != "probe" and all(e.forecast for e in entries)
    ]


def _mean_sealed(entries: Sequence[StrategyRecord]) -> float:
    return float(np.mean([e.test.accuracy for e in entries if e.test]))


def _figures(entries: Sequence[Any]) -> str:
    forecast = ""
    if all(e.forecast for e in entries):
        forecast = f"{np.mean([e.forecast.accuracy for e in entries]):.3f}"
    measured = np.mean([e.accuracy for e in entries])
    return f"forecast {forecast:5}  measured {measured:.3f}  sealed {_mean_sealed(entries):.3f}"


if __name__ == "__main__":
    main()
