"""frostline against other ways of doing the same work, as whole processes, side by side in one run.

    python benchmarks/compare.py [--tasks head,full,sweep,twin] [--rounds 1] [--data DIR] [--model FILE.py:factory]
                                 [--weights FILE] [--json FILE]

Same data, weights, batch size and steps; the contenders of a task take turns, round by round, and every run of ours
starts with an empty store. Tasks (steps: 8 an epoch on ants_bees):

head   ours: six augmented views, penalty tuned, solved; the loop: 10 epochs of the head
full   5 epochs, one rate
sweep  5 depths x 3 epochs; ours also refits the verdict and tests it, which the loop doesn't: that counts against us
twin   our own freeze@4,freeze@5 with the store and without

What differs on purpose: the loop looks at val/ after every epoch and keeps the best weights, ours opens it once;
optimiser and rate. Neither changes the number of training steps.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

from contenders import HERE, TARGETS, Case, Contender, contenders, halve_validation
from measure import Measured, measure

ROOT = HERE.parent
SHARED = ROOT.parent / "shared" / "data"
TASKS = ("head", "full", "sweep", "twin")
Runs = dict[tuple[str, str], list[Measured]]


def main() -> int:
    """Measure, print the tables, write the figures."""
    args = _arguments()
    with tempfile.TemporaryDirectory(prefix="frostline-bench-") as folder:
        scratch = Path(folder)
        halve_validation(args.data, scratch / "halved")
        model, _, factory = args.model.rpartition(":")
        case = Case(data=args.data, halved=scratch / "halved", model=Path(model), factory=factory,
                    weights=args.weights, scratch=scratch)  # fmt: skip
        runs = run_all(case, args.tasks.split(","), args.rounds)
    suffix = suffix_ratio() if "twin" in args.tasks else None
    print(runs_table(runs))
    print(ratios_table(runs, suffix))
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(figures(runs, suffix), indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten to {args.json}")
    return 0


def _arguments() -> argparse.Namespace:
    net = SHARED / "mobilenetv1_075_imagenet"
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--tasks", default=",".join(TASKS))
    made.add_argument("--rounds", type=int, default=1, help="runs of each contender; medians are told")
    made.add_argument("--data", type=Path, default=SHARED / "ants_bees", help="folder with train/ and val/")
    made.add_argument("--model", default=f"{net / 'model.py'}:mobilenetv1_075", help="FILE.py:factory")
    made.add_argument("--weights", type=Path, default=net / "mobilenetv1_075.safetensors")
    made.add_argument("--json", type=Path, default=ROOT / "runs" / "bench.json")
    args = made.parse_args()
    for path in (args.data / "train", args.data / "val", args.weights):
        if not path.exists():
            made.error(f"{path} isn't there; --data, --model and --weights say where the pictures and the network are")
    return args


def run_all(case: Case, tasks: list[str], rounds: int) -> Runs:
    """Every contender of every task, in turns."""
    runs: Runs = defaultdict(list)
    for turn in range(rounds):
        for task in tasks:
            lined_up = contenders(case, task)
            for contender in lined_up if turn % 2 == 0 else reversed(lined_up):
                done = run_one(case, contender)
                runs[task, contender.name].append(done)
                print(f"{task} {contender.name}: {done.wall:.1f} s", file=sys.stderr, flush=True)
    return runs


def run_one(case: Case, contender: Contender) -> Measured:
    """One contender from a clean start: no run folder, no store, nothing cached."""
    for name in ("run", "store", "cache"):
        shutil.rmtree(case.scratch / name, ignore_errors=True)
    done = measure(contender.command, environment={"FROSTLINE_CACHE": str(case.scratch / "cache")})
    if contender.frostline:
        record = json.loads((case.scratch / "run" / "result.json").read_text(encoding="utf-8"))
        steps = sum(s["steps"] or 0 for s in record["strategies"])
        done.result.update(accuracy=record["test"]["accuracy"], steps=steps, verdict=record["verdict"]["strategy"])
    return done


def suffix_ratio() -> float | None:
    """Training on the store against the suffix's own forward and backward (benchmarks/suffix.py)."""
    script = HERE / "suffix.py"
    return float(measure([sys.executable, str(script)]).result["ratio"]) if script.exists() else None


def runs_table(runs: Runs) -> str:
    """What was measured, medians over the rounds."""
    lines = ["| task | contender | wall s | CPU s | anonymous MB | resident MB | steps | accuracy |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for (task, name), done in runs.items():
        wall, cpu, anonymous, rss = (median(done, f) for f in ("wall", "cpu", "anonymous_mb", "rss_mb"))
        last = done[-1].result
        lines.append(f"| {task} | {name} | {wall:.1f} | {cpu:.1f} | {anonymous:.0f} | {rss:.0f} | "
                     f"{last.get('steps', '')} | {last.get('accuracy', float('nan')):.3f} |")  # fmt: skip
    return "\n".join(lines) + "\n"


def ratios_table(runs: Runs, suffix: float | None) -> str:
    """Ratios against the targets of DESIGN section 7; those without a target are told for comparison."""
    lines = ["| row | what | against | ratio | to reach | |", "|---|---|---|---|---|---|"]
    for row in ratios(runs, suffix):
        limit, met = row["limit"], row["met"]
        goal = f"{limit:.2f}" if limit is not None else ""
        verdict = "" if met is None else "yes" if met else "NO"
        lines.append(f"| {row['row']} | {row['what']} | {row['against']} | {row['ratio']:.2f} | {goal} | {verdict} |")
    return "\n".join(lines)


def ratios(runs: Runs, suffix: float | None) -> list[dict[str, object]]:
    """One entry a target whose two sides were measured."""
    found: list[dict[str, object]] = []
    for t in TARGETS:
        ours, theirs = runs.get((t.task, t.of)), runs.get((t.task, t.against))
        if ours and theirs:
            ratio = median(ours, t.field) / median(theirs, t.field)
            met = None if t.limit is None else ratio <= t.limit
            found.append({"row": t.row, "what": t.what, "against": t.against, "ratio": ratio, "limit": t.limit,
                          "met": met})  # fmt: skip
    if suffix is not None:
        found.append({"row": 5, "what": "training on the store", "against": "the suffix alone", "ratio": suffix,
                      "limit": 1.15, "met": suffix <= 1.15})  # fmt: skip
    return found


def median(done: list[Measured], field: str) -> float:
    """Median of one figure over the rounds."""
    return statistics.median(getattr(m, field) for m in done)


def figures(runs: Runs, suffix: float | None) -> dict[str, object]:
    """Everything as JSON: runs, ratios, machine, versions."""
    import torch

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    return {
        "commit": commit.strip(),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(),
                    "cpu_capability": torch.backends.cpu.get_cpu_capability(), "torch": torch.__version__},
        "runs": [{"task": task, "contender": name, **asdict(m)} for (task, name), done in runs.items() for m in done],
        "ratios": ratios(runs, suffix),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
