"""A few steps of training, against the same steps written out by hand; what they learn from, and what they leave."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from frostline.base.records import Block
from frostline.base.seeds import numpy_generator
from frostline.forecast.lessons import _lesson_sides, _samples_to_learn_from, _without, by_steps
from frostline.forecast.question import Question, folds_of, rows_read
from frostline.forecast.steps import BATCH, HEAD_RATE, RATE, STEPS, WARM_UP, Lesson, _batches, moved_features
from frostline.train.study import Study
from helpers.forecast_questions import question
from helpers.train_studies import study


def lesson(made: Study, weights: Tensor | None = None) -> Lesson:
    labels = torch.from_numpy(made.dataset.labels[made.development])
    return Lesson(places=torch.arange(10), labels=labels[:10], classes=2, weights=weights, seed=3, number=1)


def every_weight(made: Study) -> dict[str, float]:
    return {name: 1.0 for name, _ in made.trunk.model.named_parameters() if not name.startswith("fc")}


def features_by_hand(model: nn.Module, images: Tensor) -> Tensor:
    return model.d(model.c(model.b(model.a(images)))).mean((2, 3))  # type: ignore[operator]


def change_by_hand(made: Study, given: Lesson) -> nn.Module:
    """Adam as Kingma & Ba 2015 write it, on a copy of the network and a head of zeros."""
    model = copy.deepcopy(made.trunk.model).eval().requires_grad_(True)
    images = made.features.inputs(given.places, 0)
    assert isinstance(images, Tensor)
    with torch.no_grad():
        known = features_by_hand(model, images)
    mean, size = known.mean(0), (known - known.mean(0)).square().mean().sqrt()
    head, bias = torch.zeros(2, known.shape[1], requires_grad=True), torch.zeros(2, requires_grad=True)
    body = [p for name, p in model.named_parameters() if not name.startswith("fc")]
    moments = {p: (torch.zeros_like(p), torch.zeros_like(p)) for p in (*body, head, bias)}
    for step, batch in enumerate(batches_of(given), 1):
        scores = (features_by_hand(model, images[batch]) - mean) / size @ head.T + bias
        chances = scores.softmax(1)[range(len(batch)), given.labels[batch]]
        own = torch.ones(len(batch)) if given.weights is None else given.weights[given.labels[batch]]
        gradients = torch.autograd.grad(-(own * chances.log()).sum() / own.sum(), list(moments))
        with torch.no_grad():
            for (p, (first, second)), g in zip(moments.items(), gradients, strict=True):
                first.mul_(0.9).add_(0.1 * g)
                second.mul_(0.999).add_(0.001 * g * g)
                rate = (HEAD_RATE if p is head or p is bias else RATE) * min(1.0, step / WARM_UP)
                p -= rate * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
    return model


def batches_of(given: Lesson) -> list[Tensor]:
    """Ten samples, ten a step, in the order that the lesson draws: two passes."""
    generator = numpy_generator(given.seed, "forecast steps", given.number)
    return [torch.from_numpy(generator.permutation(10)) for _ in range(2)]


def test_features_move_as_by_steps_written_out_by_hand() -> None:
    made = study(24)
    rows = torch.arange(24)
    for given in (lesson(made), lesson(made, weights=torch.tensor([0.3, 1.7]))):
        found = moved_features(made.features, given, {"all": every_weight(made)}, rows)["all"]
        expected = features_by_hand(change_by_hand(made, given), made.features.inputs(rows, 0)).detach()  # type: ignore[arg-type]
        before = made.features.plain(4)
        change, known = found - before, expected - before
        assert float((change - known).norm()) < 0.02 * float(known.norm())


def test_a_part_moves_only_what_it_names_and_the_network_stays_as_it_was() -> None:
    made = study(24)
    before = {name: tensor.clone() for name, tensor in made.trunk.model.state_dict().items()}
    given = lesson(made)
    last = {name: 1.0 for name in every_weight(made) if name.startswith("d.")}
    parts = {"last": last, "half": dict.fromkeys(last, 0.5), "none": {}}
    found = moved_features(made.features, given, parts, torch.arange(24))
    trained = change_by_hand(made, given)
    mixed = copy.deepcopy(made.trunk.model).eval()
    mixed.d.load_state_dict(trained.d.state_dict())
    plain = made.features.plain(4)
    expected = features_by_hand(mixed, made.features.inputs(torch.arange(24), 0)).detach() - plain  # type: ignore[arg-type]
    assert float((found["last"] - plain - expected).norm()) < 0.02 * float(expected.norm())
    assert torch.equal(found["none"], plain)
    assert 0.3 < float((found["half"] - plain).norm() / expected.norm()) < 0.7
    after = made.trunk.model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert all(not parameter.requires_grad or parameter.grad is None for parameter in made.trunk.model.parameters())


def answers(asked: Question) -> dict[tuple[str, int], np.ndarray]:
    outcomes, left_out = by_steps(asked, asked.recipes[:3], rows_read(asked))
    assert not left_out
    return {(o.strategy, o.block): np.array(o.probabilities) for o in outcomes}


def test_no_label_of_a_held_out_sample_enters_its_forecast() -> None:
    """Solved one by one, the regressions give the same to the bit; all together they stop by the slowest of them."""
    asked = question(study(24))
    first = answers(asked)
    again = answers(asked)
    assert all(np.array_equal(found, again[key]) for key, found in first.items())
    for block in asked.blocks:
        held = set(block.validation.tolist())
        samples = tuple(
            replace(sample, label=1 - sample.label) if row in held else sample
            for row, sample in enumerate(asked.dataset.samples)
        )
        flipped = answers(replace(asked, dataset=replace(asked.dataset, samples=samples)))
        for name in ("probe", "freeze@2", "finetune"):
            np.testing.assert_allclose(flipped[name, block.index], first[name, block.index], rtol=0, atol=0.02)
        others = [b.index for b in asked.blocks if b.index != block.index]
        assert all(np.abs(flipped["finetune", k] - first["finetune", k]).max() > 0.1 for k in others)


def test_samples_of_a_lesson_are_held_out_by_no_block_that_shares_it() -> None:
    made = study(24)
    rows = made.development
    for count in (1, 2, 4):
        parts = [rows // 2 % max(count, 2) == k for k in range(count)]
        blocks = [
            Block(index=k, repeat=0, fold=k, train=rows[~held], validation=rows[held]) for k, held in enumerate(parts)
        ]
        asked = question(made, blocks=blocks)
        sides = _lesson_sides(folds_of(asked, rows))
        assert sorted(fold.block.index for side in sides for fold in side) == list(range(count))
        for side in sides:
            seen = _samples_to_learn_from(asked, side, rows)
            assert 0 < len(seen) <= min(len(fold.train) for fold in side) // 2
            for fold in side:
                assert set(seen) <= set(fold.train)
                assert not set(seen) & set(fold.held)
                assert all(not set(held) & set(seen) for _, held in _without(fold, seen).inner)


def test_steps_are_as_many_as_the_samples_allow() -> None:
    made = study(24)
    few = list(_batches(lesson(made)))
    assert [len(batch) for batch in few] == [10, 10]
    places = torch.arange(1000)
    many = list(_batches(replace(lesson(made), places=places, labels=places % 2)))
    assert [len(batch) for batch in many] == [BATCH] * STEPS
    assert len(torch.cat(many).unique()) == BATCH * STEPS
