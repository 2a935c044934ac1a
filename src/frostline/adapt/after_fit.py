"""`fit --target`: once the verdict is refitted and tested, the shift is diagnosed and the model adapted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from frostline.adapt.arms import ARMS, LABELLED
from frostline.adapt.choice import AS_IS
from frostline.adapt.diagnosed import found_of
from frostline.adapt.judge import Opened, open_labels
from frostline.adapt.save import save_adapted
from frostline.adapt.study import AdaptStudy, adapt_world
from frostline.adapt.world import SourceOutputs, World
from frostline.base.errors import BundleError, ModelError
from frostline.base.events import Emit
from frostline.base.files import write_json
from frostline.base.records import FloatArray, IntArray, Outcome
from frostline.bundle.saved import LoadedModel
from frostline.bundle.spec import PREFIX, resolve_network
from frostline.conclude.elsewhere import OnTarget
from frostline.conclude.out_of_fold import out_of_fold
from frostline.cutting.guard import one_thread
from frostline.data.contract import Samples
from frostline.features.extract import Trunk
from frostline.models.network import Network
from frostline.planning.domain import domain_study
from frostline.planning.prepare import make_study, placed_network
from frostline.recipe.settings import Settings
from frostline.shift.diagnose import diagnose
from frostline.shift.findings import Diagnosis
from frostline.shift.inputs import MOST_SAMPLES, drawn_mask
from frostline.shift.remedies import remedies_for
from frostline.shift.sides import Side
from frostline.shift.study import chosen_depths, depth_features, group_places
from frostline.stats.calibration import tempered
from frostline.train.study import Study

FOLDER = "target"  # of the adapted model, in the RUN folder


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """What a run has come to: the study of its verdict, the sealed samples with the verdict's probabilities (N, C) of
    them, the saved model, and all outcomes."""

    study: Study
    sealed: Samples
    tested: FloatArray
    loaded: LoadedModel
    outcomes: tuple[Outcome, ...]
    path: Path

    @property
    def verdict(self) -> str:
        return str(self.loaded.recipe["strategy"])

    def sealed_study(self, settings: Settings, network: Network, trunk: Trunk) -> Study:
        """Return a study whose development samples are the sealed ones, over this network."""
        return _study_of(settings, self.study, self.study.dataset.sealed, self.sealed, (network, trunk))


@dataclass(frozen=True, kw_only=True, eq=False)
class TargetFindings:
    """The diagnosis (with the target's labels, where there are some), and what was adapted without them.

    `study` is None where no arm could run, for the `reason`. `opened` are the arms' accuracies on the target's labels.
    """

    diagnosis: Diagnosis
    study: AdaptStudy | None
    reason: str
    opened: dict[str, Opened]
    folder: str | None


def adapt_verdict(settings: Settings, fitted: Fitted, on_target: OnTarget, emit: Emit) -> TargetFindings:
    """Diagnose the shift, run the arms that suit it, choose without target labels, and save what was chosen."""
    with one_thread():
        blind = _diagnosis(settings, fitted, on_target, labels=None)
        informed = blind
        if on_target.labels is not None:
            informed = _diagnosis(settings, fitted, on_target, labels=on_target.labels)
    try:
        network = resolve_network(f"{PREFIX}{fitted.path}", trust_code=True)
        network, trunk = placed_network(settings, network, len(fitted.study.development))
    except (BundleError, ModelError) as error:
        reason = f"The model wasn't adapted: {error.message}"
        return TargetFindings(diagnosis=informed, study=None, reason=reason, opened={}, folder=None)
    world = _world(settings, fitted, on_target, network, trunk)
    arms = [name for name in ARMS if name not in LABELLED]
    study = adapt_world(world, arms, found_of(blind), emit=emit)
    opened = {}
    if on_target.labels is not None:
        opened = open_labels(study.arms, on_target.labels, on_target.known)
    folder = None
    if study.choice.arm != AS_IS:
        folder = FOLDER
        save_adapted(fitted.path / FOLDER / "model", world, study.chosen, emit)
        write_json(fitted.path / FOLDER / "ledger.json", study.chosen.ledger or [])
    return TargetFindings(diagnosis=informed, study=study, reason=study.choice.reason, opened=opened, folder=folder)


def _diagnosis(settings: Settings, fitted: Fitted, on_target: OnTarget, *, labels: IntArray | None) -> Diagnosis:
    """Compare the target with the sealed samples, in the features of the network that the run started from and in the
    verdict's answers: it learnt from neither, so that its answers on them may be compared."""
    study = fitted.study
    own = fitted.sealed_study(settings, study.network, study.trunk)
    data = replace(on_target.data, labels=None, classes=())
    other = domain_study(settings, study.network, study.trunk, data, study.dataset.classes, study.features.store)
    try:
        source = _side(own, fitted.tested, own.dataset.labels, "source")
        target = _side(other, on_target.tests[fitted.verdict], labels, "target")
    except ModelError as error:  # all else in the run is done by now, and stands
        return _undiagnosed(error.message)
    return diagnose(source, target, classes=on_target.classes, seed=settings.seed)


def _side(study: Study, probabilities: FloatArray, labels: IntArray | None, name: str) -> Side:
    """Return one side of the diagnosis, of at most about MOST_SAMPLES samples. Raises ModelError as its features do."""
    groups = [sample.group for sample in study.dataset.samples]
    kept = np.arange(len(groups))
    if len(groups) > MOST_SAMPLES:
        strata = np.zeros(len(groups), dtype=np.int64) if labels is None else labels + 1
        kept = np.flatnonzero(drawn_mask(strata, groups, study.seed, name))
    features = depth_features(study, chosen_depths(study.stages))
    return Side(
        features={stage: values[kept] for stage, values in features.items()},
        groups=group_places(groups)[kept],
        probabilities=probabilities[kept],
        labels=None if labels is None else labels[kept],
    )


def _undiagnosed(reason: str) -> Diagnosis:
    return Diagnosis(
        situation="cannot-tell",
        tests=(),
        proportions=(),
        new_classes=(),
        missing_classes=(),
        level=None,
        sentences=(reason,),
        cannot_see=(),
        remedies=remedies_for("cannot-tell", None),
    )


def _world(settings: Settings, fitted: Fitted, on_target: OnTarget, network: Network, trunk: Trunk) -> World:
    study = fitted.study
    own = out_of_fold(fitted.outcomes, fitted.verdict, study.dataset.labels)
    outputs = None
    if own is not None:
        probabilities = tempered(own.probabilities, fitted.loaded.temperature)
        outputs = SourceOutputs(probabilities=probabilities, labels=own.labels)
    data = replace(on_target.data, labels=None, classes=())
    images = study.features.source.images
    return World(
        target=domain_study(settings, network, trunk, data, study.dataset.classes, study.features.store),
        source=_study_of(settings, study, study.development, images, (network, trunk)),
        held=fitted.sealed_study(settings, network, trunk),
        outputs=outputs,
        temperature=fitted.loaded.temperature,
        labelled=np.zeros(0, dtype=np.int64),
    )


def _study_of(
    settings: Settings, study: Study, rows: IntArray, samples: Samples, placed: tuple[Network, Trunk]
) -> Study:
    """Join some of a study's samples with a placed network; they are the development samples of the new study."""
    chosen = tuple(replace(study.dataset.samples[i], part="development") for i in rows.tolist())
    return make_study(settings, replace(study.dataset, samples=chosen), samples, *placed, study.features.store)
