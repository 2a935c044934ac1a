"""Strategies of the whole network: as-is, continue, lp-ft, wise-ft, l2sp; MLP heads, layer decay, class weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional as F

from frostline.base.records import ClassMap
from frostline.bundle.saved import load_model, save_model
from frostline.models.trainable import trained_parameters
from frostline.planning.plan_race import want_features
from frostline.recipe.catalogue import Choices
from frostline.recipe.recipe import Recipe, Trial
from frostline.recipe.schedule import Length
from frostline.recipe.selection import make_recipe
from frostline.train.feed import predict_rows, reader
from frostline.train.loop import Job, anchors_of, make_optimiser, pull_back
from frostline.train.mix import mixed
from frostline.train.refit import TunedValues, refit
from frostline.train.solve import solve
from frostline.train.start import start_network
from frostline.train.study import Study
from frostline.train.trial import SteppedTraining, run_trial, train_stepped, training_length
from helpers.train_studies import study, trial

MAP = ClassMap(source=("s0", "s1", "s2", "s3", "s4"), groups=((0, 3), (1,)))


def mapped_study(**changed: Any) -> Study:
    return replace(study(**changed), class_map=MAP)


def chosen(made: Study, name: str, **choices: Any) -> Recipe:
    used = make_recipe(name, made.stages.stages, Choices(**choices))
    want_features(made, [used])
    return used


def a_trial(made: Study, used: Recipe, held: int = 4) -> Trial:
    rows = tuple(map(int, made.development))
    return Trial(recipe=used, purpose="block", block=0, rate=1e-3, train=rows[:-held], validation=rows[-held:])


def own_probabilities(made: Study) -> np.ndarray:
    """The untouched network's own, with the probabilities of mapped classes added by hand."""
    with torch.no_grad():
        p = made.trunk.model(made.features.inputs(torch.arange(len(made.development)), 0)).softmax(1).double().numpy()
    grouped = np.stack([p[:, 0] + p[:, 3], p[:, 1]], axis=1)
    return grouped / grouped.sum(axis=1, keepdims=True)


def test_as_is_adds_the_probabilities_of_the_classes_that_mean_one() -> None:
    made = mapped_study()
    outcome = run_trial(made, trial(made, "as-is"))
    assert np.array(outcome.probabilities) == pytest.approx(own_probabilities(made)[-4:], abs=1e-6)
    assert outcome.audit.frozen_tensors == outcome.audit.frozen_unchanged == len(made.trunk.hashes)
    assert outcome.audit.trained_tensors == 0


def test_continue_starts_from_the_mapped_network_and_trains_the_head_too() -> None:
    made = mapped_study()
    used = chosen(made, "continue")
    start = start_network(made, used, 0).eval()
    probabilities = predict_rows(made, reader(made, start, 0), torch.arange(len(made.development)))
    assert probabilities == pytest.approx(own_probabilities(made), abs=1e-6)
    assert torch.equal(start.get_parameter("fc.weight"), made.trunk.model.get_parameter("fc.weight"))
    fitted = refit(made, used, TunedValues(rate=1e-3))
    row = next(r for r in fitted.ledger if r["tensor"] == "fc.weight")
    assert (row["origin"], row["shape"]) == ("pretrained", [5, 8])
    assert row["distance"] > 0
    assert row["sha256_before"] == made.trunk.hashes["fc.weight"]


