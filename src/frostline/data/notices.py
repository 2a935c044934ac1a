"""Warnings of the data, put together from the names of all that they concern."""

from __future__ import annotations

from collections.abc import Sequence

from frostline.base.records import DataWarning

KEPT = 20  # examples in the record; the screen shows three


def noticed(kind: str, names: Sequence[str], handled: str, *, kept: int = KEPT) -> tuple[DataWarning, ...]:
    """The warning of that kind, counting all `names` and keeping the first of them; nothing where there are none."""
    if not names:
        return ()
    return (DataWarning(kind=kind, count=len(names), examples=tuple(names[:kept]), handled=handled),)
