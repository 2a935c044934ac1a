"""Sketches of parameter gradients: a few thousand numbers, whose inner products are those of the gradients on average.

A sketch multiplies the gradient with random signs and folds it to a fixed width: number i is added to number i modulo
the width (count sketch; Charikar, Chen & Farach-Colton 2002). The signs are products of one per row and one per column,
as in the tensor sketch of Pham & Pagh 2013. The gradient of a weight is, for each sample, a sum of outer products over
positions or tokens; it is built block by block of rows, folded at once, and never held whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from frostline.base.seeds import derive_seed

WIDTH = 2039  # numbers that are kept of one group's gradient in one direction; a prime, so that rows don't line up
BUCKETS = 64  # that the rows of an embedding fall into
GROUP_SIDE = 4  # numbers that are kept of the kernel of one output channel of a grouped convolution
AT_ONCE = 1 << 23  # numbers of a block of gradients


@dataclass(frozen=True, slots=True)
class Projection:
    """The linear map of one parameter's gradient, a tensor of `shape`, to `size` numbers.

    `matrix`: the gradient counts as (first axis, all others), with signs for both. `grouped`, the weight of a grouped
    convolution: `filters` (groups, columns, GROUP_SIDE) project what each group's outputs read. `rows`, an embedding:
    `buckets` says where each row goes. `all`: the numbers as they are, with `right` as their signs.
    """

    shape: tuple[int, ...]
    kind: Literal["matrix", "grouped", "rows", "all"]
    left: Tensor
    right: Tensor
    filters: Tensor | None = None
    buckets: Tensor | None = None

    @property
    def size(self) -> int:
        return min(WIDTH, len(self.left) * len(self.right))

    def of(self, gradient: Tensor) -> Tensor:
        """(size,): the sketch of a whole gradient, which the proof compares with."""
        if self.kind == "all":
            return self.flat(gradient.float().reshape(1, -1))[0]
        whole = gradient.float().reshape(self.shape[0], -1)
        if self.filters is not None:
            return self.flat(
                torch.bmm(whole.reshape(len(self.filters), -1, whole.shape[1]), self.filters).reshape(1, -1)
            )[0]
        if self.buckets is not None:
            whole = whole.new_zeros((BUCKETS, whole.shape[1])).index_add_(0, self.buckets, whole * self.left[:, None])
            return _folded((whole * self.right).reshape(1, -1), self.size)[0]
        return _folded((whole * self.left[:, None] * self.right).reshape(1, -1), self.size)[0]

    def flat(self, numbers: Tensor) -> Tensor:
        """(B, size): the sketch of gradients that are given as they are, (B, numbers)."""
        return _folded(numbers * self.right, self.size)

    def outer(self, left: Tensor, right: Tensor) -> Tensor:
        """(B, size): the sketch of the sum over positions of the outer products of (B, T, rows) and (B, T, columns)."""
        batch, positions, rows = left.shape
        columns = right.shape[2]
        dtype = left.dtype if right.dtype == torch.float32 else right.dtype  # autocast may have cast one of them only
        signs_last = rows * columns < positions * (rows + columns)  # fewer products than factors to multiply by them
        if not signs_last:
            left = left * self.left.to(dtype)
            right = right * self.right.to(dtype)
        left = left.to(dtype).transpose(1, 2)
        right = right.to(dtype)
        sketch = torch.zeros((batch, self.size), device=left.device)
        step = max(1, AT_ONCE // (batch * columns))
        for start in range(0, rows, step):
            block = torch.bmm(left[:, start : start + step], right)
            if signs_last:
                block = block * self.left[start : start + step, None].to(dtype) * self.right.to(dtype)
            _add_shifted(sketch, _folded(block.flatten(1), self.size), start * columns % self.size)
        return sketch

    def looked_up(self, ids: Tensor, gradient: Tensor) -> Tensor:
        """(B, size): the sketch of an embedding's gradient, from the rows read (B, T) and gradients (B, T, columns)."""
        assert self.buckets is not None
        bucket = torch.nn.functional.one_hot(self.buckets[ids], BUCKETS).to(gradient.dtype)
        signed = bucket * self.left[ids].unsqueeze(-1).to(gradient.dtype)
        whole = torch.bmm(signed.transpose(1, 2), gradient * self.right.to(gradient.dtype))
        return _folded(whole.flatten(1), self.size)


