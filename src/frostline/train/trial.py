"""Runs one trial: one recipe, one rate and one block in, one outcome out."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from frostline.base import worker
from frostline.base.errors import DataError, TrialError
from frostline.base.hashing import hash_values
from frostline.base.memory import give_back_memory, is_shortage, large_array
from frostline.base.records import AuditCount, CurvePoint, FloatArray, IntArray, Outcome
from frostline.data.split import inner_folds, inner_split
from frostline.recipe.recipe import Recipe, Trial
from frostline.recipe.schedule import FIRST_STEPS, INNER_FRACTION, Length, early_steps
from frostline.stats.metrics import accuracy, log_loss
from frostline.train import baseline
from frostline.train.audit import (
    ALL_FROZEN,
    audit,
    check_base,
    promise,
    solved_audit,
    start_hashes,
    tensor_hashes,
)
from frostline.train.checkpoint import Checkpoint
from frostline.train.feed import EVALUATION_VIEW, Reader, predict_rows, reader
from frostline.train.loop import Job, LoopState, run_phase
from frostline.train.mix import choose_mix
from frostline.train.solve import L2_PATH, ROUGH, LinearHead, Spare, best_penalty, heads_along, softmax, solve
from frostline.train.start import put_solution, start_adapters, start_network
from frostline.train.study import Study
from frostline.train.trained import TrainedNetwork

INNER_FOLDS = 3  # on which a solved head's penalty is chosen
FEATURES_SHARE = 8  # of the memory, which the features of one fold may take
WORST_LOG_LOSS = -math.log(1e-12)
LESS_MEMORY = "Give a smaller --batch-size."


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """The result of a runner: probabilities of the held-out samples, and the record of the training.

    Of a study with last readings, `probabilities` are the shares of the readings that chose each class, and `scores`
    the means of their accuracy and log loss. `model` is the network after stepped training.
    """

    probabilities: FloatArray
    steps: int = 0
    epochs: float = 0.0
    undertrained: bool = False
    l2: float | None = None
    mix: float | None = None
    curve: tuple[CurvePoint, ...] = ()
    audit: AuditCount = field(default_factory=AuditCount)
    scores: tuple[float, float] | None = None
    model: nn.Module | None = None


def run_trial(study: Study, trial: Trial) -> Outcome:
    """Run a trial, with the network that its recipe starts from. An error that settings can fix (divergence) becomes a
    failed outcome; a frozen tensor that changed raises AuditError."""
    return run_and_keep(study.of(trial.recipe), trial)[0]


def run_and_keep(study: Study, trial: Trial) -> tuple[Outcome, nn.Module | None]:
    """Run a trial as :func:`run_trial` does, and return the trained network with its outcome; None where no steps were
    taken, or it failed."""
    started = time.perf_counter()
    error = None
    try:
        result = _run_watched(study, trial)
    except TrialError as problem:
        result = TrialResult(probabilities=np.zeros((0, study.classes)))
        error = str(problem)
    trial_accuracy = 0.0
    trial_loss = WORST_LOG_LOSS
    if error is None:
        labels = study.dataset.labels[np.asarray(trial.validation, dtype=np.int64)]
        trial_accuracy = accuracy(result.probabilities, labels)
        trial_loss = log_loss(result.probabilities, labels)
    if result.scores is not None:
        trial_accuracy, trial_loss = result.scores
    outcome = Outcome(
        key=trial.key,
        strategy=trial.recipe.name,
        purpose=trial.purpose,
        block=trial.block,
        rate=trial.rate,
        rows=trial.validation,
        probabilities=tuple(tuple(map(float, row)) for row in result.probabilities),
        accuracy=trial_accuracy,
        log_loss=trial_loss,
        steps=result.steps,
        epochs=result.epochs,
        undertrained=result.undertrained,
        l2=result.l2,
        seconds=time.perf_counter() - started,
        operations=0.0,  # the engine counts them
        curve=result.curve,
        audit=result.audit,
        mix=result.mix,
        error=error,
    )
    return outcome, result.model


def _run_watched(study: Study, trial: Trial) -> TrialResult:
    with watched(f"{study.trunk.fingerprint}/{trial.key}", trial.recipe.name):
        return _RUNNERS[trial.recipe.solver](study, trial)


@contextlib.contextmanager
def watched(work: str, strategy: str) -> Iterator[None]:
    """Note that this process is at a piece of work of a strategy, while it lasts.

    Raises TrialError where memory for it can't be had, or where it has ended the processes that tried it before.
    """
    death = worker.is_deadly(work, strategy)
    if death is not None:
        raise TrialError(f"{strategy} ended the process that ran it, by {death.in_words()}.", LESS_MEMORY)
    with worker.at_work(work, strategy):
        try:
            yield
            return
        except (MemoryError, RuntimeError) as error:
            if not is_shortage(error):
                raise
            reason = (str(error).splitlines() or [""])[0]
    give_back_memory()
    raise TrialError(f"{strategy} needs more memory than there is ({reason}).", LESS_MEMORY)


def _run_baseline(study: Study, trial: Trial) -> TrialResult:
    train = baseline.read_plain(study.features, study.positions(trial.train))
    queries = baseline.read_plain(study.features, study.positions(trial.validation))
    labels = study.dataset.labels[np.asarray(trial.train, dtype=np.int64)]
    probabilities = baseline.fit_predict(train, labels, queries, study.classes, weigh=study.weigh_classes)
    return TrialResult(probabilities=probabilities)


def _run_untrained(study: Study, trial: Trial) -> TrialResult:
    model = start_network(study, trial.recipe, trial.block).eval()
    read = reader(study, model, trial.recipe.frozen_stages)
    probabilities = predict_rows(study, read, study.positions(trial.validation))
    counted = audit(study.trunk.hashes, tensor_hashes(model), ALL_FROZEN)
    return TrialResult(probabilities=probabilities, audit=counted)


def _run_solved(study: Study, trial: Trial) -> TrialResult:
    head = solve_head(study, trial.recipe, np.asarray(trial.train, dtype=np.int64), block=trial.block)
    pooled = study.features.pooled(trial.recipe.keep, EVALUATION_VIEW).numpy()
    logits = head.logits(pooled[study.positions(trial.validation).numpy()])
    counted = solved_audit(study.trunk, trial.recipe)
    return TrialResult(probabilities=softmax(logits), l2=head.l2, epochs=len(study.solved_views()), audit=counted)


def solve_head(study: Study, recipe: Recipe, rows: IntArray, *, block: int) -> LinearHead:
    """Solve the linear head on the pooled features of stage `keep`, its penalty chosen by log loss on inner folds.

    Samples that can't be split (copies of one image) get the middle of the path.
    """
    penalty = _chosen_penalty(study, recipe.keep, rows, block)
    x, y = training_set(study, recipe.keep, rows)
    return solve(Spare(x), y, study.classes, penalty, class_weights=study.class_weights(rows))


def _chosen_penalty(study: Study, stage: int, rows: IntArray, block: int) -> float:
    try:
        folds = inner_folds(study.dataset, rows, folds=INNER_FOLDS, seed=study.seed, block=block)
    except DataError:
        folds = []
    paths = [_losses_along(study, stage, train, held) for train, held in folds if len(held)]
    chosen = len(L2_PATH) // 2
    if paths:
        chosen = best_penalty(float(np.mean(losses)) for losses in zip(*paths, strict=False))
    return L2_PATH[chosen]


def _losses_along(study: Study, stage: int, train: IntArray, held: IntArray) -> Iterator[float]:
    """Yield the log loss of held-out samples for each penalty of the path."""
    x, y = training_set(study, stage, train)
    pooled = study.features.pooled(stage, EVALUATION_VIEW).numpy()[study.positions(held).numpy()]
    labels = study.dataset.labels[held]
    weights = study.class_weights(train)
    for head in heads_along(Spare(x), y, study.classes, class_weights=weights, tolerance=ROUGH):
        yield log_loss(softmax(head.logits(pooled)), labels)


def training_set(study: Study, stage: int, rows: IntArray) -> tuple[np.ndarray, IntArray]:
    """Return the pooled features of all solved views of these samples, one under the other, with their labels."""
    positions = study.positions(rows).numpy()
    views = study.solved_views()
    width = study.features.pooled(stage, views[0]).shape[1]
    room = study.memory // FEATURES_SHARE if study.memory else None
    x = large_array((len(views), len(rows), width), "float32", room)
    for place, view in enumerate(views):
        x[place] = study.features.pooled(stage, view).numpy()[positions]
    return x.reshape(-1, width), np.tile(study.dataset.labels[rows], len(views))


def _run_stepped(study: Study, trial: Trial) -> TrialResult:
    assert trial.rate is not None
    rows, mixing = _mixing_rows(study, trial)
    length = training_length(study, len(rows), trial.steps)
    training = SteppedTraining(rate=trial.rate, rows=rows, block=trial.block, length=length, held=_held(study, trial))
    trained = train_stepped(study, trial.recipe, training)
    mix = None
    if trained.solved is not None:
        mix = choose_mix(study, trained, mixing)
    trained.model.eval()
    done = trained.done
    scores = None
    if done.readings:
        probabilities, scores = _from_readings(done.readings, study.dataset.labels[np.asarray(trial.validation)])
    else:
        read = reader(study, trained.model, trial.recipe.frozen_stages)
        probabilities = predict_rows(study, read, study.positions(trial.validation))
    return TrialResult(
        probabilities=probabilities,
        steps=done.steps,
        epochs=done.steps / study.steps_per_epoch(len(rows)),
        undertrained=done.undertrained,
        mix=mix,
        curve=tuple(done.curve),
        audit=trained.audit,
        scores=scores,
        model=trained.model,
    )


def _held(study: Study, trial: Trial) -> IntArray | None:
    """Return the samples that are read near the end of training; None where they are read once, after it."""
    if study.last_readings is None or trial.recipe.interpolated:
        return None
    return np.asarray(trial.validation, dtype=np.int64)


def _from_readings(readings: Sequence[FloatArray], labels: IntArray) -> tuple[FloatArray, tuple[float, float]]:
    """Return the share of the readings that chose each class (N, C), and their mean accuracy and log loss."""
    votes = np.mean([np.eye(reading.shape[1])[reading.argmax(axis=1)] for reading in readings], axis=0)
    mean_accuracy = float(np.mean([accuracy(reading, labels) for reading in readings]))
    mean_loss = float(np.mean([log_loss(reading, labels) for reading in readings]))
    return votes, (mean_accuracy, mean_loss)


def training_length(study: Study, rows: int, steps: int | None) -> Length:
    """Return the length of a training on that many samples: `--epochs`, or else the `steps` of the trial."""
    if study.epochs is not None:
        return Length(study.epochs * study.steps_per_epoch(rows))
    return Length(steps or FIRST_STEPS)


def _mixing_rows(study: Study, trial: Trial) -> tuple[IntArray, IntArray]:
    """Return the samples to train on, and those that choose the mix of an interpolated strategy."""
    rows = np.asarray(trial.train, dtype=np.int64)
    if not trial.recipe.interpolated:
        return rows, np.zeros(0, dtype=np.int64)
    return inner_split(study.dataset, rows, fraction=INNER_FRACTION, seed=study.seed, block=trial.block)


@dataclass(frozen=True, kw_only=True)
class SteppedTraining:
    """The inputs of one stepped training."""

    rate: float
    rows: IntArray
    block: int
    length: Length
    keep_start: bool = False  # keep a copy of the untrained network, for the ledger
    held: IntArray | None = None  # samples that the study's last readings are taken of


def train_stepped(study: Study, recipe: Recipe, training: SteppedTraining) -> TrainedNetwork:
    """Build the recipe's network, run its phases, audit it."""
    model = start_network(study, recipe, training.block)
    before = start_hashes(study.trunk, recipe, model)
    start = copy.deepcopy(model) if training.keep_start else None
    if recipe.solves_head:
        put_solution(model, study, solve_head(study, recipe, training.rows, block=training.block))
    solved = copy.deepcopy(model) if recipe.interpolated else None
    done = _run_phases(study, recipe, model, training)
    counted = audit(before, tensor_hashes(model), promise(model, study.stages, recipe), done.no_gradient)
    return TrainedNetwork(model=model, done=done, audit=counted, before=start, solved=solved)


