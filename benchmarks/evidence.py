"""Are the package's intervals, outcomes and verdicts right? Thousands of small studies whose truth is known.

    python benchmarks/evidence.py [--quick] [--studies 50] [--cache DIR] [--out FILE.md] [--keep FILE.json]

A study draws 50 to 500 rows from a population, splits them as the package does, really trains twelve cheap strategies
on every block and hands what they got right to the package's own compare_all, score_interval, decide and beyond_doubt
(all of it in cases/evidence). The truth of a strategy is its mean accuracy over many further training sets of the size
of a block, on fresh rows. Features of real images are computed once and kept under --cache; a set whose files are
absent is left out. `--from FILE.json` makes the tables again from what --keep wrote.
"""

from __future__ import annotations

import os

if __name__ == "__main__":  # two processes, each with one thread: has to be set before numpy is imported
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where `cases` lies
from cases.evidence.simulation import Results, simulate
from cases.evidence.tables import report
from cases.evidence.worlds import synthetic, worlds

SIZES = (50, 100, 200, 500)
PROCESSES, NICE = 2, 15


def main() -> None:
    """Simulate, print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a handful of studies of the synthetic populations")
    parser.add_argument("--studies", type=int, default=50, help="of each population and size")
    parser.add_argument("--sets", type=int, default=160, help="training sets that each truth is measured by")
    parser.add_argument("--cache", type=Path, default=Path("runs/evidence"), help="where features are kept")
    parser.add_argument("--out", type=Path, help="write the tables here too")
    parser.add_argument("--keep", type=Path, help="write every figure of every study here")
    parser.add_argument("--nice", type=int, default=NICE, help="of the processes")
    parser.add_argument("--from", type=Path, dest="source", help="make the tables from such a file")
    args = parser.parse_args()
    os.nice(args.nice)
    args.cache.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    if args.source:
        results: Results = json.loads(args.source.read_text(encoding="utf-8"))
    elif args.quick:
        results = simulate(synthetic(), sizes=(50, 200), studies=6, sets=40, processes=PROCESSES)
    else:
        shared = Path(__file__).resolve().parents[2] / "shared" / "data"
        results = simulate(
            worlds(args.cache, shared),
            sizes=SIZES,
            studies=args.studies,
            sets=args.sets,
            processes=PROCESSES,
            cache=args.cache,
            keep=args.keep,
        )
    text = report(results)
    print(text)
    print(f"{time.perf_counter() - begun:.0f} s")
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
