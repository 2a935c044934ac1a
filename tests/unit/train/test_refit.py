"""The refit's own judgement: a training that ended no better than guessing, and whose fault that was."""

from __future__ import annotations

import pytest

from frostline.base.errors import TrialError
from frostline.train.refit import check_converged
from helpers.train_studies import recipe, study

GUESSING = 0.693  # nats, two classes


def test_training_that_ends_above_guessing_is_called_divergence() -> None:
    made = study()
    check_converged(made, recipe(made, "finetune"), [0.69] * 5 + [0.2] * 5)
    with pytest.raises(TrialError, match="finetune diverged in the refit") as refused:
        check_converged(made, recipe(made, "finetune"), [0.69] * 5 + [3.0] * 5)
    assert "--lr" in refused.value.hint


def test_solved_head_that_dropout_ruins_before_the_first_step_is_named_as_the_cause() -> None:
    made = study()
    check_converged(made, recipe(made, "lp-ft"), [2 * GUESSING] + [0.2] * 9)  # it recovered
    with pytest.raises(TrialError, match=r"can't continue from its solved head.* 112\.000") as refused:
        check_converged(made, recipe(made, "lp-ft"), [112.0] + [90.0] * 9)
    assert "dropout" in refused.value.hint
    with pytest.raises(TrialError, match="lp-ft diverged in the refit"):
        check_converged(made, recipe(made, "lp-ft"), [0.1] + [90.0] * 9)
