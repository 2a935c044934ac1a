"""How cost grows, from whole `frostline fit` runs that each start with an empty store.

samples     probe and freeze@4 on a quarter, a half and all images of train/. The fixed part falls out of the
            differences: (all - half) / (half - quarter) is 2 where cost is linear; told is its binary logarithm, 1.
strategies  freeze@4 added to probe,freeze@5: what the race and its features take longer, against the bare forward and
            backward of the suffix (suffix.py) over as many images.

Prints RESULT {"ratios": [...]}.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import suffix
from measure import measure

EPOCHS, BLOCKS = 3, 5
# phases that are no part of what grows: start-up, and what is done to the verdict alone
LEFT_OUT = ("read the network", "map the network", "refit", "sealed test", "measure the speed")


def fit_seconds(args: argparse.Namespace, data: Path, strategies: str, scratch: Path) -> float:
    """Seconds that images, features and race of one fit took."""
    for name in ("run", "store", "cache"):
        shutil.rmtree(scratch / name, ignore_errors=True)
    network = args.weights / "model.py"
    command = (
        sys.executable,
        "-m",
        "frostline",
        "fit",
        str(data),
        "--model",
        f"torch:{network}:mobilenetv1_075",
        "--weights",
        str(args.weights / "mobilenetv1_075.safetensors"),
        "--strategies",
        strategies,
        "--epochs",
        str(EPOCHS),
        "--blocks",
        str(BLOCKS),
        "--lr",
        "1e-4",
        "--batch-size",
        "32",
        "--store",
        str(scratch / "store"),
        "--out",
        str(scratch / "run"),
        "--plain",
    )
    measure(command, environment={"FROSTLINE_CACHE": str(scratch / "cache")})
    record = json.loads((scratch / "run" / "result.json").read_text(encoding="utf-8"))
    return float(sum(p["seconds"] for p in record["cost"]["phases"] if p["name"] not in LEFT_OUT))


def part_of(data: Path, target: Path, every: int) -> Path:
    """A data folder with one in `every` images of train/, and all of val/."""
    shutil.copytree(data / "val", target / "val")
    for folder in sorted(p for p in (data / "train").iterdir() if p.is_dir()):
        (target / "train" / folder.name).mkdir(parents=True)
        for image in sorted(folder.iterdir())[::every]:
            shutil.copy(image, target / "train" / folder.name)
    return target


def samples(args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Growth with the number of images."""
    folders = [part_of(args.data, scratch / f"one-in-{n}", n) for n in (4, 2, 1)]
    quarter, half, full = (_median(args, partial(fit_seconds, args, f, "probe,freeze@4", scratch)) for f in folders)
    ratio = (full - half) / (half - quarter) / 2
    return {
        "what": "growth with samples, twice as many",
        "against": "linear",
        "ratio": round(ratio, 3),
        "limit": 1.25,
        "seconds": [quarter, half, full],
    }


def strategies(args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Growth with a further frozen strategy."""
    less = _median(args, lambda: fit_seconds(args, args.data, "probe,freeze@5", scratch))
    more = _median(args, lambda: fit_seconds(args, args.data, "probe,freeze@4,freeze@5", scratch))
    study = suffix.make(args.data, args.weights, scratch / "suffix")
    suffix.prepare(study)
    rows = len(study.development)
    a_image = _median(args, lambda: suffix.bare_seconds(study)) / (suffix.EPOCHS * rows)
    trained = rows * (BLOCKS - 1) * EPOCHS
    looked_at = rows / 3  # every image is looked at once, in one block: a third of forward and backward
    return {
        "what": "a further frozen strategy",
        "against": "its suffix alone",
        "ratio": round((more - less) / (a_image * (trained + looked_at)), 3),
        "limit": 1.25,
        "seconds": [less, more, a_image],
    }


def _median(args: argparse.Namespace, seconds: Callable[[], float]) -> float:
    return statistics.median(seconds() for _ in range(args.rounds))


def main() -> None:
    """Measure both."""
    shared = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=shared / "ants_bees")
    parser.add_argument("--weights", type=Path, default=shared / "mobilenetv1_075_imagenet")
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="frostline-growth-") as folder:
        found = [samples(args, Path(folder)), strategies(args, Path(folder))]
    for row in found:
        print(f"{row['what']}: {row['ratio']:.2f} of {row['against']}")
    print("RESULT " + json.dumps({"ratios": found}))


if __name__ == "__main__":
    main()
