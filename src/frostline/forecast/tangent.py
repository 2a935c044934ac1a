"""Tangent features: for each sample, the gradients of the network's features, sketched, group by group.

At the pre-trained weights, in inference mode, with the features f(x) before the new head: a few random directions v in
the space of features stand for all of them (Mohamadi et al. 2023), and of each scalar v . f(x) one batched backward
pass gives the gradients of all samples (:mod:`frostline.forecast.watch`). What can't be watched rightly is found by a
proof on three samples, and named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from frostline.base.device import autocast
from frostline.base.hashing import hash_values
from frostline.base.records import IntArray
from frostline.base.seeds import derive_seed
from frostline.cutting.cuts import Cut, read_features
from frostline.cutting.guard import untouched
from frostline.cutting.inputs import Call, call_of
from frostline.cutting.split import run_to
from frostline.features.extract import Features, Trunk
from frostline.features.inference import Group, in_order, padded_chunks
from frostline.forecast.projection import WIDTH, Layout, Projection, lay_out
from frostline.forecast.readers import READERS
from frostline.forecast.watch import Watch
from frostline.models.depthwise import fast_gradients

DIRECTIONS = 3
RIDGE = 2.5e-3  # of the largest variance, added to every variance in whitening
TOLERANCE = 5e-3  # of the proof: relative difference of gradients
CHUNK = 8  # samples of a batched backward pass: half the memory of 16 at the same speed
FORMAT = 3  # of the stored rows

Progress = Callable[[int, int], None]  # samples done, of how many
Collect = Callable[[int, str, Tensor], None]  # direction, parameter, projected gradient (B, size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tangent:
    """What is known of every sample: `features` (N, D) before the head, and per group the columns of `sketches` (N, W).

    `missing` says of parameters that couldn't be sketched why.
    """

    features: Tensor
    sketches: Tensor
    columns: Mapping[str, slice]
    missing: Mapping[str, str]

    def sketch(self, group: str) -> Tensor:
        """Return the sketched gradients (N, width) of a group."""
        return self.sketches[:, self.columns[group]]


@dataclass(frozen=True)
class _Reading:
    """Reads features and projected gradients off one network at its last cut."""

    trunk: Trunk
    cut: Cut
    parameters: Mapping[str, Tensor]
    projections: dict[str, Projection]
    directions: Sequence[Tensor]  # (D,) each

    def run(self, inputs: Any, collect: Collect) -> Mapping[str, str]:
        """Hand the sketched gradients of each parameter to `collect`; return which could not be read, with why."""
        call = call_of(inputs)
        watch = Watch(
            self.parameters, self.projections, READERS, batch=call.batch, samples_second=self.cut.batch_axis == 1
        )
        with fast_gradients(self.trunk.compute), watch:
            features = self.features(call)
        if not features.requires_grad:  # nothing of the network could be watched
            return watch.failed
        for direction, vector in enumerate(self.directions):
            watch.collect = partial(collect, direction)
            torch.autograd.backward((features * vector).sum(), retain_graph=direction + 1 < DIRECTIONS)
        return watch.failed

    def features(self, call: Call) -> Tensor:
        """(B, D) float32, with what autograd needs."""
        with torch.enable_grad(), autocast(self.trunk.compute):
            (activation,) = run_to(self.trunk.model, [self.cut], call)
            return read_features(self.cut, activation, call.tensors)


def _directions(features: Tensor) -> list[Tensor]:
    """Draw directions (D,) of unit length that are random where the features (N, D) are whitened, as a solved head's
    rows are: directions in which samples differ little count as much as others."""
    centred = (features - features.mean(0)).double()
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(features))
    spread = (variances + RIDGE * variances[-1]).clamp_min(1e-12).rsqrt()
    vectors = []
    for number in range(DIRECTIONS):
        generator = torch.Generator().manual_seed(derive_seed(0, "direction", number))
        drawn = torch.randn(len(spread), generator=generator, dtype=torch.float64)
        vector = axes @ (spread * (axes.T @ drawn))
        vectors.append((vector / vector.norm()).float())
    return vectors


def read_tangent(
    features: Features,
    groups: Mapping[str, Sequence[str]],
    rows: IntArray,
    progress: Progress = lambda _done, _total: None,
) -> Tangent:
    """Read the tangent features of the samples at `rows` in view 0, or find them in the store.

    `groups` name the parameters of each. Raises ModelError where the network can't be cut after its last stage.
    """
    trunk = features.trunk
    last = len(trunk.stages)
    cut = trunk.stages.cut_after(last)
    named = dict(trunk.model.named_parameters())
    parameters = {name: named[name] for members in groups.values() for name in members}
    wanted = torch.from_numpy(rows)
    before_head = features.plain(last)[wanted]
    directions = [vector.to(trunk.compute.device) for vector in _directions(before_head)]
    reading = _Reading(trunk, cut, parameters, {}, directions)
    with untouched(trunk.model):
        trunk.model.requires_grad_(False)
        exact = replace(trunk, compute=replace(trunk.compute, precision="fp32"))
        group = max(features.groups(wanted), key=lambda group: len(wanted[group.places]))
        alike = wanted[group.places]  # a text's gradients may depend on the padding that others bring
        missing = _prove(replace(reading, trunk=exact), partial(features.inputs, view=0), alike)
        known = {
            group: [n for n in names if n in reading.projections and n not in missing]
            for group, names in groups.items()
        }
        known = {group: names for group, names in known.items() if names}
        layout = lay_out(known, reading.projections, DIRECTIONS)
        key = hash_values(
            "tangent",
            FORMAT,
            features.source.key(0),
            trunk.key(last),
            known,
            layout.width,
            rows.tolist(),
            (DIRECTIONS, WIDTH),
        )
        sketches = torch.zeros((len(rows), 0))
        if known:
            sketches = features.kept(key, lambda: _sketches(reading, features, layout, wanted, progress))
    return Tangent(features=before_head, sketches=sketches, columns=layout.columns, missing=missing)


def _sketches(
    reading: _Reading, features: Features, layout: Layout, rows: Tensor, progress: Progress
) -> Iterable[Tensor]:
    """Return the sketches (n, W) of these samples in parts, in their order."""
    groups = features.groups(rows)
    parts = _sketched_chunks(reading, features, layout, _chunks(rows, groups), lambda done: progress(done, len(rows)))
    if len(groups) == 1:
        return parts
    return [in_order(list(parts), groups)]


def _chunks(rows: Tensor, groups: Sequence[Group]) -> Iterator[tuple[int, Tensor]]:
    """Yield the chunks of each group, which are smaller where a chunk of inference is: of long texts."""
    for group in groups:
        size = CHUNK
        if group.length:
            size = min(CHUNK, group.chunk)
        yield from padded_chunks(rows[group.places], size)


def _sketched_chunks(
    reading: _Reading,
    features: Features,
    layout: Layout,
    chunks: Iterable[tuple[int, Tensor]],
    progress: Callable[[int], None],
) -> Iterator[Tensor]:
    """Yield the sketches (n, W) of the rows that count in each chunk."""
    compute = reading.trunk.compute
    done = 0
    for count, chunk in chunks:
        sketches = torch.zeros((len(chunk), layout.width), device=compute.device)

        def add(direction: int, name: str, numbers: Tensor, sketches: Tensor = sketches) -> None:
            place = layout.places.get((name, direction))
            if place is not None:
                place.add(sketches, numbers)

        reading.run(features.inputs(chunk, 0), add)
        yield sketches[:count].cpu()
        done += count
        progress(done)


def _prove(reading: _Reading, inputs: Callable[[Tensor], Any], rows: Tensor) -> dict[str, str]:
    """Return the parameters whose gradients can't be read, with the reason.

    On two samples the gradients must add up to autograd's own; and a sample's must not change with the other's.
    """
    pair = rows[[0, 1 % len(rows)]]
    first, failed = _gradients(reading, inputs(pair))
    second, _ = _gradients(reading, inputs(rows[[0, 2 % len(rows)]]))
    missing = dict(failed)
    truths = _whole_gradients(reading, call_of(inputs(pair)))
    for name, gradients in truths.items():
        if name in missing:
            continue
        if name not in first:
            if any(gradient.abs().max() > 0 for gradient in gradients):
                missing[name] = "it is used in a way that isn't watched"
            continue
        whole = torch.stack([reading.projections[name].of(gradient) for gradient in gradients])
        if not _close(first[name].sum(1), whole):
            missing[name] = "what is watched of it isn't its whole gradient"
        elif not _close(first[name][:, 0], second[name][:, 0]):
            missing[name] = "what one sample does to it depends on the others"
    return missing


def _close(found: Tensor, expected: Tensor) -> bool:
    size = max(float(expected.norm()), float(found.norm()))
    return float((found - expected).norm()) <= TOLERANCE * size + 1e-12


def _gradients(reading: _Reading, inputs: Any) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Return the projected gradients (directions, B, size) of each parameter that was met."""
    found: dict[tuple[str, int], Tensor] = {}

    def add(direction: int, name: str, numbers: Tensor) -> None:
        before = found.get((name, direction))
        found[name, direction] = numbers if before is None else before + numbers

    failed = reading.run(inputs, add)
    names = dict.fromkeys(name for name, _ in found)
    return {name: torch.stack([found[name, d] for d in range(DIRECTIONS)]) for name in names}, failed


def _whole_gradients(reading: _Reading, call: Call) -> dict[str, list[Tensor]]:
    """Return autograd's own gradient of each parameter, summed over the samples, in each direction."""
    wanted = list(reading.parameters.values())
    for parameter in wanted:
        parameter.requires_grad_(True)
    try:
        features = reading.features(call)
        found: dict[str, list[Tensor]] = {name: [] for name in reading.parameters}
        for direction, vector in enumerate(reading.directions):
            scalar = (features * vector).sum()
            gradients = torch.autograd.grad(
                scalar, wanted, retain_graph=direction + 1 < DIRECTIONS, allow_unused=True, materialize_grads=True
            )
            for name, gradient in zip(reading.parameters, gradients, strict=True):
                found[name].append(gradient)
    finally:
        for parameter in wanted:
            parameter.requires_grad_(False)
    return found
