"""The forecast of a study: what the race is told beforehand, and what `frostline forecast` shows."""

from __future__ import annotations

import time
from collections.abc import Sequence

from frostline.base.events import Emit, Event, ProgressEvent
from frostline.base.records import Block
from frostline.forecast.forecast import Forecast, forecast
from frostline.forecast.groups import can_forecast
from frostline.forecast.question import Question
from frostline.race.plan import Plan
from frostline.race.short import Foresight
from frostline.race.standing import standing_from
from frostline.recipe.catalogue import is_anchor
from frostline.recipe.recipe import Recipe
from frostline.recipe.settings import Settings
from frostline.train.study import Study


def question_of(study: Study, blocks: Sequence[Block], recipes: Sequence[Recipe], emit: Emit) -> Question:
    """Return the question that a study asks of the forecast."""
    started = time.perf_counter()

    def progress(done: int, total: int) -> None:
        text = f"{done} of {total} samples"
        left = (time.perf_counter() - started) / done * (total - done)
        emit(ProgressEvent(kind="progress", text=text, done=done, total=total, seconds_left=left))

    return Question(
        dataset=study.dataset,
        features=study.features,
        development=study.development,
        blocks=blocks,
        recipes=recipes,
        seed=study.seed,
        class_weights=study.class_weights,
        progress=progress,
    )


def is_worth_forecasting(settings: Settings, study: Study, plan: Plan) -> bool:
    """True where something is compared that a forecast can speak of.

    Under a budget there is none: its time isn't counted in the plan.
    """
    if plan.alone or settings.budget is not None:
        return False
    return any(can_forecast(row.recipe) and has_last_cut(study.of(row.recipe)) for row in plan.rows)


def has_last_cut(study: Study) -> bool:
    """True where the network can be cut after its last stage, which a forecast needs."""
    return study.stages.cut(len(study.stages)) is not None


def may_spare(settings: Settings) -> bool:
    """True where strategies may be spared training: the user left the choice to us and doesn't want all tested.

    Log loss has no points, in which the rules of the short race are given.
    """
    return settings.strategies == ("auto",) and not settings.evaluate_all and settings.metric != "log-loss"


def foresee(settings: Settings, study: Study, plan: Plan, emit: Emit) -> tuple[Forecast, Foresight]:
    """Forecast the plan's strategies on its blocks, with `probe` and the like beside them."""
    recipes = [row.recipe for row in plan.rows]
    found = _one_forecast(
        [
            forecast(question_of(one, plan.race_blocks(), study.recipes_of(one, recipes), emit))
            for one in study.every()
            if has_last_cut(one)
        ]
    )
    for name, reason in found.left_out.items():
        emit(Event(kind="note", text=f"no forecast of {name}: {reason}"))
    standings = {}
    for row in plan.rows:
        name = row.recipe.name
        outcomes = found.of(name)
        if not outcomes:
            continue
        cost = 0.0
        if row.recipe.takes_steps:
            cost = plan.use_cost(row.recipe)
        standings[name] = standing_from(
            outcomes,
            study.dataset.labels,
            cost=cost,
            trained_parameters=row.trained_parameters,
            metric=plan.metric,
            is_anchor=is_anchor(row.recipe),
            purpose="forecast",
        )
    choose = may_spare(settings)
    return found, Foresight(standings=standings, choose=choose, may_end=choose and settings.blocks is None)


def _one_forecast(forecasts: Sequence[Forecast]) -> Forecast:
    """Join the forecasts of several sources; a parameter of the same name that couldn't be read is listed once."""
    missing: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for one in forecasts:
        missing |= one.missing
        left_out |= one.left_out
    return Forecast(
        outcomes=tuple(outcome for one in forecasts for outcome in one.outcomes),
        missing=missing,
        left_out=left_out,
        rows=max(one.rows for one in forecasts),
        seconds=sum(one.seconds for one in forecasts),
    )
