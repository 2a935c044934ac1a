"""Which axis of an activation holds the channels: followed back to the operation that decides it."""

from __future__ import annotations

from torch import Tensor

from frostline.cutting.recorder import Recording, TensorRecord

CHANNELS_SECOND = ("conv", "batch_norm", "group_norm", "instance_norm", "_pool")  # operations with channels on axis 1
CHANNELS_LAST = ("layer_norm", "mm.default", "linear", "embedding", "scaled_dot_product")  # and on the last axis
AXIS_PERMUTATIONS = ("permute", "transpose", "aten.t.")
AXIS_RESHAPES = ("view", "reshape", "squeeze")
LOST = -1  # an axis that no single axis of the activation stems from


def channel_axis(recording: Recording, tensor: int) -> int:
    """Return the axis of the channels: 1 for (N, C, ...) and the last for (N, ..., C).

    Rule: walk back through operations that keep the axes (following permutations and reshapes) to the nearest one
    that decides: convolution, batch norm, group norm, pooling: axis 1; layer norm, linear: the last. Where none
    decides: axis 1 for four axes and more, otherwise the last.
    """
    ndim = recording.tensors[tensor].tensor.ndim
    queue: list[tuple[int, tuple[int, ...]]] = [(tensor, tuple(range(ndim)))]
    seen = {tensor}
    for key, axes in queue:  # grows while it is walked; `axes`: what each axis became in the activation
        record = recording.tensors[key]
        decided = _decided_axis(record)
        if decided is not None and axes[decided] > 0:
            return axes[decided]
        for parent in record.parents:
            parent_axes = _traced_back(record, recording.tensors[parent].tensor, axes)
            if parent_axes is not None and parent not in seen:
                seen.add(parent)
                queue.append((parent, parent_axes))
    if ndim >= 4:
        return 1
    return ndim - 1


def _decided_axis(record: TensorRecord) -> int | None:
    """Return the channel axis that this very operation gives its result, if it does."""
    ndim = record.tensor.ndim
    if ndim >= 3 and any(word in record.operation for word in CHANNELS_SECOND):
        return 1
    if any(word in record.operation for word in CHANNELS_LAST):
        return ndim - 1
    return None


def _traced_back(record: TensorRecord, source: Tensor, axes: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return what the axes of an operation's argument became; None where that is unknown."""
    if any(word in record.operation for word in AXIS_PERMUTATIONS):
        return _permuted_back(record.tensor, source, axes)
    if any(word in record.operation for word in AXIS_RESHAPES):
        return _reshaped_back(tuple(record.tensor.shape), tuple(source.shape), axes)
    if source.ndim == record.tensor.ndim:
        return axes
    return None


def _permuted_back(result: Tensor, source: Tensor, axes: tuple[int, ...]) -> tuple[int, ...] | None:
    """Match axes by size and stride: a permuted view keeps both."""
    if source.ndim != result.ndim:
        return None
    unmatched = list(range(source.ndim))
    traced = [LOST] * source.ndim
    for position, (size, step) in enumerate(zip(result.shape, result.stride(), strict=True)):
        match = next((i for i in unmatched if source.shape[i] == size and source.stride(i) == step), None)
        if match is None:
            return None
        unmatched.remove(match)
        traced[match] = axes[position]
    return tuple(traced)


def _reshaped_back(result: tuple[int, ...], source: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...] | None:
    """Match axes in groups of equal product, which are split and merged; a group keeps its origin where it has one."""
    traced = [LOST] * len(source)
    source_axes = [i for i, n in enumerate(source) if n != 1]
    result_axes = [i for i, n in enumerate(result) if n != 1]
    while source_axes and result_axes:
        source_group = [source_axes.pop(0)]
        result_group = [result_axes.pop(0)]
        source_size = source[source_group[0]]
        result_size = result[result_group[0]]
        while source_size != result_size:
            if source_size < result_size and source_axes:
                source_group.append(source_axes.pop(0))
                source_size *= source[source_group[-1]]
            elif source_size > result_size and result_axes:
                result_group.append(result_axes.pop(0))
                result_size *= result[result_group[-1]]
            else:
                return None
        origins = {axes[i] for i in result_group}
        if len(origins) == 1:
            for i in source_group:
                traced[i] = next(iter(origins))
    return tuple(traced)
