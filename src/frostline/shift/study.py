"""Two data sets as one network sees them: features at several depths, probabilities and labels of both, then the
diagnosis. `frostline shift`, `frostline adapt` and `frostline fit --target` all go through here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from frostline.base.errors import BundleError, ModelError
from frostline.base.events import Emit, Event
from frostline.base.records import FloatArray, IntArray
from frostline.bundle.origin import read_samples
from frostline.cutting.guard import one_thread
from frostline.cutting.stages import StageMap
from frostline.data.texts import Texts
from frostline.data.unlabelled import Unlabelled
from frostline.features.extract import Trunk
from frostline.features.store import Store
from frostline.models.network import Network
from frostline.planning.domain import common_labels, domain_study, group_numbers
from frostline.planning.prepare import make_study
from frostline.planning.run_source import RunSource
from frostline.recipe.settings import Settings
from frostline.shift.diagnose import FEWEST, Progress, diagnose
from frostline.shift.findings import Diagnosis
from frostline.shift.heads import HeadOutputs, Labelled, cross_fitted_head
from frostline.shift.inputs import MOST_SAMPLES, drawn_mask
from frostline.shift.moments import diagnose_by_moments
from frostline.shift.sides import Moments, Side
from frostline.stats.calibration import tempered
from frostline.train.baseline import grey_pixels
from frostline.train.feed import predict_rows, reader
from frostline.train.study import Study

INPUTS = 0  # stands for the plain inputs among stages
MOST_DEPTHS = 4
PERMUTATIONS = 199
CUT_HINT = "See frostline stages SPEC, or take another network."


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """A network on its device, and the settings and the store with which data are read by it."""

    settings: Settings
    network: Network
    trunk: Trunk
    store: Store | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """Two data sets, ready for the diagnosis.

    Attributes:
        source: None where a run's own samples aren't at hand, or too few of them are new to its network; then `moments`
            and `outputs` stand for them.
        target: always there.
        classes: names of the source's classes, then of those that the target alone names.
        known: how many of them are the source's; 0: it has no labels.
        stages: names of the depths by number, INPUTS for the plain inputs.
        source_ids, target_ids: of the samples of both sides, in order.
        probabilities: where the probabilities are from, as a sentence; empty where there are none.
        copies: target samples that equal one of the source's.
        source_study, target_study: what stands behind the sides.
        moments: of the source's features by stage.
        outputs: (probabilities (M, C), labels (M,)) that a run keeps of its source.
    """

    source: Side | None
    target: Side
    classes: tuple[str, ...]
    known: int
    stages: Mapping[int, str]
    source_ids: tuple[str, ...]
    target_ids: tuple[str, ...]
    probabilities: str
    copies: int
    source_study: Study | None
    target_study: Study
    moments: Mapping[int, Moments] = field(default_factory=dict)
    outputs: tuple[FloatArray, IntArray] | None = None


def chosen_depths(stages: StageMap) -> tuple[int, ...]:
    """Return the stages after which features are compared: MOST_DEPTHS, spread from the first that can be cut after to
    the last. Raises ModelError where there is none."""
    found = [stage.index for stage in stages.stages if stage.cuttable]
    if not found:
        raise ModelError("The network can't be cut after any stage, so no features can be compared.", CUT_HINT)
    places = np.linspace(0, len(found) - 1, min(MOST_DEPTHS, len(found)))
    return tuple(found[round(float(place))] for place in places)


def compare_data(place: Place, source: Unlabelled, target: Unlabelled, emit: Emit) -> Compared:
    """See two data sets through a network whose own head says nothing of them.

    Probabilities are those of a linear head on the last depth's features, solved on the source's labels; without these
    there are none.
    """
    classes, labels = common_labels(target, source.classes)
    _tell_labels(source, target, labels, emit)
    ours = domain_study(place.settings, place.network, place.trunk, source, source.classes, place.store)
    theirs = domain_study(place.settings, place.network, place.trunk, target, source.classes, place.store)
    depths = chosen_depths(place.trunk.stages)
    features = depth_features(ours, depths)
    target_features = depth_features(theirs, depths)
    own_labels = None
    head = None
    if source.classes:
        own_labels = ours.dataset.labels
        head = _head_outputs(ours, theirs, features[depths[-1]], target_features[depths[-1]])
    return Compared(
        source=Side(
            features=features,
            groups=group_numbers(source),
            probabilities=head.source if head else None,
            labels=own_labels,
        ),
        target=Side(
            features=target_features,
            groups=group_numbers(target),
            probabilities=head.target if head else None,
            labels=labels,
        ),
        classes=classes,
        known=len(source.classes),
        stages=_stage_names(place.trunk.stages, features),
        source_ids=source.ids,
        target_ids=target.ids,
        probabilities=head.sentence if head else "",
        copies=count_copies(source.hashes, target.hashes),
        source_study=ours,
        target_study=theirs,
    )


def compare_with_run(place: Place, source: RunSource, target: Unlabelled, emit: Emit) -> Compared:
    """See a run's own data and a target through the run's network.

    Where the strategy left every stage as it was, all of the run's samples count, and the probabilities of both sides
    are those of cross-fitted heads: out-of-fold probabilities differ from those of the final head by that alone.
    Otherwise the sealed samples count, which the network didn't learn from, with its own probabilities. Without samples
    the run's moments and out-of-fold probabilities stand for them.
    """
    classes, labels = common_labels(target, source.classes)
    _tell_labels(source, target, labels, emit)
    theirs = domain_study(place.settings, place.network, place.trunk, target, source.classes, place.store)
    moments = moments_by_stage(source, place.trunk.stages)
    ours = _run_study(place, source)
    depths = chosen_depths(place.trunk.stages)
    if ours is None:
        depths = tuple(sorted({*depths, *moments}))
    features = depth_features(theirs, depths)
    side = None
    head = None
    if ours is not None:
        own = depth_features(ours, depths)
        if untouched(source):
            head = _head_outputs(ours, theirs, own[depths[-1]], features[depths[-1]])
        side = Side(
            features=own,
            groups=group_places([sample.group for sample in ours.dataset.samples]),
            probabilities=head.source if head else own_probabilities(ours, source.temperature),
            labels=ours.dataset.labels,
        )
    return Compared(
        source=side,
        target=Side(
            features=features,
            groups=group_numbers(target),
            probabilities=head.target if head else own_probabilities(theirs, source.temperature),
            labels=labels,
        ),
        classes=classes,
        known=len(source.classes),
        stages=_stage_names(place.trunk.stages, features),
        source_ids=tuple(sample.id for sample in ours.dataset.samples) if ours else (),
        target_ids=target.ids,
        probabilities=head.sentence if head else _own_sentence(source),
        copies=count_copies(_known_hashes(source), target.hashes),
        source_study=ours,
        target_study=theirs,
        moments=moments,
        outputs=_kept_outputs(source),
    )


def _kept_outputs(source: RunSource) -> tuple[FloatArray, IntArray] | None:
    """Return the run's out-of-fold probabilities with their labels; None where there are none."""
    if source.outputs is None:
        return None
    return source.outputs.probabilities, source.outputs.labels


