"""Makes the network `glyphs` of the package: renders letters, runs `frostline pretrain`, writes the card.

    python tools/make_glyphs.py                 # everything; about ten minutes on one core
    python tools/make_glyphs.py --only-data     # the table of letters alone

Letters come from the fonts that matplotlib (DejaVu, STIX, Computer Modern) and Pillow bundle. Each glyph becomes a
field of signed distances to its outline, which is turned, slanted, squeezed and wobbled; where the field is above a
random level there is ink, so that the pen's width varies whatever the font's weight. Most letters then get the look of
scikit-learn's digits: a 32 x 32 bitmap of which the ink in cells of 4 x 4 is counted. A letter is a pure function of
(seed, number).
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import distance_transform_edt, map_coordinates

from frostline.base.seeds import numpy_generator
from frostline.models.sources.glyphs_source import CARD, CLASSES, WEIGHTS

SIDE, CELL = 32, 4  # pixels of the bitmap, and of a cell of which the ink is counted
FIELD, BODY = 64, 40  # pixels of a field of distances, and of the glyph in it
BARRED = {"7": 0.4, "Z": 0.3, "z": 0.3}  # how often a stroke is put across, which no bundled font does
LOW, HELD_OUT = 0.8, 20  # share of images with the look of cells; of each class every so many-th is sealed
COUNT, EPOCHS, RATE, BATCH = 40_000, 18, 3e-3, 64
CAPITALS_ONLY = "cmsy10"
WITHOUT_LETTERS = ("Display", "NonUni", "Siz", "LastResort", "cmex10")

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Face:
    """A font: its file, or None for the one inside Pillow."""

    name: str
    file: Path | None

    def sized(self, size: int) -> ImageFont.FreeTypeFont:
        font = ImageFont.load_default(size) if self.file is None else ImageFont.truetype(str(self.file), size)
        assert isinstance(font, ImageFont.FreeTypeFont)
        return font

    def has(self, letter: str) -> bool:
        return letter.isupper() or self.name != CAPITALS_ONLY


@cache
def faces() -> tuple[Face, ...]:
    """The fonts, by name."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    files = [f for f in sorted(folder.glob("*.ttf")) if not any(word in f.stem for word in WITHOUT_LETTERS)]
    return (*(Face(f.stem, f) for f in files), Face("Pillow", None))


@cache
def field(face: Face, letter: str) -> Floats:
    """Signed distance (pixels, positive in the ink) to the outline of a glyph, (FIELD, FIELD)."""
    picture = Image.new("L", (400, 400), 0)
    ImageDraw.Draw(picture).text((200, 200), letter, fill=255, font=face.sized(150), anchor="mm")
    glyph = picture.crop(picture.getbbox())
    fine, scale = 2 * FIELD, 2 * BODY / max(glyph.height, 0.9 * glyph.width)
    width, height = max(1, round(glyph.width * scale)), max(1, round(glyph.height * scale))
    ink = np.zeros((fine, fine), dtype=bool)
    top, left = (fine - height) // 2, (fine - width) // 2
    ink[top : top + height, left : left + width] = np.asarray(glyph.resize((width, height), Image.Resampling.BOX)) > 127
    distance = distance_transform_edt(ink) - distance_transform_edt(~ink)
    return np.asarray(distance.reshape(FIELD, 2, FIELD, 2).mean(axis=(1, 3)) / 2, dtype=np.float32)


def barred(distance: Floats) -> Floats:
    """With a stroke across the middle."""
    y, x = np.mgrid[:FIELD, :FIELD].astype(np.float32) - (FIELD - 1) / 2
    bar = np.minimum(2.0 - np.abs(y), 11.0 - np.abs(x))
    return np.asarray(np.maximum(distance, bar), dtype=np.float32)


@cache
def _hills(points: int) -> NDArray[np.float64]:
    """Smooth weights (FIELD, points) that spread a few values over a line."""
    at = np.linspace(0, points - 1, FIELD)[:, None] - np.arange(points)
    weights = (1 - np.cos(np.pi * np.clip(1 - np.abs(at), 0, 1))) / 2
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def written(rng: np.random.Generator, distance: Floats) -> Floats:
    """Ink (0 to 1) of a glyph as a hand might write it: turned, slanted, squeezed, wobbled, with some pen."""
    turn, slant = np.deg2rad(rng.normal(0, 8)), rng.normal(0, 0.22)
    squeeze = float(np.exp(rng.normal(0, 0.18)))
    cos, sin = np.cos(turn), np.sin(turn)
    matrix = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, 0], [slant, 1]]) @ np.diag([1, squeeze])
    hills = _hills(5)
    wobble = [hills @ rng.normal(0, 1.7, (5, 5)) @ hills.T for _ in range(2)]
    y, x = np.mgrid[:FIELD, :FIELD] - (FIELD - 1) / 2
    places = [row[0] * y + row[1] * x + w + (FIELD - 1) / 2 for row, w in zip(matrix, wobble, strict=True)]
    warped = map_coordinates(distance, places, order=1, cval=-float(FIELD))
    pen = max(rng.uniform(1.6, 4.4) - float(distance.max()), -1.0)  # hairlines have to outlast a thin pen
    return np.asarray(np.clip(0.5 + warped + pen, 0, 1), dtype=np.float32)


