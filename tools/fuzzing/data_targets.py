"""Targets that the user's data reaches: tables, folders and images."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from frostline.base.errors import DataError
from frostline.base.events import silent
from frostline.data.decode import decode_all, hash_files
from frostline.data.overview import image_facts
from frostline.data.preprocess import Preprocess
from frostline.data.read import read_data
from frostline.data.scan import scan
from frostline.data.tables import find, read_lines
from frostline.data.unlabelled_listing import list_unlabelled
from frostline.recipe.settings import Settings
from tools.fuzzing.mutate import deep_json, json_bytes, odd_bytes, odd_json, odd_text, odd_value
from tools.fuzzing.target import Target, in_short, pick_file

NAMES = ("image", "text", "label", "split", "group", "Label", "labels", "patient", "part", "", " label ", "id", "image")
PARTS = ("train", "test", "val", "Training", "dev", "", "holdout")
MODES = ("RGB", "L", "RGBA", "P", "1", "I;16", "LA", "CMYK")
FORMATS = {
    "png": ("PNG", ("RGB", "L", "RGBA", "P", "1", "I;16", "LA")),
    "jpg": ("JPEG", ("RGB", "L", "CMYK")),
    "gif": ("GIF", ("P", "L")),
    "webp": ("WEBP", ("RGB", "RGBA")),
    "tif": ("TIFF", ("RGB", "L", "I;16", "CMYK", "1", "P", "RGBA")),
    "bmp": ("BMP", ("RGB", "L", "1", "P")),
    "ppm": ("PPM", ("RGB", "L", "1")),
}
ASKED = (
    Preprocess.default(16, (0.5,), (0.5,), 3),
    Preprocess.default(24, (0.5,), (0.5,), 1),
    Preprocess.default((8, 24), (0.5,) * 3, (0.5,) * 3, 3),
)


def table_targets() -> tuple[Target, ...]:
    """Tables of every ending, as `fit`, `predict` and `pretrain` read them."""
    return (Target(name="tables", write=_write_table, read=_read_table, prepare=_small_image),)


def folder_targets() -> tuple[Target, ...]:
    """Trees of odd names, links and files."""
    return (Target(name="folders", write=_write_tree, read=_read_folder, prepare=_small_image),)


def image_targets() -> tuple[Target, ...]:
    """Image files of every format that is read."""
    return (Target(name="images", write=_write_image, read=_read_images, prepare=_valid_images, megabytes=1200.0),)


def _small_image(folder: Path) -> None:
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(folder / "a.png")


def _write_table(random: Random, valid: Path, folder: Path) -> None:
    (folder / "a.png").write_bytes((valid / "a.png").read_bytes())
    ending = random.choice((".csv", ".tsv", ".jsonl", ".json", ".parquet", ".csv", ".txt"))
    rows = _rows(random)
    if ending in (".csv", ".tsv", ".txt"):
        data = _delimited(random, rows, ending)
    elif ending == ".parquet":
        data = _parquet(random, rows)
    else:
        data = _json_table(random, rows, ending)
    (folder / f"t{ending}").write_bytes(data)


def _rows(random: Random) -> list[dict[str, Any]]:
    """Rows of a usual table, some of whose cells are odd."""
    content = random.choice(("image", "text"))
    names = [content, "label"]
    names += [name for name in ("split", "group") if random.random() < 0.4]
    if random.random() < 0.2:
        names.append(random.choice(NAMES))
    if random.random() < 0.1:
        names.remove(random.choice(names))
    usual = {"image": "a.png", "text": "some words", "label": random.choice(("a", 1, True)), "group": "g"}
    rows = []
    for number in range(random.choice((0, 1, 3, 8))):
        row = {name: usual.get(name, number) for name in names}
        if "split" in row:
            row["split"] = PARTS[number % 2]
        rows.append(row)
    for _ in range(random.choice((0, 0, 1, 2))):
        if rows and names:
            random.choice(rows)[random.choice(names)] = random.choice((odd_value(random), odd_text(random)))
    return rows


def _delimited(random: Random, rows: Sequence[dict[str, Any]], ending: str) -> bytes:
    delimiter = random.choice((",", ",", ";", "\t", "|", " "))
    if ending == ".tsv":
        delimiter = "\t"
    text = io.StringIO(newline="")
    ending = random.choice(("\n", "\r\n", "\r"))
    table = csv.writer(text, delimiter=delimiter, lineterminator=ending)
    if random.random() < 0.3:
        table = csv.writer(text, delimiter=delimiter, lineterminator=ending, quoting=csv.QUOTE_ALL)
    if rows:
        table.writerow(rows[0])
    for row in rows:
        table.writerow([str(value) for value in row.values()])
    written = text.getvalue()
    for _ in range(random.choice((0, 0, 1, 3))):
        place = random.randint(0, len(written))
        written = written[:place] + random.choice(('"', '""', "\n", delimiter, odd_text(random))) + written[place:]
    if random.random() < 0.05:
        written = f"sep={delimiter}\n{written}"
    encoding = random.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "utf-32"))
    data = written.encode(encoding, "replace" if encoding == "latin-1" else "surrogatepass")
    if random.random() < 0.15:
        return odd_bytes(random, data)
    return data


def _json_table(random: Random, rows: Sequence[dict[str, Any]], ending: str) -> bytes:
    if random.random() < 0.02:
        return deep_json(random)
    changed = rows
    if random.random() < 0.4:
        changed = odd_json(random, _plain(rows))
    if ending == ".json" or not isinstance(changed, list):
        return json_bytes(random, changed)
    return b"\n".join(json_bytes(random, row) for row in changed)


def _plain(value: Any) -> Any:
    """The value as JSON, with texts that can be encoded."""
    return json.loads(json.dumps(value))


def _parquet(random: Random, rows: Sequence[dict[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list(rows[0]) if rows else ["text", "label"]
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        columns[name] = _arrow_column(random, values, name)
    table = pa.table(columns)
    if random.random() < 0.3:
        features = {"label": {"names": random.choice((["a", "b"], [], [1], "ab", None, ["a"] * 3))}}
        note = json.dumps(random.choice(({"info": {"features": features}}, {"info": None}, [1], odd_value(random))))
        table = table.replace_schema_metadata({"huggingface": note.encode("utf-8", "surrogatepass")})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression=random.choice(("none", "snappy", "zstd")))
    if random.random() < 0.4:
        return odd_bytes(random, buffer.getvalue())
    return buffer.getvalue()


def _arrow_column(random: Random, values: Sequence[Any], name: str) -> Any:
    """A column in one of the types that a table may have; those that don't hold the values are passed over."""
    import pyarrow as pa

    image = (Path(__file__).parents[2] / "src/frostline/models/sources/glyphs.md").read_bytes()[:20]
    choices: list[Any] = [
        lambda: pa.array(values),
        lambda: pa.array([str(v) for v in values]),
        lambda: pa.array([str(v) for v in values], pa.large_string()),
        lambda: pa.array([str(v) for v in values]).dictionary_encode(),
        lambda: pa.array(list(range(len(values))), pa.int8()),
        lambda: pa.array([float(i) for i in range(len(values))]),
        lambda: pa.array([random.choice((-1, 0, 1, 7)) for _ in values], pa.int64()),
        lambda: pa.array([image for _ in values], pa.binary()),
        lambda: pa.array(
            [random.choice(({"bytes": image, "path": None}, {"bytes": None, "path": "a.png"}, None)) for _ in values]
        ),
        lambda: pa.array([[1, 2] for _ in values]),
        lambda: pa.array([i * 86400 for i in range(len(values))], pa.timestamp("s")),
        lambda: pa.array([None for _ in values], pa.null()),
        lambda: pa.array([bool(i % 2) for i in range(len(values))]),
        lambda: pa.array(["x"] * len(values), pa.string_view()),
    ]
    usual = 0 if random.random() < 0.6 and name != "label" else random.randrange(len(choices))
    try:
        return choices[usual]()
    except (pa.ArrowException, UnicodeEncodeError, OverflowError, TypeError):
        return pa.array(["x"] * len(values))


