"""The refit: a chosen recipe on all development data, with what the blocks found (rate, median length)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from frostline.base.errors import TrialError
from frostline.base.records import AuditCount, CurvePoint
from frostline.bundle.saved import SavedModel
from frostline.recipe.recipe import Recipe
from frostline.recipe.schedule import HOLD, MIN_STEPS, Length
from frostline.train.audit import NOTHING_MOVES, audit, hash_tensors, solved_audit
from frostline.train.ledger import make_ledger
from frostline.train.mix import mixed
from frostline.train.solve import LinearHead
from frostline.train.start import put_solution, start_network
from frostline.train.study import Study
from frostline.train.trial import SteppedTraining, solve_head, train_stepped

REFIT = -1  # stands for a block in seeds


@dataclass(frozen=True, kw_only=True)
class RefitResult:
    """The final network and what was recorded while it was made."""

    saved: SavedModel
    ledger: list[dict[str, Any]]
    audit: AuditCount
    l2: float | None = None
    steps: int | None = None
    epochs: float | None = None
    curve: tuple[CurvePoint, ...] = ()
    undertrained: bool = False
    mix: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedValues:
    """What tuning and blocks found for a recipe: its rate, and the medians of steps and mix."""

    rate: float | None = None
    steps: int | None = None
    mix: float | None = None


def refit(study: Study, recipe: Recipe, found: TunedValues) -> RefitResult:
    """Train on every development row. Raises TrialError when the result is no better than guessing (divergence)."""
    if recipe.trains_nothing:
        return _refit_untrained(study, recipe)
    return _refit_solved(study, recipe) if recipe.is_solved else _refit_stepped(study, recipe, found)


def _refit_solved(study: Study, recipe: Recipe) -> RefitResult:
    head = solve_head(study, recipe, study.development, block=REFIT)
    counted = solved_audit(study.trunk, recipe)
    final = headed(study, recipe, head)
    start = headed(study, recipe, None)
    ledger = make_ledger(start, final, study.stages, recipe, None)
    return RefitResult(
        saved=_finished(study, recipe, final, None, ledger),
        ledger=ledger,
        audit=counted,
        l2=head.l2,
        epochs=float(len(study.solved_views())),
    )


def headed(study: Study, recipe: Recipe, head: LinearHead | None) -> nn.Module:
    """The pre-trained network, cut where the recipe says, with this head (zeros for None)."""
    model = start_network(study, recipe, REFIT)
    if head is not None:
        put_solution(model, study, head)
    return model.eval()


def _refit_untrained(study: Study, recipe: Recipe) -> RefitResult:
    final = start_network(study, recipe, REFIT).eval()
    ledger = make_ledger(final, final, study.stages, recipe, None)
    counted = audit(study.trunk.hashes, hash_tensors(final), NOTHING_MOVES)
    return RefitResult(saved=_finished(study, recipe, final, None, ledger), ledger=ledger, audit=counted)


def _refit_stepped(study: Study, recipe: Recipe, found: TunedValues) -> RefitResult:
    rate = found.rate
    assert rate is not None
    length = Length(found.steps or MIN_STEPS, HOLD) if study.epochs is None else None
    how = SteppedTraining(rate=rate, rows=study.development, block=REFIT, length=length, keep_start=True)
    trained = train_stepped(study, recipe, how)
    check_converged(study, recipe, trained.done.losses)
    assert trained.before is not None
    final, mix = trained.model, None
    if trained.solved is not None:
        mix = 0.5 if found.mix is None else found.mix
        final = mixed(trained.solved, final, mix)
    ledger = make_ledger(trained.before, final, study.stages, recipe, rate)
    done = trained.done
    return RefitResult(
        saved=_finished(study, recipe, final.eval(), rate, ledger),
        ledger=ledger,
        audit=trained.audit,
        steps=done.steps,
        epochs=done.steps / study.steps_per_epoch(len(study.development)),
        curve=tuple(done.curve),
        undertrained=done.undertrained,
        mix=mix,
    )


def check_converged(study: Study, recipe: Recipe, losses: Sequence[float]) -> None:
    """Raise TrialError where training ended no better than guessing, by the mean loss of its last fifth."""
    fifth = max(1, len(losses) // 5)
    loss, guessing = math.fsum(losses[-fifth:]) / fifth, math.log(study.classes)
    limit = guessing * (1.02 if len(losses) >= MIN_STEPS else 1.5)  # a few steps may well end a little above guessing
    if recipe.head_origin != "new":  # a head that isn't new may begin worse than guessing, and single losses scatter
        limit = max(limit, max(losses[:fifth]) * 1.5)
    if loss <= limit:
        return
    if recipe.solves_head and losses[0] > limit:  # the first loss is that of the solved head, before any step
        raise TrialError(
            f"{recipe.name} can't go on from its solved head: dropout (or batch statistics) alone raised "
            f"the training loss to {losses[0]:.3f}, guessing gives {guessing:.3f}.",
            "Switch dropout off with --model-args, or leave the strategy out.",
        )
    raise TrialError(
        f"{recipe.name} diverged in the refit: training loss {loss:.3f}, guessing gives {guessing:.3f}.",
        "Give a lower --lr.",
    )


def _finished(
    study: Study, recipe: Recipe, model: nn.Module, rate: float | None, ledger: list[dict[str, Any]]
) -> SavedModel:
    stages = study.stages
    return SavedModel(
        model=model,
        recipe=recipe,
        form=study.head_form(recipe),
        rate=rate,
        network=study.network,
        head=stages.head,
        cut=stages.cut(recipe.keep) if recipe.cut_short else None,
        compute=study.compute,
        classes=study.dataset.classes,
        tensors=frozenset(row["tensor"] for row in ledger),  # what the network reads; the rest was thrown away
    )
