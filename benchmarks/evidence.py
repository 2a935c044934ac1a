"""Are the package's intervals, outcomes and verdicts right? Thousands of small studies whose truth is known.

    python benchmarks/evidence.py [--quick] [--studies 50] [--cache DIR] [--out FILE.md] [--keep FILE.json]

A study draws 50 to 500 rows from a population (evidence_worlds.py), splits them as the package does, really trains
twelve cheap strategies on every block (evidence_learners.py) and hands what they got right to the package's own
compare_all, score_interval, decide and beyond_doubt (evidence_study.py). The truth of a strategy is its mean accuracy
over many further training sets of the size of a block, on fresh rows. Features of real images are computed once and
kept under --cache; a set whose files are absent is left out. `--from FILE.json` makes the tables again from what --keep
wrote.
"""

from __future__ import annotations

import os

if __name__ == "__main__":  # two processes, each with one thread: has to be set before numpy is imported
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from evidence_study import Truth, judge, measure_truth
from evidence_tables import report
from evidence_worlds import World, synthetic, worlds

SIZES = (50, 100, 200, 500)
PROCESSES, NICE, BATCH = 2, 15, 5
SAMPLED = 4  # one study in so many also measures the interval over samples

Job = tuple[int, int, int, int]  # world, rows, first study, end
Results = dict[str, dict[str, list[float]]]  # "world|rows" -> "design|strategies|figure" -> one value a study

_worlds: list[World] = []  # what the forked processes find
_truths: dict[tuple[int, int], Truth] = {}


def _truth(job: tuple[int, int, int, Path | None]) -> tuple[tuple[int, int], Truth]:
    which, n, sets, cache = job
    kept = cache / f"truth-{_worlds[which].name.replace(' ', '-')}-{n}-{sets}.npz" if cache else None
    if kept and kept.exists():
        with np.load(kept) as read:
            return (which, n), Truth(**{name: read[name] for name in read.files})
    truth = measure_truth(_worlds[which], n, sets, seed=which)
    if kept:
        np.savez(kept, **asdict(truth))
    return (which, n), truth


def _studies(job: Job) -> tuple[Job, list[dict[tuple[str, ...], float]]]:
    which, n, first, end = job
    return job, [
        judge(_worlds[which], n, _truths[which, n], np.random.default_rng([20, which, n, i]), samples=i % SAMPLED == 0)
        for i in range(first, end)
    ]


def simulate(found: list[World], *, sizes: Iterable[int], studies: int, sets: int, processes: int,
             cache: Path | None = None, keep: Path | None = None) -> Results:  # fmt: skip
    """All studies of all populations and sizes. Equal arguments give equal results, however many processes.

    `sets`: training sets that each truth is measured by; truths are kept under `cache`, since no rule changes them.
    `keep`: a file that what was found so far is written to, again and again.
    """
    _worlds[:] = found
    cells = [(which, n) for n in sizes for which in range(len(found))]
    _truths.update(_mapped(_truth, [(*cell, sets, cache) for cell in cells], processes))
    jobs = [(*cell, i, min(i + BATCH, studies)) for i in range(0, studies, BATCH) for cell in cells]
    results: Results = {f"{found[w].name}|{n}": {"truth": _truths[w, n].block.tolist()} for w, n in cells}
    for done, ((which, n, _, _), batch) in enumerate(_mapped(_studies, jobs, processes), 1):
        for study in batch:
            for key, value in study.items():
                results[f"{found[which].name}|{n}"].setdefault("|".join(key), []).append(value)
        if keep and (done % len(cells) == 0 or done == len(jobs)):  # every cell has as many studies
            keep.write_text(json.dumps(results), encoding="utf-8")
            print(f"{BATCH * done // len(cells)} of {studies} studies a cell", file=sys.stderr, flush=True)
    return results


def _mapped(function: Callable[[Any], Any], jobs: Sequence[Any], processes: int) -> Iterator[Any]:
    if processes == 1:
        yield from map(function, jobs)
        return
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        yield from pool.imap(function, jobs)


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
        results = simulate(worlds(args.cache, shared), sizes=SIZES, studies=args.studies, sets=args.sets,
                           processes=PROCESSES, cache=args.cache, keep=args.keep)  # fmt: skip
    text = report(results)
    print(text)
    print(f"{time.perf_counter() - begun:.0f} s")
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
