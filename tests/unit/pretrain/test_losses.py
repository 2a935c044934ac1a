"""Losses against numbers worked by hand, plain loops over the formulas, and another library."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from frostline.pretrain.losses import (
    IGNORED,
    VicregWeights,
    Vocabulary,
    masked_words,
    nt_xent,
    quarter_turns,
    vicreg,
    with_holes,
)


@pytest.fixture
def views() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn((7, 5), generator=generator)
    return first, first + 0.3 * torch.randn((7, 5), generator=generator)


def test_two_perpendicular_samples_give_the_value_worked_by_hand() -> None:
    """Each projection meets its partner (similarity 1) and two that are perpendicular (0): -log(e^2 / (e^2 + 2))."""
    both = torch.eye(2)
    assert float(nt_xent(both, 3 * both, 0.5)) == pytest.approx(-math.log(math.e**2 / (math.e**2 + 2)))


def test_nt_xent_is_the_formula_written_out(views: tuple[Tensor, Tensor]) -> None:
    z = torch.cat(views).double().numpy()
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    n = len(views[0])
    terms = []
    for i in range(2 * n):
        others = sum(math.exp(z[i] @ z[k] / 0.2) for k in range(2 * n) if k != i)
        terms.append(-math.log(math.exp(z[i] @ z[(i + n) % (2 * n)] / 0.2) / others))
    assert float(nt_xent(*views, 0.2)) == pytest.approx(np.mean(terms), rel=1e-5)


def test_vicreg_has_the_value_worked_by_hand() -> None:
    """Columns (0, 2) and (0, 4): variances 2 and 8, so nothing is too narrow; covariance 4, so 2 * 16 / 2 a view."""
    one = torch.tensor([[0.0, 0.0], [2.0, 4.0]])
    assert float(vicreg(one, one)) == pytest.approx(2 * 16)
    narrow = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    assert float(vicreg(narrow, narrow)) == pytest.approx(25 * (1 - math.sqrt(1e-4)))
    moved = vicreg(one, one + 1, VicregWeights(invariance=1.0, variance=0.0, covariance=0.0))
    assert float(moved) == pytest.approx(1.0)


def test_both_losses_are_those_of_lightly(views: tuple[Tensor, Tensor]) -> None:
    loss = pytest.importorskip("lightly.loss")
    for temperature in (0.1, 0.5):
        assert float(nt_xent(*views, temperature)) == pytest.approx(
            float(loss.NTXentLoss(temperature=temperature)(*views)), rel=1e-5
        )
    assert float(vicreg(*views)) == pytest.approx(float(loss.VICRegLoss()(*views)), rel=1e-5)
    weights = VicregWeights(invariance=3.0, variance=5.0, covariance=7.0)
    theirs = loss.VICRegLoss(lambda_param=3.0, mu_param=5.0, nu_param=7.0)
    assert float(vicreg(*views, weights)) == pytest.approx(float(theirs(*views)), rel=1e-5)


def test_quarter_turns_are_those_of_numpy() -> None:
    images = torch.arange(2 * 3 * 4 * 4.0).view(2, 3, 4, 4)
    turned, turns = quarter_turns(images)
    assert turns.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    for row, turn in enumerate(turns.tolist()):
        assert np.array_equal(turned[row].numpy(), np.rot90(images[row % 2].numpy(), turn, (1, 2)))


def test_holes_take_the_mean_and_the_rest_stays() -> None:
    images = torch.arange(16.0).view(1, 1, 4, 4)
    holes = torch.tensor([[[True, False], [False, False]]])
    found = with_holes(images, holes)[0, 0]
    assert (found[:2, :2] == images.mean()).all()
    assert torch.equal(found[2:], images[0, 0, 2:])
    assert torch.equal(found[:, 2:], images[0, 0, :, 2:])


def test_words_are_hidden_in_the_shares_of_bert() -> None:
    vocabulary = Vocabulary(size=100, mask=4, marks=frozenset({0, 1, 2, 3, 4}))
    generator = np.random.default_rng(0)
    ids = torch.from_numpy(generator.integers(5, 100, (400, 40)))
    ids[:, 0] = 2
    there = torch.ones_like(ids)
    there[:, 30:] = 0
    read, asked = masked_words(ids, there, vocabulary, 0.15, generator)
    chosen = asked != IGNORED
    assert not chosen[:, 0].any()  # a mark
    assert not chosen[:, 30:].any()  # padding
    assert set(chosen.sum(1).tolist()) == {round(0.15 * 29)}
    assert torch.equal(asked[chosen], ids[chosen])
    assert torch.equal(read[~chosen], ids[~chosen])
    masked = (read[chosen] == 4).float().mean()
    kept = (read[chosen] == ids[chosen]).float().mean()
    assert float(masked) == pytest.approx(0.8, abs=0.03)
    assert float(kept) == pytest.approx(0.1, abs=0.03)
    assert int(read[chosen].min()) >= 4  # no mark takes a word's place


def test_a_short_text_has_one_hidden_word() -> None:
    vocabulary = Vocabulary(size=9, mask=4, marks=frozenset({0, 1, 2, 3, 4}))
    ids = torch.tensor([[2, 7, 3]])
    _, asked = masked_words(ids, torch.ones_like(ids), vocabulary, 0.15, np.random.default_rng(1))
    assert asked.tolist() == [[IGNORED, 7, IGNORED]]
