"""Finds out whether a text network can read each text at the length of its bucket, by trying it once.

The answer is saved with the model, so that no run and no `predict` ever has to try again
(docs/decisions/0019-length-buckets.md).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from frostline.cutting.cuts import Cut, read_features
from frostline.cutting.guard import device_of, exact, forked_seed
from frostline.cutting.inputs import Call, call_of
from frostline.cutting.outputs import flat_logits
from frostline.cutting.split import run_to
from frostline.cutting.stages import StageMap
from frostline.cutting.verify import verify_cuts
from frostline.data.texts import PADDING, Ids, TextPreprocess, example_ids, ids_and_mask, ladder

# Relative difference of features and scores that is put down to rounding; a network that sees padding is far above it.
ROUNDING = 1e-4


def usable_lengths(model: nn.Module, stages: StageMap, contract: TextPreprocess) -> tuple[int, ...]:
    """Return the lengths of this network's buckets, rising to L, or none where it has to read every text at L.

    That is a network with convolutions or BatchNorm (a bucket may bring a single text to a training step: BatchNorm has
    no statistics of one, and a convolution's gradient isn't repeatable with it), one that doesn't run at another
    length or, having done so, runs differently at L, one whose answers depend on how much is empty, and one that can't
    be cut there as it is cut at L. `model` stays as it is: a copy is tried.
    """
    lengths = ladder(contract.length)
    last = stages.cut(len(stages))
    if len(lengths) == 1 or last is None or any(isinstance(m, _BatchNorm | _ConvNd) for m in model.modules()):
        return ()
    tried = copy.deepcopy(model).eval()
    shortest = replace(contract, length=lengths[0], lengths=())
    ids = example_ids(shortest, 2)
    calls = [_call(ids, length, contract, tried) for length in lengths]
    try:
        usable = _answers_alike(tried, last, calls) and _cuts_hold(tried, stages, calls[0])
        if usable:
            _run_in_training(tried, calls)
    except Exception:  # whatever the network's own code raises where it can't read a length
        return ()
    if not usable:
        return ()
    return lengths


def _call(ids: Ids, length: int, contract: TextPreprocess, model: nn.Module) -> Call:
    """Return the call that reads these views at another length."""
    wider = np.pad(ids, ((0, 0), (0, length - ids.shape[1])), constant_values=PADDING)
    return call_of(ids_and_mask(torch.from_numpy(wider), contract.pad, device_of(model)))


def _answers_alike(model: nn.Module, cut: Cut, calls: Sequence[Call]) -> bool:
    """Return True where the same texts have the same features and scores at every length, the last of which is L."""
    longest = calls[-1]
    expected = _answers(model, cut, longest)
    for call in calls[:-1]:
        found = _answers(model, cut, call)
        if not all(_close(x, y) for x, y in zip(found, expected, strict=True)):
            return False
    again = _answers(model, cut, longest)
    return all(torch.equal(x, y) for x, y in zip(again, expected, strict=True))


def _answers(model: nn.Module, cut: Cut, call: Call) -> tuple[Tensor, Tensor]:
    """Return features (N, D) and scores (N, C)."""
    with torch.no_grad(), exact():
        (activation,) = run_to(model, [cut], call)
        return read_features(cut, activation, call.tensors), flat_logits(call.run(model)).float()


def _close(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and float((found - expected).norm()) <= ROUNDING * float(expected.norm())


def _cuts_hold(model: nn.Module, stages: StageMap, call: Call) -> bool:
    """Return True where every cut that is exact at L is exact for this call too, by the same rules."""
    cuts = {stage: cut for stage, cut in enumerate(stages.cuts, 1) if cut is not None}
    verified = verify_cuts(model, cuts, call)
    return not verified.failed and verified.stays_in_inference <= stages.stays_in_inference


def _run_in_training(model: nn.Module, calls: Sequence[Call]) -> None:
    """Run the network in training mode at every length; raises what its code raises."""
    model.train()
    with torch.no_grad(), forked_seed(0, device_of(model)):
        for call in calls:
            call.run(model)
