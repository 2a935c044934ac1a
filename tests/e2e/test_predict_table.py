"""`predict` takes the very table that `fit` took: one answer a row, by the names in it; labels aren't needed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

import frostline as library
from cases.small_world import write_images
from frostline.cli.main import main

Fit = Callable[..., SimpleNamespace]


@pytest.fixture(scope="module")
def run(fit: Fit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a table of images, which lies with them in the folder of the run."""
    root = tmp_path_factory.mktemp("table")
    write_images(root / "d", {"a": 12, "b": 12})
    names = [f"d/{name}/{i}.png" for name in "ab" for i in range(12)]
    (root / "t.csv").write_text("image,label\n" + "".join(f"{name},{name[2]}\n" for name in names))
    done = fit(root / "t.csv", "--strategies", "probe", "--blocks", 2, "--out", root / "run")
    assert done.code == 0, done.err
    return root / "run"


def predicted(run: Path, *paths: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["predict", str(run), *map(str, paths), "--json"])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_table_of_fit_gives_one_answer_a_row(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = predicted(run, run.parent / "t.csv", capsys=capsys)
    assert (code, err) == (0, "")
    answers = json.loads(out)
    assert [answer["file"] for answer in answers] == [f"d/{name}/{i}.png" for name in "ab" for i in range(12)]
    files = [run.parent / answer["file"] for answer in answers]
    code, out, _ = predicted(run, *files, capsys=capsys)
    assert [a["probabilities"] for a in json.loads(out)] == [a["probabilities"] for a in answers]
    arrays: NDArray[np.float64] = library.load(run).predict_proba([str(file) for file in files])
    assert [max(a["probabilities"].values()) for a in answers] == arrays.max(axis=1).tolist()


def test_a_table_without_labels_is_enough_and_a_row_without_its_file_is_skipped_by_name(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(run.parent / "d" / "a" / "0.png", tmp_path / "x.png")
    (tmp_path / "new.tsv").write_text("image\tweight\nx.png\t1\ngone.png\t2\n")
    code, out, err = predicted(run, tmp_path / "new.tsv", capsys=capsys)
    assert code == 0, err
    assert [answer["file"] for answer in json.loads(out)] == ["x.png"]
    assert "gone.png can't be read" in err


def test_a_table_of_texts_is_refused_in_a_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text("text,label\nhello,a\n")
    code, out, err = predicted(run, tmp_path / "t.csv", capsys=capsys)
    assert (code, json.loads(out)["kind"]) == (2, "error")
    assert "no column 'image', which the model reads; its columns are 'text', 'label'." in err


def test_a_folder_is_read_as_fit_reads_it(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a/x.png", ".ipynb_checkpoints/y.png", "a/.trash/z.png", "@eaDir/t.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(run.parent / "d" / "a" / "0.png", tmp_path / name)
    code, out, _ = predicted(run, tmp_path, capsys=capsys)
    assert code == 0
    assert [answer["file"] for answer in json.loads(out)] == [str(tmp_path / "a" / "x.png")]


def test_names_of_any_bytes_and_places_that_are_not_there_are_no_bugs(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / "caf\udce9.png"
    try:
        shutil.copy(run.parent / "d" / "a" / "0.png", odd)
    except OSError:
        pytest.skip("this file system takes only text")
    assert main(["predict", str(run), str(odd), "--csv", str(tmp_path / "o.csv")]) == 0
    assert "caf\\udce9.png" in (tmp_path / "o.csv").read_text()
    for place in (tmp_path / "no" / "o.csv", tmp_path):
        capsys.readouterr()
        assert main(["predict", str(run), str(odd), "--csv", str(place)]) == 2
        assert "can't be written" in capsys.readouterr().err