def glyph(seed: int, number: int) -> tuple[str, Bytes]:
    """Letter `number`: its class, and its image, (8, 8) with the look of cells or (32, 32)."""
    rng = numpy_generator(seed, "glyph", number)
    letter = CLASSES[number % len(CLASSES)]
    known = [face for face in faces() if face.has(letter)]
    distance = field(known[int(rng.integers(len(known)))], letter)
    if rng.random() < BARRED.get(letter, 0.0):
        distance = barred(distance)
    ink = written(rng, distance)
    rows, columns = np.flatnonzero(ink.max(axis=1) > 0.4), np.flatnonzero(ink.max(axis=0) > 0.4)
    body = Image.fromarray(np.rint(255 * ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]).astype(np.uint8))
    return letter, celled(rng, body) if rng.random() < LOW else placed(rng, body)


def celled(rng: np.random.Generator, body: Image.Image) -> Bytes:
    """The ink counted in cells of 4 x 4 of a bitmap that the letter fills from top to bottom."""
    wide = body.width / body.height
    height = SIDE if wide < 1.6 else round(SIDE * 1.6 / wide)
    bitmap = _set(rng, body, height, most=24) > 127
    counts = bitmap.reshape(SIDE // CELL, CELL, SIDE // CELL, CELL).sum(axis=(1, 3))
    return np.asarray(np.rint(counts * (255 / CELL**2)), dtype=np.uint8)


def placed(rng: np.random.Generator, body: Image.Image) -> Bytes:
    """The letter in its full resolution, with a margin."""
    return _set(rng, body, int(rng.integers(22, 31)), most=30)


def _set(rng: np.random.Generator, body: Image.Image, height: int, *, most: int) -> Bytes:
    width = round(height * body.width / body.height * float(np.exp(rng.normal(0, 0.12))))
    width = min(max(width, 3), most)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    left = min(max(left + int(rng.integers(-2, 3)), 0), SIDE - width)
    canvas = np.zeros((SIDE, SIDE), dtype=np.uint8)
    canvas[top : top + height, left : left + width] = np.asarray(body.resize((width, height)))
    return canvas


def write_table(path: Path, count: int, seed: int) -> None:
    """A Parquet table of image (PNG), label and split; of each class every twentieth is sealed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [glyph(seed, number) for number in range(count)]
    columns = {
        "image": [_png(picture) for _, picture in rows],
        "label": [letter for letter, _ in rows],
        "split": ["test" if number // len(CLASSES) % HELD_OUT == 0 else "train" for number in range(count)],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def _png(picture: Bytes) -> bytes:
    held = io.BytesIO()
    Image.fromarray(picture).save(held, format="PNG")
    return held.getvalue()


def pretrain_words(table: Path, run: Path, seed: int) -> list[str]:
    """The command that trains it."""
    return [
        "pretrain",
        str(table),
        "--model",
        "glyphs",
        "--method",
        "supervised",
        "--epochs",
        str(EPOCHS),
        "--lr",
        str(RATE),
        "--batch-size",
        str(BATCH),
        "--augment",
        "none",
        "--seed",
        str(seed),
        "--threads",
        "1",
        "--store",
        "off",
        "--out",
        str(run),
    ]


def write_card(run: Path, args: argparse.Namespace, digest: str) -> None:
    """What the network is, where it comes from, what it can't do."""
    from frostline.bundle.runfolder import read_result

    result = read_result(run)
    CARD.write_text(
        CARD_TEXT.format(
            count=args.count,
            seed=args.seed,
            faces=len(faces()),
            epochs=EPOCHS,
            rate=RATE,
            batch=BATCH,
            accuracy=result.test.accuracy,
            n=result.test.n,
            sha256=digest,
            bytes=WEIGHTS.stat().st_size,
            parameters=result.model.parameters,
            torch=result.packages["torch"],
            command=" ".join(["frostline", *pretrain_words(Path("glyphs.parquet"), Path("RUN"), args.seed)]),
        ),
        encoding="utf-8",
    )


CARD_TEXT = """# glyphs

The small network that frostline brings along: five stages of 3 x 3 convolutions with BatchNorm ({parameters:,} values),
for grey images of 32 x 32 pixels with bright ink on a dark ground; 62 classes, `0-9A-Za-z`.

| | |
|---|---|
| file | `glyphs.safetensors`, {bytes:,} bytes, fp32 |
| sha256 | `{sha256}` |
| licence | Apache-2.0, like the package |
| trained on | {count:,} letters, drawn by `tools/make_glyphs.py` (seed {seed}) \
from {faces} fonts that matplotlib and Pillow bundle |
| trained by | `{command}` |
| training | {epochs} epochs, AdamW, rate {rate:g} along a cosine, batches of {batch}, torch {torch} |
| letters held out | {accuracy:.3f} of {n:,} right |

No handwriting was used: what it knows of that, it has from distorted type. Letters whose capital and small forms look
alike (`o O 0`, `x X`, `l I 1`) can't be told apart without a line to stand on, which bounds the accuracy above.
It is meant for `frostline demo` and for trying things out, not for reading text.

Made anew by `python tools/make_glyphs.py`; the same machine and versions give the same bytes.
"""


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=COUNT, help="letters to draw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("build/glyphs"), help="folder for the table and the run")
    parser.add_argument("--only-data", action="store_true", help="draw the letters and stop")
    return parser.parse_args(words)


def main() -> None:
    """Draw, train, ship."""
    args = arguments()
    table, run = args.work / "glyphs.parquet", args.work / "run"
    write_table(table, args.count, args.seed)
    print(f"{table}: {args.count:,} letters")
    if args.only_data:
        return
    words = pretrain_words(table, run, args.seed)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "frostline", *words], check=True, env=environment)  # nosec B603  # our own
    shutil.copyfile(run / "model" / "model.safetensors", WEIGHTS)
    digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    write_card(run, args, digest)
    print(f"{WEIGHTS}: {digest}")


if __name__ == "__main__":
    main()
