"""A record is run again: all equal here; what changed since is named; other data, code or weights are refused."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import frostline as library
from cases.small_world import NETWORK, frostline, write_images, write_network
from frostline.base.errors import FrostlineError
from frostline.cli.main import main
from frostline.recipe.from_file import recipe_as_file

RACE = (
    "--strategies",
    "probe,as-is,{mine}",
    "--blocks",
    "2",
    "--epochs",
    "2",
    "--threads",
    "1",
    "--min-per-class",
    "3",
    "--mean",
    "0.5,0.5,0.5",
)


def said(*words: object) -> SimpleNamespace:
    """The command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return SimpleNamespace(code=code, out=out.getvalue(), err=err.getvalue())


@pytest.fixture(scope="module")
def world(fit: Callable[..., SimpleNamespace], tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run with an own recipe, a label map and source classes, whose files are gone by now."""
    root = tmp_path_factory.mktemp("replay")
    data = write_images(root / "data", {"reddish": 12, "greenish": 12})
    spec, weights = write_network(root / "net")
    mine, names, labels = root / "mine.json", root / "names.txt", root / "map.json"
    mine.write_text(recipe_as_file("freeze@2").model_dump_json())
    names.write_text("red\ngreen\nblue\ngrey\npink\n")
    labels.write_text('{"reddish": ["red", "pink"], "greenish": "green"}')
    words = [word.format(mine=mine) for word in RACE]
    done = fit(
        data,
        *words,
        "--source-classes",
        names,
        "--label-map",
        labels,
        "--out",
        root / "run",
        model=spec,
        weights=weights,
    )
    assert done.code == 0, done.err
    for file in (mine, names, labels):
        file.unlink()
    return SimpleNamespace(root=root, data=data, run=root / "run", spec=spec, weights=weights)


@pytest.fixture
def copy(world: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run that may be spoilt; the working folder is empty."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(world.run, tmp_path / "copy"))


def change(run: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    record = json.loads((run / "result.json").read_text())
    edit(record)
    (run / "result.json").write_text(json.dumps(record))


@pytest.mark.slow
def test_the_installed_command_replays_a_run_with_all_equal(world: SimpleNamespace, tmp_path: Path) -> None:
    done = frostline("replay", world.run, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    record = json.loads((world.run / "result.json").read_text())
    assert last["data"]["equal"]
    assert last["data"]["differences"] == last["data"]["altered"] == last["data"]["changes"] == []
    assert last["data"]["compared"]["file"] == len(record["files"]) > 10
    assert last["data"]["compared"]["value"] > 300
    assert not list(tmp_path.iterdir())  # nothing is kept


def test_changed_packages_are_named_with_what_may_differ_and_altered_files_are_told(
    world: SimpleNamespace, copy: Path, tmp_path: Path
) -> None:
    def edit(record: dict[str, Any]) -> None:
        record["packages"]["timm"] = "0.0.1"
        record["machine"]["cpu_capability"] = "OLD"
        record["test"]["log_loss"] += 1e-9
        record["files"]["oof.parquet"] = "0" * 64

    change(copy, edit)
    done = said("replay", copy, "--plain")
    assert done.code == 2
    assert "timm was 0.0.1" in done.err.split("read the network")[0]  # before anything is computed
    assert "it may change the definition and preprocessing of timm's networks" in done.out
    assert "instruction set was OLD" in done.out
    files = len(json.loads((copy / "result.json").read_text())["files"])
    assert f"{files - 1} of {files} files" in done.out
    assert "value test.log_loss:" in done.out
    assert "oof.parquet isn't the file that its own record names" in done.out
    assert "file oof.parquet: 000000000000 recorded" in done.out
    assert "timm, cpu_capability changed" in done.err
    kept = tmp_path / "runs" / "copy-replay-1"
    assert f"kept in {kept.relative_to(tmp_path)}" in done.err
    assert (kept / "oof.parquet").read_bytes() == (world.run / "oof.parquet").read_bytes()


def test_what_was_moved_can_be_pointed_at_and_a_folder_asked_for_is_kept(
    world: SimpleNamespace, copy: Path, tmp_path: Path
) -> None:
    shutil.copytree(world.data, tmp_path / "moved")
    shutil.copytree(Path(world.weights).parent, tmp_path / "net")
    change(
        copy,
        lambda record: record["settings"].update(data="gone", weights="gone.safetensors", model="torch:gone.py:net"),
    )
    done = said("replay", copy, "--plain")
    assert (done.code, done.out) == (2, "")
    assert "are not at gone" in done.err
    assert "--data DIR" in done.err
    done = said("replay", copy, "--data", "moved", "--plain")
    assert "code of copy is not at gone.py" in done.err.replace(f"{tmp_path}/", "")
    done = said(
        "replay",
        copy,
        "--data",
        "moved",
        "--model",
        "torch:net/net.py:net",
        "--weights",
        "net/weights.safetensors",
        "--out",
        "again",
        "--plain",
    )
    assert done.code == 0, done.out + done.err
    assert (tmp_path / "again" / "result.json").is_file()


@pytest.mark.parametrize("changed", ["image", "added", "removed", "weights", "code"])
def test_other_data_weights_or_code_are_refused_by_name(
    world: SimpleNamespace, copy: Path, tmp_path: Path, changed: str
) -> None:
    data = Path(shutil.copytree(world.data, tmp_path / "data"))
    words: list[object] = ["--data", data]
    wanted = "aren't those"
    if changed == "image":
        shutil.copy(data / "reddish" / "1.png", data / "reddish" / "0.png")
        wanted = "1 changed (reddish/0.png)"
    elif changed == "added":
        write_images(tmp_path / "more", {"reddish": 1, "x": 1}, seed=8)
        shutil.copy(tmp_path / "more" / "reddish" / "0.png", data / "greenish" / "new.png")
        wanted = "1 added (greenish/new.png)"
    elif changed == "removed":
        (data / "greenish" / "3.png").unlink()
        wanted = "1 removed (greenish/3.png)"
    elif changed == "weights":
        _, other = write_network(tmp_path / "net", NETWORK.replace("width=8", "width=8, "))
        from safetensors.torch import load_file, save_file

        save_file({k: -v for k, v in load_file(other).items()}, other)
        words += ["--weights", other]
        wanted = "weights.safetensors aren't those"
    else:
        spec, _ = write_network(tmp_path / "net", NETWORK.replace("nn.ReLU()", "nn.GELU()"))
        words += ["--model", spec]
        wanted = "net.py has changed since"
    done = said("replay", copy, *words, "--plain")
    assert (done.code, done.out) == (2, "")
    assert wanted in done.err
    assert "race" not in done.err  # nothing was computed
    assert not (tmp_path / "runs").exists()


def test_code_that_this_user_never_named_is_not_run(
    world: SimpleNamespace, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "someone else"))
    done = said("replay", copy, "--plain")
    assert (done.code, done.out) == (2, "")
    assert "--trust-code" in done.err
    done = said("replay", copy, "--plain", "--trust-code")
    assert done.code == 0, done.err
    assert said("replay", copy, "--plain").code == 2  # said once, for that command


def test_a_concluded_run_is_refused_with_what_can_be_replayed(copy: Path) -> None:
    change(copy, lambda record: record.update(concluded=["finetune, block 3"]))
    done = said("replay", copy)
    assert done.code == 2
    assert "ended by --conclude" in done.err
    assert "frostline fit" in done.err
    assert "--conclude " not in done.err.partition("frostline fit")[2]


def test_a_run_with_a_budget_is_refused_with_what_can_be_replayed(copy: Path) -> None:
    change(copy, lambda record: record.update(budget={"seconds": 60.0, "forecast_seconds": 9.0, "left_out": []}))
    done = said("replay", copy)
    assert done.code == 2
    assert "--budget" in done.err
    assert f"--strategies probe,as-is,{copy}/recipes/my-freeze@2.json" in done.err
    assert "--blocks 2 --epochs 2" in done.err


def test_data_in_memory_are_handed_over_again(tmp_path: Path, network: tuple[str, str], monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    labels = ["a", "b"] * 12
    images = [rng.integers(0, 200, (18, 20, 3)).astype(np.uint8) + 40 * (label == "b") for label in labels]
    words: dict[str, Any] = {
        "weights": network[1],
        "strategies": "probe",
        "blocks": 2,
        "epochs": 2,
        "out": tmp_path / "run",
    }
    library.fit((images, labels), network[0], **words)
    with pytest.raises(FrostlineError, match="in memory"):
        library.replay(tmp_path / "run")
    done = library.replay(tmp_path / "run", data=(images, labels))
    assert done.equal
    assert done.path is None
    with pytest.raises(FrostlineError, match="1 changed"):
        library.replay(tmp_path / "run", data=([255 - images[0], *images[1:]], labels))
    with pytest.raises(TypeError, match="modell"):
        library.replay(tmp_path / "run", modell="x")  # type: ignore[call-arg]


def test_a_network_of_two_files_is_replayed_and_trusted_as_a_whole(
    fit: Callable[..., SimpleNamespace], squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "code"
    code.mkdir()
    text = NETWORK.replace("class Net", "from parts import WIDTH\n\n\nclass Net").replace("width=8", "width=WIDTH")
    (code / "net.py").write_text(text)
    (code / "parts.py").write_text("WIDTH = 8\n")
    run = tmp_path / "run"
    words = ("--strategies", "probe", "--blocks", 2, "--threads", 1, "--out", run)
    assert fit(squares, *words, model=f"torch:{code / 'net.py'}:net", weights="random").code == 0
    done = said("replay", run, "--plain")
    assert done.code == 0, done.out + done.err
    with monkeypatch.context() as other:
        other.setenv("FROSTLINE_CACHE", str(tmp_path / "someone else"))
        assert "--trust-code" in said("replay", run, "--plain").err
    (code / "parts.py").write_text("WIDTH = 9\n")
    done = said("replay", run, "--plain")
    assert (done.code, done.out) == (2, "")
    assert "net.py or a file that it imports from beside it has changed since" in done.err
    (code / "parts.py").unlink()
    assert "has changed since" in said("replay", run, "--plain").err
