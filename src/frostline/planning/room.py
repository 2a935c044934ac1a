"""Whether a plan fits into memory: what its largest training takes, counted on two samples before anything is trained.

Arrays over all samples lie in files where they are large (base/memory.py), so what can be too large is a training step:
the network, its gradients, the optimiser's moments, and what a batch's forward pass keeps for the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frostline.base.device import autocast, random_devices
from frostline.base.errors import RecipeError
from frostline.base.memory import allowed_memory, anonymous_mb
from frostline.cutting.inputs import call_of
from frostline.cutting.outputs import flat_logits
from frostline.data.contract import to_inputs
from frostline.models.trainable import set_training, trained_parameters
from frostline.race.plan import Plan
from frostline.recipe.recipe import Recipe
from frostline.recipe.settings import Settings
from frostline.train.start import start_network
from frostline.train.study import Study

MB = 1 << 20
SAMPLES = 2  # that are tried; BatchNorm can't train on one
PLENTY = 100  # times what all stages give, weights eight times over: what takes less than that isn't counted
FLOAT = 4  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Bytes that training a recipe takes: for the network, and for each sample of a batch."""

    recipe: Recipe
    network: int
    sample: int

    def total(self, batch_size: int) -> int:
        return self.network + batch_size * self.sample


def check_memory(settings: Settings, study: Study, plan: Plan) -> None:
    """Raise RecipeError where this process, or the largest training of a plan, takes more than `--max-memory`.

    What is counted is the least that a step takes, so nothing is refused that might have fitted. Devices with a memory
    of their own aren't looked at.
    """
    allowed = allowed_memory(settings.max_memory)
    held = int(anonymous_mb() * MB)
    if held >= allowed:
        raise RecipeError(
            f"frostline holds {_in_mb(held)} before anything is trained, and --max-memory allows {_in_mb(allowed)}.",
            f"Give --max-memory {_more(held)} or more.",
        )
    for one in study.every():
        recipes = [row.recipe for row in plan.rows if study.of(row.recipe) is one and row.recipe.takes_steps]
        if not recipes or one.compute.device != "cpu" or _is_plenty(one, allowed - held):
            continue
        largest = min(recipes, key=lambda recipe: recipe.frozen_stages)
        need = need_of(one, largest)
        if held + need.total(one.batch_size) > allowed:
            raise _step_too_large(need, one, held, allowed)


def _is_plenty(study: Study, room: int) -> bool:
    stages = study.stages.stages
    weights = FLOAT * sum(parameter.numel() for parameter in study.trunk.model.parameters())
    return 8 * weights + PLENTY * study.batch_size * sum(stage.stored_bytes for stage in stages) < room


def need_of(study: Study, recipe: Recipe) -> Need:
    """Run a forward pass of a recipe's last phase on two samples, the longest, and count what it keeps."""
    model = start_network(study, recipe, 0)
    phase = recipe.stepped[-1]
    set_training(model, study.stages, phase.stages, phase.head)
    parameters = dict(model.named_parameters())
    trained = sum(parameters[name].nbytes for name in trained_parameters(model, study.stages, phase.stages, phase.head))
    weights = sum(parameter.nbytes for parameter in parameters.values())
    source = study.features.source
    rows = torch.arange(len(source))
    group = study.features.groups(rows)[-1]
    views = source.make(0, rows[group.places][:SAMPLES].numpy())
    compute = study.compute
    inputs = to_inputs(views, source.preprocess, device=compute.device, channels_last=compute.channels_last)
    with torch.random.fork_rng(devices=random_devices(compute.device)), autocast(compute), _tensors_kept(model) as kept:
        logits = flat_logits(call_of(inputs).run(model))
    del logits
    # gradients, and the optimiser's two moments
    return Need(recipe=recipe, network=weights + 3 * trained, sample=sum(kept.values()) // len(views))


@contextmanager
def _tensors_kept(model: nn.Module) -> Iterator[dict[int, int]]:
    """Collect the bytes of the tensors that a forward pass keeps, by where they lie; the network's own don't count."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    found: dict[int, int] = {}
    alive: list[Tensor] = []  # else another one could come to lie in the same place

    def keep(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in own:
            alive.append(tensor)
            found[place] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield found


def _step_too_large(need: Need, study: Study, held: int, allowed: int) -> RecipeError:
    total = held + need.total(study.batch_size)
    ways = []
    fitting = (allowed - held - need.network) // max(1, need.sample)
    if 2 <= fitting < study.batch_size:
        ways.append(f"--batch-size {fitting}")
    ways += [f"--max-memory {_more(total)} (if there is as much)", "--strategies that train fewer stages"]
    return RecipeError(
        f"{need.recipe.name} takes at least {_in_mb(total)} at a batch size of {study.batch_size}, and --max-memory "
        f"allows {_in_mb(allowed)}.",
        f"Give {', or '.join(ways)}, such as probe.",
    )


def _in_mb(size: int) -> str:
    return f"{size / MB:,.0f} MB"


def _more(size: int) -> str:
    """A round amount above what was counted, which is the least."""
    step = 1 << 28
    return f"{-(-(size + step // 2) // step) * step // MB}MB"
