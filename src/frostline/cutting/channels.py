"""Which axis of an activation holds the channels: followed back to the operation that decides it."""

from __future__ import annotations

from torch import Tensor

from frostline.cutting.recorder import Recording, TensorRecord

FIRST = ("conv", "batch_norm", "group_norm", "instance_norm", "_pool")  # operations whose channels are axis 1
LAST = ("layer_norm", "mm.default", "linear", "embedding", "scaled_dot_product")  # and those whose are the last axis
PERMUTES = ("permute", "transpose", "aten.t.")
RESHAPES = ("view", "reshape", "squeeze")
LOST = -1  # an axis that no single axis of the activation stems from


def channel_axis(recording: Recording, tensor: int) -> int:
    """Axis of the channels: 1 for (N, C, ...) and the last for (N, ..., C).

    Rule: walk back through operations that keep the axes (following permutations and reshapes) to the nearest one
    that decides: convolution, batch norm, group norm, pooling: axis 1; layer norm, linear: the last. Where none
    decides: axis 1 for four axes and more, else the last.
    """
    ndim = recording.tensors[tensor].tensor.ndim
    queue: list[tuple[int, tuple[int, ...]]] = [(tensor, tuple(range(ndim)))]
    seen = {tensor}
    for key, axes in queue:  # grows while it is walked; `axes`: what each axis became in the activation
        record = recording.tensors[key]
        decided = _decides(record)
        if decided is not None and axes[decided] > 0:
            return axes[decided]
        for parent in record.parents:
            moved = _moved_back(record, recording.tensors[parent].tensor, axes)
            if moved is not None and parent not in seen:
                seen.add(parent)
                queue.append((parent, moved))
    if ndim >= 4:
        return 1
    return ndim - 1


def _decides(record: TensorRecord) -> int | None:
    """The channel axis that this very operation gives its result, if it does."""
    ndim = record.tensor.ndim
    name = record.operation
    if ndim >= 3 and any(word in name for word in FIRST):
        return 1
    if any(word in name for word in LAST):
        return ndim - 1
    return None


def _moved_back(record: TensorRecord, source: Tensor, axes: tuple[int, ...]) -> tuple[int, ...] | None:
    """What the axes of an operation's argument became; None where it can't be told."""
    if any(word in record.operation for word in PERMUTES):
        return _permuted_back(record.tensor, source, axes)
    if any(word in record.operation for word in RESHAPES):
        return _reshaped_back(tuple(record.tensor.shape), tuple(source.shape), axes)
    if source.ndim == record.tensor.ndim:
        return axes
    return None


def _permuted_back(result: Tensor, source: Tensor, axes: tuple[int, ...]) -> tuple[int, ...] | None:
    """By size and stride: a permuted view keeps both."""
    if source.ndim != result.ndim:
        return None
    left = list(range(source.ndim))
    moved = [LOST] * source.ndim
    for position, (size, step) in enumerate(zip(result.shape, result.stride(), strict=True)):
        match = next((i for i in left if source.shape[i] == size and source.stride(i) == step), None)
        if match is None:
            return None
        left.remove(match)
        moved[match] = axes[position]
    return tuple(moved)


def _reshaped_back(result: tuple[int, ...], source: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...] | None:
    """Axes are split and merged in groups of equal product; a group keeps its origin where all of it has one."""
    moved = [LOST] * len(source)
    theirs = [i for i, n in enumerate(source) if n != 1]
    ours = [i for i, n in enumerate(result) if n != 1]
    while theirs and ours:
        group = [theirs.pop(0)]
        origin = [ours.pop(0)]
        wide = source[group[0]]
        narrow = result[origin[0]]
        while wide != narrow:
            if wide < narrow and theirs:
                group.append(theirs.pop(0))
                wide *= source[group[-1]]
            elif wide > narrow and ours:
                origin.append(ours.pop(0))
                narrow *= result[origin[-1]]
            else:
                return None
        became = {axes[i] for i in origin}
        for i in group:
            if len(became) == 1:
                moved[i] = became.copy().pop()
            else:
                moved[i] = LOST
    return tuple(moved)