def _run_phases(study: Study, recipe: Recipe, model: nn.Module, training: SteppedTraining) -> LoopState:
    """Run the stepped phases, one after another; adapters are merged into the network at the end."""
    adapters = start_adapters(study, model, recipe, training.block)
    read = reader(study, model, recipe.frozen_stages)
    base_hashes: dict[str, str] = {}
    if adapters:
        read = Reader(read.feed, adapters.around(read.forward))
        base_hashes = tensor_hashes(model)
    state = LoopState()
    if len(recipe.stepped) > 1 and any(phase.pull for phase in recipe.stepped):
        state.start = {n: p.detach().clone() for n, p in model.named_parameters()}
    ends = phase_ends(study, recipe, training)
    checkpoint = checkpoint_of(study, recipe, training)
    begin = phase_of(checkpoint)
    for number, (phase, until) in enumerate(zip(recipe.stepped, ends, strict=True)):
        if number < begin:
            continue
        job = Job(
            phase=phase,
            rate=training.rate,
            rows=training.rows,
            length=training.length,
            block=training.block,
            until=until,
            adapters=adapters,
            held=training.held,
            number=number,
            checkpoint=checkpoint,
        )
        state = run_phase(study, model, read, job, state)
    if adapters:
        check_base(base_hashes, tensor_hashes(model), frozenset(adapters.factors))
        adapters.merge()
    return state


