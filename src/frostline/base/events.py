"""Events that the library emits while it works. Only the command line draws them; the library prints nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something happened. `kind` is one word; `data` is JSON-able."""

    kind: str
    text: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseEvent(Event):
    """A part of the job begins (`data`: name) or ends (`data`: name, seconds)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressEvent(Event):
    """Work done so far of a total, both in counted operations; time left in seconds where it is known."""

    done: float
    total: float
    seconds_left: float | None = None


Emit = Callable[[Event], None]


def silent(_event: Event) -> None:
    """Ignore the event."""


_listening: ContextVar[Emit] = ContextVar("listening", default=silent)


@contextlib.contextmanager
def listening(emit: Emit) -> Iterator[None]:
    """Hear, in this block, what is told from places that no listener is handed to."""
    before = _listening.set(emit)
    try:
        yield
    finally:
        _listening.reset(before)


def tell(event: Event) -> None:
    """Tell the innermost listener of something rare, from deep within: a store that can't be written any more."""
    _listening.get()(event)
