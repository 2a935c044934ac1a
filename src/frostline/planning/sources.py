"""Several networks in one comparison: which settings hold for each, and their strategies side by side.

Strategies that start from a labelled source carry its label: `glyphs+probe`. All of them meet the same samples, blocks
and seeds, so they are compared in pairs like any others (docs/decisions/0022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from frostline.base.errors import DataError, RecipeError, nearest
from frostline.base.records import Dataset
from frostline.cutting.stages import StageMap
from frostline.data.checks import some_of
from frostline.data.contract import Samples
from frostline.data.read import ReadData
from frostline.features.store import open_store
from frostline.models.network import Network
from frostline.planning.choose import ChosenRecipes, check_applicable, choose_recipes
from frostline.planning.prepare import make_study, make_trunk
from frostline.recipe.recipe import SOURCE_MARK, named_for, source_and_strategy
from frostline.recipe.settings import Settings, option
from frostline.recipe.sources import parse_sources
from frostline.recipe.terms import PRETRAINED_FIRST
from frostline.train.study import Study

BASELINE = "baseline"
WITHOUT_WEIGHTS = frozenset((BASELINE, "scratch"))  # strategies that start from nothing
# Say something about one network, or about its own classes and stages.
OF_ONE_NETWORK = ("weights", "model_args", "mean", "std", "size", "stages", "source_classes", "label_map")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A network to start from, before it is read: its label (empty where it is the only one) and the settings that
    hold for it."""

    label: str
    settings: Settings


@dataclass(frozen=True)
class Mapped:
    """A network in inference mode with its stage map."""

    model: nn.Module
    stages: StageMap


@dataclass(frozen=True, kw_only=True)
class ReadSource:
    """A network that was read: the data as it reads them, its study, its recipes under their names within the
    comparison."""

    entry: Entry
    read: ReadData
    study: Study
    chosen: ChosenRecipes

    @property
    def sealed(self) -> Samples:
        """The contents of the sealed samples."""
        return self.read.samples.select(self.read.dataset.sealed)


def entries_of(settings: Settings) -> tuple[Entry, ...]:
    """Return the networks of `--model`, each with its own settings.

    Raises ModelError for a list that can't be read, RecipeError for options that don't apply to several networks and
    for strategies of a source that isn't there.
    """
    sources = parse_sources(settings.model)
    _check_pretraining(settings)
    _check_further_data(settings, several=len(sources) > 1)
    if len(sources) == 1 and (sources[0].weights is None or settings.weights is None):
        weights = sources[0].weights or settings.weights
        labels = [PRETRAINED_FIRST] if settings.pretrain else []
        if settings.pretrain and WITHOUT_WEIGHTS.issuperset(settings.strategies):
            raise RecipeError("--pretrain doesn't apply: no strategy here starts from its weights.", "Leave it out.")
        _refuse_unknown(settings.strategies, labels)
        strategies = strategies_for(settings.strategies, "", first=True)
        own = replace(settings, model=sources[0].spec, weights=weights, strategies=strategies)
        return (Entry(label="", settings=own),)
    _refuse_for_several(settings)
    labels = [source.label for source in sources]
    _refuse_unknown(settings.strategies, labels)
    return tuple(
        Entry(
            label=source.label,
            settings=replace(
                settings,
                model=source.spec,
                weights=source.weights,
                strategies=strategies_for(settings.strategies, source.label, first=source is sources[0]),
            ),
        )
        for source in sources
    )


def _check_pretraining(settings: Settings) -> None:
    if settings.pretrain is not None and settings.budget is not None:
        raise RecipeError("--budget can't plan for --pretrain.", "Leave it out; --pretrain-epochs limits the training.")
    for name in ("pretrain_method", "pretrain_epochs"):
        if settings.pretrain is None and getattr(settings, name) is not None:
            raise RecipeError(f"{option(name)} without --pretrain has nothing to train on.", "Add --pretrain FOLDER.")


def _check_further_data(settings: Settings, *, several: bool) -> None:
    given = [option(name) for name in ("target", "source_data") if getattr(settings, name) is not None]
    if given and several:
        raise RecipeError(f"{given[0]} can't be read for several networks.", "Compare one network at a time.")
    if given and settings.budget is not None:
        raise RecipeError(f"--budget can't plan for {given[0]}.", f"Leave --budget or {given[0]} out.")


def _refuse_for_several(settings: Settings) -> None:
    given = [name for name in OF_ONE_NETWORK if getattr(settings, name) not in (None, {})]
    if given:
        hint = "Leave it out, or compare one network at a time."
        if given[0] == "weights":
            hint = "Say the weights of each with it: SPEC=FILE or SPEC=random."
        raise RecipeError(f"{option(given[0])} doesn't say which of several networks it is for.", hint)
    if settings.budget is not None:
        raise RecipeError("--budget can't plan for several networks.", "Leave it out, or give one network.")
    if settings.pretrain is not None:
        raise RecipeError("--pretrain can't train several networks first.", "Give one network with --model.")


