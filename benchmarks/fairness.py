"""Is any strategy tuned unfairly? What the race's rule reaches, against the best of a fine grid in hindsight.

    python benchmarks/fairness.py DATA --model SPEC [--weights FILE] [--strategies a,b] [--seeds 5] [--threads N]
    python benchmarks/fairness.py digits:20 --model glyphs      (the demo's scans, 20 labels a class)

For every seed one comparison tunes and measures the strategies on all blocks (`rule`). Then every rate and length of a
grid runs on the same blocks; `best` is the cell of the grid with the highest mean accuracy over all seeds and blocks,
which nobody could have known. `one split` is the rule that frostline used before: the rate with the lowest log loss at
100 steps on a single split, then 100 steps everywhere. Prints a row for each strategy and the mean shortfall.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frostline.base.device import prepare_process

prepare_process()

import numpy as np  # noqa: E402  (the allocator has to be set before torch is imported)

from frostline.base.clock import Clock  # noqa: E402
from frostline.base.events import silent  # noqa: E402
from frostline.demo import BATCH_SIZE, digits  # noqa: E402
from frostline.pipeline import Prepared, fit, prepare, read_arguments  # noqa: E402
from frostline.race.plan import block_trial  # noqa: E402
from frostline.recipe.schedule import LENGTHS  # noqa: E402
from frostline.record.journal import Journal  # noqa: E402
from frostline.train.trial import run_trial  # noqa: E402

RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)

Cell = tuple[float, int]  # rate and steps
Scores = dict[Cell, list[tuple[float, float]]]  # accuracy and log loss on every block


def main() -> None:
    """Run all seeds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--model", required=True)
    parser.add_argument("--weights")
    parser.add_argument("--strategies", default="freeze@2,finetune,lp-ft")
    parser.add_argument("--rates", type=lambda text: tuple(map(float, text.split(","))), default=RATES)
    parser.add_argument("--lengths", type=lambda text: tuple(map(int, text.split(","))), default=LENGTHS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = [one_seed(options, seed) for seed in range(options.seeds)]
    rows = table(found)
    for row in rows:
        print(
            f"{row['strategy']:10} rule {row['rule']:.3f}  one split {row['one_split']:.3f}  best {row['best']:.3f} "
            f"at {row['rate']:g}, {row['steps']} steps  behind {100 * row['behind']:+.1f} points"
        )
    behind = [row["behind"] for row in rows]
    print(f"mean {100 * float(np.mean(behind)):+.1f} points behind the best, worst {100 * max(behind):+.1f}")
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def one_seed(options: argparse.Namespace, seed: int) -> dict[str, dict[str, Any]]:
    """Return of each strategy what the rule reached, and the whole grid."""
    settings: dict[str, Any] = {"strategies": f"probe,{options.strategies}", "seed": seed, "weights": options.weights}
    settings |= {"threads": options.threads}
    data: Any = options.data
    if options.data.startswith("digits:"):
        settings |= {"labels_per_class": int(options.data.partition(":")[2]), "batch_size": BATCH_SIZE, "threads": 1}
        data = digits()
    with tempfile.TemporaryDirectory() as folder:
        run = fit(data, options.model, out=Path(folder) / "run", **settings)
    measured = {s.name: s.accuracy for s in run.result.strategies if s.accuracy is not None}
    ready = prepare(*read_arguments(data, options.model, settings), Clock(), Journal(silent))
    found = {}
    for name in options.strategies.split(","):
        found[name] = {"rule": measured[name], "grid": grid(ready, name, options.rates, options.lengths)}
        print(f"seed {seed}, {name}: {measured[name]:.3f}", flush=True)
    return found


def grid(ready: Prepared, name: str, rates: Sequence[float], lengths: Sequence[int]) -> Scores:
    """Run every cell of the grid on every block."""
    recipe = ready.plan.row(name).recipe
    found: Scores = {}
    for rate in rates:
        for steps in lengths:
            trials = [block_trial(recipe, block, rate, steps) for block in ready.plan.race_blocks()]
            outcomes = [run_trial(ready.study, trial) for trial in trials]
            found[rate, steps] = [(o.accuracy, o.log_loss) for o in outcomes]
    return found


def table(found: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return a row of means over the seeds for each strategy."""
    rows = []
    for name in found[0]:
        grids = [seed[name]["grid"] for seed in found]
        means = {cell: float(np.mean([accuracy for g in grids for accuracy, _ in g[cell]])) for cell in grids[0]}
        best = max(means, key=lambda cell: means[cell])
        rule = float(np.mean([seed[name]["rule"] for seed in found]))
        rows.append(
            {
                "strategy": name,
                "rule": rule,
                "one_split": float(np.mean([one_split(g) for g in grids])),
                "best": means[best],
                "rate": best[0],
                "steps": best[1],
                "behind": means[best] - rule,
            }
        )
    return rows


def one_split(cells: Scores) -> float:
    """Return the accuracy on the other blocks of the rate that the first block chose at the shortest length."""
    shortest = min(steps for _, steps in cells)
    chosen = min((cell for cell in cells if cell[1] == shortest), key=lambda cell: cells[cell][0][1])
    return float(np.mean([accuracy for accuracy, _ in cells[chosen][1:]]))


if __name__ == "__main__":
    main()