@pytest.mark.parametrize("name", ["as-is", "continue"])
def test_a_mapped_model_reloads_with_its_map(name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = mapped_study()
    fitted = refit(made, chosen(made, name), TunedValues(rate=1e-3))
    save_model(tmp_path, fitted.saved)
    monkeypatch.setattr("frostline.bundle.saved.check_spec", lambda *_, **__: None)  # of no file
    monkeypatch.setattr("frostline.bundle.saved.load_network", lambda *_: made.network)
    back = load_model(tmp_path)
    inputs = made.features.inputs(torch.arange(6), 0)
    with torch.no_grad():
        assert torch.equal(back.model(inputs), fitted.saved.model(inputs))
        assert back.model(inputs).shape == (6, 2)


def test_lp_ft_starts_where_the_probe_ends_and_its_head_learns_like_the_rest() -> None:
    made = study()
    used = replace(chosen(made, "lp-ft"), interpolated=True)  # keeps the network after the solved phase
    done = train_stepped(made, used, SteppedTraining(rate=1e-3, rows=made.development[:-4], block=0, length=Length(20)))
    assert done.solved is not None
    held = made.positions(made.development[-4:])
    probabilities = predict_rows(made, reader(made, done.solved.eval(), 0), held)
    want_features(made, [chosen(made, "probe"), used])
    assert probabilities == pytest.approx(np.array(run_trial(made, trial(made, "probe")).probabilities), abs=1e-5)
    names = trained_parameters(done.model, made.stages, used.phases[1].stages, used.phases[1].head)
    job = Job(phase=used.phases[1], rate=0.5, rows=made.development, length=Length(20), block=0)
    assert {g["lr"] for g in make_optimiser(made, done.model, names, job).param_groups} == {0.5}


def test_wise_ft_lies_on_the_line_and_its_ends_are_exact() -> None:
    made = study()
    used = chosen(made, "wise-ft")
    length = training_length(made, len(made.development), None)
    done = train_stepped(made, used, SteppedTraining(rate=1e-2, rows=made.development, block=-1, length=length))
    assert done.solved is not None
    for mix, end in ((0.0, done.solved), (1.0, done.model)):
        line = mixed(done.solved, done.model, mix).state_dict()
        assert all(torch.equal(line[k], v) for k, v in end.state_dict().items())
    third = mixed(done.solved, done.model, 0.3).get_parameter("b.0.weight")
    first, last = (m.get_parameter("b.0.weight").double() for m in (done.solved, done.model))
    assert torch.allclose(third.double(), 0.7 * first + 0.3 * last, atol=1e-7)
    fitted = refit(made, used, TunedValues(rate=1e-2, mix=0.3))
    assert fitted.mix == 0.3
    assert torch.equal(fitted.saved.model.get_parameter("b.0.weight"), third)


def test_wise_ft_takes_the_mix_with_the_lowest_inner_loss() -> None:
    made = study(40)
    outcome = run_trial(made, a_trial(made, chosen(made, "wise-ft"), held=8))
    assert outcome.mix in [i / 10 for i in range(11)]
    assert outcome.ok


def test_the_pull_is_the_gradient_of_the_penalty() -> None:
    made = study()
    used = chosen(made, "l2sp")
    model, phase = start_network(made, used, 0), used.phases[0]
    names = trained_parameters(model, made.stages, phase.stages, phase.head)
    anchors = anchors_of(model, names, phase)
    start = {n: p.detach().clone() for n, p in model.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator))
    parameters = {n: p for n, p in model.named_parameters() if n in names}
    stages = sum(((p - start[n]) ** 2).sum() for n, p in parameters.items() if not n.startswith("fc"))
    head = sum((p**2).sum() for n, p in parameters.items() if n.startswith("fc"))
    penalty = torch.as_tensor(0.05 * stages + 0.005 * head)
    expected = torch.autograd.grad(penalty, list(parameters.values()))
    for p in parameters.values():
        p.grad = torch.zeros_like(p)
    pull_back(anchors)
    for p, gradient in zip(parameters.values(), expected, strict=True):
        assert torch.allclose(p.grad, gradient, atol=1e-6)  # type: ignore[arg-type]


def test_l2sp_stays_nearer_to_its_start_than_finetune() -> None:
    made = study(epochs=8)
    distances = {}
    for name in ("finetune", "l2sp"):
        rows = refit(made, replace(chosen(made, name)), TunedValues(rate=1e-2)).ledger
        distances[name] = sum(row["distance"] ** 2 for row in rows if row["stage"] != "head")
    assert 0 < distances["l2sp"] < distances["finetune"]


def test_layer_decay_makes_each_stage_slower_than_the_next() -> None:
    made = study()
    used = chosen(made, "freeze@1", layer_decay=0.5)
    assert [p.lr_factor for p in used.phases[0].stages[1:]] == [0.125, 0.25, 0.5]  # d^(S + 1 - s), S = 4
    assert used.phases[0].head.lr_factor == 10.0


