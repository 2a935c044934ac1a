"""Other proportions of the classes, and nothing else: the network's probabilities are corrected for them.

The factor of a class is its share in the target over its share in the source (Saerens et al. 2002, equation 2.4).
"""

from __future__ import annotations

import numpy as np

from frostline.adapt.judge import source_shares
from frostline.adapt.outcome import as_is
from frostline.adapt.reading import read_study
from frostline.adapt.world import Adapted, World
from frostline.base.records import FloatArray, IntArray
from frostline.stats.proportions import bbse_proportions, em_proportions

LEAST_SHARE = 1e-6  # of a class that the target seems to lack: its factor stays above 0


def no_shares(world: World) -> str:
    """Return why there is nothing to compare shares with, as a clause; nothing where there is."""
    if source_shares(world) is None:
        return "the classes' proportions in the source aren't known"
    return ""


def no_predictions(world: World) -> str:
    """Return why there are no confusions on the source, as a clause; nothing where there are."""
    if world.outputs is None and world.held is None:
        return "it needs predictions of source samples that the network didn't learn from, and the run keeps none"
    return ""


def run_em(world: World) -> Adapted:
    """Estimate the target's shares by expectation maximisation (Saerens, Latinne & Decaestecker 2002)."""
    source = source_shares(world)
    assert source is not None
    return _corrected(world, "em", em_proportions(_on_target(world), source), source)


def run_bbse(world: World) -> Adapted:
    """Estimate the target's shares from the confusions on the source (Lipton, Wang & Smola 2018)."""
    source = source_shares(world)
    known = unseen_predictions(world)
    assert source is not None
    assert known is not None
    return _corrected(world, "bbse", bbse_proportions(*known, _on_target(world)), source)


def unseen_predictions(world: World) -> tuple[FloatArray, IntArray] | None:
    """Return probabilities (M, C) of source samples that were not learnt from, and their labels; None: there are none.

    These are the out-of-fold predictions of the run, or else its sealed samples.
    """
    if world.outputs is not None:
        return world.outputs.probabilities, world.outputs.labels
    if world.held is not None:
        reading = read_study(world.held, world.held.trunk.model)
        return reading.probabilities(world.temperature), world.held.dataset.labels[world.held.development]
    return None


def _on_target(world: World) -> FloatArray:
    return read_study(world.target, world.target.trunk.model).probabilities(world.temperature)


def _corrected(world: World, name: str, shares: FloatArray, source: FloatArray) -> Adapted:
    """Correct for estimated shares (C,); a class that the source never showed keeps its probability."""
    ratio = np.maximum(shares, LEAST_SHARE) / np.maximum(source, LEAST_SHARE)
    factors = np.where(source > 0, ratio, 1.0)
    detail = {"shares": shares.tolist(), "source_shares": source.tolist()}
    return as_is(world, name, factors, detail)