def _folded(numbers: Tensor, width: int) -> Tensor:
    """(B, width) float32: number i of (B, n) is added to number i modulo `width`."""
    count = numbers.shape[1]
    whole = count // width * width
    folded = torch.zeros((len(numbers), width), device=numbers.device)
    if whole:
        folded += numbers[:, :whole].reshape(len(numbers), -1, width).sum(1)
    folded[:, : count - whole] += numbers[:, whole:]
    return folded


def _add_shifted(total: Tensor, numbers: Tensor, shift: int) -> None:
    """Add `numbers` (B, n) to `total` (B, width >= n) from the place `shift` on, going on at its beginning."""
    before_end = min(numbers.shape[1], total.shape[1] - shift)
    total[:, shift : shift + before_end] += numbers[:, :before_end]
    total[:, : numbers.shape[1] - before_end] += numbers[:, before_end:]


def make_projection(name: str, parameter: Tensor, *, kind: str = "all", groups: int = 1) -> Projection:
    """Draw the projection of a parameter; the draw depends on its name and shape alone."""
    shape = tuple(parameter.shape)
    device = parameter.device
    if kind == "all":
        one = torch.ones(1, device=device)
        return Projection(shape, "all", left=one, right=_signs((parameter.numel(),), device, name))
    columns = parameter.numel() // shape[0]
    left = _signs((shape[0],), device, name, "rows")
    right = _signs((columns,), device, name, "columns")
    if kind == "rows":
        generator = torch.Generator().manual_seed(derive_seed(0, "sketch", name, "buckets"))
        buckets = torch.randint(0, BUCKETS, (shape[0],), generator=generator).to(device)
        return Projection(shape, "rows", left=left, right=right, buckets=buckets)
    if groups > 1:
        if columns <= GROUP_SIDE:
            filters = torch.eye(columns, device=device).expand(groups, -1, -1)
        else:
            filters = _signs((groups, columns, GROUP_SIDE), device, name, "filters").div(GROUP_SIDE**0.5)
        one = torch.ones(1, device=device)
        right = _signs((shape[0] * filters.shape[2],), device, name)
        return Projection(shape, "grouped", left=one, right=right, filters=filters)
    return Projection(shape, "matrix", left=left, right=right)


def _signs(shape: tuple[int, ...], device: torch.device, *purpose: str) -> Tensor:
    """Return random signs, a function of the purpose."""
    generator = torch.Generator().manual_seed(derive_seed(0, "sketch", *purpose))
    return torch.randint(0, 2, shape, generator=generator, dtype=torch.int8).mul(2).sub(1).float().to(device)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the sketch of one parameter in one direction is added: columns `start` on, from `shift` in them."""

    start: int
    width: int
    shift: int

    def add(self, row: Tensor, numbers: Tensor) -> None:
        """Add `numbers` (B, size) to `row` (B, all groups)."""
        _add_shifted(row[:, self.start : self.start + self.width], numbers, self.shift)


@dataclass(frozen=True, slots=True)
class Layout:
    """A row of all groups: the columns of each, and the place of each parameter in each direction."""

    columns: Mapping[str, slice]
    places: Mapping[tuple[str, int], Place]
    width: int


def lay_out(groups: Mapping[str, Sequence[str]], projections: Mapping[str, Projection], directions: int) -> Layout:
    """Give every group (name: its parameters) its columns, in each direction as many as it has numbers, at most
    `WIDTH`."""
    columns: dict[str, slice] = {}
    places: dict[tuple[str, int], Place] = {}
    start = 0
    for group, names in groups.items():
        width = min(WIDTH, sum(projections[name].size for name in names))
        first = start
        for direction in range(directions):
            shift = 0
            for name in names:
                places[name, direction] = Place(start, width, shift % width)
                shift += projections[name].size
            start += width
        columns[group] = slice(first, start)
    return Layout(columns, places, start)
