"""Tables and images that were made to fill the memory, or to lead elsewhere: each is refused before it can."""

from __future__ import annotations

import io
import json
import os
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from frostline.base.errors import DataError
from frostline.data import table_limits
from frostline.data.decode import ImageError, read_image
from frostline.data.preprocess import Preprocess
from frostline.data.table_files import READERS
from frostline.data.tables import read_lines, read_table
from frostline.data.unlabelled_listing import list_unlabelled

MIB = 1 << 20
ZSTD = {"compression": "zstd"}
SMALL = Preprocess.default(32, (0.5,), (0.25,), 3)


def sparse(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)  # takes no room on the disk
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.json"])
def test_a_table_beyond_the_memory_is_refused_unread(name: str, tmp_path: Path) -> None:
    file = sparse(tmp_path / name, 1 << 40)
    with pytest.raises(DataError, match="too many to be read"):
        READERS[file.suffix](file)


@pytest.mark.parametrize("name", ["t.npy", "t.txt"])
def test_arrays_and_texts_beyond_the_memory_are_refused_unread(name: str, tmp_path: Path) -> None:
    file = sparse(tmp_path / name, 1 << 42)
    with pytest.raises(DataError, match="too many to be read"):
        list_unlabelled(file) if name == "t.npy" else read_lines(file)


def test_a_cell_of_a_gigabyte_is_refused_after_its_first_megabytes(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    with file.open("wb") as written:
        written.write(b'text,label\nfine,a\n"')
        written.truncate(1 << 30)
        written.seek(1 << 30)
        written.write(b'",b\n')
    tracemalloc.start()
    with pytest.raises(DataError, match=r"Line 3 of .* is longer than"):
        READERS[".csv"](file)
    assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    tracemalloc.stop()


def parquet(path: Path, columns: dict[str, pa.Array], **how: object) -> Path:
    pq.write_table(pa.table(columns), path, **how)
    return path


def test_a_parquet_file_that_unpacks_to_more_than_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_limits, "memory_there", lambda: 16 * MIB)
    zeros = pa.array([bytes(2 * MIB)] * 5)
    packed = parquet(
        tmp_path / "z.parquet", {"image": zeros, "label": pa.array(["a"] * 5)}, use_dictionary=False, **ZSTD
    )
    assert packed.stat().st_size < MIB
    with pytest.raises(DataError, match="unpacks to 10,4"):
        read_table(packed)


def test_a_value_of_parquet_that_is_named_over_and_over_is_counted_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_limits, "memory_there", lambda: 16 * MIB)
    again = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["a" * 1000]))
    named = parquet(tmp_path / "d.parquet", {"text": again, "label": pa.array(["a"] * 20_000)})
    assert named.stat().st_size < MIB
    with pytest.raises(DataError, match="unpacks to"):
        read_table(named)


def test_parquet_files_of_usual_kinds_pass(tmp_path: Path) -> None:
    labels = pa.array(["a", "b"] * 500)
    plain = parquet(tmp_path / "p.parquet", {"text": pa.array([f"text {i}" for i in range(1000)]), "label": labels})
    assert len(read_table(plain).rows) == 1000


NESTED = "[" * 100_000 + "]" * 100_000
BOMBS = {
    "nested row": '{"text":' + NESTED + ',"label":"a"}\n',
    "nested list": NESTED,
    "many digits": '{"text":"a","label":' + "9" * 9000 + "}",
}


@pytest.mark.parametrize("case", BOMBS)
def test_json_that_nests_or_counts_without_end_is_refused(case: str, tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(BOMBS[case])
    with pytest.raises(DataError, match=r"too deeply|too many digits"):
        read_table(file)


@pytest.mark.parametrize("held", ["../../../etc/passwd", "a/../../x.png", "..", "link/x.png"])
def test_relative_paths_that_lead_out_of_the_tables_folder_are_refused(held: str, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    os.symlink("/etc", tmp_path / "t" / "link")
    file = tmp_path / "t" / "t.jsonl"
    file.write_text(json.dumps({"image": held, "label": "a"}))
    with pytest.raises(DataError, match="leads out"):
        read_table(file)


@pytest.mark.parametrize("held", ["file:///etc/passwd", "~/.ssh/id_rsa", "\\\\server\\share\\x.png"])
def test_other_forms_of_paths_stay_in_the_tables_folder(held: str, tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(json.dumps({"image": held, "label": "a"}))
    (row,) = read_table(file).rows
    assert str(row.source).startswith(str(tmp_path))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *further: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + head + b"".join(further) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def tiff(width: int, height: int) -> bytes:
    tags = ((256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 200), (277, 1), (278, height), (279, 64))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return (b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)).ljust(264, b"\0")


def gif(width: int, height: int) -> bytes:
    size = struct.pack("<HH", width, height)
    return b"GIF89a" + size + b"\x80\0\0" + bytes(6) + b"," + bytes(4) + size + b"\0\x02\x02\x4c\x01\0;"


BIG_IMAGES = {
    "PNG": png(40_000, 40_000),
    "PNG, text": png(8, 8, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(64 * MIB)))),
    "TIFF": tiff(60_000, 60_000),
    "TIFF, most": tiff((1 << 32) - 1, (1 << 32) - 1),
    "GIF": gif(65_535, 65_535),
    "BMP": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 100_000, 100_000, 1, 1, 0, 0, 0, 0, 2, 0),
    "PPM": b"P5 100000 100000 255\n",
    "PPM, digits": b"P2 99999999999999999999 1 255\n1 ",
}


@pytest.mark.parametrize("case", BIG_IMAGES)
def test_images_that_unpack_to_gigabytes_are_refused(case: str) -> None:
    tracemalloc.start()
    with pytest.raises(ImageError):
        read_image(BIG_IMAGES[case], SMALL)
    assert tracemalloc.get_traced_memory()[1] < 80 * MIB
    tracemalloc.stop()


@pytest.mark.parametrize("place", ["/dev/zero", "/dev/stdin"])
def test_devices_in_the_place_of_images_are_never_read(place: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path(place), tmp_path / "pipe"):
        with pytest.raises(ImageError, match="not a file"):
            read_image(path, SMALL)


def test_arrays_of_objects_are_never_unpickled(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "mark"),)

    stream = io.BytesIO()
    np.save(stream, np.array([Payload()], dtype=object))
    (tmp_path / "t.npy").write_bytes(stream.getvalue())
    with pytest.raises(DataError, match="never unpickled"):
        list_unlabelled(tmp_path / "t.npy")
    assert not (tmp_path / "mark").exists()
