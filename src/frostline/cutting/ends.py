"""Where each stage ends: at a clean cut, or (where there is none) before the next stage begins, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from frostline.base.errors import ModelError
from frostline.cutting.cuts import Cut, Place, read_features
from frostline.cutting.heads import HeadSite
from frostline.cutting.named import NamedStage, boundaries_of
from frostline.cutting.outputs import flat_logits, logits
from frostline.cutting.pooling import TOKENS, Pooling, find_mask, network_pooling
from frostline.cutting.recorder import Boundary, Recording
from frostline.cutting.segments import Segment, find_segments, weighty_between

SHOWN_REASONS = 8  # kept for a stage that can't be cut, one per boundary
UNPOOLED = "the network doesn't get from these features to its scores by a mean or by one token"


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The end of a stage: its boundary's number and clock, and the cut there, or why there is none."""

    name: str
    index: int
    clock: int
    shape: tuple[int, ...]
    cut: Cut | None
    why_not: str | None = None
    boundaries: tuple[str, ...] = ()  # where it can't be cut: each boundary that was tried, with its reason


Places = Mapping[Place, Cut | str]


def find_ends(
    recording: Recording, places: dict[Place, Cut | str], head: HeadSite, named: Sequence[NamedStage] = ()
) -> list[End]:
    """Return the stages' ends in order of execution, the last one before the head; at the named boundaries, if any.

    Raises ModelError where the network has no stage, or the named ones don't fit it.
    """
    if named:
        ends = _named_ends(recording, places, head, named)
    else:
        segments = find_segments(recording, places, head)
        if not segments:
            raise _nothing_before(recording, head)
        ends = [_segment_end(recording, places, segment, after) for segment, after in pairwise(segments)]
        ends.append(_last_end(recording, places, segments[-1].name, segments[-1].exited, head))
    return _pooled(recording, ends, head)


def _nothing_before(recording: Recording, head: HeadSite) -> ModelError:
    start = f"The network has no module with weights before its head {head.path}"
    if all(head.owns(name) for name in recording.parameter_names.values()):
        return ModelError(
            f"{start}, so there is nothing to freeze.", "Give a network with at least one layer before the last."
        )
    return ModelError(
        f"{start}: its weights are read outside of modules, where it can't be cut.",
        "Put the layers into modules of their own (nn.Module), which the network calls.",
    )


def _named_ends(recording: Recording, places: Places, head: HeadSite, named: Sequence[NamedStage]) -> list[End]:
    boundaries = boundaries_of(recording, named, head.path)
    left_out = weighty_between(recording, head, boundaries[-1].index)
    if left_out:
        raise ModelError(
            f"The last stage ends at {named[-1].module}, but {', '.join(left_out[:3])} runs between it "
            f"and the head {head.path}.",
            "Name one more stage that ends there.",
        )
    ends = [
        _end_at_boundary(recording, places, stage.name, boundary)
        for stage, boundary in zip(named[:-1], boundaries[:-1], strict=True)
    ]
    return [*ends, _last_end(recording, places, named[-1].name, boundaries[-1].index, head)]


def _end_at_boundary(recording: Recording, places: Places, name: str, boundary: Boundary) -> End:
    cut = places[boundary.where, boundary.module]
    if isinstance(cut, Cut):
        return _end_at(recording, name, cut)
    shape = _boundary_shape(recording, boundary)
    return End(name=name, index=boundary.index, clock=boundary.clock, shape=shape, cut=None, why_not=cut)


def _segment_end(recording: Recording, places: Places, segment: Segment, after: Segment) -> End:
    """Return the last clean boundary from a segment's exit to the next one's entry.

    Ties go to exits, then to outer modules. A module within it that ends with the segment's last operation will do as
    well: the segment itself may return the tensor in an object of its own.
    """
    exit_clock = recording.boundaries[segment.exited].clock
    clean = [
        cut
        for cut in places.values()
        if isinstance(cut, Cut) and exit_clock <= cut.clock and cut.index <= after.entered
    ]
    if clean:
        latest = max(clean, key=lambda cut: (cut.clock, cut.where == "out", *_outermost(cut)))
        return _end_at(recording, segment.name, latest)
    entry = recording.boundaries[after.entered]
    return End(
        name=segment.name,
        index=entry.index,
        clock=entry.clock,
        shape=_boundary_shape(recording, recording.first("out", segment.name)),
        cut=None,
        why_not=str(places[_exit_place(places, segment.name)]),
        boundaries=_reasons(recording, places, segment.exited, after.entered),
    )


def _reasons(recording: Recording, places: Places, first: int, last: int) -> tuple[str, ...]:
    """Say why the network can't be cut, for each boundary from one number to another."""
    reasons: dict[str, None] = {}  # in order, each once
    for boundary in recording.boundaries[first : last + 1]:
        reason = places.get((boundary.where, boundary.module))
        if isinstance(reason, str):
            reasons[f"{boundary.name}: {reason}"] = None
    shown = tuple(reasons)[:SHOWN_REASONS]
    if len(reasons) > SHOWN_REASONS:
        return (*shown, f"and {len(reasons) - SHOWN_REASONS} more")
    return shown


