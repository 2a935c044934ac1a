"""Kills runs of the installed command at random moments, resumes them until they are done, and compares the bits.

    python tools/chaos.py [--kills N] [--seed N] [--longest S] [--folder DIR] -- demo [OPTIONS]
    python tools/chaos.py [--kills N] [--seed N] [--longest S] [--folder DIR] -- fit DATA --model SPEC

One run is left alone. Others get SIGKILL at moments drawn at random: the whole command, or its worker alone. Each is
taken up with --resume until it ends; then all that equal runs write equally has to be equal, and so do verdict and
trial scores. Each run has a store of its own, or, with --share-store, that of the run that was left alone. Exit code 1:
something differed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frostline.bundle.runfolder import RESULT, hashes

FROSTLINE = str(Path(sys.executable).parent / "frostline")
SHORTEST = 0.3  # seconds before a kill
MOST = 200  # kills of one run: one that gets nowhere shall end


@dataclass
class Tally:
    """What was killed, and where it then stood."""

    kills: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    different: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Draw:
    """When to kill: after at most `longest` seconds."""

    random: random.Random
    longest: float


def begin(words: list[str], out: Path, store: Path) -> subprocess.Popen[bytes]:
    """Start the command, taking up the run where one lies there."""
    resume = ["--resume"] if (out / ".work" / "study.json").exists() else []
    if out.exists() and not resume:
        shutil.rmtree(out)
    command = [FROSTLINE, *words, "--out", str(out), "--store", str(store), *resume]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # nosec B603  # our own


def kill_worker(process: subprocess.Popen[bytes]) -> bool:
    """Kill the worker that computes for the command; False where there is none at this moment."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    if not children:
        return False
    os.kill(int(children[0]), signal.SIGKILL)
    return True


def phase_of(out: Path) -> str:
    """Return the phase that the log names last."""
    try:
        lines = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "before the run was begun"
    for line in reversed(lines):
        try:
            event = json.loads(line)
        except ValueError:  # the kill cut it short
            continue
        if event.get("kind") == "phase":
            return str(event.get("text"))
    return "before the run was begun"


def one_run(words: list[str], out: Path, store: Path, draw: Draw, tally: Tally, kills: int) -> None:
    """Kill and resume one run until it is done, with at most that many kills.

    A command loses its worker once at most: two deaths in one trial are no accident, so the trial would fail.
    """
    for _ in range(MOST):
        process = begin(words, out, store)
        worker = draw.random.random() < 0.25
        while kills:
            try:
                process.wait(draw.random.uniform(SHORTEST, draw.longest))
                break
            except subprocess.TimeoutExpired:
                kills -= 1
                tally.phases[phase_of(out)] += 1
            if worker and (out / ".work" / "study.json").exists() and kill_worker(process):
                tally.kills["worker"] += 1
                worker = False
                continue
            tally.kills["command"] += 1
            process.kill()
            break
        code = process.wait()
        if code == 0:
            return
        if code > 0:
            raise SystemExit(f"the run in {out} ended with exit code {code}")
    raise SystemExit(f"the run in {out} didn't come to an end")


def scores(run: Path) -> dict[str, Any]:
    """Return the verdict and the scores of all trials, without times."""
    record = json.loads((run / RESULT).read_text(encoding="utf-8"))
    trials = [json.loads(line) for line in (run / "trials.jsonl").read_text(encoding="utf-8").splitlines()]
    for trial in trials:
        del trial["seconds"]
    return {"verdict": record["verdict"], "test": record["test"], "trials": sorted(trials, key=lambda t: t["key"])}


def differences(run: Path, whole: Path) -> list[str]:
    """Name what differs between two runs that should be equal."""
    ours = {**hashes(run), **scores(run)}
    theirs = {**hashes(whole), **scores(whole)}
    return [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]


def main() -> int:
    """Run what the command line asks for and print the tally."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("chaos"))
    parser.add_argument("--longest", type=float, help="seconds before a kill; by default 0.6 of a whole run's")
    parser.add_argument("--share-store", action="store_true")
    parser.add_argument("words", nargs="+")
    given = parser.parse_args()
    shutil.rmtree(given.folder, ignore_errors=True)
    given.folder.mkdir(parents=True)
    whole = given.folder / "whole"
    shared = given.folder / "store"
    tally = Tally()
    started = time.monotonic()
    one_run(given.words, whole, shared, Draw(random.Random(given.seed), 0.0), tally, kills=0)
    seconds = time.monotonic() - started
    draw = Draw(random.Random(given.seed), given.longest or 0.6 * seconds)
    print(f"left alone: {seconds:.0f} s", flush=True)
    while tally.kills.total() < given.kills:
        tally.runs += 1
        out = given.folder / f"run-{tally.runs}"
        store = shared if given.share_store else out.with_name(f"{out.name}-store")
        one_run(given.words, out, store, draw, tally, given.kills - tally.kills.total())
        different = differences(out, whole)
        tally.different += [f"{out}: {name}" for name in different]
        print(f"run {tally.runs}: {tally.kills.total()} kills so far, {len(different)} differences", flush=True)
        if not different:
            shutil.rmtree(out)
        if store != shared:
            shutil.rmtree(store, ignore_errors=True)
    print(f"{tally.kills.total()} kills {dict(tally.kills)} of {tally.runs} runs, in the phases {dict(tally.phases)}")
    print("\n".join(tally.different) or "everything is equal")
    return int(bool(tally.different))


if __name__ == "__main__":
    sys.exit(main())
