"""Which recipes can run here: the strategies asked for, the class map, and options that would change nothing."""

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
from frostline.models.network import Network
from frostline.models.trainable import trained_parameters
from frostline.recipe.catalogue import Choices
from frostline.recipe.own import read_own, recipe_of
from frostline.recipe.recipe import Recipe
from frostline.recipe.selection import auto_strategies, make_recipe
from frostline.recipe.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenRecipes:
    """What will be compared; `skipped` names what can't run here, with the reason."""

    recipes: tuple[Recipe, ...]
    skipped: dict[str, str]
    class_map: ClassMap | None
    files: Mapping[str, bytes] = field(default_factory=dict)  # the user's own recipes, as they were read


def choose_recipes(settings: Settings, network: Network, stages: StageMap, classes: Sequence[str]) -> ChosenRecipes:
    """The recipes of `--strategies`, those that can't run here, and the class map.

    `classes` are those of the data. Raises RecipeError, DataError or ModelError for what can't be asked of this
    network or these data.
    """
    found, reason = find_class_map(settings, network, stages, classes)
    choices = Choices(batchnorm=settings.batchnorm, head=settings.head, layer_decay=settings.layer_decay)
    names: list[str] = []
    for name in settings.strategies:
        names += auto_strategies(stages.stages, choices, mapped=_offered(found, reason)) if name == "auto" else [name]
    own = {name: read_own(Path(name)) for name in dict.fromkeys(names) if name.endswith(".json")}
    recipes = [
        recipe_of(own[name][0], stages.stages) if name in own else make_recipe(name, stages.stages, choices)
        for name in dict.fromkeys(names)
    ]
    if len({r.name for r in recipes}) < len(recipes):
        twice = next(r.name for i, r in enumerate(recipes) if r.name in {x.name for x in recipes[:i]})
        raise RecipeError(f"--strategies names {twice} twice (a stage's name and its number).", "Name it once.")
    mapped = [r.name for r in recipes if r.head_kind == "mapped"]
    asked = {*settings.strategies, *(recipe.name for recipe, _ in own.values())}
    if found is None and asked & {*mapped}:
        hint = LABEL_MAP_HINT if network.headless is None else "The other strategies can."
        raise RecipeError(f"{mapped[0]} can't run: {reason}.", hint)
    reasons = skip_reasons(network, stages.stages, recipes)
    reasons |= dict.fromkeys(mapped, reason) if found is None else {}
    kept = tuple(r for r in recipes if r.name not in reasons)
    require_some(kept, reasons)
    files = {recipe.name: data for recipe, data in own.values()}
    return ChosenRecipes(recipes=kept, skipped=reasons, class_map=found, files=files)


LABEL_MAP_HINT = """As in --label-map FILE with {"ants": ["ant"], "bees": ["bee"]}: your class, then the network's."""
NO_MATCH = "none of your classes is one of the network's"
UNNAMED = "the network doesn't say what its classes are called (--source-classes FILE)"


def _offered(found: ClassMap | None, reason: str) -> bool:
    """auto has the mapped strategies where they can run, and where a part of the classes says that they nearly can."""
    return found is not None or reason not in (NO_MATCH, UNNAMED)


def find_class_map(
    settings: Settings, network: Network, stages: StageMap, classes: Sequence[str]
) -> tuple[ClassMap | None, str]:
    """How the network's own classes map to those of the data, or None with the reason (empty where nothing matches).

    Raises DataError or RecipeError for names or a map that can't be right (data.class_map).
    """
    given = read_label_map(settings.label_map) if settings.label_map else {}
    file, outputs = settings.source_classes, stages.head.out_features
    names = read_source_classes(file) if file else network.classes
    if network.headless is not None:
        return None, network.headless
    if names is None:
        if given:
            raise RecipeError(
                "--label-map doesn't apply: the network doesn't say what its classes are called.",
                "Give --source-classes FILE, one name a line.",
            )
        return None, UNNAMED
    if len(names) != outputs:
        whose = str(file) if file else f"The source of {network.spec}"
        raise DataError(
            f"{whose} names {len(names)} classes, but the network has {outputs} outputs.",
            "Give --source-classes FILE with one line for each output.",
        )
    if network.load_report is not None and network.load_report.head_differs:
        return None, "the weights hold no head that fits the network's"
    found, missing = map_classes(names, classes, given)
    if found is None and len(missing) == len(classes) and not given:
        return None, NO_MATCH
    return found, "" if found else f"the network has no class that means {some_of(missing)}"


