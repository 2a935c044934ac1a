"""A forecast is out of fold, on the rows and with the weights that it was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from frostline.forecast.forecast import forecast
from helpers.forecast_questions import NAMES, question
from helpers.train_studies import study


def test_each_row_is_predicted_out_of_fold_by_what_can_be_forecast() -> None:
    asked = question(study(24))
    found = forecast(asked)
    assert {o.strategy for o in found.outcomes} == set(NAMES) - {"scratch"}
    for name in set(NAMES) - {"scratch"}:
        outcomes = found.of(name)
        assert [o.rows for o in outcomes] == [tuple(b.validation.tolist()) for b in asked.blocks]
        for outcome in outcomes:
            np.testing.assert_allclose(np.array(outcome.probabilities).sum(1), 1.0, atol=1e-5)


def test_what_trains_the_same_has_the_same_forecast_and_a_rerun_equals_it() -> None:
    first, second = (forecast(question(study(24))) for _ in range(2))
    kept = [[(o.key, o.probabilities, o.l2) for o in found.outcomes] for found in (first, second)]
    assert kept[0] == kept[1]
    twins = [[o.probabilities for o in first.of(name)] for name in ("finetune", "lp-ft")]
    assert twins[0] == twins[1]
    assert twins[0] != [o.probabilities for o in first.of("probe")]


def test_of_many_rows_only_some_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frostline.forecast.question.MOST_ROWS", 12)
    found = forecast(question(study(24)))
    assert found.rows == 12
    predicted = [row for o in found.of("finetune") for row in o.rows]
    assert len(predicted) == len(set(predicted)) == 12


def test_a_heavier_class_is_predicted_more_often() -> None:
    made = study(24)
    plain = forecast(question(made))
    heavy = forecast(question(made, class_weights=lambda _rows: np.array([0.1, 1.9])))
    means = [np.mean([np.array(o.probabilities)[:, 1].mean() for o in f.of("finetune")]) for f in (plain, heavy)]
    assert means[1] > means[0] + 0.02


def test_a_strategy_whose_gradients_cannot_be_read_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frostline.forecast.tangent.READERS", {})
    found = forecast(question(study(24)))
    assert {o.strategy for o in found.outcomes} == {"probe"}
    assert set(found.left_out) == {"freeze@2", "finetune", "lp-ft"}
    assert "100%" in found.left_out["finetune"]
    assert all("isn't watched" in reason for reason in found.missing.values())


def test_the_forecast_asks_for_plain_features_only() -> None:
    made = study(24)
    before = made.features.prefix_images
    forecast(question(made))
    assert made.features.prefix_images == before + 24  # one pass over view 0
    assert not made.features.pooled_stages
