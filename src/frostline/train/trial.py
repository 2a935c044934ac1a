"""run_trial: one recipe, one rate, one block in; one outcome out."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from frostline.base.errors import DataError, TrialError
from frostline.base.records import AuditCount, CurvePoint, FloatArray, IntArray, Outcome
from frostline.data.split import inner_folds, inner_split
from frostline.recipe.recipe import Recipe, Trial
from frostline.recipe.schedule import INNER_FRACTION, MIN_STEPS, Length, early_steps
from frostline.stats.metrics import accuracy, log_loss
from frostline.train import baseline
from frostline.train.audit import (
    NOTHING_MOVES,
    audit,
    check_base,
    hash_tensors,
    promise,
    solved_audit,
    start_hashes,
)
from frostline.train.feed import EVALUATION_VIEW, Reader, predict, reader
from frostline.train.loop import Job, Progress, run_phase
from frostline.train.mix import choose_mix
from frostline.train.solve import L2_PATH, LinearHead, softmax, solve, solve_path
from frostline.train.start import put_solution, start_adapters, start_network
from frostline.train.study import Study
from frostline.train.trained import TrainedNetwork

INNER_FOLDS = 3  # on which a solved head's penalty is chosen
WORST_LOG_LOSS = -math.log(1e-12)


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What a runner hands back."""

    probabilities: FloatArray
    steps: int = 0
    epochs: float = 0.0
    undertrained: bool = False
    l2: float | None = None
    mix: float | None = None
    curve: tuple[CurvePoint, ...] = ()
    audit: AuditCount = field(default_factory=AuditCount)


