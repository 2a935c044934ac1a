"""The refit: a chosen recipe on all development data, with the rate and the median length of the blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from frostline.base.errors import TrialError
from frostline.base.records import AuditCount, CurvePoint
from frostline.bundle.saved import SavedModel, training_entry
from frostline.recipe.recipe import Recipe
from frostline.recipe.schedule import MIN_STEPS
from frostline.train.audit import ALL_FROZEN, audit, solved_audit, tensor_hashes
from frostline.train.ledger import make_ledger
from frostline.train.mix import DEFAULT_MIX, mixed
from frostline.train.solve import LinearHead
from frostline.train.start import put_solution, start_network
from frostline.train.study import Study
from frostline.train.trained import TrainedNetwork
from frostline.train.trial import SteppedTraining, solve_head, train_stepped, training_length, watched

REFIT = -1  # stands for a block in seeds
FIRST_CLASSES = 3  # that a history names; it names no folder, since a moved one would make another history


@dataclass(frozen=True, kw_only=True)
class RefitResult:
    """The final network and the record of its training."""

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
    """The values that tuning and blocks chose for a recipe: its rate, and the medians of steps and mix."""

    rate: float | None = None
    steps: int | None = None
    mix: float | None = None


def refit(study: Study, recipe: Recipe, tuned: TunedValues) -> RefitResult:
    """Train on every development sample.

    Raises TrialError when the result is no better than guessing (divergence), and for want of memory.
    """
    with watched(f"{study.trunk.fingerprint}/refit/{recipe.name}", recipe.name):
        if recipe.trains_nothing:
            return _refit_untrained(study, recipe)
        if recipe.is_solved:
            return _refit_solved(study, recipe)
        return _refit_stepped(study, recipe, tuned)


def _refit_solved(study: Study, recipe: Recipe) -> RefitResult:
    head = solve_head(study, recipe, study.development, block=REFIT)
    counted = solved_audit(study.trunk, recipe)
    final = network_with_head(study, recipe, head)
    start = network_with_head(study, recipe, None)
    ledger = make_ledger(start, final, study.stages, recipe, None)
    return RefitResult(
        saved=_saved_model(study, recipe, final, None, ledger),
        ledger=ledger,
        audit=counted,
        l2=head.l2,
        epochs=float(len(study.solved_views())),
    )


def network_with_head(study: Study, recipe: Recipe, head: LinearHead | None) -> nn.Module:
    """Return the pre-trained network, cut where the recipe says, with this head (zeros for None)."""
    model = start_network(study, recipe, REFIT)
    if head is not None:
        put_solution(model, study, head)
    return model.eval()


def _refit_untrained(study: Study, recipe: Recipe) -> RefitResult:
    final = start_network(study, recipe, REFIT).eval()
    ledger = make_ledger(final, final, study.stages, recipe, None)
    counted = audit(study.trunk.hashes, tensor_hashes(final), ALL_FROZEN)
    return RefitResult(saved=_saved_model(study, recipe, final, None, ledger), ledger=ledger, audit=counted)


def _refit_stepped(study: Study, recipe: Recipe, tuned: TunedValues) -> RefitResult:
    rate = tuned.rate
    assert rate is not None
    length = training_length(study, len(study.development), tuned.steps)
    training = SteppedTraining(rate=rate, rows=study.development, block=REFIT, length=length, keep_start=True)
    trained = train_stepped(study, recipe, training)
    check_converged(study, recipe, trained.done.losses)
    assert trained.before is not None
    final, mix = _mixed_result(trained, tuned.mix)
    ledger = make_ledger(trained.before, final, study.stages, recipe, rate)
    done = trained.done
    return RefitResult(
        saved=_saved_model(study, recipe, final.eval(), rate, ledger, steps=done.steps),
        ledger=ledger,
        audit=trained.audit,
        steps=done.steps,
        epochs=done.steps / study.steps_per_epoch(len(study.development)),
        curve=tuple(done.curve),
        undertrained=done.undertrained,
        mix=mix,
    )


def _mixed_result(trained: TrainedNetwork, mix: float | None) -> tuple[nn.Module, float | None]:
    """Return the final network, mixed with its solved head where the recipe says so, and the mix."""
    if trained.solved is None:
        return trained.model, None
    if mix is None:
        mix = DEFAULT_MIX
    return mixed(trained.solved, trained.model, mix), mix


def check_converged(study: Study, recipe: Recipe, losses: Sequence[float]) -> None:
    """Raise TrialError where training ended no better than guessing, by the mean loss of its last fifth."""
    fifth = max(1, len(losses) // 5)
    loss = math.fsum(losses[-fifth:]) / fifth
    guessing = math.log(study.classes)
    tolerance = 1.02
    if len(losses) < MIN_STEPS:  # a few steps may well end a little above guessing
        tolerance = 1.5
    limit = guessing * tolerance
    if recipe.head_origin != "new":  # a head that isn't new may begin worse than guessing, and single losses scatter
        limit = max(limit, max(losses[:fifth]) * 1.5)
    if loss <= limit:
        return
    if recipe.solves_head and losses[0] > limit:  # the first loss is that of the solved head, before any step
        raise TrialError(
            f"{recipe.name} can't continue from its solved head: dropout or batch statistics alone raised "
            f"the training loss to {losses[0]:.3f}, and guessing gives {guessing:.3f}.",
            "Switch dropout off with --model-args, or leave the strategy out.",
        )
    raise TrialError(
        f"{recipe.name} diverged in the refit: training loss {loss:.3f}, and guessing gives {guessing:.3f}.",
        "Give a lower --lr.",
    )


def _saved_model(
    study: Study,
    recipe: Recipe,
    model: nn.Module,
    rate: float | None,
    ledger: list[dict[str, Any]],
    *,
    steps: int | None = None,
) -> SavedModel:
    cut = None
    if recipe.cut_short:
        cut = study.stages.cut(recipe.keep)
    entry = training_entry(
        "supervised",
        study.network,
        strategy=recipe.name,
        n=len(study.development),
        classes=len(study.dataset.classes),
        first_classes=list(study.dataset.classes[:FIRST_CLASSES]),
        steps=steps,
        rate=rate,
    )
    return SavedModel(
        model=model,
        recipe=recipe,
        form=study.head_form(recipe),
        rate=rate,
        network=study.network,
        head=study.stages.head,
        cut=cut,
        compute=study.compute,
        classes=study.dataset.classes,
        tensors=frozenset(row["tensor"] for row in ledger),  # those that the network reads; the others were thrown away
        entry=entry,
    )
