"""Arms that solve the head again, on source features made to resemble the target's: CORAL, and importance weights."""

from __future__ import annotations

import numpy as np

from frostline.adapt.outcome import NetworkChange, changed, copy_of_network
from frostline.adapt.reading import NetworkReading, read_study
from frostline.adapt.recipes import head_recipe
from frostline.adapt.scorers import density_ratio, effective_samples
from frostline.adapt.world import Adapted, World
from frostline.base.errors import DataError, TrialError
from frostline.base.records import FloatArray, IntArray
from frostline.base.seeds import numpy_generator
from frostline.data.split import inner_folds
from frostline.stats.metrics import log_loss
from frostline.train.solve import (
    L2_PATH,
    ROUGH,
    FloatMatrix,
    LinearHead,
    best_penalty,
    heads_along,
    softmax,
    solve,
)
from frostline.train.start import put_solution
from frostline.train.study import Study

FOLDS = 3  # on which the penalty is chosen
HIGHEST = 20.0  # times the mean weight that one sample may have
SAME = 1e-3  # of the logits' spread, by which the head on its features may differ from the network


def run_coral(world: World) -> Adapted:
    """Solve the head on source features with the target's mean and covariance (Sun, Feng & Saenko 2016)."""
    source, target = _both(world)
    assert world.source is not None
    moved = aligned(source.features, target.features)
    head = _solve_again(world.source, moved)
    return _put_head(world, "coral", head, {"l2": head.l2})


def run_reweight(world: World) -> Adapted:
    """Solve the head on source samples that count the more, the likelier they are in the target.

    The weights p / (1 - p) come from a classifier of the domain that didn't see the sample (Bickel et al. 2009;
    Shimodaira 2000), clipped at 20 times their mean.
    """
    source, target = _both(world)
    assert world.source is not None
    rng = numpy_generator(world.seed, "adapt-weights")
    weights = clipped(density_ratio(source.features, target.features, rng=rng))
    l2 = _solve_again(world.source, source.features).l2
    labels = world.source.dataset.labels[world.source.development]
    head = weighted_head(source.features, labels, world.classes, weights, l2)
    detail = {"l2": l2, "effective_samples": effective_samples(weights), "source_samples": len(weights)}
    return _put_head(world, "reweight", head, detail)


def _both(world: World) -> tuple[NetworkReading, NetworkReading]:
    """Read source and target. Raises TrialError where the head doesn't read one vector a sample."""
    assert world.source is not None
    model = world.target.trunk.model
    source, target = read_study(world.source, model), read_study(world.target, model)
    head = model.get_submodule(world.target.stages.head.path)
    weight = head.get_parameter("weight").detach().cpu().double().numpy()
    expected = target.features @ weight.reshape(len(weight), -1).T
    if getattr(head, "bias", None) is None:
        raise TrialError(
            "The network's head has no bias, so it can't be solved again.", "Leave coral and reweight out."
        )
    expected = expected + head.get_parameter("bias").detach().cpu().double().numpy()
    precision = max(SAME, 0.05 * (world.target.compute.precision == "bf16"))
    if np.abs(expected - target.logits).max() > precision * max(1.0, float(np.abs(target.logits).max())):
        raise TrialError(
            "The network's head reads more than one vector of each sample, so it can't be solved again.",
            "Leave coral and reweight out.",
        )
    return source, target


def aligned(source: FloatArray, target: FloatArray) -> FloatArray:
    """Return source features (M, D) with the target's mean and covariance: (x - m_s) C_s^(-1/2) C_t^(1/2) + m_t.

    Both are scaled by the source's deviations first, and C is the covariance plus the identity, as in the paper.
    """
    deviation = source.std(axis=0)
    scale = np.where(deviation > 1e-6 * max(float(deviation.max()), 1e-12), deviation, 1.0)
    centred = (source - source.mean(axis=0)) / scale
    spread = (target - target.mean(axis=0)) / scale
    white = centred @ _power(centred, -0.5)
    return np.asarray(white @ _power(spread, 0.5) * scale + target.mean(axis=0))


def _power(centred: FloatArray, exponent: float) -> FloatArray:
    covariance = centred.T @ centred / (len(centred) - 1) + np.eye(centred.shape[1])
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * values**exponent @ vectors.T)


def clipped(weights: FloatArray) -> FloatArray:
    """Return weights with a mean of 1, none above HIGHEST before that."""
    mean = float(weights.mean())
    kept = np.minimum(weights, HIGHEST * mean)
    return np.asarray(kept / kept.mean())


def _solve_again(study: Study, features: FloatArray) -> LinearHead:
    """Solve the head on features (M, D) of a study's samples, its penalty chosen by log loss on inner folds."""
    rows = study.development
    labels = study.dataset.labels[rows]
    x = features.astype(np.float32)
    try:
        folds = inner_folds(study.dataset, rows, folds=FOLDS, seed=study.seed, block=0)
    except DataError:
        folds = []
    paths = [_held_losses(study, x, labels, fold) for fold in folds if len(fold[1])]
    chosen = len(L2_PATH) // 2
    if paths:
        chosen = best_penalty(float(np.mean(losses)) for losses in zip(*paths, strict=True))
    return solve(x, labels, study.classes, L2_PATH[chosen], class_weights=study.class_weights(rows))


def _held_losses(study: Study, x: FloatMatrix, labels: IntArray, fold: tuple[IntArray, IntArray]) -> list[float]:
    train, held = (study.positions(rows).numpy() for rows in fold)
    weights = study.class_weights(fold[0])
    heads = heads_along(x[train], labels[train], study.classes, class_weights=weights, tolerance=ROUGH)
    return [log_loss(softmax(head.logits(x[held])), labels[held]) for head in heads]


def weighted_head(features: FloatArray, labels: IntArray, classes: int, weights: FloatArray, l2: float) -> LinearHead:
    """Solve the head for one penalty with a weight (M,) for each sample; the same objective as `train.solve`."""
    from sklearn.linear_model import LogisticRegression

    mean = np.average(features, axis=0, weights=weights)
    deviation = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weights))
    deviation[deviation < 1e-6 * max(float(deviation.max()), 1e-12)] = 1.0
    strength = 1.0 / (l2 * len(labels))
    if len(np.unique(labels)) == 2:  # one vector of weights, the difference of the two: its square counts half
        strength *= 2
    fitted = LogisticRegression(C=strength, max_iter=1000)
    fitted.fit((features - mean) / deviation, labels, sample_weight=weights)
    weight = np.zeros((classes, features.shape[1]))
    bias = np.full(classes, -30.0)  # a class without samples is never answered
    rows, offsets = fitted.coef_, fitted.intercept_
    if len(fitted.classes_) == 2:
        rows, offsets = np.concatenate([-rows, rows]) / 2, np.concatenate([-offsets, offsets]) / 2
    weight[fitted.classes_] = rows
    bias[fitted.classes_] = offsets
    weight = weight / deviation
    return LinearHead(weight, bias - weight @ mean, l2)


def _put_head(world: World, name: str, head: LinearHead, detail: dict[str, float]) -> Adapted:
    model = copy_of_network(world)
    put_solution(model, world.target, head)
    return changed(world, NetworkChange(recipe=head_recipe(world.target, name), model=model, detail=detail))
