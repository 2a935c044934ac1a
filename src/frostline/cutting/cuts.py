"""Clean cuts: module boundaries where exactly one live tensor depends on parameters and inputs (DESIGN 4.4).

A tensor is live at a boundary when it is born before it and read after it. Live tensors that depend on inputs only
(masks) or on nothing that was computed are made again by the suffix; the modules that make them run for real.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from frostline.cutting.channels import channel_axis
from frostline.cutting.pooling import Pooling, pool
from frostline.cutting.recorder import PARAMETER, Boundary, Recording, TensorRecord, storage_key

SHOWN = 4  # tensors named in a reason
Layout = Literal["contiguous", "channels_last", "strided"]
Place = tuple[Literal["in", "out"], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A point where a network can be cut in two: before a module (`in`) or after it (`out`)."""

    where: Literal["in", "out"]
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
    pooling: Pooling = "mean"  # how it becomes one vector a sample for a new head
    mask: int | None = None  # raw input that tells words from padding, which the pooling reads
    batch_axis: int = 0  # of the tensor in the network; activations have the samples first

    @property
    def name(self) -> str:
        return f"{'before' if self.where == 'in' else 'after'} {self.module}"

    @property
    def key(self) -> tuple[str, str, int]:
        return self.where, self.module, self.pick


def find_cuts(recording: Recording) -> dict[Place, Cut | str]:
    """For every module boundary a Cut, or the reason why the network can't be cut there."""
    reads = {name: clocks for name, clocks in recording.reads(recording.parameter_names).items() if clocks}
    found: dict[Place, Cut | str] = {}
    for boundary, live in zip(recording.boundaries, _live(recording), strict=True):
        if not boundary.module:
            continue
        if recording.calls[boundary.module] != 1:
            reason = f"{boundary.module} is called {recording.calls[boundary.module]} times"
            found[boundary.where, boundary.module] = reason
            continue
        main = _main(recording, boundary, live)
        place = boundary.where, boundary.module
        if isinstance(main, str):
            found[place] = main
        else:
            found[place] = _cut(recording, boundary, live, main, reads)
    return found


def _live(recording: Recording) -> list[list[int]]:
    """For each boundary the tensors that are born before it and read after it; of those born before the run (buffers)
    the ones that the run has written into."""
    clocks = [b.clock for b in recording.boundaries]
    live: list[list[int]] = [[] for _ in clocks]
    for key, record in recording.tensors.items():
        born = record.born if record.born >= 0 else record.filled
        if born is not None and record.reads:
            for i in range(bisect_left(clocks, born), bisect_left(clocks, record.reads[-1])):
                live[i].append(key)
    return live


def _is_main(record: TensorRecord) -> bool:
    return _both(record.taint)


def _both(taint: int) -> bool:
    return bool(taint & PARAMETER) and bool(taint & ~PARAMETER)


def _main(recording: Recording, boundary: Boundary, live: Iterable[int]) -> int | str:
    """The one tensor to cut at, or why there is none (rules 1 and 2 of notes/platform.md section 6)."""
    mains = [key for key in live if _is_main(recording.tensors[key])]
    if not mains:
        return "nothing that depends on weights and inputs is needed after it"
    if len(mains) > 1:
        return f"{len(mains)} tensors are needed after it ({_listed(recording.tensors[key] for key in mains)})"
    record = recording.tensors[mains[0]]
    if mains[0] not in boundary.tensors:
        return f"what is needed after it is another tensor (made in {record.maker or 'the network itself'})"
    if not record.tensor.is_floating_point():
        return f"what is needed after it is {record.tensor.dtype}, not a floating-point tensor"
    if boundary.where == "out" and record.born <= recording.first("in", boundary.module).clock:
        return "it hands on its own input, which others may hold too"
    if boundary.where == "in" and record.reads[-1] > recording.first("out", boundary.module).clock:
        return "its input is read again later (a residual or skip connection)"
    return _shaped(recording, boundary) or mains[0]