def untouched(source: RunSource) -> bool:
    """Whether a run's strategy left every stage as it was, so that its network learnt no features from its samples."""
    return source.recipe.frozen_stages == len(source.recipe.origins)


def _own_sentence(source: RunSource) -> str:
    return f"Probabilities are those of the run's network, at its temperature {source.temperature:.2f}."


def _known_hashes(source: RunSource) -> list[str]:
    """Return the hashes of all samples of a run, whether or not they are at hand."""
    try:
        return [note.sha256 for note in read_samples(source.run).values()]
    except BundleError:
        return []


def _head_outputs(
    source: Study, target: Study, features: FloatArray, target_features: FloatArray
) -> HeadOutputs | None:
    """Return the probabilities of linear heads on the last features of both sides; copies share their twin's head."""
    samples = source.dataset.samples
    places = {sample.sha256: place for place, sample in enumerate(samples)}
    twins = [places.get(sample.sha256, -1) for sample in target.dataset.samples]
    labelled = Labelled(features=features, labels=source.dataset.labels, groups=[sample.group for sample in samples])
    return cross_fitted_head(
        labelled, target_features, np.array(twins, dtype=np.int64), classes=source.classes, seed=source.seed
    )


def group_places(groups: Sequence[str]) -> IntArray:
    """Number the groups (N,) that have these names."""
    return np.asarray(np.unique(np.array(groups), return_inverse=True)[1], dtype=np.int64)


