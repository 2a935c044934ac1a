"""`frostline demo` over several draws of labels: what does the verdict reach, and does it beat the pixels' SVM?

    python benchmarks/demo_draws.py [--seeds 10] [--labels-per-class 5] [--json FILE]

Prints one row a strategy (mean accuracy on the 1,000 sealed scans, its deviation over the draws), and the verdict's row
with the paired t-test and the count of draws in which it is ahead of the baseline.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from frostline.base.device import prepare_process


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One run: its verdict with the sealed accuracy, and the sealed accuracy of every strategy."""

    seed: int
    verdict: str
    accuracy: float
    tested: dict[str, float]
    seconds: float


def run_draw(seed: int, labels_per_class: int, threads: int | None) -> Draw:
    """One demo in a folder that is thrown away."""
    from frostline.demo import demo

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        result = demo(labels_per_class=labels_per_class, seed=seed, out=out, store="off", threads=threads).result
    tested = {s.name: s.test.accuracy for s in result.strategies if s.test}
    return Draw(
        seed=seed,
        verdict=result.verdict.strategy,
        accuracy=result.test.accuracy,
        tested=tested,
        seconds=time.perf_counter() - started,
    )


def summary(draws: list[Draw]) -> str:
    """The table, best strategy first, then the verdict against the baseline."""
    names = sorted({n for d in draws for n in d.tested}, key=lambda n: -np.mean([d.tested.get(n, 0.0) for d in draws]))
    lines = [f"{'strategy':<12} {'mean':>6} {'sd':>6}  chosen"]
    for name in names:
        values = [d.tested[name] for d in draws if name in d.tested]
        chosen = sum(d.verdict == name for d in draws)
        lines.append(f"{name:<12} {np.mean(values):6.3f} {np.std(values, ddof=min(1, len(values) - 1)):6.3f}  {chosen}")
    verdicts = np.array([d.accuracy for d in draws])
    pixels = np.array([d.tested["baseline"] for d in draws])
    lines.append(f"{'verdict':<12} {verdicts.mean():6.3f} {verdicts.std(ddof=min(1, len(draws) - 1)):6.3f}")
    ahead = int((verdicts > pixels).sum())
    lines.append(
        f"verdict - baseline: {100 * (verdicts - pixels).mean():+.1f} points, ahead in {ahead} of {len(draws)}"
    )
    if len(draws) > 1:
        test = stats.ttest_rel(verdicts, pixels)
        lines.append(f"paired t-test: t = {test.statistic:.2f}, p = {test.pvalue:.2g}")
    lines.append(f"seconds a run: {np.mean([d.seconds for d in draws]):.0f}")
    return "\n".join(lines)


def main() -> None:
    """Run the draws, print as they come."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--labels-per-class", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    args = parser.parse_args()
    prepare_process(args.threads)
    draws = []
    for seed in range(args.seeds):
        draws.append(run_draw(seed, args.labels_per_class, args.threads))
        last = draws[-1]
        print(
            f"seed {seed}: {last.verdict} {last.accuracy:.3f}, baseline {last.tested['baseline']:.3f}, "
            f"{last.seconds:.0f} s",
            flush=True,
        )
    print(summary(draws))
    if args.json:
        rows = [{"seed": d.seed, "verdict": d.verdict, "accuracy": d.accuracy, "tested": d.tested} for d in draws]
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