def check_applicable(settings: Settings, recipes: Sequence[Recipe], model: nn.Module, stages: StageMap) -> None:
    """Refuse options that would change nothing, and strategies that this network has nothing to train for."""
    if all(not r.needs_network for r in recipes):
        raise RecipeError(
            "baseline is never the verdict, so it can't run alone.", "Add another strategy, such as probe."
        )
    _check_heads(settings, recipes)
    _check_parts(settings, recipes, model, stages)
    stepped = any(r.takes_steps for r in recipes)
    names = ", ".join(r.name for r in recipes)
    if settings.lr is not None and not stepped:
        raise RecipeError(
            f"--lr doesn't apply: {names} takes no steps.", "Leave it out, or add finetune to --strategies."
        )
    if settings.batchnorm is not None:
        if not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()):
            raise RecipeError("--batchnorm doesn't apply: the network has no BatchNorm.", "Leave it out.")
        if not stepped:
            raise RecipeError(f"--batchnorm doesn't apply: {names} trains no stage.", "Leave it out.")


def _check_heads(settings: Settings, recipes: Sequence[Recipe]) -> None:
    names = ", ".join(r.name for r in recipes)
    if settings.head != "linear" and all(r.head_kind != settings.head for r in recipes):
        raise RecipeError(f"--head {settings.head} doesn't apply: {names} makes no new head.", "Leave it out.")
    mapped = any(r.head_kind == "mapped" for r in recipes)
    for option, value in (("--label-map", settings.label_map), ("--source-classes", settings.source_classes)):
        if value is not None and not mapped:
            raise RecipeError(
                f"{option} doesn't apply: {names} doesn't use the network's own classes.",
                "Leave it out, or add as-is or continue to --strategies.",
            )
    tuned = [
        p
        for r in recipes
        for phase in r.phases
        for origin, p in zip(r.origins, phase.stages, strict=True)
        if origin == "pretrained" and p.trained
    ]
    if settings.layer_decay is not None and not tuned:
        raise RecipeError(f"--layer-decay doesn't apply: {names} trains no pre-trained stage.", "Leave it out.")
    if settings.class_weights and all(r.trains_nothing for r in recipes):
        raise RecipeError(f"--class-weights doesn't apply: {names} trains nothing.", "Leave it out.")


NOTHING: dict[str, tuple[str, str]] = {  # what a part trains -> what the network lacks, and what to use instead
    "norm": ("no normalisation layer with a scale and shift", "Use bias, lora or freeze@K."),
    "bias": ("no bias (BatchNorm's shift goes with its policy)", "Use norm, which trains the normalisation layers."),
    "lora": ("no linear layer or convolution", "Use norm, bias or freeze@K."),
}


def _check_parts(settings: Settings, recipes: Sequence[Recipe], model: nn.Module, stages: StageMap) -> None:
    """A strategy that trains a part of each stage has to find such tensors before the head."""
    last = len(stages)
    for recipe in (r for r in recipes if r.partial):
        for phase in recipe.stepped:
            kinds = {p.what for p in phase.stages if p.trained} - {"all"}
            found = trained_parameters(model, stages, phase.stages, phase.head)
            if not kinds or any(stage <= last for stage in found.values()):
                continue
            lacks, instead = NOTHING[min(kinds)]
            fixed = settings.batchnorm in ("frozen", "statistics") and "norm" in kinds
            if fixed and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()):
                lacks = f"no normalisation layer but BatchNorm, which --batchnorm {settings.batchnorm} fixes"
                instead = "Leave --batchnorm out."
            raise RecipeError(f"{recipe.name} can't run: the network has {lacks} before its head.", instead)


def skip_reasons(network: Network, stages: Sequence[StageInfo], recipes: Sequence[Recipe]) -> dict[str, str]:
    """Those of the recipes that this network can't take part in."""
    reasons: dict[str, str] = {}
    if network.self_loading:
        why = "the network's code loads weights by itself, so there is no untrained form of it"
        reasons |= {r.name: why for r in recipes if "reinitialised" in r.origins}
    if not stages[-1].cuttable:
        why = f"the network can't be cut before its head: {stages[-1].why_not}"
        reasons |= {r.name: why for r in recipes if r.trains_head_only or (r.solves_head and not r.cut_short)}
    return reasons


def require_some(recipes: Sequence[Recipe], skipped: dict[str, str]) -> None:
    if not recipes:
        name, reason = next(iter(skipped.items()))
        raise ModelError(f"{name} can't run: {reason}.", "Choose other --strategies.")
