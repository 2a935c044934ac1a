"""Chooses the recipes that can run here: the strategies asked for, the class map, and options without effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from frostline.base.errors import DataError, ModelError, RecipeError
from frostline.base.records import ClassMap, StageInfo
from frostline.cutting.stages import StageMap
from frostline.data.checks import some_of
from frostline.data.class_map import map_classes, read_label_map, read_source_classes
from frostline.models.kinds import has_batchnorm
from frostline.models.network import Network
from frostline.models.trainable import trained_parameters
from frostline.recipe.catalogue import Choices
from frostline.recipe.from_file import read_recipe_file, recipe_from_file
from frostline.recipe.recipe import Phase, Recipe
from frostline.recipe.selection import auto_strategies, make_recipe
from frostline.recipe.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenRecipes:
    """The recipes to compare; `skipped` names those that can't run here, with the reason."""

    recipes: tuple[Recipe, ...]
    skipped: dict[str, str]
    class_map: ClassMap | None
    files: Mapping[str, bytes] = field(default_factory=dict)  # the user's own recipes, as read


LABEL_MAP_HINT = (
    """Give --label-map FILE, such as {"ants": ["ant"], "bees": ["bee"]}: your class, then the network's."""
)
NO_MATCH = "none of your classes is among the network's classes"
UNNAMED = "the network doesn't name its classes (give the names with --source-classes FILE)"

NO_SUCH_TENSOR: dict[str, tuple[str, str]] = {  # what a part trains -> what the network lacks, and what to use instead
    "norm": ("no normalisation layer with a scale and shift", "Use bias, lora or freeze@K."),
    "bias": ("no bias (BatchNorm's shift follows its policy)", "Use norm, which trains the normalisation layers."),
    "lora": ("no linear layer or convolution", "Use norm, bias or freeze@K."),
}


def choose_recipes(settings: Settings, network: Network, stages: StageMap, classes: Sequence[str]) -> ChosenRecipes:
    """Return the recipes of `--strategies`, those that can't run here, and the class map.

    `classes` are those of the data. Raises RecipeError, DataError or ModelError for what can't be asked of this
    network or these data.
    """
    class_map, reason = find_class_map(settings, network, stages, classes)
    choices = Choices(batchnorm=settings.batchnorm, head=settings.head, layer_decay=settings.layer_decay)
    auto = auto_strategies(stages.stages, choices, mapped=_offers_mapped(class_map, reason))
    names = _expand_auto(settings.strategies, auto)
    files = {name: read_recipe_file(Path(name)) for name in names if name.endswith(".json")}
    recipes: list[Recipe] = []
    for name in names:
        if name in files:
            recipes.append(recipe_from_file(files[name][0], stages.stages))
        else:
            recipes.append(make_recipe(name, stages.stages, choices))
    _check_unique(recipes)
    skipped = skip_reasons(network, stages.stages, recipes)
    if class_map is None:
        mapped = [r.name for r in recipes if r.head_kind == "mapped"]
        asked = {*settings.strategies, *(file.name for file, _ in files.values())}
        if not asked.isdisjoint(mapped):
            raise RecipeError(f"{mapped[0]} can't run: {reason}.", _mapped_hint(network))
        skipped |= dict.fromkeys(mapped, reason)
    kept = tuple(r for r in recipes if r.name not in skipped)
    require_some(kept, skipped)
    contents = {file.name: data for file, data in files.values()}
    return ChosenRecipes(recipes=kept, skipped=skipped, class_map=class_map, files=contents)


def _expand_auto(strategies: Sequence[str], auto: Sequence[str]) -> list[str]:
    """Return each name once, with those of `auto` in the place of that word."""
    names: list[str] = []
    for name in strategies:
        names += auto if name == "auto" else [name]
    return list(dict.fromkeys(names))


def _check_unique(recipes: Sequence[Recipe]) -> None:
    names: set[str] = set()
    for recipe in recipes:
        if recipe.name in names:
            raise RecipeError(
                f"--strategies names {recipe.name} twice (a stage's name and its number).", "Name it once."
            )
        names.add(recipe.name)


def _offers_mapped(class_map: ClassMap | None, reason: str) -> bool:
    """True where auto has the mapped strategies: they can run, or a match of some classes says that they nearly can."""
    return class_map is not None or reason not in (NO_MATCH, UNNAMED)


def _mapped_hint(network: Network) -> str:
    if network.headless is None:
        return LABEL_MAP_HINT
    return "Choose other --strategies."


def find_class_map(
    settings: Settings, network: Network, stages: StageMap, classes: Sequence[str]
) -> tuple[ClassMap | None, str]:
    """Map the network's own classes to those of the data; returns the map (or None) and the reason for None.

    Raises DataError or RecipeError for names or a map that can't be right (data.class_map).
    """
    label_map: Mapping[str, tuple[str, ...]] = {}
    if settings.label_map:
        label_map = read_label_map(settings.label_map)
    names = network.classes
    if settings.source_classes:
        names = read_source_classes(settings.source_classes)
    if network.headless is not None:
        return None, network.headless
    if names is None:
        if label_map:
            raise RecipeError(
                "--label-map doesn't apply: the network doesn't name its classes.",
                "Give --source-classes FILE, one name per line.",
            )
        return None, UNNAMED
    _check_source_names(settings, network, len(names), stages.head.out_features)
    if network.load_report is not None and network.load_report.head_differs:
        return None, "the weights hold no head that fits the network's"
    class_map, missing = map_classes(names, classes, label_map)
    if class_map is not None:
        return class_map, ""
    if len(missing) == len(classes) and not label_map:
        return None, NO_MATCH
    return None, f"the network has no class that means {some_of(missing)}"


