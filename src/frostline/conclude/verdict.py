"""After the race: verdict, refit, the saved model, and the sealed test, opened once."""

from __future__ import annotations

from dataclasses import replace

from frostline.base.errors import TrialError
from frostline.base.events import Emit, Event
from frostline.base.records import Dataset, Verdict
from frostline.race.plan import Plan
from frostline.race.result import RaceResult, block_sizes, standings
from frostline.race.verdict import decide
from frostline.recipe.settings import Settings
from frostline.train.refit import RefitResult, TunedValues, refit
from frostline.train.study import Study


def conclude(
    settings: Settings, study: Study, plan: Plan, race: RaceResult, emit: Emit
) -> tuple[Verdict, dict[str, RefitResult], RaceResult]:
    """Choose the verdict and refit it; also return the race with what failed in a refit.

    If the verdict diverges in the refit (before the seal is opened), the next one takes its place.
    """
    refits: dict[str, RefitResult] = {}
    while True:
        verdict = judge(settings, plan, race, study.dataset)
        row = plan.row(verdict.strategy)
        try:
            if row.recipe.needs_network:
                refits[verdict.strategy] = refit_row(study, plan, race, verdict.strategy)
            break
        except TrialError as error:
            if plan.alone:
                raise
            race = replace(race, failed={**race.failed, verdict.strategy: str(error)})
            emit(Event(kind="warning", text=str(error)))
    if settings.tests_all:
        others = [row.recipe for row in plan.rows if row.recipe.name not in refits]
        for recipe in others:
            if recipe.name in race.failed or not recipe.needs_network:
                continue
            try:
                refits[recipe.name] = refit_row(study, plan, race, recipe.name)
            except TrialError as error:  # the verdict stands; this one just has no sealed figure
                emit(Event(kind="warning", text=str(error)))
    return verdict, refits, race


def refit_row(study: Study, plan: Plan, race: RaceResult, name: str) -> RefitResult:
    tuned = TunedValues(rate=race.rate(name), steps=race.steps(name), mix=race.mix(name))
    recipe = plan.row(name).recipe
    return refit(study.of(recipe), recipe, tuned)


def judge(settings: Settings, plan: Plan, race: RaceResult, dataset: Dataset) -> Verdict:
    """Return the verdict of the race; a strategy that ran alone is taken as it is."""
    if plan.alone:
        name = plan.rows[0].recipe.name
        if name in race.failed:
            raise TrialError(race.failed[name])  # the reason ends with what to do
        reason = f"{name} was the only strategy requested: it was tuned, fitted and tested, and compared with nothing."
        return Verdict(strategy=name, best=name, reason=reason, runner_up=None, samples_needed=None)
    n_train, n_test = block_sizes(plan)
    return decide(
        standings(plan, race, dataset.labels),
        n_train=n_train,
        n_test=n_test,
        margin=settings.margin,
        prefer=settings.prefer,
    )
