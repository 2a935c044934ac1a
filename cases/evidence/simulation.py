"""Runs simulated studies over populations and sizes, in several processes."""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cases.evidence.study import Truth, judge, measure_truth
from cases.evidence.worlds import World

BATCH = 5
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


def simulate(
    found: list[World],
    *,
    sizes: Iterable[int],
    studies: int,
    sets: int,
    processes: int,
    cache: Path | None = None,
    keep: Path | None = None,
) -> Results:
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
