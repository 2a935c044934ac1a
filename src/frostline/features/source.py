"""A fixed list of samples, and what is stored of a view of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import PIL
from torch import Tensor

from frostline.base import version
from frostline.base.hashing import hash_values
from frostline.base.records import IntArray
from frostline.data.contract import Contract, Samples, ViewOf, input_lengths, view_form, views_of
from frostline.data.texts import TextPreprocess
from frostline.data.views import Policy


@dataclass(frozen=True, kw_only=True)
class ViewSource:
    """Images (or texts), and the pure function (seed, sample, view) -> what is stored of a view: a uint8 image of
    the network's input size, or a row of token ids."""

    images: Samples
    samples: Sequence[str]  # content hash of each image
    preprocess: Contract
    policy: Policy
    seed: int
    threads: int

    def __len__(self) -> int:
        return len(self.samples)

    def make(self, view: int, rows: IntArray | None = None) -> Tensor:
        """One view, uint8 (N,C,H,W) or int32 (N,L), for the given rows or all."""
        if rows is None:
            images = self.images
        else:
            images = self.images.select(rows)
        if rows is None:
            samples = self.samples
        else:
            samples = [self.samples[i] for i in rows]
        how = ViewOf(view=view, policy=self.policy, seed=self.seed, threads=self.threads)
        return views_of(images, samples, self.preprocess, how)

    @cached_property
    def lengths(self) -> IntArray | None:
        """Places of the network's input for each sample (N,); None where all have the same shape."""
        return input_lengths(self.images, self.preprocess)

    @cached_property
    def share(self) -> float:
        """Mean length of the inputs, as a part of the longest that there can be; 1.0 where all have the same shape."""
        if self.lengths is None or not isinstance(self.preprocess, TextPreprocess):
            return 1.0
        return float(self.lengths.mean()) / self.preprocess.length

    def key(self, view: int) -> str:
        # view 0 is the same for every seed
        seed = 0
        if view:
            seed = self.seed
        policy = ""
        if view:
            policy = repr(self.policy)
        form = view_form(self.preprocess)
        return hash_values("view", version.VERSION, PIL.__version__, list(self.samples), form, policy, seed, view)
