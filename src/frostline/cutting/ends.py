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
from frostline.cutting.pooling import TOKENS, Pooling, find_mask, own_pooling
from frostline.cutting.recorder import Boundary, Recording
from frostline.cutting.segments import Segment, find_segments, weighty_between

WINDOW = 8  # boundaries whose reasons are kept for a stage that can't be cut
UNPOOLED = "the network goes from these features to its scores in another way than a mean or one token"


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The end of a stage: its boundary's number and clock, and the cut there, or why there is none."""

    name: str
    index: int
    clock: int
    shape: tuple[int, ...]
    cut: Cut | None
    why_not: str | None = None
    boundaries: tuple[str, ...] = ()  # where it can't be cut: each boundary that was looked at, with its reason


Places = Mapping[Place, Cut | str]


def find_ends(
    recording: Recording, places: dict[Place, Cut | str], head: HeadSite, named: Sequence[NamedStage] = ()
) -> list[End]:
    """The stages' ends in order of execution, the last one before the head; at those boundaries that `named` says, if
    any. Raises ModelError where the network has no stage, or the named ones don't fit it."""
    if named:
        ends = _named_ends(recording, places, head, named)
    else:
        segments = find_segments(recording, places, head)
        if not segments:
            raise _nothing_before(recording, head)
        ends = [_end(recording, places, s, after) for s, after in pairwise(segments)]
        ends.append(_last_end(recording, places, segments[-1].name, segments[-1].left, head))
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
    found = boundaries_of(recording, named, head.path)
    left_out = weighty_between(recording, head, found[-1].index)
    if left_out:
        raise ModelError(
            f"The last stage ends at {named[-1].module}, but {', '.join(left_out[:3])} runs between it "
            f"and the head {head.path}.",
            "Name one more stage that ends there.",
        )
    ends = [_end_at_boundary(recording, places, s.name, b) for s, b in zip(named[:-1], found[:-1], strict=True)]
    return [*ends, _last_end(recording, places, named[-1].name, found[-1].index, head)]


def _end_at_boundary(recording: Recording, places: Places, name: str, boundary: Boundary) -> End:
    found = places[boundary.where, boundary.module]
    if isinstance(found, Cut):
        return _end_at(recording, name, found)
    shape = _shape(recording, boundary)
    return End(name=name, index=boundary.index, clock=boundary.clock, shape=shape, cut=None, why_not=found)


def _end(recording: Recording, places: Places, segment: Segment, after: Segment) -> End:
    """The last clean boundary from a segment's exit to the next one's entry; ties go to exits, then outer modules.

    A module within it that ends with the segment's last operation will do as well: the segment itself may return the
    tensor in an object of its own.
    """
    over = recording.boundaries[segment.left].clock
    clean = [c for c in places.values() if isinstance(c, Cut) and over <= c.clock and c.index <= after.entered]
    if clean:
        cut = max(clean, key=lambda c: (c.clock, c.where == "out", *_outermost(c)))
        return _end_at(recording, segment.name, cut)
    reason = places[_last_place(places, segment.name)]
    at = recording.boundaries[after.entered]
    return End(
        name=segment.name,
        index=at.index,
        clock=at.clock,
        shape=_shape(recording, recording.first("out", segment.name)),
        cut=None,
        why_not=str(reason),
        boundaries=_reasons(recording, places, segment.left, after.entered),
    )


def _reasons(recording: Recording, places: Places, first: int, last: int) -> tuple[str, ...]:
    """Why the network can't be cut at each boundary from one number to another."""
    found = []
    for boundary in recording.boundaries[first : last + 1]:
        reason = places.get((boundary.where, boundary.module))
        if isinstance(reason, str):
            found.append(f"{'before' if boundary.where == 'in' else 'after'} {boundary.module}: {reason}")
    unique = tuple(dict.fromkeys(found))
    more = len(unique) - WINDOW
    if more > 0:
        return (*unique[:WINDOW], f"and {more} more")
    return unique


def _shape(recording: Recording, boundary: Boundary) -> tuple[int, ...]:
    tensors = boundary.tensors
    if tensors:
        return tuple(recording.tensors[tensors[0]].tensor.shape)
    return ()


