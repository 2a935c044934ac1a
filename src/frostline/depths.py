"""The forecast of every depth by itself: what `frostline forecast` gives, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from torch import nn

from frostline.base.errors import ModelError
from frostline.base.events import Emit, silent
from frostline.base.records import Block
from frostline.bundle.typed import Interval, Record, VolatileFloat
from frostline.cutting.stages import StageMap
from frostline.data.scan import Listing
from frostline.data.split import make_blocks
from frostline.data.texts import TextPreprocess
from frostline.features.store import open_store
from frostline.forecast.forecast import Forecast, forecast
from frostline.forecast.groups import can_forecast
from frostline.models.kinds import kinds_of
from frostline.pipeline import read_arguments, read_inputs
from frostline.planning.choose import check_applicable, choose_recipes
from frostline.planning.foresee import question_of
from frostline.planning.prepare import make_study, make_trunk, map_network, with_lengths
from frostline.race.compare import compare, score_interval
from frostline.race.standing import Standing, standing_from
from frostline.recipe.recipe import Recipe
from frostline.recipe.settings import Settings
from frostline.recipe.terms import term
from frostline.record.journal import keep_journal
from frostline.train.study import Study

ANCHOR = "probe"  # what every depth is compared with


class DepthRecord(Record):
    """The forecast of one strategy; differences are to `probe`, as shares (0.01 is a point)."""

    name: str
    term: str
    trained_stages: list[int]
    accuracy: float
    accuracy_ci: Interval
    log_loss: float
    versus_probe: float | None
    versus_probe_ci: Interval | None


class DepthForecastRecord(Record):
    """What `frostline forecast --json` prints: `rows` samples of `development` were read, on `blocks` paired splits."""

    model: str
    data: str
    rows: int
    development: int
    blocks: int
    modality: Literal["image", "text"] = "image"
    seconds: VolatileFloat
    strategies: list[DepthRecord]
    left_out: dict[str, str]  # strategies that can't be forecast here, with the reason
    missing: dict[str, str]  # parameters whose gradients could not be read, with the reason


def forecast_depths(data: Any, model: str, *, emit: Emit = silent, **options: Any) -> DepthForecastRecord:
    """Forecast what every depth of fine-tuning would reach on `data` with `model`; nothing is trained or written.

    Args:
        data, model: as in :func:`frostline.fit`.
        emit: called with every event (base.events).
        options: the fields of :class:`frostline.recipe.settings.Settings` that concern data, network and machine.
            `strategies` are by default `probe`, every `freeze@K`, `finetune`, `norm`, `bias` and `lora`.

    Returns:
        DepthForecastRecord: for each strategy its accuracy with an interval, and its difference to `probe`.

    Raises:
        FrostlineError: with what was found, what was expected and what to do next.
    """
    settings, listing = read_arguments(data, model, options)
    return run_forecast(settings, emit, listing)


def run_forecast(settings: Settings, emit: Emit = silent, listing: Listing | None = None) -> DepthForecastRecord:
    """Do the work of :func:`forecast_depths`."""
    with keep_journal(emit) as journal:
        network, read = read_inputs(settings, listing, journal)
        dataset = read.dataset
        with journal.phase("map the network"):
            mapped, stages = map_network(network, settings.stages)
            network = with_lengths(network, mapped, stages)
            if settings.strategies == ("auto",):
                settings = replace(settings, strategies=every_depth(mapped, stages))
            chosen = choose_recipes(settings, network, stages, dataset.classes)
            check_applicable(settings, chosen.recipes, mapped, stages)
            recipes = [r for r in chosen.recipes if can_forecast(r) or r.name == ANCHOR]
            if not any(can_forecast(r) for r in recipes):
                raise ModelError(
                    "None of these strategies can be forecast: a forecast is for those that train pre-trained stages.",
                    "Use finetune, freeze@K, norm, bias or lora, or run frostline fit.",
                )
            trunk = make_trunk(settings, network, mapped, stages, len(dataset.development))
        study = make_study(settings, dataset, read.samples, network, trunk, open_store(settings.store))
        cheap = not isinstance(network.preprocess, TextPreprocess)  # of texts every repeat takes steps of its own
        blocks = make_blocks(dataset, count=settings.blocks, seed=settings.seed, cheap=cheap)
        with journal.phase("forecast"):
            found = forecast(question_of(study, blocks, recipes, emit))
        if all(r.name in found.left_out for r in recipes if can_forecast(r)):
            reason = next(iter(found.left_out.values()))
            raise ModelError(f"This network can't be forecast: {reason}.", "Run frostline fit, which measures.")
        return _record(settings, study, blocks, recipes, found)


def every_depth(model: nn.Module, stages: StageMap) -> tuple[str, ...]:
    """Return the names of all strategies that this network allows and a forecast can tell apart."""
    kinds = kinds_of(model)
    last = len(stages)
    names = [
        ANCHOR,
        *(f"freeze@{s.index}" for s in reversed(stages.stages) if s.cuttable and s.index < last),
        "finetune",
    ]
    before_head = {
        "norm": kinds.norm,
        "bias": kinds.bias,
        "lora": kinds.matrices,
    }
    names += [name for name, members in before_head.items() if any(not stages.head.owns(m) for m in members)]
    return tuple(names)


def _record(
    settings: Settings, study: Study, blocks: Sequence[Block], recipes: Sequence[Recipe], found: Forecast
) -> DepthForecastRecord:
    labels = study.dataset.labels
    n_train = float(np.mean([len(block.train) for block in blocks]))
    n_test = float(np.mean([len(block.validation) for block in blocks]))
    standings: dict[str, Standing] = {}
    for recipe in recipes:
        outcomes = found.of(recipe.name)
        if outcomes:
            standings[recipe.name] = standing_from(outcomes, labels, trained_parameters=0, purpose="forecast")
    anchor = standings.get(ANCHOR)
    rows = []
    for recipe in recipes:
        standing = standings.get(recipe.name)
        if standing is None:
            continue
        difference = None
        interval = None
        if anchor is not None and standing is not anchor:
            result = compare(standing, anchor, n_train=n_train, n_test=n_test)
            difference = result.mean
            interval = result.ci
        rows.append(
            DepthRecord(
                name=recipe.name,
                term=term(recipe),
                trained_stages=_trained_stages(recipe),
                accuracy=standing.score,
                accuracy_ci=score_interval(standing, n_train=n_train, n_test=n_test),
                log_loss=standing.log_loss,
                versus_probe=difference,
                versus_probe_ci=interval,
            )
        )
    return DepthForecastRecord(
        model=settings.model,
        data=str(settings.data),
        rows=found.rows,
        development=len(study.development),
        blocks=len(blocks),
        modality="text" if isinstance(study.network.preprocess, TextPreprocess) else "image",
        seconds=found.seconds,
        strategies=rows,
        left_out=dict(found.left_out),
        missing=dict(found.missing),
    )


def _trained_stages(recipe: Recipe) -> list[int]:
    """Return the numbers of the stages that the last phase trains."""
    return [number for number, part in enumerate(recipe.phases[-1].stages, 1) if not part.frozen]
