"""What every training of a curve shares: its study, the engine that runs it, and the base networks that it starts from.

Each training is on disk before it counts, and so is each base network: a run that is taken up reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from frostline.base.errors import DataError, TrialError
from frostline.base.events import Emit, Event
from frostline.base.files import write_atomic
from frostline.base.hashing import hash_bytes
from frostline.base.records import Dataset, Outcome
from frostline.base.seeds import derive_seed
from frostline.bundle.runfolder import RunFolder
from frostline.curve.gaps import Judged
from frostline.curve.measured import Measured, Place
from frostline.curve.protocol import Arm, Unit, base_recipe, operations_of, trial_of
from frostline.cutting.stages import StageMap
from frostline.data.contract import Samples
from frostline.data.split import inner_split
from frostline.engines.local import LocalEngine, Meter
from frostline.features.store import Store
from frostline.models.network import Network
from frostline.models.new_heads import HeadForm, new_head
from frostline.planning.prepare import make_study, make_trunk
from frostline.race.cost import forward
from frostline.recipe.recipe import Recipe, Trial
from frostline.recipe.settings import Settings
from frostline.train.study import LastReadings, Study
from frostline.train.trial import run_and_keep

MOST_VIEWS = 10  # epochs go through so many views of a sample, and begin anew
INNER = 0.2  # of the samples to learn from, on which the rate is chosen


@dataclass(frozen=True, kw_only=True)
class Given:
    """The data, network and settings of a run; `settings` has the batch size that all trainings take."""

    settings: Settings
    dataset: Dataset
    samples: Samples
    network: Network
    stages: StageMap
    store: Store | None
    steps: int
    readings: LastReadings


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where trainings are run: the folder of the run, its progress, and who listens."""

    folder: RunFolder
    emit: Emit
    meter: Meter

    def prepare(self, study: Study, views: Sequence[int], trials: Iterable[Trial]) -> None:
        """Compute the stored prefixes of these views, unless every training that reads them is on disk."""
        done = all(self.folder.load_outcome(trial.key) is not None for trial in trials)
        for view in views:
            if not done:
                study.features.prepare(view)
            cost = prefix_operations(study, views) / len(views)
            self.meter.add(cost, text=f"frozen prefix, view {view}", measured=not done)

    def run(self, study: Study, trial: Trial) -> Outcome:
        """Run a training, or read it from disk."""
        study = study.with_checkpoints(self.folder.work)
        engine = LocalEngine(study, self.folder, in_brief(self.emit), self.meter, partial(operations_of, study))
        (outcome,) = engine.run([trial])
        return outcome

    def run_base(self, study: Study, trial: Trial) -> tuple[Outcome, Path]:
        """Train a base network, or find it on disk; its weights are written before its outcome counts."""
        path = self.folder.work / "bases" / f"{hash_bytes(trial.key.encode())[:24]}.safetensors"
        outcome = self.folder.load_outcome(trial.key)
        fresh = outcome is None or not path.is_file()
        cost = operations_of(study, trial)
        if fresh:
            self.meter.begin(trial)
            outcome, model = run_and_keep(study.with_checkpoints(self.folder.work), trial)
            outcome = replace(outcome, operations=cost)
            if model is not None:
                write_atomic(path, _state_bytes(model))
            self.folder.save_outcome(outcome)
        assert outcome is not None
        in_brief(self.emit)(_trial_event(outcome))
        self.meter.add(cost, text=trial.recipe.name, measured=fresh)
        if outcome.error:
            raise TrialError(f"The base network of {trial.recipe.name} failed: {outcome.error}", "Give a lower --lr.")
        return outcome, path


def in_brief(emit: Emit) -> Emit:
    """Return a listener that shortens the line of a training to its name and result."""

    def tell(event: Event) -> None:
        if event.kind == "trial" and not event.data.get("error"):
            event = replace(event, text=f"{event.data['strategy']}: accuracy {event.data['accuracy']:.3f}")
        emit(event)

    return tell


def _trial_event(outcome: Outcome) -> Event:
    names = ("key", "strategy", "purpose", "block", "rate", "accuracy", "log_loss", "steps", "seconds", "error")
    data = {name: getattr(outcome, name) for name in names}
    return Event(kind="trial", text=f"{outcome.strategy}: failed: {outcome.error}", data=data)


def study_of(given: Given, dataset: Dataset, samples: Samples, model: nn.Module, seed: int) -> Study:
    """Return the study of a data set and a network whose weights may be copied.

    `seed` decides re-initialised values, the order of batches and dropout; augmented views depend on the run's seed.
    """
    settings = given.settings
    trunk = make_trunk(settings, given.network, model, given.stages, len(dataset.development))
    study = make_study(settings, dataset, samples, given.network, trunk, given.store)
    return replace(study, seed=seed, epochs=None, last_readings=given.readings)


