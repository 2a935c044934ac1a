"""Which axis of an activation holds the channels: followed back to the operation that decides it."""

from __future__ import annotations

from collections.abc import Iterable

from frostline.models.recorder import Recording, TensorRecord

FIRST = ("conv", "batch_norm", "group_norm", "instance_norm", "_pool")  # operations whose channels are axis 1
LAST = ("layer_norm", "mm.default", "linear", "embedding", "scaled_dot_product")  # and those whose are the last axis


def channel_axis(recording: Recording, tensor: int) -> int:
    """Axis of the channels: 1 for (N, C, ...) and the last for (N, ..., C).

    Rule: walk back through operations that keep the axes (following permutations) to the nearest one that decides:
    convolution, batch norm, group norm, pooling: axis 1; layer norm, linear: the last. Where no operation decides:
    axis 1 for four axes and more, else the last.
    """
    shape = recording.tensors[tensor].tensor.shape
    found = _search(recording, tensor)
    if found is not None:
        return found
    return 1 if len(shape) >= 4 else len(shape) - 1


def _search(recording: Recording, start: int) -> int | None:
    """Breadth first. An entry is a tensor and, for each of its axes, the axis of the start that it became."""
    ndim = recording.tensors[start].tensor.ndim
    queue: list[tuple[int, tuple[int, ...]]] = [(start, tuple(range(ndim)))]
    seen = {start}
    for key, axes in queue:  # grows while it is walked
        record = recording.tensors[key]
        decided = _decides(recording, record)
        if decided is not None:
            return axes[decided]
        for parent, moved in _steps_back(recording, record, axes):
            if parent not in seen:
                seen.add(parent)
                queue.append((parent, moved))
    return None


def _decides(recording: Recording, record: TensorRecord) -> int | None:
    """The channel axis that this very operation gives its result, if it does."""
    ndim, name = record.tensor.ndim, record.operation
    if ndim >= 3 and any(word in name for word in FIRST):
        return 1
    if any(word in name for word in LAST):
        return ndim - 1
    if "view" in name or "reshape" in name:
        for parent in record.parents:
            source = recording.tensors[parent].tensor
            if source.ndim != ndim:
                return _reshaped(tuple(source.shape), tuple(record.tensor.shape))
    return None


def _reshaped(source: tuple[int, ...], result: tuple[int, ...]) -> int | None:
    """Folding or unfolding the other axes keeps the size of the channel axis: the last of both, or axis 1 of both."""
    if source[-1] == result[-1]:
        return len(result) - 1
    if len(source) > 1 and len(result) > 1 and source[1] == result[1]:
        return 1
    return None


def _steps_back(
    recording: Recording, record: TensorRecord, axes: tuple[int, ...]
) -> Iterable[tuple[int, tuple[int, ...]]]:
    for parent in record.parents:
        source = recording.tensors[parent].tensor
        if source.ndim != record.tensor.ndim:
            continue
        if any(word in record.operation for word in ("permute", "transpose", "aten.t.")):
            order = _permutation(tuple(source.shape), source.stride(), record)
            if order is not None:
                moved = [0] * len(axes)
                for position, origin in enumerate(order):
                    moved[origin] = axes[position]
                yield parent, tuple(moved)
        else:
            yield parent, axes


def _permutation(shape: tuple[int, ...], stride: tuple[int, ...], record: TensorRecord) -> list[int] | None:
    """Which axis of the source each axis of the permuted view is; None where sizes and strides leave it open."""
    left = list(range(len(shape)))
    order = []
    for size, step in zip(record.tensor.shape, record.tensor.stride(), strict=True):
        match = next((i for i in left if shape[i] == size and stride[i] == step), None)
        if match is None:
            return None
        left.remove(match)
        order.append(match)
    return order
