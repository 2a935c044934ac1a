"""What a very large number of small images costs: `frostline fit --strategies probe,probe@2` on N and on 4 N of them.

Images are made here: 32 pixels, 10 classes, each a blurred pattern of its class, moved, with noise, so that no two are
equal. Every fit is a whole process with an empty store. Memory is the peak of the anonymous pages of its process tree,
sampled: mapped files, such as the store's, can be given back by the system at any time. By default N is 26,000, so that
both sizes are beyond 20,000 samples to learn from, where one hold-out block takes the place of five folds.

Prints RESULT {"rows": [...], "growth": ..., "anonymous_mb": ...}.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from measure import measure

SIDE, CLASSES = 32, 10
GROWTH = 4  # times as many images
MOST_GROWTH, MOST_MB = 4.6, 2048
CHUNK = 1000  # images that are drawn at a time


def make_images(folder: Path, count: int, seed: int = 0) -> Path:
    """Write `count` grey PNG files as folder/CLASS/NUMBER.png, unless they are there."""
    done = folder / ".done"
    if done.exists():
        return folder
    patterns = _patterns(np.random.default_rng(seed))
    for name in range(CLASSES):
        (folder / f"class{name}").mkdir(parents=True, exist_ok=True)
    for start in range(0, count, CHUNK):
        _write_part(folder, patterns, (start, min(count, start + CHUNK)))
    done.touch()
    return folder


def _patterns(generator: np.random.Generator) -> np.ndarray[Any, Any]:
    """One pattern of strokes a class, (CLASSES, SIDE, SIDE), 0 to 1."""
    coarse = (generator.random((CLASSES, 8, 8)) < 0.45).astype(np.uint8) * 255
    size = (SIDE, SIDE)
    large = [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BICUBIC)) for one in coarse]
    return np.stack(large).astype(np.float32) / 255


def _write_part(folder: Path, patterns: np.ndarray[Any, Any], places: tuple[int, int]) -> None:
    """Images `places[0]` to `places[1]`: each is a function of its own number."""
    for i in range(*places):
        generator = np.random.default_rng((1, i))
        moved = np.roll(patterns[i % CLASSES], generator.integers(-6, 7, 2), (0, 1))
        contrast = generator.uniform(0.2, 0.8)
        values = 255 * (0.2 + contrast * moved) + generator.normal(0, 60, (SIDE, SIDE))
        pixels = np.clip(values, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"class{i % CLASSES}" / f"{i:06d}.png", compress_level=1)


def one_fit(args: argparse.Namespace, data: Path, scratch: Path) -> dict[str, Any]:
    """Time and memory of one fit, and what its record says of both."""
    command = (
        *(sys.executable, "-m", "frostline", "fit", str(data), "--model", args.model, *args.options),
        *("--strategies", "probe,probe@2", "--store", str(scratch / "store"), "--out", str(scratch / "run"), "--plain"),
    )
    found = measure(command, environment={"FROSTLINE_CACHE": str(scratch / "cache")})
    record = json.loads((scratch / "run" / "result.json").read_text(encoding="utf-8"))
    return {
        "wall": round(found.wall, 1),
        "cpu": round(found.cpu, 1),
        "anonymous_mb": round(found.anonymous_mb),
        "rss_mb": round(found.rss_mb),
        "peak_rss_mb": record["cost"]["peak_rss_mb"],
        "accuracy": record["test"]["accuracy"],
        "phases": {phase["name"]: round(phase["seconds"], 1) for phase in record["cost"]["phases"]},
    }


def main() -> None:
    """Measure both sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=26_000, help="images of the smaller run")
    parser.add_argument("--model", default="glyphs")
    parser.add_argument("--images", type=Path, help="folder to make the images in, or that has them")
    parser.add_argument("options", nargs="*", help="further options of fit, after --")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="frostline-many-") as folder:
        for count in (args.count, GROWTH * args.count):
            data = make_images((args.images or Path(folder)) / f"images-{count}", count)
            scratch = Path(folder) / f"fit-{count}"
            rows.append({"images": count, **one_fit(args, data, scratch)})
            print(json.dumps(rows[-1]), flush=True)
    growth = rows[1]["wall"] / rows[0]["wall"]
    cpu_growth = rows[1]["cpu"] / rows[0]["cpu"]
    most = max(row["anonymous_mb"] for row in rows)
    print(
        f"{GROWTH} times the images: {growth:.2f} times the time (at most {MOST_GROWTH}), {cpu_growth:.2f} of CPU time"
    )
    print(f"anonymous memory: {most} MB (at most {MOST_MB})")
    print(
        "RESULT "
        + json.dumps(
            {"rows": rows, "growth": round(growth, 2), "cpu_growth": round(cpu_growth, 2), "anonymous_mb": most}
        )
    )


if __name__ == "__main__":
    main()