def rate_trials(given: Given, study: Study, name: str) -> list[Trial]:
    """Return a base training at each of RATES, judged on an inner part of the samples to learn from."""
    recipe = base_recipe(given.stages.stages)
    rows = study.dataset.rows("development")
    train, held = inner_split(study.dataset, rows, fraction=INNER, seed=given.settings.seed, block=0)
    if not len(held):
        raise DataError("There are too few samples to choose a learning rate on.", "Give one: --lr 1e-3.")
    first = tuple(map(int, train))
    rest = tuple(map(int, held))
    trials = [trial_of(study, recipe, f"{name}, rate", rate=rate, steps=given.steps) for rate in recipe.rates]
    return [replace(trial, purpose="tune", train=first, validation=rest) for trial in trials]


def arm_trials(given: Given, study: Study, arms: Sequence[Arm], unit: Unit, rate: float) -> dict[Place, Trial]:
    """Return the training of each arm in one unit."""
    trials = {}
    for arm in arms:
        name = f"{unit.words()}, {arm.words()}"
        trials[arm.name, arm.stage] = trial_of(study, arm.recipe, name, rate=rate, steps=given.steps)
    return trials


def run_trials(study: Study, trials: Mapping[Place, Trial], unit: Unit, bench: Bench, measured: Measured) -> None:
    """Run the trainings of one unit from the network of a study."""
    for place, trial in trials.items():
        outcome = bench.run(study, trial)
        measured.count(outcome)
        measured.add(place, unit, outcome, judged(study, outcome) if outcome.ok else None)


def ask_for_prefixes(study: Study, recipes: Sequence[Recipe], steps: int) -> list[int]:
    """Tell the features which frozen prefixes will be read, and return the views of them; none where none is stored."""
    rows = len(study.dataset.rows("development"))
    epochs = -(-steps // study.steps_per_epoch(rows))
    views = sorted({0, *(study.training_view(epoch, rows) for epoch in range(min(epochs, MOST_VIEWS)))})
    raw = sorted({recipe.frozen_stages for recipe in recipes if recipe.frozen_stages})
    study.features.want(raw=raw, pooled=(), views=len(views) - 1, pooled_views=())
    if not study.features.raw:
        return []
    return views


def prefix_operations(study: Study, views: Sequence[int]) -> float:
    """Count what filling the stored prefixes of these views takes."""
    if not views:
        return 0.0
    return len(views) * len(study.development) * forward(study.stages.stages, 0, max(study.features.raw))


def as_source(network: Network) -> Network:
    """Return the network as a base draws it: with other random values than those that arms re-initialise stages with.

    Were they the same, a re-initialised stage would begin where the one that the copied stages grew up with began.
    """
    build = network.build
    return replace(network, build=lambda seed: build(derive_seed(seed, "base")))


def load_base(given: Given, path: Path, classes: int) -> nn.Module:
    """Build a base network and load its weights from the run's folder."""
    from safetensors.torch import load_file

    model = given.network.build(0)
    new_head(model, given.stages.head, classes, HeadForm(kind="linear"), seed=0)
    model.load_state_dict(load_file(path))
    return model


def _state_bytes(model: nn.Module) -> bytes:
    from safetensors.torch import save

    return bytes(
        save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()})
    )


def judged(study: Study, outcome: Outcome) -> Judged:
    """Return what a training reached, sample by sample."""
    votes = np.array(outcome.probabilities)
    labels = study.dataset.labels[np.asarray(outcome.rows, dtype=np.int64)]
    return Judged(accuracy=outcome.accuracy, right=votes[np.arange(len(labels)), labels])


def chosen_rate(tried: Mapping[float, Sequence[Outcome]]) -> float:
    """Return the rate whose base trainings reached the highest mean accuracy; of equals the lower log loss, then the
    lower rate. Raises TrialError where every rate failed somewhere."""
    whole = {rate: found for rate, found in tried.items() if all(outcome.ok for outcome in found)}
    if not whole:
        raise TrialError("Base trainings diverged at every rate that was tried.", "Give a lower --lr.")

    def order(rate: float) -> tuple[float, float, float]:
        accuracies = [outcome.accuracy for outcome in whole[rate]]
        losses = [outcome.log_loss for outcome in whole[rate]]
        return -float(np.mean(accuracies)), float(np.mean(losses)), rate

    return min(whole, key=order)
