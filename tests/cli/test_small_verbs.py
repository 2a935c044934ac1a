"""predict, show, stages, strategies, doctor: what they print, as tables and as JSON."""

from __future__ import annotations

import csv
import io
import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from frostline.base.records import StageInfo
from frostline.cli.main import VERBS, app
from frostline.recipe.catalogue import CATALOGUE

PREDICTIONS = [
    SimpleNamespace(file="a/x.jpg", predicted="bees", probabilities={"ants": 0.125, "bees": 0.875}, sure=None),
    SimpleNamespace(file="a/y, z.jpg", predicted="ants", probabilities={"ants": 0.75, "bees": 0.25}, sure=None),
]
STAGES = (
    StageInfo(
        index=1,
        name="stem",
        parameters=864,
        output_shape=(32, 112, 112),
        stored_bytes=1_605_632,
        operations=2.2e7,
        cuttable=True,
    ),
    StageInfo(
        index=2,
        name="blocks.0",
        parameters=3000,
        output_shape=(64, 56, 56),
        stored_bytes=802_816,
        operations=6.6e7,
        cuttable=False,
        why_not="two tensors live on",
    ),
)


@pytest.fixture
def fake_predict(stand_in):
    calls = []

    def predict_paths(run, paths, *, trust_code, device, on_bad):
        on_bad("folder/broken.jpg", "truncated")
        calls.append((str(run), [str(p) for p in paths], trust_code, device))
        return PREDICTIONS

    stand_in("frostline.bundle.predict", predict_paths=predict_paths)
    return calls


def test_predict_prints_a_table_with_the_runner_up(command, fake_predict) -> None:
    done = command("predict", "runs/a", "x.jpg", "folder", "--trust-code", "--device", "cpu")
    assert done.code == 0
    assert fake_predict == [("runs/a", ["x.jpg", "folder"], True, "cpu")]
    assert done.err == "warning: folder/broken.jpg can't be read and is skipped: truncated\n"
    assert done.out.splitlines()[2].split() == ["a/x.jpg", "bees", "0.875", "ants", "0.125"]


def test_predict_json_is_a_list_of_files_with_probabilities(command, fake_predict) -> None:
    got = json.loads(command("predict", "runs/a", "x.jpg", "--json").out)
    assert got[0] == {"file": "a/x.jpg", "predicted": "bees", "probabilities": {"ants": 0.125, "bees": 0.875}}


def test_predict_csv_on_stdout_equals_csv_in_a_file(command, fake_predict, tmp_path) -> None:
    out = command("predict", "runs/a", "x.jpg", "--csv", "-").out
    assert command("predict", "runs/a", "x.jpg", "--csv", tmp_path / "p.csv").out == ""
    assert (tmp_path / "p.csv").read_text(encoding="utf-8") == out
    rows = list(csv.DictReader(io.StringIO(out)))
    assert rows[1] == {"file": "a/y, z.jpg", "predicted": "ants", "p:ants": "0.75", "p:bees": "0.25"}


@pytest.fixture
def fake_abstaining(stand_in):
    marked = [SimpleNamespace(**{**vars(p), "sure": sure}) for p, sure in zip(PREDICTIONS, (True, False), strict=True)]
    stand_in("frostline.bundle.predict", predict_paths=lambda *_, **__: marked)


def test_predict_marks_unsure_answers_in_every_form(command, fake_abstaining) -> None:
    done = command("predict", "runs/a", "x.jpg")
    assert done.code == 0
    assert [" ".join(line.split()) for line in done.out.splitlines()[2:]] == [
        "a/x.jpg bees 0.875 ants 0.125",
        "a/y, z.jpg unsure (ants) 0.750 bees 0.250",
    ]
    got = json.loads(command("predict", "runs/a", "x.jpg", "--json").out)
    assert [row["sure"] for row in got] == [True, False]
    assert [row["predicted"] for row in got] == ["bees", "ants"]
    rows = list(csv.DictReader(io.StringIO(command("predict", "runs/a", "x.jpg", "--csv", "-").out)))
    assert rows[1] == {"file": "a/y, z.jpg", "predicted": "ants", "sure": "false", "p:ants": "0.75", "p:bees": "0.25"}
    assert list(rows[0]) == ["file", "predicted", "sure", "p:ants", "p:bees"]


