"""Timed operations: the clock is made up, the operations are real."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from frostline.base.records import Block
from frostline.planning import gauge
from frostline.planning.gauge import Gauge
from frostline.race.plan import Plan, make_plan
from frostline.train.audit import tensor_hashes
from frostline.train.study import Study
from helpers.train_studies import recipe, scale_of, study


def plan(made: Study, *names: str) -> Plan:
    scale = scale_of(made)
    rows = made.development
    inner = tuple(
        Block(index=k, repeat=0, fold=k, train=rows[rows % 2 != k], validation=rows[rows % 2 == k]) for k in range(2)
    )
    empty = Plan(skipped={}, blocks=(), inner=inner, development=len(rows), scale=scale, alone=True)
    return make_plan(empty, [recipe(made, name) for name in names], lr=None)


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every reading of the clock is a second later: whatever is timed takes one."""
    count = itertools.count()
    monkeypatch.setattr(gauge, "time", SimpleNamespace(perf_counter=lambda: float(next(count))))


@pytest.mark.usefixtures("ticking")
def test_every_operation_is_scaled_to_its_unit() -> None:
    made = study(rows=14)
    asked = plan(made, "baseline", "probe", "finetune")
    speeds = Gauge(made, asked).speeds(lambda: 42.0)
    total = sum(s.operations for s in made.stages.stages)
    assert speeds.spent == 42.0
    assert speeds.image == pytest.approx(1 / made.batch_size)
    assert speeds.forward == pytest.approx(1 / (made.compute.chunk * total))
    assert speeds.step == 0.0
    assert speeds.train == pytest.approx(1 / (made.batch_size * total))
    assert speeds.solve == pytest.approx(1 / 28 * 2 * 3)  # 14 rows in 2 views; 3 folds of 2/3, and one on all
    assert speeds.baseline == pytest.approx(1 / 14**2)
    assert speeds.fed == speeds.image  # no store: each step makes its images again


def test_the_fixed_part_of_a_step_is_where_the_line_through_two_depths_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    made = study(rows=14)
    asked = plan(made, "freeze@3", "finetune")
    sides = {"finetune": 0.5, "freeze@3": 0.2}
    monkeypatch.setattr(Gauge, "_step", lambda _self, of, _inputs: sides[of.name])
    speeds = Gauge(made, asked).speeds(lambda: 0.0)
    for row in asked.rows:
        operations = sum(s.operations for s in made.stages.stages[row.recipe.frozen_stages :])
        assert speeds.step + speeds.train * operations * made.batch_size == pytest.approx(sides[row.recipe.name])


@pytest.mark.parametrize("names", [("probe",), ("baseline", "probe@2"), ("freeze@2", "finetune", "lp-ft", "scratch")])
def test_nothing_is_touched_by_measuring(names: tuple[str, ...], tmp_path: Any) -> None:
    made = study(rows=14, store=tmp_path)
    before, state = tensor_hashes(made.trunk.model), torch.random.get_rng_state()
    speeds = Gauge(made, plan(made, *names)).speeds(lambda: 0.0)
    assert tensor_hashes(made.trunk.model) == before
    assert torch.equal(torch.random.get_rng_state(), state)
    assert min(speeds.forward, speeds.image, speeds.setup) > 0
    assert speeds.fed == 0.0
    assert not list(tmp_path.rglob("*.bin"))
