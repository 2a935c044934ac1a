"""A study with last readings: what is read near the end counts, weights aren't averaged, nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from frostline.recipe.schedule import Length
from frostline.stats.metrics import accuracy
from frostline.train.feed import predict_rows, reader
from frostline.train.loop import Job, LoopState, run_phase
from frostline.train.start import start_network
from frostline.train.study import LastReadings
from frostline.train.trial import run_and_keep, run_trial
from helpers.train_studies import study, trial

LAST = LastReadings(count=3, spacing=2)


@pytest.mark.parametrize(("total", "steps"), [(10, (6, 8, 10)), (4, (2, 4)), (1, (1,)), (5, (1, 3, 5))])
def test_readings_end_with_the_last_step(total: int, steps: tuple[int, ...]) -> None:
    assert LAST.steps(total) == steps


def test_the_accuracy_is_the_mean_of_the_readings() -> None:
    made = replace(study(epochs=4), last_readings=LAST)
    asked = trial(made, "reinit@2", batchnorm="all")
    outcome, model = run_and_keep(made, asked)
    assert model is not None
    votes = np.array(outcome.probabilities)
    labels = made.dataset.labels[np.asarray(asked.validation)]
    assert votes.sum(axis=1) == pytest.approx(1.0)
    assert set(np.round(votes * 3, 9).ravel()) <= {0.0, 1.0, 2.0, 3.0}
    assert outcome.accuracy == pytest.approx(votes[np.arange(len(labels)), labels].mean())


def test_the_kept_network_is_that_of_the_last_step_and_was_read_then() -> None:
    made = replace(study(epochs=4), last_readings=LastReadings(count=1, spacing=1))
    asked = trial(made, "scratch")
    outcome, model = run_and_keep(made, asked)
    assert model is not None
    positions = made.positions(asked.validation)
    probabilities = predict_rows(made, reader(made, model.eval(), 0), positions)
    assert np.array_equal(np.array(outcome.probabilities).argmax(1), probabilities.argmax(1))
    assert outcome.accuracy == accuracy(probabilities, made.dataset.labels[np.asarray(asked.validation)])


def test_reading_changes_no_step_of_the_training() -> None:
    losses = []
    for count in (1, 3):
        made = replace(study(epochs=4), last_readings=LastReadings(count=count, spacing=2))
        asked = trial(made, "scratch")
        model = start_network(made, asked.recipe, 0)
        job = Job(
            phase=asked.recipe.phases[-1],
            rate=1e-3,
            rows=np.asarray(asked.train),
            length=Length(12),
            block=0,
            held=np.asarray(asked.validation),
        )
        state = run_phase(made, model, reader(made, model, 0), job, LoopState())
        assert len(state.readings) == count
        losses.append((state.losses, [t.clone() for t in model.state_dict().values()]))
    assert losses[0][0] == losses[1][0]
    assert all(torch.equal(a, b) for a, b in zip(losses[0][1], losses[1][1], strict=True))


def test_without_them_a_trial_is_what_it_was() -> None:
    made = study(epochs=4)
    asked = trial(made, "scratch")
    assert made.last_readings is None
    first, second = run_trial(made, asked), run_and_keep(made, asked)[0]
    assert replace(first, seconds=0.0) == replace(second, seconds=0.0)
    rows = np.array(first.probabilities)
    assert not set(np.round(rows.ravel(), 6)) <= {0.0, 1.0}  # probabilities of averaged weights, no votes