def _refuse_unknown(strategies: Sequence[str], labels: Sequence[str]) -> None:
    for name in strategies:
        label = source_and_strategy(name)[0]
        if not label or label in labels:
            continue
        hint = "Give several networks: --model SPEC,SPEC."
        if label == PRETRAINED_FIRST:
            hint = "Give --pretrain FOLDER, or leave it out."
        elif labels:
            hint = nearest(label, labels)
        raise RecipeError(f"--strategies names {name}, but no network is called {label}.", hint)


def strategies_for(strategies: Sequence[str], label: str, *, first: bool) -> tuple[str, ...]:
    """Return the plain names of the strategies that a source runs: those without a label and those with its own.

    `baseline` has no network, so the first source alone brings it. Raises RecipeError where nothing is left.
    """
    plain = [source_and_strategy(name)[1] for name in strategies if source_and_strategy(name)[0] in ("", label)]
    kept = tuple(name for name in plain if first or name != BASELINE)
    if not kept:
        raise RecipeError(
            f"No strategy of --strategies starts from {label or 'the network as it is given'}.",
            f"Name some without {SOURCE_MARK}: they run with every network.",
        )
    return kept


def entry_pretrained(settings: Settings, first: Entry) -> Entry:
    """Return the entry of the first source's network after a training on own unlabelled data (`--pretrain`)."""
    strategies = strategies_for(settings.strategies, PRETRAINED_FIRST, first=False)
    return Entry(label=PRETRAINED_FIRST, settings=replace(first.settings, strategies=strategies))


def labelled(chosen: ChosenRecipes, label: str, *, first: bool) -> ChosenRecipes:
    """Return the recipes under their names within a comparison of several sources.

    Left out are strategies that start from nothing of the source's, where another source brings them: `baseline` of
    all but the first, and `scratch` of weights that were trained on the user's own data first.
    """
    without = set() if first else {BASELINE}
    if label == PRETRAINED_FIRST:
        without |= WITHOUT_WEIGHTS
    recipes = [r for r in chosen.recipes if r.name not in without]
    skipped = {name: why for name, why in chosen.skipped.items() if name not in without}
    return replace(
        chosen,
        recipes=tuple(r.with_source(label) if r.needs_network else r for r in recipes),
        skipped={named_for(label, name) if name != BASELINE else name: why for name, why in skipped.items()},
    )


def make_source(entry: Entry, read: ReadData, network: Network, mapped: Mapped, *, first: bool = True) -> ReadSource:
    """Choose the recipes that run with a network, and make its study."""
    settings = entry.settings
    dataset = read.dataset
    chosen = choose_recipes(settings, network, mapped.stages, dataset.classes)
    check_applicable(settings, chosen.recipes, mapped.model, mapped.stages)
    trunk = make_trunk(settings, network, mapped.model, mapped.stages, len(dataset.development))
    study = make_study(settings, dataset, read.samples, network, trunk, open_store(settings.store))
    return ReadSource(
        entry=entry,
        read=read,
        study=replace(study, class_map=chosen.class_map),
        chosen=labelled(chosen, entry.label, first=first),
    )


def as_first_read(read: ReadData, first: Dataset, spec: str) -> ReadData:
    """Return the data as the first source met them, with their contents as a further one reads them.

    Which images are near copies, and so belong to one group, depends on the size at which a network reads them: the
    first source decides. Raises DataError where a further one can't read some of them.
    """
    places = {sample.id: place for place, sample in enumerate(read.dataset.samples)}
    lost = [sample.id for sample in first.samples if sample.id not in places]
    if lost:
        raise DataError(
            f"{spec} can't read {len(lost)} of the samples that the first network reads ({some_of(lost)}).",
            "Leave these files out, or compare one network at a time.",
        )
    rows = np.array([places[sample.id] for sample in first.samples], dtype=np.int64)
    return ReadData(first, read.samples.select(rows), read.contract)


def together(sources: Sequence[ReadSource]) -> tuple[Study, ChosenRecipes]:
    """Join sources into one study and one list of recipes, the first source first."""
    first = sources[0]
    skipped: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for source in sources:
        skipped |= source.chosen.skipped
        files |= source.chosen.files
    chosen = ChosenRecipes(
        recipes=tuple(recipe for source in sources for recipe in source.chosen.recipes),
        skipped=skipped,
        class_map=first.chosen.class_map,
        files=files,
    )
    others = {source.entry.label: source.study for source in sources[1:]}
    return replace(first.study, label=first.entry.label, others=others), chosen