def _outermost(cut: Cut) -> tuple[int, int]:
    return -cut.module.count("."), cut.index


def _last_place(places: Places, module: str) -> Place:
    if ("out", module) in places:
        return ("out", module)
    return ("in", module)


def _end_at(recording: Recording, name: str, cut: Cut) -> End:
    if cut.shape[0] != recording.batch:
        reason = f"its output has {cut.shape[0]} rows for {recording.batch} samples"
        return End(name=name, index=cut.index, clock=cut.clock, shape=cut.shape, cut=None, why_not=reason)
    return End(name=name, index=cut.index, clock=cut.clock, shape=cut.shape, cut=cut)


def _last_end(recording: Recording, places: Places, name: str, left: int, head: HeadSite) -> End:
    """The last stage ends with the tensor that the head reads, after the network's own pooling.

    The exit of the module that made it comes before the head's entry: a dropout between the two, which is nothing in
    inference, then belongs to what trains.
    """
    place = places["in", head.path]
    at = recording.first("in", head.path)
    if isinstance(place, Cut):
        same = [c for c in places.values() if isinstance(c, Cut) and left <= c.index <= place.index]
        cut = max((c for c in same if c.clock == place.clock and c.where == "out"), key=_outermost, default=place)
        return _end_at(recording, name, cut)
    return End(
        name=name,
        index=at.index,
        clock=at.clock,
        shape=_shape(recording, at),
        cut=None,
        why_not=place,
        boundaries=_reasons(recording, places, left, at.index),
    )


def _pooled(recording: Recording, ends: Sequence[End], head: HeadSite) -> list[End]:
    """The ends with the pooling of each cut: a mean, over words only where a mask tells them from padding, and at the
    last one what the network itself does.

    A class token says little before the last stages (nothing at all after the first), so it isn't read there. The
    last cut is withdrawn where the head on its pooled features doesn't give what the network returns: a head that is
    solved on them would be another network's.
    """
    found = [_with_pooling(recording, end, "mean") for end in ends]
    last = found[-1]
    if last.cut is None or head.kind == "other":
        return found
    own = None
    if len(last.shape) == TOKENS:
        own = own_pooling(recording, id(logits(recording.output)))
    found[-1] = last = _with_pooling(recording, last, own or "mean")
    if last.cut is not None and not _agrees(recording, last.cut, head):
        found[-1] = replace(last, cut=None, why_not=UNPOOLED)
    return found


def _with_pooling(recording: Recording, end: End, pooling: Pooling) -> End:
    if end.cut is None:
        return end
    shape = end.cut.shape
    axis = end.cut.channel_axis
    pooling = pooling
    if len(shape) == 2:
        pooling = "none"
    mask = None
    if pooling in ("mean", "last"):
        mask = find_mask(recording, shape, axis)
    return replace(end, cut=replace(end.cut, pooling=pooling, mask=mask))


def _agrees(recording: Recording, cut: Cut, head: HeadSite) -> bool:
    """Whether the head on the pooled features gives what the network returned, up to rounding."""
    boundary = next(b for b in recording.boundaries if b.index == cut.index)
    activation = recording.tensors[boundary.tensors[cut.pick]].tensor.transpose(0, cut.batch_axis)
    raw = [recording.tensors[key].tensor for key in recording.inputs]
    wanted = flat_logits(recording.output).float()
    if cut.mutated or not torch.isfinite(wanted).all():  # overwritten since, or nothing to compare with
        return True
    with torch.no_grad():
        scores = _scores(recording.model.get_submodule(head.path), read_features(cut, activation, raw))
    return scores.shape == wanted.shape and torch.allclose(
        scores, wanted, rtol=1e-2, atol=1e-2 * float(wanted.abs().max())
    )


def _scores(head: nn.Module, features: Tensor) -> Tensor:
    weight = head.weight
    bias = head.bias
    assert isinstance(weight, Tensor)
    return nn.functional.linear(features, weight.float().flatten(1), bias.float() if isinstance(bias, Tensor) else None)