def _check_source_names(settings: Settings, network: Network, count: int, outputs: int) -> None:
    if count == outputs:
        return
    origin = f"The source of {network.spec}"
    if settings.source_classes:
        origin = str(settings.source_classes)
    raise DataError(
        f"{origin} names {count} classes, but the network has {outputs} outputs.",
        "Give --source-classes FILE with one line per output.",
    )


def check_applicable(settings: Settings, recipes: Sequence[Recipe], model: nn.Module, stages: StageMap) -> None:
    """Refuse options without effect, and strategies that find nothing to train in this network."""
    if all(not r.needs_network for r in recipes):
        raise RecipeError(
            "baseline is never the verdict, so it can't run alone.", "Add another strategy, such as probe."
        )
    _check_head(settings, recipes)
    _check_class_names(settings, recipes)
    _check_layer_decay(settings, recipes)
    _check_class_weights(settings, recipes)
    for recipe in recipes:
        if recipe.partial:
            _check_partial(settings, recipe, model, stages)
    _check_rate(settings, recipes)
    _check_batchnorm(settings, recipes, model)


def _recipe_names(recipes: Sequence[Recipe]) -> str:
    return ", ".join(r.name for r in recipes)


def _check_head(settings: Settings, recipes: Sequence[Recipe]) -> None:
    if settings.head != "linear" and all(r.head_kind != settings.head for r in recipes):
        raise RecipeError(
            f"--head {settings.head} doesn't apply: no strategy here makes a new head ({_recipe_names(recipes)}).",
            "Leave it out.",
        )


def _check_class_names(settings: Settings, recipes: Sequence[Recipe]) -> None:
    if any(r.head_kind == "mapped" for r in recipes):
        return
    for option, value in (("--label-map", settings.label_map), ("--source-classes", settings.source_classes)):
        if value is not None:
            raise RecipeError(
                f"{option} doesn't apply: no strategy here uses the network's own classes ({_recipe_names(recipes)}).",
                "Leave it out, or add as-is or continue to --strategies.",
            )


def _check_layer_decay(settings: Settings, recipes: Sequence[Recipe]) -> None:
    if settings.layer_decay is not None and not any(_tunes_pretrained(r) for r in recipes):
        raise RecipeError(
            f"--layer-decay doesn't apply: no strategy here trains a pre-trained stage ({_recipe_names(recipes)}).",
            "Leave it out.",
        )


def _tunes_pretrained(recipe: Recipe) -> bool:
    """True where some phase trains a stage that begins with pre-trained weights."""
    return any(
        origin == "pretrained" and part.trained
        for phase in recipe.phases
        for origin, part in zip(recipe.origins, phase.stages, strict=True)
    )


def _check_class_weights(settings: Settings, recipes: Sequence[Recipe]) -> None:
    if settings.class_weights and all(r.trains_nothing for r in recipes):
        raise RecipeError(
            f"--class-weights doesn't apply: no strategy here trains anything ({_recipe_names(recipes)}).",
            "Leave it out.",
        )


def _check_rate(settings: Settings, recipes: Sequence[Recipe]) -> None:
    if settings.lr is not None and not any(r.takes_steps for r in recipes):
        raise RecipeError(
            f"--lr doesn't apply: no strategy here takes steps ({_recipe_names(recipes)}).",
            "Leave it out, or add finetune to --strategies.",
        )


def _check_batchnorm(settings: Settings, recipes: Sequence[Recipe], model: nn.Module) -> None:
    if settings.batchnorm is None:
        return
    if not has_batchnorm(model):
        raise RecipeError("--batchnorm doesn't apply: the network has no BatchNorm.", "Leave it out.")
    if not any(r.takes_steps for r in recipes):
        raise RecipeError(
            f"--batchnorm doesn't apply: no strategy here trains a stage ({_recipe_names(recipes)}).", "Leave it out."
        )


def _check_partial(settings: Settings, recipe: Recipe, model: nn.Module, stages: StageMap) -> None:
    """Refuse a recipe that trains part of each stage, and finds no such tensor before the head."""
    for phase in recipe.stepped:
        kinds = _partial_kinds(phase)
        trained = trained_parameters(model, stages, phase.stages, phase.head)
        if not kinds or any(stage <= len(stages) for stage in trained.values()):
            continue
        lack, alternative = NO_SUCH_TENSOR[min(kinds)]
        fixed = settings.batchnorm in ("frozen", "statistics") and "norm" in kinds
        if fixed and has_batchnorm(model):
            lack = f"no normalisation layer but BatchNorm, which --batchnorm {settings.batchnorm} fixes"
            alternative = "Leave --batchnorm out."
        raise RecipeError(f"{recipe.name} can't run: the network has {lack} before its head.", alternative)


def _partial_kinds(phase: Phase) -> set[str]:
    return {part.what for part in phase.stages if part.trained and part.what != "all"}


def skip_reasons(network: Network, stages: Sequence[StageInfo], recipes: Sequence[Recipe]) -> dict[str, str]:
    """Return the names of the recipes that can't run on this network, each with the reason."""
    reasons: dict[str, str] = {}
    if network.self_loading:
        why = "the network's code loads its weights itself, so an untrained copy can't be built"
        reasons |= {r.name: why for r in recipes if "reinitialised" in r.origins}
    if not stages[-1].cuttable:
        why = f"the network can't be cut before its head: {stages[-1].why_not}"
        reasons |= {r.name: why for r in recipes if r.trains_head_only or (r.solves_head and not r.cut_short)}
    return reasons


def require_some(recipes: Sequence[Recipe], skipped: dict[str, str]) -> None:
    """Raise ModelError where no recipe is left to run."""
    if not recipes:
        name, reason = next(iter(skipped.items()))
        raise ModelError(f"{name} can't run: {reason}.", "Choose other --strategies.")
