"""What a finished run brings along as the source of a comparison with other data: its network, what it keeps of its
samples, and these samples themselves, where they are at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from frostline.base.errors import BundleError, DataError
from frostline.base.events import Emit, Event, silent
from frostline.base.records import Dataset, FloatArray, IntArray
from frostline.bundle.notes import read_notes
from frostline.bundle.origin import IN_MEMORY, KEPT, check_samples, read_samples, recorded_settings
from frostline.bundle.runfolder import read_result
from frostline.bundle.schema import RunResult
from frostline.bundle.spec import PREFIX, resolve_network
from frostline.data.contract import Samples
from frostline.data.given import list_given
from frostline.data.read import read_data
from frostline.data.tables import find
from frostline.data.texts import TextPreprocess
from frostline.features.extract import Trunk
from frostline.features.store import Store
from frostline.models.network import Network
from frostline.planning.prepare import make_study, network_options
from frostline.recipe.recipe import Adapter, Part, Phase, Recipe
from frostline.recipe.settings import Settings
from frostline.stats.calibration import tempered
from frostline.train.study import Study


@dataclass(frozen=True, kw_only=True, eq=False)
class KeptOutputs:
    """Out-of-fold probabilities (M, C) of a run's chosen strategy, at its temperature, with ids and labels (M,).

    A sample that several repeats predicted has the mean of its probabilities.
    """

    ids: tuple[str, ...]
    probabilities: FloatArray
    labels: IntArray


@dataclass(frozen=True, kw_only=True, eq=False)
class KeptMoments:
    """What a run keeps of its development samples' pooled features after a stage: mean (D,), covariance (D, D), n."""

    mean: FloatArray
    covariance: FloatArray
    n: int


@dataclass(frozen=True, kw_only=True)
class RunSource:
    """A finished run as a source.

    Attributes:
        run: its folder.
        result: its record.
        network: the trained network, `run:RUN`, with its classes and its way of reading; its text length is the run's.
        temperature: by which logits are divided; 1.0 where none was fitted.
        prior: (C,) factors by which probabilities are multiplied after that; None: none.
        recipe: the strategy that was chosen and trained.
        stages: the file of stages by hand, where the run was made with one: set it in the settings that place the
            network, or its stages are numbered otherwise.
        outputs: what the run keeps of its predictions; None: `no_outputs` says why.
        moments: by the name of a stage; only of stages up to which the recipe changed nothing, so that they are moments
            of this very network's features. Empty where it changed all, or where the file isn't there.
        dataset, samples: the run's own data, read again as this network reads them and checked against its
            samples.csv, with their parts (development, sealed) and classes as they were; both None: `no_samples` says
            why, in a sentence. :func:`development_study` and :func:`sealed_study` make studies of them.
    """

    run: Path
    result: RunResult
    network: Network
    temperature: float
    prior: FloatArray | None
    recipe: Recipe
    stages: Path | None
    outputs: KeptOutputs | None
    no_outputs: str = ""
    moments: Mapping[str, KeptMoments] = field(default_factory=dict)
    dataset: Dataset | None = None
    samples: Samples | None = None
    no_samples: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.result.data.classes)


def read_run(run: Path, settings: Settings, emit: Emit, data: Any = None) -> RunSource:
    """Read what a run brings along. Nothing is computed with the network.

    Args:
        run: a RUN folder.
        settings: of the command that asks; `threads`, `trust_code` and what it says about the network are used, which
            a run refuses.
        emit: told why the run's own samples aren't at hand, if so.
        data: where they are now, or the same data in memory; None: where the record says.

    Raises:
        BundleError: for a folder that isn't a finished run, one whose network was cut short or has another head than a
            linear one, or code that isn't trusted.
        DataError: where `data` aren't those of the run. Where the record's own place is wrong that is no error:
            `no_samples` says so.
    """
    result = read_result(run)
    network = resolve_network(f"{PREFIX}{run}", network_options(settings), trust_code=settings.trust_code)
    note, _, _ = read_notes(run / "model")
    recipe = recipe_of(run, note["recipe"])
    temperature = note["temperature"] or 1.0
    outputs, no_outputs = _outputs(run, result, temperature)
    stages = run / KEPT["stages"]
    source = RunSource(
        run=run,
        result=result,
        network=network,
        temperature=temperature,
        prior=None if note["prior"] is None else np.array(note["prior"], dtype=np.float64),
        recipe=recipe,
        stages=stages if stages.is_file() else None,
        outputs=outputs,
        no_outputs=no_outputs,
        moments=_moments(run, result, recipe),
    )
    if data is not None:
        return _with_samples(source, settings, data)
    try:
        return _with_samples(source, settings, None)
    except (BundleError, DataError) as error:
        why = _without_end(error.message)
        emit(Event(kind="note", text=f"The samples of {run} aren't at hand: {why}."))
        return replace(source, no_samples=f"{why}.")


def _without_end(sentence: str) -> str:
    return sentence.rstrip(".")


