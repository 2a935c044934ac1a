"""Self-training: the network learns from its own surest answers on the target.

Sources: Lee 2013, "Pseudo-Label"; Zou et al. 2018, "Unsupervised Domain Adaptation for Semantic Segmentation via
Class-Balanced Self-Training": of every class the same share is taken, so that easy classes don't crowd out the others,
and the share grows from round to round.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import Tensor, nn

from frostline.adapt.outcome import NetworkChange, changed, copy_of_network
from frostline.adapt.reading import read_study
from frostline.adapt.recipes import adaptation
from frostline.adapt.surgical import block_of, thirds
from frostline.adapt.training import ArmTraining, Trained, batch_of, cross_entropy, pass_batch, train
from frostline.adapt.world import Adapted, World
from frostline.base.events import Emit
from frostline.base.records import FloatArray, IntArray
from frostline.recipe.recipe import Part, Recipe

SHARES = (0.3, 0.6)  # of each class's answers that are learnt from, round by round
RATE = 1e-4
STEPS = 100  # of each round
DECAY = 1e-4


def run_self_train(world: World, emit: Emit) -> Adapted:
    """Train the head and the last third of the stages on pseudo-labels, with source samples where they are at hand."""
    study = world.target
    model = copy_of_network(world)
    trained = Part(trained=True, weight_decay=DECAY)
    recipe = adaptation(study, "self-train", block_of(study, thirds(len(study.stages))["last"], trained), trained)
    counts = []
    rounds = []
    for number, share in enumerate(SHARES):
        probabilities = read_study(study, model).probabilities(world.temperature)
        places = surest(probabilities, share)
        counts.append(len(places))
        rounds.append(_round(world, model, recipe, number, (places, probabilities.argmax(axis=1)), emit))
    offset = rounds[0].steps
    later = [replace(point, step=point.step + offset) for point in rounds[1].curve]
    change = NetworkChange(
        recipe=recipe,
        model=model,
        steps=sum(one.steps for one in rounds),
        rate=RATE,
        curve=[*rounds[0].curve, *later],
        no_gradient=rounds[0].no_gradient,
        detail={"pseudo_labels": counts, "source_samples": _source_count(world)},
    )
    return changed(world, change)


def surest(probabilities: FloatArray, share: float) -> IntArray:
    """Return the places (K,), ascending, of the surest answers: this share of those of each class, one at least."""
    predicted = probabilities.argmax(axis=1)
    sureness = probabilities.max(axis=1)
    chosen = []
    for answer in np.unique(predicted):
        places = np.flatnonzero(predicted == answer)
        count = max(1, int(share * len(places)))
        chosen.append(places[np.argsort(-sureness[places], kind="stable")[:count]])
    return np.sort(np.concatenate(chosen))


def _round(
    world: World, model: nn.Module, recipe: Recipe, number: int, pseudo: tuple[IntArray, IntArray], emit: Emit
) -> Trained:
    """Train on pseudo-labels: `pseudo` are the places that are learnt from, and the answers (N,) of all samples."""
    study, source = world.target, world.source
    places, answers = pseudo

    def loss_of(step: int) -> Tensor:
        batch = batch_of(places, world.seed, f"pseudo-{number}", step)
        loss = cross_entropy(study, pass_batch(study, model, study.development[batch]), answers[batch])
        if source is None:
            return loss
        rows = batch_of(source.development, world.seed, f"source-{number}", step)
        return loss + cross_entropy(source, pass_batch(source, model, rows), source.dataset.labels[rows])

    plan = ArmTraining(
        recipe=recipe,
        rate=RATE,
        steps=STEPS,
        purpose=f"self-train-{number}",
        before=number * STEPS,
        whole=len(SHARES) * STEPS,
    )
    return train(world, model, plan, loss_of, emit=emit)


def _source_count(world: World) -> int:
    return 0 if world.source is None else len(world.source.development)