@pytest.mark.parametrize("name", ["probe", "probe@2"])
def test_an_mlp_head_is_trained_on_stored_features_bit_for_bit(name: str, tmp_path: Any) -> None:
    outcomes = []
    for store in (None, tmp_path / "store"):
        made = study(store=store)
        outcomes.append(run_trial(made, a_trial(made, chosen(made, name, head="mlp"))))
    assert outcomes[0].ok
    assert outcomes[0].probabilities == outcomes[1].probabilities
    counted = outcomes[0].audit
    assert (counted.trained_tensors, counted.trained_changed) == (4, 4)
    assert counted.frozen_tensors == counted.frozen_unchanged > 0


def test_an_mlp_head_on_a_cut_network_reloads(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = study()
    fitted = refit(made, chosen(made, "probe@2", head="mlp"), TunedValues(rate=1e-3))
    save_model(tmp_path, fitted.saved)
    monkeypatch.setattr("frostline.bundle.saved.check_spec", lambda *_, **__: None)  # of no file
    monkeypatch.setattr("frostline.bundle.saved.load_network", lambda *_: made.network)
    inputs = made.features.inputs(torch.arange(6), 0)
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path).model(inputs), fitted.saved.model(inputs))
    assert {r["stage"] for r in fitted.ledger} == {1, 2, "head"}


def test_an_mlp_head_starts_the_same_in_every_strategy_and_differs_by_block() -> None:
    made = study()
    starts = [
        start_network(made, chosen(made, n, head="mlp"), b) for n, b in (("probe", 0), ("finetune", 0), ("probe", 1))
    ]
    first, same, other = (m.get_parameter("fc.0.weight") for m in starts)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert not starts[0].get_parameter("fc.2.weight").any()


def test_class_weights_are_scikit_learns_balanced() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(90, 4)).astype(np.float32), np.repeat([0, 1, 2], [60, 20, 10])
    x += y[:, None]
    made = replace(study(), weigh_classes=True)
    weights = 90 / (3 * np.bincount(y))
    head = solve(x, y, 3, 0.1, class_weights=weights)
    scaled = (x - x.mean(0)) / x.std(0)
    reference = LogisticRegression(C=1 / (0.1 * 90), class_weight="balanced", tol=1e-8, max_iter=2000).fit(scaled, y)
    assert head.logits(x).argmax(1).tolist() == reference.predict(scaled).tolist()
    assert head.weight * x.std(0) == pytest.approx(reference.coef_, abs=2e-3)
    labels = made.dataset.labels[made.development]
    assert made.class_weights(made.development) == pytest.approx(len(labels) / (2 * np.bincount(labels)))
    assert study().class_weights(made.development) is None


def test_class_weights_enter_the_loss_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    honest = F.cross_entropy

    def noting(*args: Any, **kwargs: Any) -> Any:
        seen.append(kwargs.get("weight"))
        return honest(*args, **kwargs)

    monkeypatch.setattr("frostline.train.loop.F.cross_entropy", noting)
    made = replace(study(13), weigh_classes=True)
    run_trial(made, trial(made, "freeze@3"))
    rows = made.dataset.labels[made.development[:-4]]
    assert seen[0].tolist() == pytest.approx((len(rows) / (2 * np.bincount(rows))).tolist())


def test_a_mapped_convolution_merges_like_a_mapped_layer() -> None:
    from frostline.cutting.heads import HeadSite
    from frostline.models.new_heads import HeadForm, new_head

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 5, 1))
    x = torch.randn(4, 3, 1, 1)
    plain = net(x).flatten(1).softmax(1)
    new_head(
        net,
        HeadSite(path="0", kind="conv", in_features=3, out_features=5),
        2,
        HeadForm(kind="mapped", groups=MAP.groups),
    )
    merged = net(x).flatten(1).softmax(1)
    expected = torch.stack([plain[:, 0] + plain[:, 3], plain[:, 1]], 1)
    assert torch.allclose(merged, expected / expected.sum(1, keepdim=True), atol=1e-6)
