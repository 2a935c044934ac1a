"""Which score foretells what fine-tuning reaches? `frostline rank --measure finetune` on three data sets.

    python benchmarks/rank.py SCRATCH                 # all: about 25 minutes on one core
    python benchmarks/rank.py SCRATCH --sets digits   # one of ants_bees, flowers5, digits

Eight sources: the shared MobileNet at 64 x 64 pixels, whole, cut after four and after three of its five groups of
blocks, and with random weights; `glyphs` and the CIFAR-10 network, each with its own and with random weights. Sizes
are fixed below, before any result was seen: 100 labelled images a set. SCRATCH keeps the runs, so an interrupted
benchmark goes on where it stopped. Prints one table of rank correlations a data set, as markdown.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.torch import load_file, save_file

from frostline.base.seeds import numpy_generator
from frostline.demo import digits
from frostline.report.rank import SCORE_NAMES

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[1] / "shared" / "data"
LABELS = {"ants_bees": 50, "flowers5": 20, "digits": 10}  # a class: 100 images to learn from in every set
POOLED = ("flowers5",)  # its val/ is pooled with train/, its test/ sealed
SEALED_DIGITS = 30  # a class
BLOCKS = 5
EPOCHS = 25
SEED = 0
STRATEGY = "finetune"
OVER = ("last depth", "best depth")


def main() -> None:
    """Run what is asked for and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--sets", default=",".join(LABELS), help="names with commas between")
    parser.add_argument("--threads", default="1")
    given = parser.parse_args()
    given.scratch.mkdir(parents=True, exist_ok=True)
    models = sources(given.scratch)
    results = {name: ranked(given.scratch, name, models, given.threads) for name in given.sets.split(",")}
    for name, result in results.items():
        print(f"\n### {name}\n")
        print(sources_table(result))
        print()
        print(agreement_table(result))
    print()
    print(summary_table(results))


def sources(scratch: Path) -> str:
    """Return the list of sources; the weights of the networks that are cut short are written beside the runs."""
    mobilenet = SHARED / "mobilenetv1_075_imagenet" / "mobilenetv1_075.safetensors"
    cifar = SHARED / "cifar10_resnet20"
    nets = HERE / "rank_nets.py"
    entries = [f"torch:{nets}:mobilenet={mobilenet}"]
    for groups in (4, 3):
        entries.append(f"torch:{nets}:mobilenet_cut{groups}={cut_weights(scratch, mobilenet, groups)}")
    entries.append(f"torch:{nets}:mobilenet=random")
    entries += ["glyphs", "glyphs=random"]
    network = f"torch:{cifar / 'model.py'}:cifar10_resnet20"
    entries += [f"{network}={cifar / 'cifar10_resnet20.safetensors'}", f"{network}=random"]
    return ",".join(entries)


def cut_weights(scratch: Path, whole: Path, groups: int) -> Path:
    """Write the weights before the cut."""
    file = scratch / f"mobilenet_cut{groups}.safetensors"
    gone = ("classifier.", *(f"blocks.{number}." for number in range(groups, 5)))
    save_file({name: tensor for name, tensor in load_file(whole).items() if not name.startswith(gone)}, file)
    return file


def data_of(scratch: Path, name: str) -> Path:
    """Return a set's folder; the digits are written as PNG files."""
    if name != "digits":
        return SHARED / name
    folder = scratch / "digits"
    if folder.exists():
        return folder
    drawn = digits()
    labels = np.array(drawn["label"])
    for digit in np.unique(labels).tolist():
        order = numpy_generator(SEED, "rank-digits", digit).permutation(np.flatnonzero(labels == digit))
        for place, row in enumerate(order[: SEALED_DIGITS + 4 * LABELS[name]].tolist()):
            part = "test" if place < SEALED_DIGITS else "train"
            file = folder / part / digit / f"{row:04d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn["image"][row]).save(file)
    return folder


def ranked(scratch: Path, name: str, models: str, threads: str) -> Mapping[str, Any]:
    """Rank the sources on one set, or take the run that is there."""
    out = scratch / f"rank-{name}"
    command = [sys.executable, "-m", "frostline", "rank", str(data_of(scratch, name)), "--models", models]
    command += ["--labels-per-class", str(LABELS[name]), "--blocks", str(BLOCKS), "--epochs", str(EPOCHS)]
    command += ["--measure", STRATEGY, "--seed", str(SEED), "--threads", threads, "--plain"]
    command += ["--out", str(out), "--resume", "--store", str(scratch / "store")]
    if name in POOLED:
        command.append("--pool-validation")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    result: Mapping[str, Any] = json.loads((out / "rank.json").read_text(encoding="utf-8"))
    return result


def sources_table(result: Mapping[str, Any]) -> str:
    """Return what every source was forecast to reach and reached, out of fold."""
    measured = {one["label"]: one["strategies"] for one in result["measured"]["sources"]}
    rows = []
    for source in result["sources"]:
        best = max(depth["probe"]["accuracy"] for depth in source["depths"])
        reached = measured[source["label"]]
        forecast = source["finetune"]
        rows.append(
            [
                source["label"],
                f"{source['depths'][-1]['probe']['accuracy']:.2f}",
                f"{best:.2f}",
                f"{forecast['accuracy']:.2f}" if forecast else "-",
                f"{reached[STRATEGY]['accuracy']:.2f}" if STRATEGY in reached else "-",
            ]
        )
    return markdown(["source", "probe, last depth", "probe, best depth", "forecast of finetune", "finetune"], rows)


def agreement_table(result: Mapping[str, Any]) -> str:
    """Return each score's weighted tau and Spearman's rho with the measured accuracy, with interval."""
    entries = {(e["score"], e["over"]): e for e in result["measured"]["agreement"] if e["strategy"] == STRATEGY}
    rows = []
    for score, words in SCORE_NAMES.items():
        row = [words]
        for over in OVER:
            entry = entries.get((score, over))
            row += [correlation(entry, "weighted_kendall"), correlation(entry, "spearman")]
        row.append(str(entries[score, OVER[0]]["n"]) if (score, OVER[0]) in entries else "-")
        rows.append(row)
    header = ["score", *(f"{name}, {over}" for over in OVER for name in ("weighted tau", "rho")), "n"]
    return markdown(header, rows)


def summary_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return each score's weighted tau at the last depth on every set, and their mean."""
    rows = []
    for score, words in SCORE_NAMES.items():
        values = [_value(result, score) for result in results.values()]
        known = [value for value in values if value is not None]
        mean = f"{np.mean(known):+.2f}" if known else "-"
        rows.append([words, *("-" if value is None else f"{value:+.2f}" for value in values), mean])
    return markdown(["weighted tau, last depth", *results, "mean"], rows)


def _value(result: Mapping[str, Any], score: str) -> float | None:
    for entry in result["measured"]["agreement"]:
        if (entry["score"], entry["strategy"], entry["over"]) == (score, STRATEGY, OVER[0]):
            value: float | None = entry["weighted_kendall"]["value"]
            return value
    return None


def correlation(entry: Mapping[str, Any] | None, name: str) -> str:
    """Return a correlation with its interval."""
    if entry is None or entry[name]["value"] is None:
        return "-"
    interval = entry[name]["ci"]
    text = f"{entry[name]['value']:+.2f}"
    if interval:
        text += f" ({interval[0]:+.2f} to {interval[1]:+.2f})"
    return text


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
