"""What keeps a recipe from running: combinations of origins, parts, phases and cuts that make no sense together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from frostline.base.errors import RecipeError
from frostline.base.records import StageInfo
from frostline.recipe.recipe import Recipe

Fault = tuple[bool, str, str]  # whether it is there, what is wrong, hint


def check_recipe(recipe: Recipe, stages: Sequence[StageInfo]) -> None:
    """Refuse a recipe that no trial could carry out on these stages, with a RecipeError."""
    refuse_first(recipe.name, (*_origin_faults(recipe), *_adapter_faults(recipe)))
    _check_cut(recipe, stages)


def refuse_first(name: str, faults: Iterable[Fault]) -> None:
    """Raise a RecipeError for the first fault that is there."""
    for present, fault, hint in faults:
        if present:
            raise RecipeError(f"The recipe {name} can't run: {fault}.", hint)


def _origin_faults(recipe: Recipe) -> list[Fault]:
    """List what the stages' origins or a cut may not allow."""
    trains_stage = any(part.trained for phase in recipe.phases for part in phase.stages)
    touched_while_solved = any(not p.frozen for phase in recipe.phases if phase.is_solved for p in phase.stages)
    reinitialised = "reinitialised" in recipe.origins[: recipe.keep]
    return [
        (
            recipe.cut_short and trains_stage,
            "in a network that is cut short only the head can be trained",
            "Leave keep out, or freeze all stages.",
        ),
        (
            "new" in recipe.origins,
            "a stage is pretrained or reinitialised; only a head is new",
            "Change its origin.",
        ),
        (
            reinitialised and (recipe.solver != "stepped" or recipe.solves_head or recipe.cut_short),
            "a head that is solved, mapped or put on a cut needs pre-trained stages",
            "Give every stage the origin pretrained, or train in steps.",
        ),
        (
            set(recipe.origins) == {"reinitialised"} and recipe.head_origin == "pretrained",
            "a network that is re-initialised throughout has no pre-trained head",
            'Write "head_origin": "new".',
        ),
        (touched_while_solved, "a solved phase can't change a stage", "Freeze all stages in it."),
    ]


def _adapter_faults(recipe: Recipe) -> list[Fault]:
    """List what may keep parts that train by lora from running."""
    parts_of_stages = zip(*(phase.stages for phase in recipe.phases), strict=True)
    whats = [{part.what for part in parts if part.trained} for parts in parts_of_stages]
    adapted = any("lora" in what for what in whats)
    pulled = any(phase.pull and any(p.trained and p.what == "lora" for p in phase.stages) for phase in recipe.phases)
    return [
        (
            adapted and recipe.adapter is None,
            "a part trains by lora, but adapters have no size",
            'Write "adapter": {"rank": 8, "alpha": 16}.',
        ),
        (
            recipe.adapter is not None and not adapted,
            "it has an adapter, but no part trains by lora",
            'Write "what": "lora" in a trained part, or leave "adapter" out.',
        ),
        (
            any("lora" in what and len(what) > 1 for what in whats),
            "a stage trains by lora in one phase and not in another",
            "Train it by lora in both.",
        ),
        (pulled, "pull doesn't reach the weights under adapters", "Leave pull out where a part trains by lora."),
    ]


def _check_cut(recipe: Recipe, stages: Sequence[StageInfo]) -> None:
    """Refuse a recipe whose last frozen stage isn't one after which the network can be cut."""
    frozen = recipe.frozen_stages
    if recipe.cut_short:
        frozen = recipe.keep
    if not frozen:
        return
    stage = stages[frozen - 1]
    if not stage.cuttable:
        raise RecipeError(
            f"The recipe {recipe.name} can't run: the network can't be cut after stage {frozen} "
            f"({stage.name}): {stage.why_not}.",
            "See frostline stages SPEC.",
        )