def _boundary_shape(recording: Recording, boundary: Boundary) -> tuple[int, ...]:
    """Return the shape of the first tensor that passes the boundary."""
    if not boundary.tensors:
        return ()
    return tuple(recording.tensors[boundary.tensors[0]].tensor.shape)


def _outermost(cut: Cut) -> tuple[int, int]:
    """Return a key that is largest for the outermost module, and then for the last."""
    return -cut.module.count("."), cut.index


def _exit_place(places: Places, module: str) -> Place:
    """Return the module's exit, or its entry where the run never left it."""
    if ("out", module) in places:
        return "out", module
    return "in", module


def _end_at(recording: Recording, name: str, cut: Cut) -> End:
    if cut.shape[0] != recording.batch:
        reason = f"its output has {cut.shape[0]} entries for {recording.batch} samples"
        return End(name=name, index=cut.index, clock=cut.clock, shape=cut.shape, cut=None, why_not=reason)
    return End(name=name, index=cut.index, clock=cut.clock, shape=cut.shape, cut=cut)


def _last_end(recording: Recording, places: Places, name: str, exited: int, head: HeadSite) -> End:
    """Return the last stage's end: with the tensor that the head reads, after the network's own pooling.

    The exit of the module that made it is preferred to the head's entry: a dropout between the two, which does nothing
    in inference, then belongs to the part that is trained.
    """
    entry = places["in", head.path]
    if isinstance(entry, Cut):
        exits = [
            cut
            for cut in places.values()
            if isinstance(cut, Cut)
            and exited <= cut.index <= entry.index
            and cut.clock == entry.clock
            and cut.where == "out"
        ]
        return _end_at(recording, name, max(exits, key=_outermost, default=entry))
    boundary = recording.first("in", head.path)
    return End(
        name=name,
        index=boundary.index,
        clock=boundary.clock,
        shape=_boundary_shape(recording, boundary),
        cut=None,
        why_not=entry,
        boundaries=_reasons(recording, places, exited, boundary.index),
    )


def _pooled(recording: Recording, ends: Sequence[End], head: HeadSite) -> list[End]:
    """Return the ends with the pooling of each cut: a mean, and at the last one the network's own pooling.

    The mean is over words only, where a mask marks padding. A class token says little before the last stages (nothing
    at all after the first), so it isn't read there. The last cut is withdrawn where the head on its pooled features
    doesn't give what the network returns: a head that is solved on them would be another network's.
    """
    pooled = [_with_pooling(recording, end, "mean") for end in ends]
    last = pooled[-1]
    if last.cut is None or head.kind == "other":
        return pooled
    last = _with_pooling(recording, last, _last_pooling(recording, last))
    if last.cut is not None and not _agrees(recording, last.cut, head):
        last = replace(last, cut=None, why_not=UNPOOLED)
    return [*pooled[:-1], last]


def _last_pooling(recording: Recording, end: End) -> Pooling:
    """Return the network's own pooling, or a mean where it has none or the recording doesn't show it."""
    if len(end.shape) != TOKENS:
        return "mean"
    return network_pooling(recording, id(logits(recording.output))) or "mean"


def _with_pooling(recording: Recording, end: End, pooling: Pooling) -> End:
    cut = end.cut
    if cut is None:
        return end
    if len(cut.shape) == 2:
        return replace(end, cut=replace(cut, pooling="none", mask=None))
    mask = None
    if pooling in ("mean", "last"):
        mask = find_mask(recording, cut.shape, cut.channel_axis)
    return replace(end, cut=replace(cut, pooling=pooling, mask=mask))


def _agrees(recording: Recording, cut: Cut, head: HeadSite) -> bool:
    """True where the head on the pooled features gives what the network returned, up to rounding."""
    wanted = flat_logits(recording.output).float()
    if cut.mutated or not torch.isfinite(wanted).all():  # overwritten since, or nothing to compare with
        return True
    boundary = next(b for b in recording.boundaries if b.index == cut.index)
    activation = recording.tensors[boundary.tensors[cut.pick]].tensor.transpose(0, cut.batch_axis)
    raw = [recording.tensors[key].tensor for key in recording.inputs]
    with torch.no_grad():
        scores = _head_scores(recording.model.get_submodule(head.path), read_features(cut, activation, raw))
    tolerance = 1e-2 * float(wanted.abs().max())
    return scores.shape == wanted.shape and torch.allclose(scores, wanted, rtol=1e-2, atol=tolerance)


def _head_scores(head: nn.Module, features: Tensor) -> Tensor:
    weight = head.weight
    assert isinstance(weight, Tensor)
    bias = None
    if isinstance(head.bias, Tensor):
        bias = head.bias.float()
    return nn.functional.linear(features, weight.float().flatten(1), bias)