def _read_table(_valid: Path, folder: Path) -> str:
    path = next(folder.glob("t.*"))
    said = []
    for reader in (_listed, read_lines, _unlabelled):
        try:
            said.append(in_short(reader(path)))
        except DataError as error:
            said.append(str(error))
    return "\n".join(said)


def _listed(path: Path) -> Any:
    """The listing of a table or folder, and what its images are decoded to."""
    listing = find(path)
    if listing.texts is not None:
        return listing
    sources = listing.sources(ASKED[0])
    images, bad = decode_all(sources, ASKED[0], threads=1, spill_dir=None, progress=None)
    hashes = hash_files(sources, 1)
    return [(r.id, r.class_name, r.part, r.group) for r in listing.rows], bad, hashes, listing.warnings, len(images)


def _unlabelled(path: Path) -> Any:
    found = list_unlabelled(path)
    return [row.id for row in found.listing.rows], found.labels, found.sealed, found.notes, found.listing.texts


def _write_tree(random: Random, valid: Path, folder: Path) -> None:
    image = (valid / "a.png").read_bytes()
    places = [os.fsencode(folder / "data")]
    os.mkdir(places[0])
    for _ in range(random.choice((0, 2, 5, 12, 30))):
        parent = random.choice(places)
        name = _file_name(random)
        path = os.path.join(parent, name)
        try:
            _make_entry(random, path, image, places)
        except (OSError, ValueError):  # a name that is too long, or there already
            continue


