"""Surgical fine-tuning: one third of the stages is trained on labelled target samples, all else stays, head included.

Source: Lee et al. 2023, "Surgical Fine-Tuning Improves Adaptation to Distribution Shifts": early stages for shifts of
the input, late ones for shifts of the labels' meaning.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from frostline.adapt.outcome import NetworkChange, changed, copy_of_network
from frostline.adapt.recipes import FROZEN, adaptation
from frostline.adapt.training import ArmTraining, batch_of, cross_entropy, pass_batch, train
from frostline.adapt.world import Adapted, World
from frostline.base.events import Emit
from frostline.recipe.recipe import Part
from frostline.train.study import Study

RATE = 3e-4
STEPS = 100
FEWEST_STAGES = 3
DECAY = 1e-4


def too_few_stages(world: World) -> str:
    """Return why the network can't be divided into thirds, as a clause; nothing where it can."""
    count = len(world.target.stages)
    if count < FEWEST_STAGES:
        return f"the network has {count} stages, which can't be divided into thirds"
    return ""


def thirds(count: int) -> Mapping[str, range]:
    """Return the stages, from 1, of the first, middle and last third of them; no third is empty from three on."""
    ends = [0, round(count / 3), round(2 * count / 3), count]
    names = ("first", "middle", "last")
    return {name: range(ends[i] + 1, ends[i + 1] + 1) for i, name in enumerate(names)}


def block_of(study: Study, chosen: range, trained: Part) -> tuple[Part, ...]:
    """Return the parts of all stages where only the chosen ones are trained."""
    return tuple(trained if stage in chosen else FROZEN for stage in range(1, len(study.stages) + 1))


def run_surgical(world: World, third: str, emit: Emit) -> Adapted:
    """Train the `first`, `middle` or `last` third of the stages."""
    study = world.target
    rows = world.labelled
    assert rows is not None
    chosen = thirds(len(study.stages))[third]
    parts = block_of(study, chosen, Part(trained=True, weight_decay=DECAY))
    recipe = adaptation(study, f"surgical-{third}", parts)
    model = copy_of_network(world)

    def loss_of(step: int) -> Tensor:
        batch = batch_of(rows, world.seed, "labelled", step)
        return cross_entropy(study, pass_batch(study, model, batch), study.dataset.labels[batch])

    plan = ArmTraining(recipe=recipe, rate=RATE, steps=STEPS, purpose="surgical")
    done = train(world, model, plan, loss_of, emit=emit)
    change = NetworkChange(
        recipe=recipe,
        model=model,
        steps=done.steps,
        rate=RATE,
        curve=done.curve,
        no_gradient=done.no_gradient,
        detail={"stages": [study.stages[stage].name for stage in chosen], "labelled": len(rows)},
    )
    return changed(world, change)
