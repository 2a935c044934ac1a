"""The loop: batches, rates and seeds are the same for every strategy, and the length is kept."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.models.trainable import trained_parameters
from frostline.recipe.recipe import Phase
from frostline.recipe.schedule import Length
from frostline.train import loop
from frostline.train.loop import Job, WeightAverage, batches, make_optimiser
from frostline.train.start import start_network
from frostline.train.study import Study
from frostline.train.trial import SteppedTraining, run_trial, train_stepped
from helpers.train_studies import Net, recipe, study, trial

NONE = np.zeros(0, dtype=np.int64)


def job(
    made: Study,
    name: str = "finetune",
    *,
    rows: Sequence[int] | None = None,
    block: int = 0,
    rate: float = 1e-3,
    length: Length | None = None,
) -> Job:
    chosen = made.development if rows is None else np.asarray(rows)
    phase = recipe(made, name).phases[0]
    return Job(phase=phase, rate=rate, rows=chosen, length=length or Length(20), block=block)


def first(made: Study, of: Job, count: int) -> list[tuple[int, tuple[int, ...]]]:
    return [(epoch, tuple(batch.tolist())) for epoch, batch in itertools.islice(batches(made, of), count)]


def test_batches_are_the_same_whatever_the_strategy_and_rate() -> None:
    made = study(14)
    expected = first(made, job(made), 9)
    for name in ("freeze@1", "freeze@3", "scratch"):
        assert first(made, job(made, name, rate=0.5), 9) == expected
    assert first(study(14, seed=1), job(made), 9) != expected
    assert first(made, job(made, block=1), 9) != expected


def test_every_epoch_reads_each_row_once_in_a_new_order() -> None:
    made = study(14)
    read = first(made, job(made), 8)  # 14 rows in batches of at most 4, evenly
    assert [epoch for epoch, _ in read] == [0] * 4 + [1] * 4
    assert [len(batch) for _, batch in read] == [4, 4, 3, 3] * 2
    orders = [[row for e, batch in read if e == epoch for row in batch] for epoch in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(14))
    assert orders[0] != orders[1]


def test_no_batch_is_a_single_row_unless_that_is_all_there_is() -> None:
    made = study(14)
    assert [len(b) for _, b in first(made, job(made, rows=range(9)), 3)] == [3, 3, 3]
    pairs = study(14, batch_size=2)
    assert [len(b) for _, b in first(pairs, job(pairs, rows=range(5)), 2)] == [3, 2]
    assert [len(b) for _, b in first(made, job(made, rows=[3]), 2)] == [1, 1]


@given(rows=st.integers(1, 60), size=st.integers(2, 70))
@settings(max_examples=60, deadline=None)
def test_steps_per_epoch_is_the_number_of_batches(rows: int, size: int) -> None:
    made = study(14, batch_size=size)
    of = Job(phase=recipe(made, "finetune").phases[0], rate=1.0, rows=np.arange(rows), length=Length(20), block=0)
    read = list(itertools.takewhile(lambda pair: pair[0] == 0, batches(made, of)))
    assert len(read) == made.steps_per_epoch(rows)
    sizes = [len(batch) for _, batch in read]
    assert sum(sizes) == rows
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= size or (size == 2 and max(sizes) == 3) or rows == 1
    assert min(sizes) > 1 or rows == 1


def test_all_strategies_meet_the_same_rows_and_views(monkeypatch: pytest.MonkeyPatch) -> None:
    met: dict[str, list[Any]] = {}
    made, honest = study(14, epochs=3), loop.Stepper.step

    def noting(self: loop.Stepper, batch: Any, epoch: int) -> float:
        view = self.study.training_view(epoch, len(self.job.rows))
        met.setdefault(name, []).append((batch.tolist(), view, torch.initial_seed()))
        return honest(self, batch, epoch)

    monkeypatch.setattr(loop.Stepper, "step", noting)
    for name in ("freeze@1", "freeze@3", "finetune", "scratch"):
        assert run_trial(made, trial(made, name)).ok
    assert met["freeze@1"] == met["freeze@3"] == met["finetune"] == met["scratch"]
    assert [view for _, view, _ in met["scratch"]] == [1] * 3 + [2] * 3 + [3] * 3
    assert len({seed for _, _, seed in met["scratch"]}) == 9


def test_training_leaves_the_global_generators_alone() -> None:
    made = study(14)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    run_trial(made, trial(made, "finetune"))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_equal_seeds_give_equal_bits_and_other_seeds_do_not() -> None:
    same = [run_trial(made, trial(made, "freeze@2")).probabilities for made in (study(), study())]
    other = study(seed=1)
    assert same[0] == same[1]
    assert run_trial(other, trial(other, "freeze@2")).probabilities != same[0]


def groups(name: str, policy: Any = None) -> dict[str, tuple[float, float]]:
    """Parameter name -> (rate, decay)."""
    made = study()
    model = start_network(made, recipe(made, name), 0)
    phase = recipe(made, name, policy).phases[0]
    names = trained_parameters(model, made.stages, phase.stages, phase.head)
    optimiser = make_optimiser(made, model, names, Job(phase=phase, rate=0.01, rows=NONE, length=Length(20), block=0))
    known = {id(p): n for n, p in model.named_parameters()}
    return {known[id(p)]: (g["lr"], g["weight_decay"]) for g in optimiser.param_groups for p in g["params"]}


def test_optimiser_holds_what_trains_at_its_rate_and_decay() -> None:
    assert groups("freeze@3") == {
        "d.0.weight": (0.01, 1e-4),
        "fc.weight": (pytest.approx(0.1), 1e-4),  # a new head learns ten times as fast
        "fc.bias": (pytest.approx(0.1), 0.0),  # no decay on 1-D tensors
    }


def test_free_batchnorm_is_in_the_optimiser_without_decay() -> None:
    rates = groups("freeze@3", "all")
    assert rates["d.1.weight"] == rates["d.1.bias"] == (0.01, 0.0)
    assert set(rates) == {"d.0.weight", "d.1.weight", "d.1.bias", "fc.weight", "fc.bias"}


def test_scratch_trains_everything_and_its_head_at_the_same_rate() -> None:
    rates = groups("scratch")
    assert set(rates) == {name for name, _ in Net().named_parameters()}
    assert {rate for rate, _ in rates.values()} == {0.01}


def test_given_epochs_are_kept_exactly_and_the_curve_ends_at_the_end() -> None:
    made = study(14, epochs=3, batch_size=4)
    outcome = run_trial(made, trial(made, "finetune"))  # 10 rows: 4, 4, 2
    assert (outcome.steps, outcome.epochs) == (9, 3.0)
    assert outcome.curve[-1].step == 9


def test_a_loss_that_is_no_number_is_a_failed_trial_with_the_rate_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.Stepper, "step", lambda *_: math.nan)
    made = study()
    outcome = run_trial(made, trial(made, "finetune", rate=0.25))
    assert not outcome.ok
    assert outcome.error is not None
    assert "nan at step 1 (rate 0.25)" in outcome.error
    assert (outcome.accuracy, outcome.probabilities) == (0.0, ())


def test_a_last_step_that_breaks_the_weights_is_a_failed_trial() -> None:
    made = study(14, epochs=1, batch_size=64)  # one step: its loss is fine, what it leaves behind isn't
    assert not run_trial(made, trial(made, "finetune", rate=1e30)).ok


class Idle(Net):
    """Has a branch that training doesn't reach."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.c(self.b(self.a(x)))
        with torch.no_grad():
            x = self.d(x)
        scores: torch.Tensor = self.fc(self.pool(x).flatten(1))
        return scores


