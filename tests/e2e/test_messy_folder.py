"""A folder and a table with everything that goes wrong in data collected by others: each runs to a verdict.

What is expected stands here by the kind of warning: how many, one of the examples, and what was done.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cases.small_world import FROSTLINE
from helpers.messy_folder import CLASSES, EACH, LEFT_OUT, write_folder, write_table

# root may read everything, unless it gives that up
HUMBLE = "-dac_override,-dac_read_search"
AS_ANYBODY = ["setpriv", "--bounding-set", HUMBLE, "--inh-caps", HUMBLE]

FOLDER: dict[str, tuple[int, str, str]] = {
    "hidden": (4, "train/heron/.hidden.png", "not read"),
    "system-files": (8, "train/heron/Thumbs.db", "not read"),
    "names-no-text": (1, "train/heron/no text \\udcff\\udcfe.png", "rename"),
    "special-files": (3, "train/heron/pipe.png", "not read: pipes"),
    "ignored": (8, "train/egret/0.xml", "no images by their names"),
    "unnamed-images": (3, "train/egret/photo.jpg.crdownload", "the ending of an image"),
    "unread-formats": (2, "train/egret/IMG_0001.HEIC", "other formats"),
    "archives": (1, "birds.zip", "unpack"),
    "closed-folders": (1, "train/heron/locked/ can't be opened (Permission denied)", "not read"),
    "empty-folders": (7, "test/nested/", "passed over"),
    "links-out": (4, "train/stork/out.png is a link to ", "not followed"),
    "links-in-circles": (3, "train/stork/itself.png is a link that leads to itself", "not followed"),
    "outside-classes": (3, "train/loose.png", "no folder of a class"),
    "odd-names": (4, "'train/heron/two\\nlines.png'", "read"),
    "names-alike": (2, "'train/heron/Photo.PNG' and 'train/heron/photo.png'", "read"),
    "one-class": (2, "'e\\u0301gret' and '\u00e9gret'", "taken as one class"),
    "twin-classes": (1, "'Heron' and 'heron'", "kept apart"),
    "misnamed": (3, "train/egret/really_jpeg.png", "read as what they are"),
    "cmyk": (1, "train/stork/print.jpg", "the network's colours"),
    "palette": (4, "train/stork/palette.png", "the network's colours"),
    "deep-pixels": (2, "train/stork/sixteen.png", "8 bits"),
    "transparency": (2, "train/stork/alpha.png", "white"),
    "turned": (2, "train/stork/turned6.jpg", "upright"),
    "grey-among-colour": (6, "train/stork/grey.jpg", "kept"),
    "tiny-images": (2, "train/egret/pixel.png", "kept"),
    "strips": (1, "train/egret/strip.png", "the middle"),
    "huge-images": (1, "train/egret/huge.jpg", "kept"),
    "constant-images": (4, "train/stork/one_colour.png", "kept"),
    "several-images": (4, "train/egret/moving.gif with 3", "first"),
    "unreadable": (19, "train/egret/huge.png: too large (12000 x 9000 pixels)", "cut short (2)"),
    "unread-classes": (1, "class 'unreadable'", "--min-per-class 2"),
    "small-classes": (1, "lonely (1)", "--min-per-class 2"),
    "conflicting-labels": (2, "test/egret/3.png = train/stork/leak_conflict.png", "of 1 that lie in several parts"),
    "copies-of-sealed": (4, "train/egret/leak_again.jpg", "left out of training; the sealed part is unchanged"),
    "copies": (3, "train/egret/6.png = train/stork/conflict.png", "same side"),
}
UNREADABLE = (
    *(
        "an empty file (4)",
        "cut short (2)",
        "damaged (1)",
        "too large (1)",
        "not an image, or damaged at its start (2)",
    ),
    *(
        "a web page or XML, not an image (1)",
        "PDF, which isn't read (1)",
        "a pointer of Git LFS, not the image itself (1)",
    ),
    *("HEIC, which isn't read (1)", "a video, which isn't read (1)", "a Photoshop file, which isn't read (1)"),
    *("not a file (1)", "a link to a file that isn't there (1)", "can't be opened (1)"),
)
TABLE: dict[str, tuple[int, str, str]] = {
    "duplicate-ids": (16, "id 'bird 0' in 2 rows", "not read"),
    "backslashes": (1, "images\\train_0_0.png", "read with /"),
    "unicode-paths": (1, "images/caf\u00e9.png", "the other Unicode form"),
    "repeated-rows": (6, "row 38 = row 1 (images\\train_0_0.png)", "copies"),
    "unlabelled": (2, "row 44", "left out"),
    "unreadable": (2, "46: can't be opened (no image in this row)", "left out"),
    "conflicting-labels": (2, "34 ('10') = 42 ('8')", "of 1 that lie in several parts"),
    "copies-of-sealed": (2, "41", "left out of training; the sealed part is unchanged"),
    "copies": (2, "1 = 38", "same side"),
}


def differences(warnings: list[dict[str, Any]], expected: dict[str, tuple[int, str, str]]) -> dict[str, Any]:
    """Kinds that are missing, unexpected, or told otherwise."""
    found = {w["kind"]: w for w in warnings}
    assert len(found) == len(warnings)
    wrong: dict[str, Any] = {kind: found.get(kind) for kind in found.keys() ^ expected.keys()}
    for kind, (count, example, handled) in expected.items():
        told = found.get(kind, {"count": 0, "examples": [], "handled": ""})
        right = told["count"] == count and handled in told["handled"]
        if not right or not any(shown.startswith(example) for shown in told["examples"]):
            wrong[kind] = told
    return wrong


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root reads everything without setpriv")
def test_a_folder_with_everything_runs_to_a_verdict_and_names_each_defect(tmp_path: Path) -> None:
    data = write_folder(tmp_path)
    words = "--model glyphs --strategies probe --min-per-class 2 --threads 1 --plain --out run".split()
    command = [*(AS_ANYBODY if os.geteuid() == 0 else []), str(FROSTLINE), "fit", str(data), *words]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stderr
    assert "VERDICT  probe" in ran.stdout
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    expected = dict(FOLDER)
    if os.geteuid() != 0:
        expected["special-files"] = (2, *FOLDER["special-files"][1:])  # without a device, which only root can make
    assert differences(record["data"]["warnings"], expected) == {}
    told = next(w for w in record["data"]["warnings"] if w["kind"] == "unreadable")
    assert [reason for reason in UNREADABLE if reason not in told["handled"]] == []
    names = [line.split(" (")[0] for line in record["data"]["classes"]]
    assert len(names) == len(CLASSES) + 3
    assert not set(names) & set(LEFT_OUT)
    assert record["data"]["n_test"] == EACH["test"] * len(names)
    assert all(kind in ran.stderr for kind in expected)


def test_a_table_with_everything_runs_to_a_verdict_and_names_each_defect(fit: Any, tmp_path: Path) -> None:
    ran = fit(write_table(tmp_path), "--strategies", "probe", "--out", tmp_path / "run", model="glyphs", weights=None)
    assert ran.code == 0, ran.err
    record = json.loads((tmp_path / "run" / "result.json").read_text())["data"]
    assert differences(record["warnings"], TABLE) == {}
    assert [line.split(" (")[0] for line in record["classes"]] == ["8", "9", "10"]
    assert (record["n_development"], record["n_test"]) == (28, 12)