def recipe_of(run: Path, note: Mapping[str, Any]) -> Recipe:
    """Return the recipe that a saved model's recipe.json describes. Raises BundleError where it can't be read."""
    try:
        phases = tuple(
            Phase(**{**phase, "stages": tuple(Part(**part) for part in phase["stages"]), "head": Part(**phase["head"])})
            for phase in note["phases"]
        )
        adapter = None
        if note.get("adapter"):
            adapter = Adapter(**note["adapter"])
        lists = {"origins": tuple(note["origins"]), "rates": tuple(note["rates"])}
        return Recipe(**{**note, **lists, "phases": phases, "adapter": adapter})
    except (KeyError, TypeError) as error:
        raise BundleError(
            f"{run / 'model' / 'recipe.json'} holds no recipe that this version knows.",
            "Run frostline fit again.",
        ) from error


def _outputs(run: Path, result: RunResult, temperature: float) -> tuple[KeptOutputs | None, str]:
    """Return the verdict's out-of-fold probabilities, or why there are none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = run / "oof.parquet"
    try:
        table = pq.read_table(path)
        names = np.array(table.column("strategy").to_pylist(), dtype=object)
        ids = np.array(table.column("id").to_pylist(), dtype=object)
        columns = [table.column(f"p:{name}").to_numpy() for name in result.data.classes]
        values = np.stack(columns, axis=1).astype(np.float64)
        labels = {name: note.label for name, note in read_samples(run).items()}
    except (OSError, KeyError, pa.ArrowException, BundleError):
        return None, f"{path} or {run / 'samples.csv'} can't be read."
    mine = names == result.verdict.strategy
    if not mine.any():
        return None, f"{result.verdict.strategy} was not judged on held-out folds."
    kept, place = np.unique(ids[mine].astype(str), return_inverse=True)
    if not set(kept.tolist()) <= set(labels):
        return None, f"{path} names samples that {run / 'samples.csv'} doesn't."
    total = np.zeros((len(kept), len(columns)))
    np.add.at(total, place, tempered(values[mine], temperature))
    numbers = {name: k for k, name in enumerate(result.data.classes)}
    return KeptOutputs(
        ids=tuple(kept.tolist()),
        probabilities=total / np.bincount(place)[:, None],
        labels=np.array([numbers[labels[name]] for name in kept.tolist()], dtype=np.int64),
    ), ""


def _moments(run: Path, result: RunResult, recipe: Recipe) -> dict[str, KeptMoments]:
    """Return the moments of stages that the trained network shares with the one that it began as."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load((run / "moments.safetensors").read_bytes())
    except (OSError, SafetensorError):
        return {}
    unchanged = [stage.name for stage in result.model.stages if stage.index <= recipe.frozen_stages]
    return {
        name: KeptMoments(
            mean=tensors[f"{name}.mean"].astype(np.float64),
            covariance=tensors[f"{name}.covariance"].astype(np.float64),
            n=result.data.n_development,
        )
        for name in unchanged
        if f"{name}.mean" in tensors and f"{name}.covariance" in tensors
    }


def _with_samples(source: RunSource, settings: Settings, data: Any) -> RunSource:
    """Read the run's own samples again. Raises DataError or BundleError where they aren't those of the record."""
    recorded = recorded_settings(source.run, source.result)
    recorded = replace(recorded, threads=settings.threads)
    if data is not None and not isinstance(data, (str, Path)):
        listing = list_given(data)
    elif data is None and source.result.data.kind in IN_MEMORY:
        raise DataError(f"{source.run} was made from data in memory.", "Pass the data in Python.")
    else:
        path = recorded.data if data is None else Path(data)
        if not path.exists():
            raise DataError(f"The data of {source.run} are not at {path}.", "Say where they are.")
        listing = find(path)
    contract = source.network.preprocess
    size = None
    if isinstance(contract, TextPreprocess):
        size = contract.length
    read = read_data(replace(recorded, size=size), listing, contract, silent)
    check_samples(source.run, read_samples(source.run), read.dataset)
    return replace(source, dataset=read.dataset, samples=read.samples)


def development_study(
    source: RunSource, settings: Settings, network: Network, trunk: Trunk, store: Store | None
) -> Study | None:
    """Join the run's development samples with its network; None where they aren't at hand.

    `network` and `trunk` as :func:`frostline.planning.prepare.placed_network` gives them.
    """
    if source.dataset is None or source.samples is None:
        return None
    return make_study(settings, source.dataset, source.samples, network, trunk, store)


def sealed_study(
    source: RunSource, settings: Settings, network: Network, trunk: Trunk, store: Store | None
) -> Study | None:
    """As :func:`development_study`, of the run's sealed samples, which its network never learnt from: they are the
    development samples of this study."""
    if source.dataset is None or source.samples is None or not len(source.dataset.sealed):
        return None
    rows = source.dataset.sealed
    chosen = tuple(replace(source.dataset.samples[i], part="development") for i in rows.tolist())
    dataset = replace(source.dataset, samples=chosen)
    return make_study(settings, dataset, source.samples.select(rows), network, trunk, store)
