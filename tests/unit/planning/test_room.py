"""What doesn't fit into memory is refused before training; what a step keeps is counted, and nothing is touched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from frostline.base.errors import RecipeError
from frostline.planning import room
from frostline.planning.room import MB, check_memory, need_of
from frostline.race.plan import Plan, make_plan
from frostline.train.audit import tensor_hashes
from frostline.train.study import Study
from helpers.train_studies import SETTINGS, recipe, scale_of, study


def plan(made: Study, *names: str) -> Plan:
    scale = scale_of(made)
    empty = Plan(skipped={}, blocks=(), inner=(), development=len(made.development), scale=scale, alone=True)
    return make_plan(empty, [recipe(made, name) for name in names], lr=None)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process holds 100 MB, and no network is so small that it isn't counted."""
    monkeypatch.setattr(room, "anonymous_mb", lambda: 100.0)
    monkeypatch.setattr(room, "_is_plenty", lambda *_: False)


def test_a_step_keeps_less_the_more_stages_are_frozen() -> None:
    made = study()
    before, state = tensor_hashes(made.trunk.model), torch.random.get_rng_state()
    whole, half = (need_of(made, recipe(made, name)) for name in ("finetune", "freeze@2"))
    parameters = sum(p.nbytes for p in made.trunk.model.parameters())
    assert whole.network > 3 * parameters  # the head is another one
    assert half.network < whole.network
    assert 0 < half.sample < whole.sample
    # the first convolution keeps its input and its output, BatchNorm and ReLU theirs
    assert whole.sample - half.sample >= 4 * (3 * 16 * 16 + 2 * 4 * 8 * 8)
    assert tensor_hashes(made.trunk.model) == before
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.usefixtures("held")
def test_what_fits_passes_and_what_does_not_is_refused_with_what_to_type() -> None:
    made = study()
    asked = plan(made, "probe", "freeze@2", "finetune")
    need = need_of(made, recipe(made, "finetune"))
    made = replace(made, batch_size=-(-300 * MB // need.sample))
    check_memory(replace(SETTINGS, max_memory="500MB"), made, asked)
    with pytest.raises(RecipeError) as refused:
        check_memory(replace(SETTINGS, max_memory="300MB"), made, asked)
    assert "finetune takes at least 400 MB" in refused.value.message
    fitting = (200 * MB - need.network) // need.sample
    assert refused.value.hint.startswith(f"Give --batch-size {fitting}, or --max-memory 768MB")
    check_memory(replace(SETTINGS, max_memory="300MB"), replace(made, batch_size=fitting), asked)
    check_memory(replace(SETTINGS, max_memory="300MB"), made, plan(made, "probe"))


@pytest.mark.usefixtures("held")
def test_a_process_that_holds_more_already_is_refused() -> None:
    made = study()
    with pytest.raises(RecipeError, match="holds 100 MB before anything is trained") as refused:
        check_memory(replace(SETTINGS, max_memory="90MB"), made, plan(made, "probe"))
    assert "--max-memory 256MB" in refused.value.hint


def test_a_small_network_is_not_run_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr(room, "need_of", never)
    made = study()
    check_memory(replace(SETTINGS, max_memory="64GB"), made, plan(made, "finetune"))
