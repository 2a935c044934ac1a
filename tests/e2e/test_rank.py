"""`frostline rank`: sources on the same blocks, resumed to the same bits, with the sealed part untouched."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from cases.small_world import write_images, write_network
from frostline.base.events import Event, silent
from frostline.cli.main import main
from frostline.depths import forecast_depths
from frostline.pipeline import fit
from frostline.rank.record import DEPTH_SCORES
from frostline.rank.study import ranking_of, run_rank
from frostline.recipe.settings import settings_from
from frostline.report.page import environment

VOLATILE = ("created", "command", "cost")
OPTIONS: dict[str, Any] = {"blocks": 2, "threads": 1, "augment": "none"}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = {"train/reddish": 10, "train/greenish": 10, "test/reddish": 3, "test/greenish": 3}
    return write_images(tmp_path_factory.mktemp("ranked"), counts)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> str:
    spec, weights = write_network(tmp_path_factory.mktemp("sources"))
    return f"{spec}={weights},{spec}=random,glyphs"


@pytest.fixture(scope="module")
def ranked(images: Path, models: str, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    out = tmp_path_factory.mktemp("out") / "rank"
    return rank(images, models, out)


def rank(data: Path, models: str, out: Path, emit: Callable[[Event], None] = silent, **changed: Any) -> SimpleNamespace:
    measure = changed.pop("measure", ())
    foresees = changed.pop("forecast", True)
    settings = settings_from(data, models, {**OPTIONS, "out": out, **changed})
    done = run_rank(ranking_of(settings, measure, foresees=foresees), emit)
    return SimpleNamespace(path=done.path, result=done.result.model_dump(mode="json", by_alias=True))


def comparable(result: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in result.items() if key not in VOLATILE}
    kept["sources"] = [{k: v for k, v in source.items() if k != "seconds"} for source in result["sources"]]
    return kept


def command(*words: object) -> SimpleNamespace:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in ("rank", *words)])
    return SimpleNamespace(code=code, out=out.getvalue(), err=err.getvalue())


def test_every_depth_of_every_source_has_every_score(ranked: SimpleNamespace) -> None:
    result = ranked.result
    assert [source["label"] for source in result["sources"]] == ["net", "net-random", "glyphs"]
    for source in result["sources"]:
        assert source["depths"][-1]["stage"] == source["stages"]
        for depth in source["depths"]:
            assert all(isinstance(depth[name], float) for name in DEPTH_SCORES)
            assert depth["probe"]["ci"][0] <= depth["probe"]["accuracy"] <= depth["probe"]["ci"][1]
            assert depth["forecast"]["strategy"] in (f"freeze@{depth['stage']}", "probe")
        assert source["finetune"]["accuracy"] > 0
    with_head = {source["label"]: source["leep"] is not None for source in result["sources"]}
    assert with_head == {"net": True, "net-random": False, "glyphs": True}
    assert result["data"]["development"] == 20
    assert json.loads((ranked.path / "rank.json").read_text()) == result
    assert not (ranked.path / ".work").exists()


def test_probe_and_forecast_are_those_of_fit_and_forecast(ranked: SimpleNamespace, images: Path, models: str) -> None:
    spec, weights = models.split(",")[0].split("=")
    found = ranked.result["sources"][0]
    out = ranked.path.parent / "fit"
    alone = fit(images, spec, weights=weights, strategies="probe", out=out, **OPTIONS)
    measured = next(one for one in alone.result.strategies if one.name == "probe")
    assert found["depths"][-1]["probe"]["accuracy"] == measured.accuracy
    names = ["probe", *(depth["forecast"]["strategy"] for depth in found["depths"][:-1]), "finetune"]
    foreseen = forecast_depths(images, spec, weights=weights, strategies=names, blocks=2, threads=1)
    expected = {row.name: row.accuracy for row in foreseen.strategies}
    assert found["finetune"]["accuracy"] == expected["finetune"]
    for depth in found["depths"]:
        assert depth["forecast"]["accuracy"] == expected[depth["forecast"]["strategy"]]


def test_an_interrupted_ranking_ends_with_the_same_bits(
    ranked: SimpleNamespace, images: Path, models: str, tmp_path: Path
) -> None:
    out = tmp_path / "rank"

    def stop(event: Event) -> None:
        if event.kind == "ranked" and event.data["label"] == "net-random":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rank(images, models, out, stop)
    first, second = out / ".work/sources/net.json", out / ".work/sources/net-random.json"
    assert first.exists()
    second.write_text(second.read_text().replace("0.", "1.", 1))  # damaged: counts as not finished
    begun: list[str] = []
    again = rank(images, models, out, lambda event: begun.append(event.text), resume=True)
    assert "rank net" not in begun
    assert "rank net-random" in begun
    expected = comparable(ranked.result) | {"settings": again.result["settings"]}
    assert comparable(again.result) == expected


def test_a_finished_ranking_is_shown_again_or_refused(ranked: SimpleNamespace, images: Path, models: str) -> None:
    words = (images, "--models", models, "--blocks", 2, "--threads", 1, "--augment", "none", "--out", ranked.path)
    again = command(*words, "--resume", "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out) == ranked.result
    text = command(*words, "--resume", "--plain")
    assert ranked.result["recommendation"]["command"] in text.out
    assert "can't" in text.out or "behind" in text.out
    other = command(*words, "--resume", "--seed", 3)
    assert (other.code, "other settings (seed)" in other.err) == (2, True)
    taken = command(*words)
    assert (taken.code, "holds another ranking" in taken.err) == (2, True)


def test_the_sealed_part_changes_nothing(ranked: SimpleNamespace, images: Path, models: str, tmp_path: Path) -> None:
    data = tmp_path / "images"
    write_images(data, {"train/reddish": 10, "train/greenish": 10, "test/reddish": 3, "test/greenish": 3})
    for number, file in enumerate(sorted((data / "test").rglob("*.png"))):
        Image.new("RGB", (20, 18), (40 * number, 0, 255 - 30 * number)).save(file)
    other = rank(data, models, tmp_path / "rank", store="off")
    assert comparable(other.result)["sources"] == comparable(ranked.result)["sources"]
    assert other.result["agreement"] == ranked.result["agreement"]


def test_what_training_reaches_is_set_beside_the_scores(images: Path, tmp_path: Path) -> None:
    spec, weights = write_network(tmp_path)
    other = tmp_path / "other.safetensors"
    save_file({name: 0.5 * tensor for name, tensor in load_file(weights).items()}, other)
    three = f"{spec}={weights},{spec}=random,{spec}={other}"
    done = rank(images, three, tmp_path / "rank", measure=("finetune",), forecast=False, epochs=1)
    measured = done.result["measured"]
    assert measured["strategies"] == ["probe", "finetune"]
    for source in measured["sources"]:
        assert set(source["strategies"]) == {"probe", "finetune"}
        record = json.loads((done.path / source["run"] / "result.json").read_text())
        entry = next(one for one in record["strategies"] if one["name"] == "finetune")
        assert source["strategies"]["finetune"]["accuracy"] == entry["accuracy"]
    rows = {(row["score"], row["strategy"], row["over"]) for row in measured["agreement"]}
    assert ("logme", "finetune", "last depth") in rows
    assert all(row["score"] != "forecast" for row in measured["agreement"])  # --no-forecast
    assert all(row["n"] == 3 for row in measured["agreement"])
    assert done.result["sources"][0]["finetune"] is None
    page = (done.path / "rank.html").read_text()
    assert "With finetune, trained and measured out of fold" in page


def test_the_page_names_every_source_and_fetches_nothing(ranked: SimpleNamespace) -> None:
    page = (ranked.path / "rank.html").read_text()
    visible = page.split("<script", 1)[0]
    for source in ranked.result["sources"]:
        assert source["label"] in visible
    assert "://" not in visible
    assert environment().autoescape


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--models", "glyphs"), "names one network"),
        (("--models", "glyphs,glyphs"), "stands twice"),
        (("--models", "glyphs,torch:nowhere.py:net"), "nowhere.py"),
        (("--models", "glyphs,glyphs=random", "--epochs", "2"), "nothing is trained"),
        (("--models", "glyphs,glyphs=random", "--measure", "freeze@2"), "differ from network to network"),
        (("--models", "glyphs,glyphs=random", "--measure", "finetun"), "finetun"),
        (("--models", "glyphs,glyphs=random", "--measure", "probe"), "measured anyway"),
        (("--models", "glyphs,glyphs=random", "--resume"), "without --out"),
    ],
)
def test_what_cannot_be_ranked_is_refused_in_a_sentence(
    images: Path, tmp_path: Path, words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = command(images, *words)
    assert refused.code == 2
    assert message in refused.err
    assert len(refused.err.strip().splitlines()) <= 4 or "nowhere" in message
    assert list(tmp_path.iterdir()) == []


def test_networks_of_texts_are_ranked_and_never_mixed_with_those_of_images(images: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra `text` isn't installed")
    from cases.hf_folders import write_sentences, write_text_network

    sentences = write_sentences(tmp_path / "sentences.csv")
    folder = write_text_network(tmp_path / "net")
    models = f"hf:{folder},hf:{folder}=random"
    done = command(sentences, "--models", models, "--blocks", 1, "--threads", 1, "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["data"]["modality"] == "text"
    assert [source["label"] for source in result["sources"]] == ["net", "net-random"]
    assert all(source["finetune"] for source in result["sources"])
    mixed = command(images, "--models", f"glyphs,hf:{folder}")
    assert (mixed.code, "glyphs reads images, but net reads texts" in mixed.err) == (2, True)


def test_show_prints_a_finished_ranking_again(ranked: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(ranked.path)]) == 0
    assert "net-random" in capsys.readouterr().out
    assert main(["show", str(ranked.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == ranked.result
