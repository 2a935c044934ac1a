"""What a finished run brings along: its outputs and moments as files have them, its samples where they are at hand."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from cases.small_world import write_images, write_network
from frostline.base.errors import BundleError, DataError
from frostline.base.events import Event, silent
from frostline.bundle.origin import read_samples
from frostline.cli.main import main
from frostline.planning.prepare import placed_network
from frostline.planning.run_source import RunSource, development_study, read_run, sealed_study
from frostline.recipe.settings import Settings
from frostline.stats.calibration import tempered


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs on twenty images a class: `probe` keeps all stages, `tuned` moves all of them."""
    root = tmp_path_factory.mktemp("runs")
    data = write_images(root / "data", {"reddish": 20, "greenish": 20})
    spec, weights = write_network(root / "net")
    for name, special in (("probe", ["probe"]), ("tuned", ["finetune", "--epochs", 1, "--lr", 0.001])):
        words = ["fit", data, "--model", spec, "--weights", weights, "--blocks", 2, "--threads", 1]
        words += ["--out", root / name, "--plain", "--strategies", *special]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            assert main([str(word) for word in words]) == 0
    return root


def read(run: Path, data: Any = None) -> RunSource:
    return read_run(run, settings(run), silent, data)


def settings(run: Path) -> Settings:
    return Settings(data=run, model=f"run:{run}", threads=1, trust_code=True)


def test_outputs_are_the_calibrated_out_of_fold_probabilities_in_the_mean(world: Path) -> None:
    source = read(world / "probe")
    table = pq.read_table(world / "probe" / "oof.parquet").to_pydict()
    samples = read_samples(world / "probe")
    assert source.outputs is not None
    assert set(source.outputs.ids) == set(table["id"])
    for place in (0, len(source.outputs.ids) - 1):
        name = source.outputs.ids[place]
        rows = [i for i, found in enumerate(table["id"]) if found == name and table["strategy"][i] == "probe"]
        each = np.array([[table[f"p:{c}"][i] for c in source.classes] for i in rows])
        expected = np.mean([tempered(row[None], source.temperature)[0] for row in each], axis=0)
        np.testing.assert_allclose(source.outputs.probabilities[place], expected, rtol=1e-12)
        assert source.classes[source.outputs.labels[place]] == samples[name].label


def test_moments_are_kept_of_untouched_stages_alone(world: Path) -> None:
    probe, tuned = read(world / "probe"), read(world / "tuned")
    stored = load_file(world / "probe" / "moments.safetensors")
    assert {f"{name}.mean" for name in probe.moments} == {name for name in stored if name.endswith(".mean")}
    name, kept = next(iter(probe.moments.items()))
    np.testing.assert_array_equal(kept.mean.astype(np.float32), stored[f"{name}.mean"])
    assert kept.covariance.shape == (len(kept.mean), len(kept.mean))
    assert kept.n == probe.result.data.n_development
    assert probe.recipe.frozen_stages == len(probe.recipe.origins)
    assert tuned.recipe.frozen_stages == 0
    assert tuned.moments == {}


def test_own_samples_come_with_the_parts_that_they_had(world: Path) -> None:
    source = read(world / "probe")
    network, trunk = placed_network(settings(world / "probe"), source.network, 40)
    learnt = development_study(source, settings(world / "probe"), network, trunk, None)
    held = sealed_study(source, settings(world / "probe"), network, trunk, None)
    assert learnt is not None
    assert held is not None
    assert len(learnt.development) == source.result.data.n_development
    notes = read_samples(world / "probe")
    assert {sample.id for sample in held.dataset.samples} == {i for i, note in notes.items() if note.part == "sealed"}
    assert len(held.development) == len(held.features.source) == source.result.data.n_test


def moved(world: Path, tmp_path: Path) -> Path:
    run = Path(shutil.copytree(world / "probe", tmp_path / "run"))
    record = json.loads((run / "result.json").read_text())
    record["settings"]["data"] = str(tmp_path / "gone")
    (run / "result.json").write_text(json.dumps(record))
    return run


def test_data_that_moved_are_no_error_and_can_be_given(world: Path, tmp_path: Path) -> None:
    run = moved(world, tmp_path)
    told: list[Event] = []
    source = read_run(run, settings(run), told.append)
    assert source.dataset is None
    assert "are not at" in source.no_samples
    assert source.no_samples.endswith(".")
    assert [event.kind for event in told] == ["note"]
    assert source.outputs is not None
    assert development_study(source, settings(run), None, None, None) is None  # type: ignore[arg-type]
    assert read(run, world / "data").dataset is not None


def test_changed_data_are_named(world: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(world / "data", tmp_path / "data"))
    (data / "reddish" / "0.png").unlink()
    with pytest.raises(DataError, match=r"1 removed \(reddish/0.png\)"):
        read(world / "probe", data)
    with pytest.raises(DataError, match="not at"):
        read(world / "probe", tmp_path / "nowhere")


def test_what_is_no_run_is_refused(world: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not a finished run"):
        read(tmp_path)
    run = Path(shutil.copytree(world / "probe", tmp_path / "run"))
    (run / "oof.parquet").unlink()
    (run / "moments.safetensors").write_bytes(b"no tensors")
    source = read(run)
    assert source.outputs is None
    assert "oof.parquet" in source.no_outputs
    assert source.moments == {}