def diagnose_compared(
    compared: Compared, *, seed: int, permutations: int = PERMUTATIONS, progress: Progress | None = None
) -> Diagnosis:
    """Diagnose what was compared; `progress` is told the share done and what is done."""
    tell = progress or _say_nothing
    with one_thread():
        if compared.source is None:
            return diagnose_by_moments(
                compared.moments,
                compared.target,
                outputs=compared.outputs,
                classes=compared.classes,
                seed=seed,
                permutations=permutations,
            )
        return diagnose(
            compared.source,
            compared.target,
            classes=compared.classes,
            seed=seed,
            permutations=permutations,
            progress=tell,
        )


def _say_nothing(_share: float, _text: str) -> None:
    pass


def moments_by_stage(source: RunSource, stages: StageMap) -> dict[int, Moments]:
    """Return the moments that a run keeps, by the numbers that its stages have here."""
    return {
        stage.index: Moments(
            mean=source.moments[stage.name].mean,
            covariance=source.moments[stage.name].covariance,
            n=source.moments[stage.name].n,
        )
        for stage in stages.stages
        if stage.name in source.moments and stage.cuttable
    }


def depth_features(study: Study, depths: Sequence[int]) -> dict[int, FloatArray]:
    """Return the pooled features (N, D) of all samples after these stages, in one pass, and for images the grey
    thumbnails under INPUTS. Raises ModelError for features that aren't finite."""
    features = study.features
    features.plain_stages |= frozenset(depths)
    found: dict[int, FloatArray] = {}
    if not isinstance(features.source.images, Texts):
        found[INPUTS] = grey_pixels(features.images(torch.arange(len(features.source)), 0))
    for stage in depths:
        values = features.plain(stage).numpy().astype(np.float64)
        if not np.isfinite(values).all():
            raise ModelError(
                f"The features of {study.network.spec} after stage {stage} aren't finite, so they can't be compared.",
                "Give other weights, or another network.",
            )
        found[stage] = values
    return found


def own_probabilities(study: Study, temperature: float) -> FloatArray:
    """Return the probabilities (N, C) that the network's own head gives all samples, at a temperature."""
    read = reader(study, study.trunk.model.eval(), 0)
    return tempered(predict_rows(study, read, study.positions(study.development)), temperature)


def count_copies(source: Sequence[str], target: Sequence[str]) -> int:
    """Count the target samples whose content is among the source's, by their hashes."""
    known = set(source)
    return sum(sha256 in known for sha256 in target)


def _run_study(place: Place, source: RunSource) -> Study | None:
    """Return the study of the run's samples that its network can be looked at with; None where there are too few.

    Those it learnt features from would look unlike any others.
    """
    if source.dataset is None or source.samples is None:
        return None
    rows = np.arange(len(source.dataset.samples))
    if not untouched(source):
        rows = source.dataset.sealed
    if len(rows) < FEWEST:
        return None
    samples = source.dataset.samples
    if len(rows) > MOST_SAMPLES:
        groups = [samples[i].group for i in rows.tolist()]
        rows = rows[drawn_mask(source.dataset.labels[rows], groups, place.settings.seed, "source")]
    chosen = tuple(replace(samples[i], part="development") for i in rows.tolist())
    dataset = replace(source.dataset, samples=chosen)
    return make_study(place.settings, dataset, source.samples.select(rows), place.network, place.trunk, place.store)


def _stage_names(stages: StageMap, features: Mapping[int, FloatArray]) -> dict[int, str]:
    return {number: stages[number].name if number else "inputs" for number in sorted(features)}


def _tell_labels(source: Unlabelled | RunSource, target: Unlabelled, labels: IntArray | None, emit: Emit) -> None:
    """Say what was understood of the labels of both sides."""
    if not source.classes:
        text = "The source has no labels, so it can be said whether and where the two differ, and little of the kind."
        emit(Event(kind="note", text=text))
    elif labels is None and target.classes:
        text = (
            f"{_first_three(target.classes)} in {target.path} are none of the source's classes "
            f"({_first_three(source.classes)}), so the target is read without labels."
        )
        emit(Event(kind="note", text=text))


def _first_three(names: Sequence[str], most: int = 3) -> str:
    shown = [repr(name) for name in names[:most]]
    if len(names) > most:
        shown.append("...")
    return ", ".join(shown)
