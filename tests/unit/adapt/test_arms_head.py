"""Arms that solve the head again: CORAL against skada and the formula, weights on a Gaussian case, scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from frostline.adapt.arms import run_arm
from frostline.adapt.head_arms import aligned, clipped, weighted_head
from frostline.adapt.scorers import density_ratio, effective_samples
from frostline.train.solve import LinearHead, softmax, solve
from helpers.adapt_worlds import world

RNG = np.random.default_rng(0)


def test_aligned_features_have_the_target_s_moments() -> None:
    """With far more spread than the identity that is added, the covariance is the target's."""
    mixing = RNG.normal(size=(4, 4))
    source = RNG.normal(size=(4000, 4)) * 0.001
    target = RNG.normal(size=(4000, 4)) @ mixing + 3.0
    moved = aligned(source, target)
    np.testing.assert_allclose(moved.mean(axis=0), target.mean(axis=0), atol=1e-9)
    expected = np.cov(target.T)
    np.testing.assert_allclose(np.cov(moved.T), expected / 2, atol=0.02 * np.abs(expected).max())


def answers(head: LinearHead, x: np.ndarray) -> np.ndarray:
    return softmax(head.logits(x.astype(np.float32)))


def with_covariance(features: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return centred features of exactly this covariance."""
    centred = features - features.mean(axis=0)
    own = np.linalg.cholesky(np.cov(centred.T))
    return np.asarray(centred @ np.linalg.inv(own).T @ np.linalg.cholesky(covariance).T)


def test_aligned_is_skada_s_coral_on_covariances_with_the_identity() -> None:
    adapter = pytest.importorskip("skada").CORALAdapter(reg=None)
    source = RNG.normal(size=(300, 3)) * [1.0, 5.0, 0.1]
    target = RNG.normal(size=(200, 3)) @ RNG.normal(size=(3, 3))
    scale = source.std(axis=0)
    near = with_covariance(source / scale, np.cov((source / scale).T) + np.eye(3))
    far = with_covariance(target / scale, np.cov((target / scale).T) + np.eye(3))
    adapter.fit(np.concatenate([near, far]), sample_domain=np.repeat([1, -2], [300, 200]))
    centred = (source - source.mean(axis=0)) / scale
    expected = centred @ adapter.cov_source_inv_sqrt_ @ adapter.cov_target_sqrt_ * scale + target.mean(axis=0)
    np.testing.assert_allclose(aligned(source, target), expected, rtol=1e-2, atol=2e-2)


def test_weights_are_the_density_ratio_of_two_gaussians() -> None:
    """N(0, 1) against N(1, 1): the ratio at x is exp(x - 1/2)."""
    source = RNG.normal(0.0, 1.0, (3000, 1))
    weights = density_ratio(source, RNG.normal(1.0, 1.0, (2000, 1)), rng=np.random.default_rng(1))
    expected = np.exp(source[:, 0] - 0.5)
    assert np.corrcoef(np.log(weights), np.log(expected))[0, 1] > 0.99
    middle = np.abs(source[:, 0]) < 1.5
    np.testing.assert_allclose(weights[middle], expected[middle], rtol=0.25)


def test_clipped_weights_have_a_mean_of_one_and_no_giant() -> None:
    found = clipped(np.array([1.0] * 99 + [1e4]))
    assert found.mean() == pytest.approx(1.0)
    assert found.max() < 1e4 / 101 * 20
    assert effective_samples(np.ones(7)) == pytest.approx(7)


def test_equal_weights_give_the_head_that_is_solved_without() -> None:
    x = RNG.normal(size=(80, 4))
    labels = np.argmax(x[:, :3] + RNG.normal(size=(80, 3)), axis=1)
    plain = solve(x.astype(np.float32), labels, 3, 0.1)
    weighted = weighted_head(x, labels, 3, np.ones(80), 0.1)
    np.testing.assert_allclose(answers(weighted, x), answers(plain, x), atol=2e-3)


def test_a_weight_of_two_is_the_sample_twice() -> None:
    x = RNG.normal(size=(60, 3))
    labels = (x[:, 0] + RNG.normal(size=60) > 0).astype(np.int64)
    weights = np.where(np.arange(60) < 20, 2.0, 1.0)
    twice = np.concatenate([x, x[:20]])
    # the penalty counts against the sum of losses, so l2 * n has to be the same
    by_weight = weighted_head(x, labels, 3, weights, 0.1)
    by_copies = weighted_head(twice, np.concatenate([labels, labels[:20]]), 3, np.ones(80), 0.1 * 60 / 80)
    np.testing.assert_allclose(answers(by_weight, x), answers(by_copies, x), atol=1e-3)
    assert answers(by_weight, x)[:, 2].max() < 1e-9  # a class without samples


@pytest.mark.parametrize("name", ["coral", "reweight"])
def test_the_head_alone_is_new(name: str) -> None:
    made = world()
    found = run_arm(made, name)
    assert found.model is not None
    old = made.target.trunk.model.state_dict()
    moved = {key for key, tensor in found.model.state_dict().items() if not torch.equal(tensor, old[key])}
    assert moved == {"fc.weight", "fc.bias"}
    assert found.audit.trained_changed == 2
    assert found.audit.frozen_tensors == found.audit.frozen_unchanged
    assert np.array_equal(found.target, run_arm(made, name).target)


@pytest.mark.parametrize("l2", [1.0, 0.1, 0.01])
def test_equal_weights_give_the_same_head_of_two_classes_as_well(l2: float) -> None:
    x = RNG.normal(size=(80, 4))
    labels = (x[:, 0] + RNG.normal(size=80) > 0).astype(np.int64)
    plain = solve(x.astype(np.float32), labels, 2, l2)
    weighted = weighted_head(x, labels, 2, np.ones(80), l2)
    features = x.astype(np.float32)
    assert np.allclose(softmax(weighted.logits(features)), softmax(plain.logits(features)), rtol=0, atol=1e-3)
