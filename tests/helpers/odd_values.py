"""What properties are tried on: odd texts and JSON values, and a few edits of valid ones."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tools.fuzzing.mutate import odd_bytes, odd_json

# The same examples in every run, so that no run fails by luck: tools/fuzz.py is what searches.
FEW = settings(
    max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FEWER = settings(FEW, max_examples=15)

SEEDS = st.integers(0, 10_000)
WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).map(str.strip).filter(bool)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


def edited(value: Any, seed: int) -> Any:
    """The JSON value with one to three places changed."""
    return odd_json(Random(seed), value)


def damaged(data: bytes, seed: int) -> bytes:
    """The bytes with a few of them changed, or cut short; never as they were."""
    changed = odd_bytes(Random(seed), data)
    return changed if changed != data else data + b"\0"


def as_json(value: Any) -> bytes:
    """JSON text, with the numbers that JSON lacks and halves of characters, as careless programs write them."""
    return json.dumps(value).encode()