def test_predict_refuses_two_formats_on_one_stdout(command, fake_predict) -> None:
    assert command("predict", "runs/a", "x.jpg", "--csv", "-", "--json").code == 2
    assert fake_predict == []


def test_show_prints_the_result_as_text_or_as_json(command, stand_in) -> None:
    result = {"verdict": {"strategy": "probe"}}
    stand_in("frostline.bundle.runfolder", read_result=lambda _run: SimpleNamespace(model_dump=lambda **_: result))
    stand_in("frostline.report.tables", result_text=lambda given, width: f"{given['verdict']['strategy']} {width > 60}")
    assert command("show", "runs/a").out == "probe True\n"
    assert json.loads(command("show", "runs/a", "--json").out) == result


@pytest.fixture
def fake_network(stand_in):
    asked = []

    def load_network(spec, options):
        asked.append((spec, options))
        return SimpleNamespace(notes=("a counter was left out.",))

    stand_in("frostline.models.network", NetworkOptions=SimpleNamespace)
    stand_in("frostline.bundle.spec", resolve_network=load_network)
    stand_in(
        "frostline.planning.prepare", map_network=lambda spec, _stages, **_: (spec, SimpleNamespace(stages=STAGES))
    )
    return asked


def test_stages_says_where_the_network_can_be_cut_and_why_not(command, fake_network) -> None:
    lines = command("stages", "timm:x", "--model-args", '{"width": 1}', "--mean", "0.5").out.splitlines()
    assert lines[2].split() == ["1", "stem", "864", "32", "x", "112", "x", "112", "1605.6", "25", "%", "22", "M", "yes"]
    assert lines[3].endswith("no")
    assert fake_network[0][1].weights == "random"
    assert fake_network[0][1].model_args == {"width": 1}
    assert fake_network[0][1].mean == (0.5,)
    done = command("stages", "timm:x", "--why")
    assert done.err == "warning: a counter was left out.\n"
    why = done.out.splitlines()
    assert why[3].endswith("no: two tensors live on")
    assert "2 blocks.0: two tensors live on" in why


def test_stages_json_has_the_fields_of_the_record(command, fake_network) -> None:
    got = json.loads(command("stages", "timm:x", "--json").out)
    assert got[1] == {
        "index": 2,
        "name": "blocks.0",
        "parameters": 3000,
        "output_shape": [64, 56, 56],
        "stored_bytes": 802_816,
        "operations": 6.6e7,
        "cuttable": False,
        "why_not": "two tensors live on",
    }


def test_strategies_lists_the_whole_catalogue(command) -> None:
    out = command("strategies").out
    assert [s["name"] for s in json.loads(command("strategies", "--json").out)] == list(CATALOGUE)
    for strategy in CATALOGUE.values():
        assert strategy.happens in out
        assert strategy.called in out


def test_doctor_fails_only_where_something_would_stop_a_fit(command, monkeypatch) -> None:
    from frostline.cli import doctor

    done = command("doctor", "--json")
    names = {check["name"]: check["ok"] for check in json.loads(done.out)}
    assert {"torch", "torch with torchvision", "device", "precision", "threads", "store", "offline"} <= set(names)
    assert done.code == (0 if all(names.values()) else 2)
    monkeypatch.setattr(doctor, "FREE_GB_NEEDED", 1e9)
    done = command("doctor")
    assert done.code == 2
    assert "NOT OK" in done.out


def test_version_and_help_answer_with_zero(command) -> None:
    assert command("--version").out.startswith("frostline ")
    assert command().code == 0
    for verb in VERBS:
        shown = CliRunner().invoke(app, [verb, "--help"])
        assert shown.exit_code == 0
        assert "Usage:" in shown.output


@pytest.mark.parametrize("name", [n.replace("K", "2") for n in CATALOGUE if n != "baseline"])
def test_recipe_show_prints_every_strategy_of_a_network(command, name) -> None:
    assert json.loads(command("recipe", "show", name).out)["name"] == f"my-{name}"


def test_recipe_show_gradual_follows_the_number_of_stages(command) -> None:
    shown = json.loads(command("recipe", "show", "gradual", "--stages", 2).out)
    assert [phase["name"] for phase in shown["phases"]] == ["head", "stages 2-", "stages 1-"]
    assert command("recipe", "show", "freeze@4", "--stages", 2).code == 2
