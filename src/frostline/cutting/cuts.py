"""Clean cuts: module boundaries where exactly one live tensor depends on parameters and inputs.

A tensor is live at a boundary when it is born before it and read after it. Live tensors that depend on inputs only
(masks) or on nothing that was computed are made again by the suffix; the modules that make them run for real.
docs/architecture.md has the rules of cuts, with the reason for each.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from frostline.cutting.channels import channel_axis
from frostline.cutting.pooling import Pooling, pool
from frostline.cutting.recorder import (
    PARAMETER,
    SIDE_WORDS,
    Boundary,
    BoundarySide,
    Recording,
    TensorRecord,
    storage_key,
)

SHOWN_TENSORS = 4  # named in a reason
PASSED: dict[BoundarySide, str] = {"in": "arguments", "out": "results"}  # what a module passes on at its boundary
ROOT = "the network itself"  # in the place of a module's name
Layout = Literal["contiguous", "channels_last", "strided"]
Place = tuple[BoundarySide, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A point where a network can be cut in two: before a module (`in`) or after it (`out`)."""

    where: BoundarySide
    module: str
    pick: int  # which tensor among the module's arguments or results
    needs: tuple[int, ...]  # raw inputs that the suffix reads too, by number from 0
    real: tuple[str, ...]  # modules before the cut that the suffix runs for real
    shape: tuple[int, ...]  # with the example's batch axis
    dtype: torch.dtype
    layout: Layout
    channel_axis: int
    mutated: bool  # a later operation writes into the activation: the suffix has to work on a copy
    batch: int  # samples in the example
    index: int  # the boundary's number in the recording
    clock: int  # operations before it
    prefix_parameters: tuple[str, ...]  # read before the cut
    straddling: tuple[str, ...]  # read before and after it: must stay frozen
    decided: bool = False  # Python code before it looked at values, which may decide what runs after it
    pooling: Pooling = "mean"  # how it becomes one vector per sample for a new head
    mask: int | None = None  # raw input that marks words and padding, which the pooling reads
    batch_axis: int = 0  # of the tensor in the network; activations have the samples first

    @property
    def name(self) -> str:
        return f"{SIDE_WORDS[self.where]} {self.module}"

    @property
    def key(self) -> tuple[str, str, int]:
        return self.where, self.module, self.pick


def find_cuts(recording: Recording) -> dict[Place, Cut | str]:
    """Return for every module boundary a Cut, or the reason why the network can't be cut there."""
    reads = {name: clocks for name, clocks in recording.reads(recording.parameter_names).items() if clocks}
    places: dict[Place, Cut | str] = {}
    for boundary, live in zip(recording.boundaries, _live_tensors(recording), strict=True):
        if boundary.module:
            places[boundary.where, boundary.module] = _cut_at(recording, boundary, live, reads)
    return places


def _live_tensors(recording: Recording) -> list[list[int]]:
    """Return for each boundary the tensors that are born before it and read after it.

    Of those born before the run (buffers), these are the ones that the run has written into.
    """
    clocks = [boundary.clock for boundary in recording.boundaries]
    live: list[list[int]] = [[] for _ in clocks]
    for key, record in recording.tensors.items():
        born = record.born if record.born >= 0 else record.filled
        if born is not None and record.reads:
            for i in range(bisect_left(clocks, born), bisect_left(clocks, record.reads[-1])):
                live[i].append(key)
    return live


def _cut_at(
    recording: Recording, boundary: Boundary, live: Sequence[int], reads: Mapping[str, tuple[int, ...]]
) -> Cut | str:
    """Return the cut at a module's boundary, or the reason why there is none."""
    calls = recording.calls[boundary.module]
    if calls != 1:
        return f"{boundary.module} is called {calls} times"
    crossing = [key for key in live if _depends_on_both(recording.tensors[key].taint)]
    reason = _why_not_clean(recording, boundary, crossing) or _sizes_decided(recording, boundary)
    if reason:
        return reason
    return _make_cut(recording, boundary, live, crossing[0], reads)


def _depends_on_both(taint: int) -> bool:
    """True where a tensor depends on parameters and on inputs."""
    return bool(taint & PARAMETER) and bool(taint & ~PARAMETER)


def _why_not_clean(recording: Recording, boundary: Boundary, crossing: Sequence[int]) -> str:
    """Say what forbids a cut by the tensors that cross the boundary (rules 1 to 3); empty where nothing does."""
    if not crossing:
        return "nothing that depends on weights and inputs is needed after it"
    records = [recording.tensors[key] for key in crossing]
    if len(records) > 1:
        return f"{len(records)} tensors are needed after it ({_describe(records)})"
    (record,) = records
    if crossing[0] not in boundary.tensors:
        passed = PASSED[boundary.where]
        return f"the tensor needed after it isn't one of its {passed} (made in {record.maker or ROOT})"
    if not record.tensor.is_floating_point():
        return f"the tensor needed after it is {record.tensor.dtype}, not floating-point"
    if boundary.where == "out" and record.born <= recording.first("in", boundary.module).clock:
        return "it passes on its own input, which other code may hold too"
    if boundary.where == "in" and record.reads[-1] > recording.first("out", boundary.module).clock:
        return "its input is read again later (a residual or skip connection)"
    return ""


