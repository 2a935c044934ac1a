"""Several networks in one comparison: each strategy measures what it measures alone, and all are compared in pairs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import frostline as library
from helpers.in_process import frostline

Fit = Callable[..., SimpleNamespace]
COMMON = ("--blocks", "2", "--epochs", "2", "--threads", "1")


@pytest.fixture(scope="module")
def world(
    fit: Fit, squares: Path, network: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """A run of two networks, and one of each alone."""
    root = tmp_path_factory.mktemp("networks")
    spec, weights = network
    both = f"{spec}={weights},glyphs"
    strategies = "baseline,probe,finetune,glyphs+probe@2"
    done = fit(squares, *COMMON, "--strategies", strategies, "--out", root / "both", model=both, weights=None)
    assert done.code == 0, done.err
    done = fit(squares, *COMMON, "--strategies", "baseline,probe,finetune", "--out", root / "own")
    assert done.code == 0, done.err
    alone = "probe,finetune,probe@2"
    done = fit(squares, *COMMON, "--strategies", alone, "--out", root / "glyphs", model="glyphs", weights=None)
    assert done.code == 0, done.err
    record = json.loads((root / "both" / "result.json").read_text())
    return SimpleNamespace(root=root, record=record, spec=both)


def probabilities(run: Path) -> dict[str, np.ndarray]:
    """Strategy -> its out-of-fold probabilities, as written."""
    table = pq.read_table(run / "oof.parquet").to_pandas()
    numbers = [name for name in table.columns if name.startswith("p:")]
    return {name: rows[numbers].to_numpy() for name, rows in table.groupby("strategy")}


def test_every_strategy_measures_what_it_measures_alone_to_the_bit(world: SimpleNamespace) -> None:
    together = probabilities(world.root / "both")
    own = probabilities(world.root / "own")
    glyphs = probabilities(world.root / "glyphs")
    label = world.record["sources"][0]["label"]
    assert set(together) == {
        "baseline",
        *(f"{label}+{n}" for n in ("probe", "finetune")),
        *(f"glyphs+{n}" for n in ("probe", "finetune", "probe@2")),
    }
    for name in ("probe", "finetune"):
        assert np.array_equal(together[f"{label}+{name}"], own[name])
        assert np.array_equal(together[f"glyphs+{name}"], glyphs[name])
    assert np.array_equal(together["baseline"], own["baseline"])
    assert np.array_equal(together["glyphs+probe@2"], glyphs["probe@2"])


def test_the_record_has_each_network_and_pairs_across_them(world: SimpleNamespace) -> None:
    record = world.record
    labels = [source["label"] for source in record["sources"]]
    assert labels[1] == "glyphs"
    assert {s["source"] for s in record["strategies"]} == {"", *labels}
    own, glyphs = (json.loads((world.root / n / "result.json").read_text())["model"] for n in ("own", "glyphs"))
    for source, alone in zip(record["sources"], (own, glyphs), strict=True):
        assert {key: source[key] for key in alone} == alone
    across = [p for p in record["pairs"] if {p["a"].partition("+")[0], p["b"].partition("+")[0]} == set(labels)]
    assert across
    verdict = record["verdict"]["strategy"]
    chosen = next(s for s in record["sources"] if verdict.startswith(f"{s['label']}+"))
    assert record["model"]["spec"] == chosen["spec"]
    assert "2 networks" in record["methods"]["paragraph"]


def test_the_saved_model_is_the_verdicts_and_read_the_sealed_images_its_own_way(
    world: SimpleNamespace, squares: Path
) -> None:
    with (world.root / "both" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    bundle = library.load(world.root / "both")
    written = [[float(row[f"p:{name}"]) for name in bundle.classes] for row in rows]
    again = bundle.predict_proba([squares / row["id"] for row in rows])
    assert np.allclose(again, written, rtol=0, atol=1e-6)
    assert len(rows) == world.record["test"]["n"]


def test_the_page_and_the_text_show_the_networks(world: SimpleNamespace) -> None:
    text = frostline("show", "both", cwd=world.root).stdout
    assert "best measured" in text
    page = (world.root / "both" / "report.html").read_text(encoding="utf-8")
    assert 'id="networks"' in page


def test_it_is_replayed_equal(world: SimpleNamespace) -> None:
    again = library.replay(world.root / "both", trust_code=True)
    assert again.equal, again.sentence()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--weights", "random"), "--weights doesn't say which of several networks it is for."),
        (("--mean", "0.5"), "--mean doesn't say which of several networks it is for."),
        (("--budget", "5m"), "--budget can't plan for several networks."),
        (("--strategies", "probe,glyhps+finetune"), "no network is called glyhps"),
        (("--strategies", "glyphs+probe"), "No strategy of --strategies starts from"),
    ],
)
def test_what_cannot_be_meant_is_refused(fit: Fit, squares: Path, words: tuple[Any, ...], sentence: str) -> None:
    done = fit(squares, *words, model="glyphs,glyphs=random", weights=None)
    assert done.code == 2
    assert sentence in done.err
