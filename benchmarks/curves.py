"""The full protocol of `frostline curve` on rendered letters and on scikit-learn's digits, sizes fixed beforehand.

    python benchmarks/curves.py [letters digits] [--out DIR] [--threads 1] [--resume]

Letters: the 26 capitals as tools/make_glyphs.py renders them, into 13 and 13. Digits: 5 and 5. Both with the network
`glyphs` at width 8 from random weights: 4 splits, both directions, 2 seeds, 5 stages, 4 arms, 336 trainings of 250
steps and 8 that choose the rate; about a quarter of an hour on one core. Prints the rows, the gaps and the
sentences as Markdown. Sizes were chosen by the time that they take, before any curve was run.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where `tools` lies

from frostline.models.sources.glyphs_source import CLASSES
from frostline.report.curve import gap_header, gap_rows, interval_words, stage_words

DATA_SEED = 8  # of the letters, and of the draw of digits
BATCH = 32
WIDTH = 8

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Pictures a class, and passes over those to learn from."""

    train: int
    held_out: int
    epochs: int


SIZES = {
    "letters": Sizes(train=60, held_out=40, epochs=10),  # 780 of a half: 25 steps an epoch
    "digits": Sizes(train=30, held_out=100, epochs=50),  # 150 of a half: 5 steps an epoch
}


def letters(sizes: Sizes) -> Iterator[tuple[str, Picture]]:
    """Yield the capitals in turn, each with a picture of it."""
    from tools.make_glyphs import glyph

    capitals = [place for place, name in enumerate(CLASSES) if name.isupper()]
    for number in range(sizes.train + sizes.held_out):
        for place in capitals:
            yield glyph(DATA_SEED, number * len(CLASSES) + place)


def digits(sizes: Sizes) -> Iterator[tuple[str, Picture]]:
    """Yield scans of 8 x 8, drawn without replacement, digit by digit."""
    from sklearn.datasets import load_digits

    scans = load_digits()
    generator = np.random.default_rng(DATA_SEED)
    for digit in range(10):
        rows = generator.permutation(np.flatnonzero(scans.target == digit))[: sizes.train + sizes.held_out]
        for row in rows:
            yield str(digit), np.rint(scans.images[row] * (255 / 16)).astype(np.uint8)


MAKERS = {"letters": letters, "digits": digits}


def write_data(name: str, folder: Path) -> None:
    """Write train/CLASS/N.png and test/CLASS/N.png."""
    sizes = SIZES[name]
    counted: dict[str, int] = {}
    for label, picture in MAKERS[name](sizes):
        number = counted.get(label, 0)
        counted[label] = number + 1
        part = "train" if number < sizes.train else "test"
        file = folder / part / label / f"{number:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        held = io.BytesIO()
        Image.fromarray(picture).save(held, format="PNG")
        file.write_bytes(held.getvalue())


def words(name: str, folder: Path, run: Path, threads: int) -> list[str]:
    """Return the command that measures a curve."""
    return [
        *("curve", str(folder), "--model", "glyphs", "--model-args", json.dumps({"width": WIDTH})),
        *("--split-classes", "auto", "--splits", "4", "--seeds", "2", "--epochs", str(SIZES[name].epochs)),
        *("--batch-size", str(BATCH), "--augment", "none", "--threads", str(threads), "--out", str(run), "--plain"),
    ]


def measure(name: str, out: Path, threads: int, *, resume: bool) -> None:
    """Write the data, run the command, print the result."""
    folder = out / name
    run = out / f"{name}-curve"
    if not folder.exists():
        write_data(name, folder)
    command = [str(Path(sys.executable).parent / "frostline"), *words(name, folder, run, threads)]
    if resume and run.exists():
        command.append("--resume")
    started = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "FROSTLINE_CACHE": str(out / "cache")}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    record = json.loads((run / "curve.json").read_text(encoding="utf-8"))
    print(f"## {name}: {time.perf_counter() - started:.0f} s\n\n{markdown(record)}", flush=True)


def markdown(record: dict[str, object]) -> str:
    """Return rows, gaps and sentences of curve.json as Markdown."""
    rows: list[dict[str, object]] = record["rows"]  # type: ignore[assignment]
    lines = ["| stage | arm | accuracy | 95 % interval |", "|---|---|---|---|"]
    for row in rows:
        stage = stage_words(row["stage"], row["name"])  # type: ignore[arg-type]
        interval = interval_words(row["ci"])  # type: ignore[arg-type]
        lines.append(f"| {stage} | {row['arm']} | {row['mean']:.3f} | {interval} |")
    header = gap_header(record)
    lines += ["", f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    lines += [f"| {' | '.join(cells)} |" for cells in gap_rows(record)]
    lines += ["", *(f"- {sentence}" for sentence in record["sentences"])]  # type: ignore[attr-defined]
    settings: dict[str, object] = record["settings"]  # type: ignore[assignment]
    lines += ["", f"Rate {settings['rate']}, {settings['steps']} steps, batches of {settings['batch_size']}.", ""]
    return "\n".join(lines)


def main() -> None:
    """Measure the curves that were asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*SIZES, []], help="letters, digits; by default both")
    parser.add_argument("--out", type=Path, default=Path("build/curves"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    args = parser.parse_args()
    for name in args.names or list(SIZES):
        measure(name, args.out, args.threads, resume=args.resume)


if __name__ == "__main__":
    main()