def _sizes_decided(recording: Recording, boundary: Boundary) -> str:
    """Say which code around the boundary made tensors before it whose sizes depend on values; empty where none did.

    An example is samples that a gate picks. The suffix runs that code again, and without the values it may do anything.
    """
    for decision in recording.decisions:
        around = not decision.module or boundary.module.startswith(decision.module + ".")
        if decision.shapes and around and decision.clock <= boundary.clock and _depends_on_both(decision.taint):
            return f"values before it decide how large tensors are in the code of {decision.module or ROOT}"
    return ""


def _describe(records: Iterable[TensorRecord]) -> str:
    """Describe some tensors by shape and maker."""
    kinds = Counter((record.maker or ROOT, tuple(record.tensor.shape[1:])) for record in records)
    phrases = []
    for (maker, shape), count in kinds.items():
        size = " x ".join(map(str, shape)) or "one number"
        if count > 1:
            size += f" ({count} times)"
        phrases.append(f"{size} made in {maker}")
    text = ", ".join(phrases[:SHOWN_TENSORS])
    if len(phrases) > SHOWN_TENSORS:
        text += f" and {len(phrases) - SHOWN_TENSORS} more"
    return text


def _make_cut(
    recording: Recording, boundary: Boundary, live: Sequence[int], crossing: int, reads: Mapping[str, tuple[int, ...]]
) -> Cut:
    tensor = recording.tensors[crossing].tensor
    clock = boundary.clock
    others = [key for key in live if key != crossing]
    needed = _needed_taint(recording, others)
    before = tuple(name for name, clocks in reads.items() if clocks[0] <= clock)
    batch_axis = _batch_axis(tensor, recording.batch)
    samples_first = tensor.transpose(0, batch_axis)
    return Cut(
        where=boundary.where,
        module=boundary.module,
        pick=boundary.tensors.index(crossing),
        needs=tuple(i for i in range(len(recording.inputs)) if needed & (2 << i)),
        real=_real_modules(recording, boundary, others),
        shape=tuple(samples_first.shape),
        dtype=tensor.dtype,
        layout=layout_of(samples_first),
        channel_axis=_with_samples_first(channel_axis(recording, crossing), batch_axis),
        mutated=any(t > clock for t in recording.writes.get(storage_key(tensor), ())),
        batch=recording.batch,
        index=boundary.index,
        clock=clock,
        prefix_parameters=before,
        straddling=tuple(name for name in before if reads[name][-1] > clock),
        decided=any(decision.taint & PARAMETER and decision.clock <= clock for decision in recording.decisions),
        batch_axis=batch_axis,
    )


def _needed_taint(recording: Recording, others: Iterable[int]) -> int:
    """Return what the suffix depends on besides the activation: by other live tensors, and by decisions.

    What the inputs alone decide (a mask without padding is dropped) is decided again by the suffix.
    """
    taint = 0
    for key in others:
        taint |= recording.tensors[key].taint
    for decision in recording.decisions:
        if not decision.taint & PARAMETER:
            taint |= decision.taint
    return taint


def _batch_axis(tensor: torch.Tensor, batch: int) -> int:
    """Return the axis of samples: 1 for (tokens, samples, channels), as torch's own transformers and recurrent layers
    have them by default, otherwise 0."""
    time_first = tensor.ndim == 3 and tensor.shape[0] != batch and tensor.shape[1] == batch
    if time_first and (tensor.is_contiguous() or tensor.transpose(0, 1).is_contiguous()):
        return 1
    return 0


def _with_samples_first(axis: int, batch_axis: int) -> int:
    """Return the new number of an axis once the samples' axis has changed places with the first."""
    if axis <= batch_axis:
        return batch_axis - axis
    return axis


def _real_modules(recording: Recording, boundary: Boundary, others: Iterable[int]) -> tuple[str, ...]:
    """Return the modules before the boundary that make further tensors that the suffix reads, or their parents."""
    needed = set(others)
    queue = list(others)
    for key in queue:  # grows while it is walked
        parents = set(recording.tensors[key].parents) - needed
        needed |= parents
        queue.extend(parents)
    if not needed:
        return ()
    earlier = recording.boundaries[: boundary.index + 1]
    names = {b.module for b in earlier if b.where == "out" and b.module and needed.intersection(b.tensors)}
    return tuple(sorted(names))


def layout_of(tensor: torch.Tensor) -> Layout:
    """Return how the tensor lies in memory; a stored activation has to be given back the same way."""
    if tensor.is_contiguous():
        return "contiguous"
    if tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return "channels_last"
    return "strided"


def read_features(cut: Cut, activation: Tensor, raw: Sequence[Tensor] = ()) -> Tensor:
    """Return the features (N, D) of the activation at a cut, in fp32.

    `raw` are the network's raw inputs of the same samples, of which a mask may be needed.
    """
    mask = None if cut.mask is None else raw[cut.mask]
    return pool(activation.float(), channel_axis=cut.channel_axis, pooling=cut.pooling, mask=mask)
