"""After the race: verdict, refit, the saved model, and the sealed test, opened once."""

from __future__ import annotations

from dataclasses import replace

from frostline.base.errors import TrialError
from frostline.base.events import Emit, Event
from frostline.base.records import Dataset, FloatArray, Verdict
from frostline.bundle.predict import predict_samples
from frostline.bundle.runfolder import RunFolder
from frostline.bundle.saved import Loaded, load_model, save_model
from frostline.conclude.calibrate import Calibration
from frostline.data.contract import Samples
from frostline.race.plan import Plan
from frostline.race.race import RaceResult, block_sizes, standings
from frostline.race.verdict import decide
from frostline.recipe.settings import Settings
from frostline.train.refit import Fitted, Found, refit
from frostline.train.sealed import predict_baseline, same_outputs
from frostline.train.study import Study


def conclude(
    settings: Settings, study: Study, plan: Plan, race: RaceResult, emit: Emit
) -> tuple[Verdict, dict[str, Fitted]]:
    """Verdict and refit. A verdict that diverges in the refit (before the seal is opened) gives way to the next."""
    fitted: dict[str, Fitted] = {}
    while True:
        verdict = judge(settings, plan, race, study.dataset)
        row = plan.row(verdict.strategy)
        try:
            if row.recipe.solver != "baseline":
                fitted[verdict.strategy] = refit_row(study, plan, race, verdict.strategy)
            break
        except TrialError as error:
            if plan.alone:
                raise
            race.failed[verdict.strategy] = str(error)
            emit(Event(kind="warning", text=str(error)))
    if settings.evaluate_all:
        for other in plan.rows:
            name = other.recipe.name
            if name not in fitted and name not in race.failed and other.recipe.solver != "baseline":
                try:
                    fitted[name] = refit_row(study, plan, race, name)
                except TrialError as error:  # the verdict stands; this one just has no sealed figure
                    emit(Event(kind="warning", text=str(error)))
    return verdict, fitted


def refit_row(study: Study, plan: Plan, race: RaceResult, name: str) -> Fitted:
    found = Found(rate=race.rates.get(name), steps=race.steps(name), mix=race.mix(name))
    return refit(study, plan.row(name).recipe, found)


def judge(settings: Settings, plan: Plan, race: RaceResult, dataset: Dataset) -> Verdict:
    """The verdict of the race; a strategy that ran alone is taken as it is."""
    if plan.alone:
        name = plan.rows[0].recipe.name
        if name in race.failed:
            raise TrialError(race.failed[name], "Give a lower --lr.")
        reason = f"{name} was the only strategy asked for: it was tuned, fitted and tested, and compared with nothing."
        return Verdict(strategy=name, best=name, reason=reason, runner_up=None, samples_needed=None)
    n_train, n_test = block_sizes(plan)
    return decide(standings(plan, race, dataset.labels), n_train=n_train, n_test=n_test, margin=settings.margin,
                  prefer=settings.prefer)  # fmt: skip


def save_checked(folder: RunFolder, study: Study, fitted: Fitted, calibration: Calibration) -> Loaded:
    """Save, read back into a freshly built network, and compare: only then does it count as saved."""
    save_model(folder.path / "model", calibration.onto(fitted.finished))
    loaded = load_model(folder.path / "model", trust_code=True, device=study.compute.device)
    loaded = replace(loaded, compute=study.compute)
    same_outputs(study, fitted, loaded)
    return loaded


def open_seal(
    settings: Settings, study: Study, plan: Plan, fitted: dict[str, Fitted], loaded: Loaded, sealed: Samples
) -> dict[str, FloatArray]:
    """Probabilities on the sealed part: of the saved model, calibrated, and (--evaluate-all) of all others, baseline
    too, as they give them."""
    verdict = loaded.recipe["strategy"]
    tests = {verdict: predict_samples(loaded, sealed)}
    for name in fitted:
        if name != verdict:
            other = replace(loaded, model=fitted[name].finished.model, temperature=1.0)
            tests[name] = predict_samples(other, sealed)
    if settings.evaluate_all and any(row.recipe.solver == "baseline" for row in plan.rows):
        tests["baseline"] = predict_baseline(study, sealed)
    return tests
