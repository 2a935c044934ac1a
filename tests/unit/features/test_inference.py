"""Groups of one length: who runs with whom, and that what they give comes back in the order that was asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from frostline.base.device import Compute
from frostline.features.inference import chunk_size, grouped, in_order, scores_in_chunks

COMPUTE = Compute(device="cpu", precision="fp32", channels_last=False, threads=1, chunk=4)
LENGTHS = np.array([24, 16, 16, 512, 24, 16, 16, 16])


def test_samples_that_are_all_alike_are_one_group_in_whole_chunks() -> None:
    (group,) = grouped(None, COMPUTE)
    assert (group.places, group.chunk, group.length) == (slice(None), 4, 0)
    parts = [torch.arange(3), torch.arange(3, 5)]
    assert in_order(parts, [group]).tolist() == [0, 1, 2, 3, 4]


def test_groups_have_one_length_each_the_shortest_first() -> None:
    groups = grouped(LENGTHS, COMPUTE)
    assert [g.length for g in groups] == [16, 24, 512]
    assert [g.places.tolist() for g in groups if isinstance(g.places, Tensor)] == [[1, 2, 5, 6, 7], [0, 4], [3]]


@pytest.mark.parametrize(
    ("chunk", "length", "size"), [(32, 0, 32), (32, 16, 32), (32, 64, 16), (32, 512, 2), (32, 4096, 2), (2, 16, 2)]
)
def test_chunks_of_long_inputs_are_smaller_on_a_cpu(chunk: int, length: int, size: int) -> None:
    assert chunk_size(replace(COMPUTE, chunk=chunk), length) == size
    assert chunk_size(replace(COMPUTE, chunk=chunk, device="cuda"), length) == chunk


def test_scores_come_in_the_order_asked_for_and_chunks_are_of_one_length_and_full() -> None:
    rows = torch.tensor([7, 3, 0, 1, 4, 2])
    seen: list[list[int]] = []

    def forward(chunk: Tensor) -> Any:
        seen.append(chunk.tolist())
        return torch.stack([chunk, 10 * chunk], dim=1).float()

    scores = scores_in_chunks(forward, rows, grouped(LENGTHS[rows.numpy()], COMPUTE), COMPUTE)
    assert scores[:, 0].tolist() == rows.tolist()
    assert scores[:, 1].tolist() == (10 * rows).tolist()
    assert seen == [[7, 1, 2, 2], [0, 4, 4, 4], [3, 3]]


def test_parts_in_order_carry_gradients() -> None:
    groups = grouped(np.array([24, 16, 24]), COMPUTE)
    values = torch.arange(3.0, requires_grad=True)
    whole = in_order([values[g.places] for g in groups], groups)
    assert torch.equal(whole, values)
    (whole * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [1.0, 2.0, 3.0]
