"""Seeds derived from (study seed, purpose, ...): no global randomness anywhere.

The strategy is never part of a seed, so all strategies see the same batches, views and starting heads and stay paired.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(study: int, purpose: str, *parts: int | str) -> int:
    """Derive a 63-bit seed, the same on every machine; `parts` are block, epoch, step or sample."""
    text = "\x1f".join([str(study), purpose, *map(str, parts)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def numpy_generator(study: int, purpose: str, *parts: int | str) -> np.random.Generator:
    """Return a numpy generator (PCG64) seeded by :func:`derive_seed`."""
    return np.random.default_rng(derive_seed(study, purpose, *parts))