def run_trial(study: Study, trial: Trial) -> Outcome:
    """Run it. What settings can mend (divergence) becomes a failed outcome; a frozen tensor that moved: AuditError."""
    started = time.perf_counter()
    error = None
    try:
        result = _RUNNERS[trial.recipe.solver](study, trial)
    except TrialError as problem:
        result, error = TrialResult(probabilities=np.zeros((0, study.classes))), str(problem)
    labels = study.dataset.labels[np.asarray(trial.validation, dtype=np.int64)]
    return Outcome(
        key=trial.key,
        strategy=trial.recipe.name,
        purpose=trial.purpose,
        block=trial.block,
        rate=trial.rate,
        rows=trial.validation,
        probabilities=tuple(tuple(map(float, row)) for row in result.probabilities),
        accuracy=0.0 if error else accuracy(result.probabilities, labels),
        log_loss=WORST_LOG_LOSS if error else log_loss(result.probabilities, labels),
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


def _run_baseline(study: Study, trial: Trial) -> TrialResult:
    train = baseline.read_plain(study.features, study.positions(trial.train))
    rows = baseline.read_plain(study.features, study.positions(trial.validation))
    labels = study.dataset.labels[np.asarray(trial.train, dtype=np.int64)]
    return TrialResult(
        probabilities=baseline.fit_predict(train, labels, rows, study.classes, weigh=study.weigh_classes)
    )


def _run_untrained(study: Study, trial: Trial) -> TrialResult:
    model = start_network(study, trial.recipe, trial.block).eval()
    read = reader(study, model, trial.recipe.frozen_stages)
    probabilities = predict(study, read, study.positions(trial.validation))
    return TrialResult(probabilities=probabilities, audit=audit(study.trunk.hashes, hash_tensors(model), NOTHING_MOVES))


def _run_solved(study: Study, trial: Trial) -> TrialResult:
    head = solve_head(study, trial.recipe, np.asarray(trial.train, dtype=np.int64), block=trial.block)
    pooled = study.features.pooled(trial.recipe.keep, EVALUATION_VIEW).numpy()
    logits = head.logits(pooled[study.positions(trial.validation).numpy()])
    counted = solved_audit(study.trunk, trial.recipe)
    return TrialResult(probabilities=softmax(logits), l2=head.l2, epochs=len(study.solved_views()), audit=counted)


def solve_head(study: Study, recipe: Recipe, rows: IntArray, *, block: int) -> LinearHead:
    """The linear head on the pooled features of stage `keep`, its penalty chosen by log loss on inner folds.

    Rows that can't be split (copies of one image) get the middle of the path.
    """
    try:
        folds = inner_folds(study.dataset, rows, folds=INNER_FOLDS, seed=study.seed, block=block)
    except DataError:
        folds = []
    losses = [_path_losses(study, recipe.keep, train, held) for train, held in folds if len(held)]
    chosen = int(np.argmin(np.mean(losses, axis=0))) if losses else len(L2_PATH) // 2
    x, y = training_set(study, recipe.keep, rows)
    return solve(x, y, study.classes, L2_PATH[chosen], class_weights=study.class_weights(rows))


def _path_losses(study: Study, stage: int, train: IntArray, held: IntArray) -> list[float]:
    x, y = training_set(study, stage, train)
    pooled = study.features.pooled(stage, EVALUATION_VIEW).numpy()[study.positions(held).numpy()]
    labels = study.dataset.labels[held]
    heads = solve_path(x, y, study.classes, class_weights=study.class_weights(train))
    return [log_loss(softmax(head.logits(pooled)), labels) for head in heads]


def training_set(study: Study, stage: int, rows: IntArray) -> tuple[np.ndarray, IntArray]:
    """Pooled features of all solved views of these rows, one under the other, with their labels."""
    positions = study.positions(rows).numpy()
    views = study.solved_views()
    x = np.concatenate([study.features.pooled(stage, view).numpy()[positions] for view in views])
    return x, np.tile(study.dataset.labels[rows], len(views))


def _run_stepped(study: Study, trial: Trial) -> TrialResult:
    assert trial.rate is not None
    rows, inner = np.asarray(trial.train, dtype=np.int64), np.zeros(0, dtype=np.int64)
    length = Length(trial.steps) if trial.steps else None
    if study.epochs is None and trial.purpose == "tune":
        inner = np.asarray(trial.validation, dtype=np.int64) if length is None else inner
    elif study.epochs is None or (trial.recipe.interpolated and trial.purpose != "tune"):
        rows, inner = inner_split(study.dataset, rows, fraction=INNER_FRACTION, seed=study.seed, block=trial.block)
    trained = train_stepped(
        study, trial.recipe, SteppedTraining(rate=trial.rate, rows=rows, inner=inner, block=trial.block, length=length)
    )
    mix = None
    if trained.solved is not None and trial.recipe.interpolated and trial.purpose != "tune":
        mix = choose_mix(study, trained, inner)
    trained.model.eval()
    read = reader(study, trained.model, trial.recipe.frozen_stages)
    probabilities = predict(study, read, study.positions(trial.validation))
    done = trained.done
    return TrialResult(
        probabilities=probabilities,
        steps=done.steps,
        epochs=done.steps / study.steps_per_epoch(len(rows)),
        undertrained=done.undertrained,
        mix=mix,
        curve=tuple(done.curve),
        audit=trained.audit,
    )


@dataclass(frozen=True, kw_only=True)
class SteppedTraining:
    """What one stepped training reads. `inner` rows find the length where neither `length` nor --epochs gives it."""

    rate: float
    rows: IntArray
    block: int
    inner: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    length: Length | None = None
    keep_start: bool = False  # keep a copy of the untrained network, for the ledger


def train_stepped(study: Study, recipe: Recipe, how: SteppedTraining) -> TrainedNetwork:
    """Build the recipe's network, run its phases, audit it."""
    model = start_network(study, recipe, how.block)
    before, start = start_hashes(study.trunk, recipe, model), copy.deepcopy(model) if how.keep_start else None
    length = how.length
    if length is None and study.epochs is not None:
        length = Length(study.epochs * study.steps_per_epoch(len(how.rows)))
    if recipe.solves_head:
        put_solution(model, study, solve_head(study, recipe, how.rows, block=how.block))
    solved = copy.deepcopy(model) if recipe.interpolated else None
    done = _run_phases(study, recipe, model, how, length)
    counted = audit(before, hash_tensors(model), promise(model, study.stages, recipe), done.no_gradient)
    return TrainedNetwork(model=model, done=done, audit=counted, before=start, solved=solved)


def _run_phases(
    study: Study, recipe: Recipe, model: nn.Module, how: SteppedTraining, length: Length | None
) -> Progress:
    """The stepped phases, one after the other; adapters are merged into the network at the end."""
    adapters, base = start_adapters(study, model, recipe, how.block), reader(study, model, recipe.frozen_stages)
    read = Reader(base.feed, adapters.around(base.forward)) if adapters else base
    unmoved = hash_tensors(model) if adapters else {}
    pulled = len(recipe.stepped) > 1 and any(phase.pull for phase in recipe.stepped)
    start = {n: p.detach().clone() for n, p in model.named_parameters()} if pulled else {}
    done, ends = Progress(start=start), phase_ends(study, recipe, len(how.rows))
    for phase, until in zip(recipe.stepped, ends, strict=True):
        job = Job(
            phase=phase,
            rate=how.rate,
            rows=how.rows,
            inner=how.inner,
            length=length,
            block=how.block,
            until=until,
            adapters=adapters,
        )
        done = run_phase(study, model, read, job, done)
    if adapters:
        check_base(unmoved, hash_tensors(model), frozenset(adapters.factors))
        adapters.merge()
    return done


def phase_ends(study: Study, recipe: Recipe, rows: int) -> list[int | None]:
    """The step at which each stepped phase ends; None for the last, which goes on to the end of training."""
    count, per_epoch = len(recipe.stepped), study.steps_per_epoch(rows)
    each = early_steps(count, per_epoch, study.epochs * per_epoch if study.epochs else MIN_STEPS)
    return [each * (i + 1) for i in range(count - 1)] + [None]


_RUNNERS = {"baseline": _run_baseline, "untrained": _run_untrained, "solved": _run_solved, "stepped": _run_stepped}