def test_trained_tensors_without_a_gradient_are_listed() -> None:
    made = study(make=Idle)
    listed = run_trial(made, trial(made, "finetune")).audit.no_gradient
    assert set(listed) == {f"{stage}.0.weight" for stage in "abcd"}


def test_the_last_third_is_averaged_and_what_does_not_move_keeps_its_bits() -> None:
    made = study()
    model = start_network(made, recipe(made, "finetune"), 0)
    weight = model.get_parameter("fc.bias")
    still = model.get_parameter("a.0.weight").detach().clone()
    average = WeightAverage(torch.optim.SGD(list(model.parameters()), lr=1.0), model)
    for value in (1.0, 2.0, 6.0):
        with torch.no_grad():
            weight.fill_(value)
        average.add()
    average.put()
    assert weight.tolist() == pytest.approx([3.0] * len(weight))
    assert torch.equal(model.get_parameter("a.0.weight"), still)


def test_what_is_handed_over_is_the_mean_of_the_last_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    made = study(14, epochs=None)
    seen: list[torch.Tensor] = []
    honest = loop.Stepper.step

    def noting(self: loop.Stepper, *arguments: Any) -> float:
        loss = honest(self, *arguments)
        seen.append(self.optimiser.param_groups[-1]["params"][-1].detach().clone())
        return loss

    monkeypatch.setattr(loop.Stepper, "step", noting)
    rows = made.development
    of = SteppedTraining(rate=1e-2, rows=rows, block=0, length=Length(9))
    trained = train_stepped(made, recipe(made, "finetune"), of)
    expected = torch.stack(seen[6:]).double().mean(0)
    parameters = dict(trained.model.named_parameters()).values()
    assert any(p.shape == expected.shape and torch.allclose(p.double(), expected, atol=1e-6) for p in parameters)
    assert not torch.allclose(seen[-1].double(), expected, atol=1e-6)


def test_a_training_that_diverges_stops_early(monkeypatch: pytest.MonkeyPatch) -> None:
    made = study(14, epochs=None)
    losses = iter([0.7] * 30 + [5.0] * 120)
    monkeypatch.setattr(loop.Stepper, "step", lambda *_: next(losses))
    outcome = run_trial(made, trial(made, "freeze@3"))
    assert outcome.error is not None
    assert "5 after 40 steps" in outcome.error


def test_sgd_is_used_where_a_phase_says_so() -> None:
    made = study()
    model = start_network(made, recipe(made, "finetune"), 0)
    finetune = recipe(made, "finetune").phases[0]
    phase = Phase(name="x", solver="stepped", stages=finetune.stages, head=finetune.head, optimiser="sgd")
    made_by = make_optimiser(
        made, model, {"fc.bias": 5}, Job(phase=phase, rate=1.0, rows=NONE, length=Length(20), block=0)
    )
    assert isinstance(made_by, torch.optim.SGD)