def _shaped(recording: Recording, boundary: Boundary) -> str:
    """Whether code around the boundary, which the suffix runs again, made tensors before it that are as large as values
    say (rows picked by a gate): without these values it may go any way."""
    for decision in recording.decisions:
        around = not decision.module or boundary.module.startswith(decision.module + ".")
        if decision.shapes and around and decision.clock <= boundary.clock and _both(decision.taint):
            code = decision.module or "the network itself"
            return f"values before it decide how large tensors are in the code of {code}"
    return ""


def _listed(records: Iterable[TensorRecord]) -> str:
    """Shape and maker of some tensors, in words."""
    found = Counter((record.maker or "the network itself", tuple(record.tensor.shape[1:])) for record in records)
    words = [
        f"{' x '.join(map(str, shape)) or 'one number'}{f' ({n} times)' if n > 1 else ''} made in {maker}"
        for (maker, shape), n in found.items()
    ]
    more = ""
    if len(words) > SHOWN:
        more = f" and {len(words) - SHOWN} more"
    return ", ".join(words[:SHOWN]) + more


def _cut(
    recording: Recording, boundary: Boundary, live: Iterable[int], main: int, reads: dict[str, tuple[int, ...]]
) -> Cut:
    tensor = recording.tensors[main].tensor
    clock = boundary.clock
    others = [key for key in live if key != main]
    taint = 0
    for key in others:
        taint |= recording.tensors[key].taint
    decided = False
    for decision in recording.decisions:
        if decision.taint & PARAMETER:
            decided = decided or decision.clock <= clock
        else:  # what the inputs alone decide (a mask without padding is dropped) is decided again by the suffix
            taint |= decision.taint
    before = tuple(name for name, clocks in reads.items() if clocks[0] <= clock)
    axis = _batch_axis(tensor, recording.batch)
    samples_first = tensor.transpose(0, axis)
    channels = channel_axis(recording, main)
    return Cut(
        where=boundary.where,
        module=boundary.module,
        pick=boundary.tensors.index(main),
        needs=tuple(i for i in range(len(recording.inputs)) if taint & (2 << i)),
        real=_real_modules(recording, boundary, others),
        shape=tuple(samples_first.shape),
        dtype=tensor.dtype,
        layout=layout_of(samples_first),
        channel_axis=axis - channels if channels <= axis else channels,
        mutated=any(t > clock for t in recording.writes.get(storage_key(tensor), ())),
        batch=recording.batch,
        index=boundary.index,
        clock=clock,
        prefix_parameters=before,
        straddling=tuple(name for name in before if reads[name][-1] > clock),
        decided=decided,
        batch_axis=axis,
    )


def _batch_axis(tensor: torch.Tensor, batch: int) -> int:
    """1 for (tokens, samples, channels), as torch's own transformers and recurrent layers have them by default."""
    turned = tensor.ndim == 3 and tensor.shape[0] != batch and tensor.shape[1] == batch
    if turned and (tensor.is_contiguous() or tensor.transpose(0, 1).is_contiguous()):
        return 1
    return 0


def _real_modules(recording: Recording, boundary: Boundary, others: Iterable[int]) -> tuple[str, ...]:
    """Modules left before the boundary that return what the suffix needs besides the activation, or its ancestors."""
    needed = set(others)
    queue = list(others)
    for key in queue:  # grows while it is walked
        fresh = set(recording.tensors[key].parents) - needed
        needed |= fresh
        queue.extend(fresh)
    if not needed:
        return ()
    earlier = recording.boundaries[: boundary.index + 1]
    names = {b.module for b in earlier if b.where == "out" and b.module and needed.intersection(b.tensors)}
    return tuple(sorted(names))


def layout_of(tensor: torch.Tensor) -> Layout:
    """How the tensor lies in memory; a stored activation has to be given back the same way."""
    if tensor.is_contiguous():
        return "contiguous"
    if tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return "channels_last"
    return "strided"


def read_features(cut: Cut, activation: Tensor, raw: Sequence[Tensor] = ()) -> Tensor:
    """Features (N, D) of the activation at a cut, in fp32; `raw` are the network's raw inputs of the same samples,
    of which a mask may be needed."""
    mask = None
    if cut.mask is not None:
        mask = raw[cut.mask]
    return pool(activation.float(), channel_axis=cut.channel_axis, pooling=cut.pooling, mask=mask)
