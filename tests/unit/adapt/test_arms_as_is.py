"""Arms that leave the weights as they are, and AdaBN: against formulas by hand and torch's own statistics."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from frostline.adapt.adabn import SMOOTHING, statistics_layers
from frostline.adapt.arms import ARMS, LABELLED, run_arm, why_not
from frostline.adapt.world import SourceOutputs
from frostline.stats.proportions import corrected
from helpers.adapt_worlds import CLASSES, world


def test_as_is_is_the_softmax_of_the_logits_over_the_temperature() -> None:
    made = world()
    found = run_arm(made, "as-is")
    study = made.target
    inputs = study.features.inputs(study.positions(study.development), 0)
    with torch.no_grad():
        expected = (study.trunk.model.eval()(inputs) / made.temperature).softmax(1)
    np.testing.assert_allclose(found.target, expected.numpy(), atol=1e-6)
    assert found.model is None
    assert found.prior is None
    assert found.audit.frozen_tensors == found.audit.frozen_unchanged > 0


def test_the_features_are_what_the_head_reads() -> None:
    made = world()
    found = run_arm(made, "as-is")
    model = made.target.trunk.model
    with torch.no_grad():
        logits = model.fc(torch.from_numpy(found.target_features).float())  # type: ignore[operator]
    np.testing.assert_allclose(found.target, (logits / made.temperature).softmax(1).numpy(), atol=1e-6)
    assert found.held is not None
    assert found.held.shape == (20, CLASSES)


def test_bbse_solves_two_classes_by_hand() -> None:
    """Class 0 is recognised in 4 of 5 cases, class 1 in all: shares q solve [[.8, 0], [.2, 1]] q = seen."""
    made = world()
    sure = np.full((10, CLASSES), 0.01)
    labels = np.array([0] * 5 + [1] * 5)
    predicted = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    sure[np.arange(10), predicted] = 0.96
    made = replace(made, source=None, held=None, outputs=SourceOutputs(probabilities=sure, labels=labels))
    found = run_arm(made, "bbse")
    plain = run_arm(made, "as-is")
    seen = np.bincount(plain.target.argmax(axis=1), minlength=CLASSES) / len(plain.target)
    matrix = np.zeros((CLASSES, CLASSES))
    matrix[:2, :2] = [[0.8, 0.0], [0.2, 1.0]]
    shares = np.clip(np.linalg.pinv(matrix) @ seen, 0, None)
    if shares.sum() == 0:
        shares = np.ones(CLASSES)
    np.testing.assert_allclose(found.detail["shares"], shares / shares.sum(), atol=1e-9)
    assert found.prior is not None
    assert (found.prior > 0).all()
    np.testing.assert_allclose(found.prior[2:], 1.0)  # classes that the source never showed


def test_em_ends_where_the_corrected_mean_is_the_estimate() -> None:
    made = world()
    found = run_arm(made, "em")
    plain = run_arm(made, "as-is")
    assert found.prior is not None
    np.testing.assert_allclose(found.target, corrected(plain.target, found.prior))
    np.testing.assert_allclose(found.target.mean(axis=0), found.detail["shares"], atol=1e-4)


def test_adabn_takes_the_first_layer_s_statistics_from_the_target() -> None:
    made = world()
    found = run_arm(made, "adabn")
    study = made.target
    model = study.trunk.model
    inputs = study.features.inputs(study.positions(study.development), 0)
    own = torch.nn.BatchNorm2d(4, momentum=None)  # torch's cumulative statistics of one batch
    with torch.no_grad():
        own(model.a[0](inputs))  # type: ignore[operator,index]
    assert found.model is not None
    before, after = statistics_layers(model)[0], statistics_layers(found.model)[0]
    share = 30 / (30 + SMOOTHING)
    for name in ("running_mean", "running_var"):
        expected = (1 - share) * getattr(before, name) + share * getattr(own, name)
        torch.testing.assert_close(getattr(after, name), expected)


def test_adabn_moves_statistics_alone() -> None:
    made = world()
    found = run_arm(made, "adabn")
    assert found.model is not None
    old = made.target.trunk.model.state_dict()
    moved = {name for name, tensor in found.model.state_dict().items() if not torch.equal(tensor, old[name])}
    assert moved == {name for name in old if name.endswith(("running_mean", "running_var"))}
    assert found.audit.trained_tensors == 0
    assert found.audit.moving_on_purpose > 0
    again = run_arm(made, "adabn")
    assert np.array_equal(found.target, again.target)


@pytest.mark.parametrize("name", list(ARMS))
def test_an_arm_says_what_it_lacks(name: str) -> None:
    bare = replace(world(), source=None, held=None, outputs=None, labelled=None)
    reason = why_not(bare, name)
    assert reason is None or (reason and not reason.endswith("."))
    if name in LABELLED:
        assert reason is not None
        assert "target labels" in reason


def test_adabn_s_layers_fit_together() -> None:
    """Layer by layer: each has the smoothed statistics of what it is given by the adapted layers before it."""
    made = world(target_rows=60)
    found = run_arm(made, "adabn")
    study = made.target
    model = copy.deepcopy(study.trunk.model).eval()
    inputs = study.features.inputs(study.positions(study.development), 0)
    share = 60 / (60 + SMOOTHING)
    assert found.model is not None
    for layer, adapted in zip(statistics_layers(model), statistics_layers(found.model), strict=True):
        given: list[torch.Tensor] = []
        hook = layer.register_forward_pre_hook(lambda _layer, args, given=given: given.append(args[0]))
        with torch.no_grad():
            model(inputs)
        hook.remove()
        assert layer.running_mean is not None
        assert layer.running_var is not None
        values = given[0].double().transpose(0, 1).flatten(1)
        layer.running_mean = ((1 - share) * layer.running_mean + share * values.mean(1)).float()
        layer.running_var = ((1 - share) * layer.running_var + share * values.var(1)).float()
        torch.testing.assert_close(adapted.running_mean, layer.running_mean, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(adapted.running_var, layer.running_var, atol=1e-5, rtol=1e-4)
