"""Small random folders and tables of every kind: an answer or one sentence, and never another number of classes.

What is expected is worked out here from what was written, without frostline.
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from frostline.cli.main import main

NAMES = [
    "cat",
    "Cat",
    "dog",
    "dog ",
    "caf\u00e9",
    "cafe\u0301",
    "train",
    "test_tube",
    "1",
    "1.0",
    "nan",
    "\u732b",
    "a,b",
    'q"',
]
DEFECTS = ["", "", "", "", "empty", "cut", "text", "pointer", "grey", "wrong-ending", "constant", "deep"]
LAYOUTS = [("",), ("train", "test"), ("Training", "Testing"), ("seg_train", "seg_test"), ("fold1", "fold2")]
ENDINGS = [".png", ".jpg", ".JPEG", ".jfif", ".bmp", ".webp"]


@dataclass(frozen=True)
class Sample:
    """A picture to be written: its class, what is wrong with it, its part."""

    name: str
    defect: str
    part: str


@st.composite
def samples(draw: st.DrawFn, parts: Sequence[str], names: Sequence[str] = NAMES) -> list[Sample]:
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True))
    found = []
    for name in chosen:
        for part in parts:
            defects = draw(st.lists(st.sampled_from(DEFECTS), min_size=1, max_size=6))
            found += [Sample(name, defect, part) for defect in defects]
    return found


def picture(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((24, 24), Image.Resampling.BICUBIC)


def write_picture(path: Path, sample: Sample, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = picture(seed)
    if sample.defect == "grey":
        image = image.convert("L")
    if sample.defect == "constant":
        image = Image.new("RGB", (24, 24), (83 * seed % 256, 151 * seed % 256, 211 * seed % 256))
    if sample.defect == "deep":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 16)
    held = io.BytesIO()
    form = "PNG" if sample.defect in ("deep", "wrong-ending") else Image.registered_extensions()[path.suffix.lower()]
    image.save(held, form)
    data = held.getvalue()
    broken = {
        "empty": b"",
        "cut": data[:40],
        "text": b"hello",
        "pointer": b"version https://git-lfs.github.com/spec/v1\n",
    }
    path.write_bytes(broken.get(sample.defect, data))


def is_readable(sample: Sample) -> bool:
    return sample.defect not in ("empty", "cut", "text", "pointer")


def to_the_eye(name: str) -> str:
    """One name for what nobody can tell apart."""
    return unicodedata.normalize("NFC", name).strip()


def run(*words: object) -> tuple[int, str]:
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", out)
        patch.setattr("sys.stderr", err)
        code = main([str(word) for word in words])
    return code, out.getvalue() + err.getvalue()


def check(root: Path, data: Path, counts: Mapping[str, int], *, fit: bool) -> None:
    """Run the command, and hold it to one sentence, or to the classes and counts that were written."""
    if fit:
        code, told = run(*f"fit {data} --model glyphs --strategies probe --threads 1 --plain --out {root}/r".split())
    else:
        code, told = run("check", data, "--sheet", root / "s.png", "--json", "--threads", "1")
    assert code in (0, 2), told
    if code == 2:
        (line,) = [line for line in told.splitlines() if line.startswith("error: ")]
        assert len(line) > 20
        assert "Traceback" not in told
        return
    if fit:
        record = json.loads((root / "r" / "result.json").read_text())["data"]
        assert {line.rpartition(" (")[0] or line for line in map(str, record["classes"])} == set(counts)
        return
    found = json.loads(told)
    assert {name: sum(parts.values()) for name, parts in found["classes"].items()} == counts


def counts_of(written: Sequence[Sample]) -> dict[str, int]:
    found: dict[str, int] = {}
    for sample in written:
        if is_readable(sample):
            found[to_the_eye(sample.name)] = found.get(to_the_eye(sample.name), 0) + 1
    return found


def is_told(written: Sequence[Sample]) -> bool:
    """fold1/cat and fold2/cat alone may be two classes with a folder `cat` each: that is warned of, not refused."""
    return {sample.part for sample in written} == {"fold1", "fold2"} and len({s.name for s in written}) == 1


def write_folder(root: Path, written: Sequence[Sample], ending: str) -> Path:
    for seed, sample in enumerate(written):
        write_picture(root / "data" / sample.part / sample.name / f"p{seed}{ending}", sample, seed)
    return root / "data"


def write_table(root: Path, written: Sequence[Sample], ending: str, form: str) -> Path:
    rows: list[dict[str, Any]] = []
    for seed, sample in enumerate(written):
        write_picture(root / "p" / f"p{seed}{ending}", sample, seed)
        row = {"image": f"p/p{seed}{ending}", "label": sample.name}
        rows.append(row | ({"split": sample.part} if sample.part else {}))
    path = root / f"t.{form}"
    if form == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        return path
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter="\t" if form == "tsv" else ",")
        table.writeheader()
        table.writerows(rows)
    return path


MANY = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
FEW = settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
FOLDERS = st.sampled_from(LAYOUTS).flatmap(samples)
TABLES = st.sampled_from([("",), ("train", "test"), ("train", "validation", "test")]).flatmap(samples)
FORMS = st.sampled_from(["csv", "tsv", "jsonl"])
GOOD = [Sample(name, "", part) for name in ("cat", "dog") for part in ("Training", "Testing") for _ in range(3)]


@MANY
@given(FOLDERS.filter(lambda written: not is_told(written)), st.sampled_from(ENDINGS))
@example(GOOD, ".png")
def test_a_folder_of_any_kind_is_understood_or_refused(written: list[Sample], ending: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = write_folder(Path(folder), written, ending)
        check(Path(folder), data, counts_of(written), fit=False)


@MANY
@given(TABLES, st.sampled_from(ENDINGS), FORMS)
def test_a_table_of_any_kind_is_understood_or_refused(written: list[Sample], ending: str, form: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = write_table(Path(folder), written, ending, form)
        check(Path(folder), data, counts_of(written), fit=False)


@FEW
@given(FOLDERS.filter(lambda written: not is_told(written)), st.sampled_from(ENDINGS))
@example(GOOD, ".png")
def test_fit_on_any_folder_ends_with_an_answer_or_a_sentence(written: list[Sample], ending: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = write_folder(Path(folder), written, ending)
        check(Path(folder), data, counts_of(written), fit=True)


@FEW
@given(TABLES, st.sampled_from(ENDINGS), FORMS)
def test_fit_on_any_table_ends_with_an_answer_or_a_sentence(written: list[Sample], ending: str, form: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = write_table(Path(folder), written, ending, form)
        check(Path(folder), data, counts_of(written), fit=True)


@MANY
@given(st.binary(max_size=300), FORMS)
def test_any_bytes_under_a_tables_name_give_a_sentence(data: bytes, form: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"t.{form}"
        path.write_bytes(data)
        code, told = run("check", path, "--threads", "1")
        assert code == 2, told
        assert told.startswith("error: "), told


@MANY
@given(st.text(alphabet="ab,\"\t\n\r;' \ufeff\u00e9", max_size=80), FORMS)
def test_any_text_below_a_header_gives_an_answer_or_a_sentence(text: str, form: str) -> None:
    gap = "\t" if form == "tsv" else ","
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"t.{form}"
        path.write_text(f"text{gap}label\n{text}", encoding="utf-8", newline="")
        code, told = run("check", path, "--threads", "1")
        assert code in (0, 2), told