def _make_entry(random: Random, path: bytes, image: bytes, places: list[bytes]) -> None:
    kind = random.randrange(12)
    if kind < 5:
        os.mkdir(path)
        places.append(path)
    elif kind < 9:
        content = random.choice((image, image, image, b"", image[:20], b"text", odd_bytes(random, image)))
        with open(path + random.choice((b".png", b".PNG", b".jpg", b"", b".txt", b".csv", b".heic")), "xb") as file:
            file.write(content)
    elif kind == 9:
        os.symlink(
            random.choice((*places, b"nowhere", b".", b"..", b"/etc", path, b"/dev/null")),
            path + random.choice((b"", b".png")),
        )
    elif kind == 10:
        os.mkfifo(path + random.choice((b"", b".png")))
    else:
        os.chmod(random.choice(places[1:] or [path]), random.choice((0o000, 0o400, 0o755)))


def _file_name(random: Random) -> bytes:
    if random.random() < 0.4:
        return random.choice(
            (b"train", b"test", b"val", b"a", b"b", b"A", b".git", b"images", b"Train", b"fold1", b"0")
        )
    if random.random() < 0.1:
        return bytes(random.choice((0xFF, 0xE9, 0x80, 0x41)) for _ in range(3))
    return odd_text(random).replace("/", "_").replace("\0", "_").encode("utf-8", "surrogatepass")[:200] or b"x"


def _read_folder(_valid: Path, folder: Path) -> str:
    said = []
    for reader in (scan, _listed, _unlabelled):
        try:
            said.append(in_short(reader(folder / "data")))
        except DataError as error:
            said.append(str(error))
    return "\n".join(said)


def _valid_images(folder: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (12, 14, 3), dtype=np.uint8)
    whole = Image.fromarray(values)
    for ending, (kind, modes) in FORMATS.items():
        for mode in modes:
            image = whole.convert(mode) if mode != "I;16" else Image.fromarray(values[:, :, 0].astype(np.uint16) * 257)
            image.save(folder / f"{mode.replace(';', '')}.{ending}", kind)
    frames = [whole.rotate(angle) for angle in (0, 90, 180)]
    for name in ("frames.gif", "frames.webp", "frames.png", "frames.tif"):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[0x0112] = 6
    whole.save(folder / "turned.jpg", exif=exif)
    whole.save(folder / "progressive.jpg", progressive=True)
    for compression in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg"):
        whole.save(folder / f"{compression}.tif", compression=compression)
    whole.convert("1").save(folder / "group4.tif", compression="group4")


def _write_image(random: Random, valid: Path, folder: Path) -> None:
    """Two classes of images, of which the first are damaged."""
    for name, count in (("a", 10), ("b", 6)):
        (folder / name).mkdir()
        for number in range(count):
            file = pick_file(random, valid)
            data = file.read_bytes()
            if name == "a":
                data = odd_bytes(random, data)
            if random.random() < 0.03:
                data += pick_file(random, valid).read_bytes()
            (folder / name / f"{number}{file.suffix}").write_bytes(data)


def _read_images(_valid: Path, folder: Path) -> str:
    """The images as a network gets them; which of the networks it is follows from the input."""
    asked = ASKED[sum(file.stat().st_size for file in folder.rglob("*.*")) % len(ASKED)]
    listing = scan(folder)
    facts = image_facts(listing.sources(asked), 1)
    found = read_data(Settings(data=folder, model="x", threads=1), listing, asked, silent)
    pixels = [found.samples[i].tobytes() for i in range(len(found.samples))]  # type: ignore[index]
    digest = hashlib.sha256(b"".join(pixels)).hexdigest()
    return in_short((digest, facts, found.dataset.samples, found.dataset.warnings))