def checkpoint_of(study: Study, recipe: Recipe, training: SteppedTraining) -> Checkpoint | None:
    """Return the place of a training's checkpoint, known by all in which it may differ from another one of the run."""
    if study.checkpoints is None:
        return None
    rows = [training.rows.tolist(), None if training.held is None else training.held.tolist()]
    how = (training.rate, training.block, training.length.steps)
    key = hash_values(study.trunk.fingerprint, recipe.name, *how, *rows)
    return Checkpoint(study.checkpoints / "training.safetensors", key)


def phase_of(checkpoint: Checkpoint | None) -> int:
    """Return the phase that training goes on with: that of the checkpoint, or the first."""
    found = checkpoint.find() if checkpoint else None
    if found is None:
        return 0
    return int(found[1]["phase"])


def phase_ends(study: Study, recipe: Recipe, training: SteppedTraining) -> list[int | None]:
    """Return the step at which each stepped phase ends; None for the last, which goes on to the end of training."""
    phases = len(recipe.stepped)
    each = early_steps(phases, study.steps_per_epoch(len(training.rows)), training.length.steps)
    return [each * i for i in range(1, phases)] + [None]


_RUNNERS = {"baseline": _run_baseline, "untrained": _run_untrained, "solved": _run_solved, "stepped": _run_stepped}
