"""Forecast against training: what each depth was forecast to reach, and what tuned training measured.

    python benchmarks/forecast.py DATA --model SPEC [--weights FILE] [--seeds 3] [--threads N] [--out FILE.json]
    python benchmarks/forecast.py digits:20 --model glyphs      (the demo's scans, 20 labels a class)

For every seed one comparison trains `probe`, several depths and `finetune` in full; the record holds
forecast and measured accuracy on the same blocks side by side. Prints a row for each strategy (means over seeds), the
mean absolute error, and the pairs of depths whose measured difference of 2 points or more the forecast has with the
wrong sign. Seconds of the forecast go to stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frostline.base.device import prepare_process

prepare_process()

import numpy as np  # noqa: E402  (the allocator has to be set before torch is imported)

from frostline.demo import BATCH_SIZE, digits  # noqa: E402
from frostline.pipeline import fit  # noqa: E402

SHOWN = 0.02  # a measured difference of two depths whose sign the forecast should have
STRATEGIES = "probe,freeze@1,freeze@2,freeze@3,freeze@4,freeze@5,finetune"


def main() -> None:
    """Run all seeds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--model", required=True)
    parser.add_argument("--weights")
    parser.add_argument("--strategies", default=STRATEGIES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = [one_seed(options, seed) for seed in range(options.seeds)]
    rows = table(found)
    print_table(rows)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def one_seed(options: argparse.Namespace, seed: int) -> dict[str, tuple[float, float]]:
    """Return forecast and measured accuracy of each strategy that has both."""
    settings: dict[str, Any] = {"strategies": options.strategies, "seed": seed, "weights": options.weights}
    settings |= {"threads": options.threads}
    data: Any = options.data
    if options.data.startswith("digits:"):
        settings |= {"labels_per_class": int(options.data.partition(":")[2]), "batch_size": BATCH_SIZE}
        data = digits()
    with tempfile.TemporaryDirectory() as folder:
        run = fit(data, options.model, out=Path(folder) / "run", **settings)
    found = {}
    for s in run.result.strategies:
        if s.forecast is not None and s.accuracy is not None and s.status == "raced":
            found[s.name] = (s.forecast.accuracy, s.accuracy)
    assert run.result.forecast is not None
    print(f"seed {seed}: forecast in {run.result.forecast.seconds:.1f} s", file=sys.stderr, flush=True)
    for name, (forecast, accuracy) in found.items():
        print(f"  {name:12} forecast {forecast:.3f}  measured {accuracy:.3f}", file=sys.stderr, flush=True)
    return found


def table(found: Sequence[Mapping[str, tuple[float, float]]]) -> list[dict[str, Any]]:
    """Return the mean over the seeds of each strategy's forecast and measured accuracy."""
    names = [name for name in found[0] if all(name in seed for seed in found)]
    rows = []
    for name in names:
        pairs = np.array([seed[name] for seed in found])
        rows.append({"strategy": name, "forecast": float(pairs[:, 0].mean()), "measured": float(pairs[:, 1].mean())})
    return rows


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the rows and the two judgements."""
    for row in rows:
        error = 100 * (row["forecast"] - row["measured"])
        print(
            f"{row['strategy']:12} forecast {row['forecast']:.3f}  measured {row['measured']:.3f}  {error:+.1f} points"
        )
    depths = [row for row in rows if row["strategy"] != "probe"]
    errors = [abs(row["forecast"] - row["measured"]) for row in depths]
    print(f"mean absolute error {100 * float(np.mean(errors)):.1f} points")
    for i, a in enumerate(rows):
        for b in rows[i + 1 :]:
            measured = a["measured"] - b["measured"]
            if abs(measured) >= SHOWN and measured * (a["forecast"] - b["forecast"]) < 0:
                print(f"wrong sign: {a['strategy']} against {b['strategy']}, measured {100 * measured:+.1f} points")


if __name__ == "__main__":
    main()
