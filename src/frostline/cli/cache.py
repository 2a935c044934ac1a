"""`frostline cache`: what the cache folder holds, how large it may grow, and room made in it."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from frostline.base.errors import RecipeError
from frostline.cli import options as o
from frostline.cli.screen import print_json, print_table, print_text

if TYPE_CHECKING:
    from frostline.features.upkeep import StoredEntry

MB = 1 << 20
SECONDS = {"h": 3600, "d": 86_400, "w": 604_800}

CacheStoreOption = Annotated[
    Path | None,
    o.value_option(
        o.OUTPUT_PANEL, "--store", "A store in another folder, as fit was given it. Default: the user's own.", "DIR"
    ),
]
ClearOption = Annotated[bool, o.flag_option(o.OUTPUT_PANEL, "--clear", "Remove what is stored; runs compute it again.")]
OlderThanOption = Annotated[
    str | None,
    o.value_option(
        o.OUTPUT_PANEL, "--older-than", "With --clear: only what nobody has used for this long (12h, 30d, 8w).", "AGE"
    ),
]
LimitOption = Annotated[
    str | None,
    o.value_option(
        o.OUTPUT_PANEL, "--limit", "From now on keep at most this much, such as 20GB. Default: 10 GB.", "SIZE"
    ),
]


def cache_verb(
    store: CacheStoreOption = None,
    clear: ClearOption = False,
    older_than: OlderThanOption = None,
    limit: LimitOption = None,
    json: o.JsonOption = False,
) -> None:
    """Show what the store of views and activations holds, clear it, or limit its size."""
    from frostline.base.memory import size_bytes
    from frostline.features import upkeep

    root = upkeep.store_folder(store)
    age = _seconds(older_than) if older_than is not None else None
    if age is not None and not clear:
        raise RecipeError("--older-than without --clear has nothing to do.", "Add --clear.")
    if limit is not None:
        cap = size_bytes(limit)
        if not cap:
            raise RecipeError(f"--limit {limit} is not a size.", "Give one such as 20GB or 500MB.")
        upkeep.write_cap(root, cap)
    gone = upkeep.clear(root, age) if clear else []
    facts = _store_facts(root, upkeep.entries(root))
    if json:
        cleared = {"entries": len(gone), "mb": _mb(sum(entry.size for entry in gone))}
        print_json({**facts, "cleared": cleared})
        return
    if clear:
        size = sum(entry.size for entry in gone)
        print_text(f"{_counted(len(gone))} removed from {root}: {size / MB:,.0f} MB.")
    _show(facts)


def _store_facts(root: Path, found: Sequence[StoredEntry]) -> dict[str, Any]:
    """Return what is there, in MB (of 1024 KB) and seconds since the last use."""
    from frostline.features import upkeep

    now = time.time()
    kinds: dict[str, list[StoredEntry]] = {kind: [] for kind in upkeep.KINDS}
    for entry in found:
        kinds[entry.kind].append(entry)
    left = upkeep.unfinished(root)
    return {
        "folder": str(root),
        "entries": len(found),
        "mb": _mb(sum(entry.size for entry in found)),
        "limit_mb": _mb(upkeep.read_cap(root)),
        "free_mb": _mb(upkeep.free_bytes(root)),
        "unfinished": {"files": len(left), "mb": _mb(sum(stat.st_size for _, stat in left))},
        "kinds": {
            kind: {
                "entries": len(entries),
                "mb": _mb(sum(entry.size for entry in entries)),
                "oldest_seconds": round(max(now - entry.used for entry in entries)),
                "newest_seconds": round(min(now - entry.used for entry in entries)),
            }
            for kind, entries in kinds.items()
            if entries
        },
    }


def _show(facts: dict[str, Any]) -> None:
    if not facts["entries"]:
        print_text(f"{facts['folder']} holds nothing; it may grow to {facts['limit_mb']:,.0f} MB.")
        return
    rows = [
        (kind, str(of["entries"]), f"{of['mb']:,.1f}", _ago(of["newest_seconds"]), _ago(of["oldest_seconds"]))
        for kind, of in facts["kinds"].items()
    ]
    print_table(("what", "entries", "MB", "used last", "least lately"), rows, right=("entries", "MB"))
    print_text(
        f"{facts['folder']} holds {facts['mb']:,.0f} of {facts['limit_mb']:,.0f} MB that it may grow to; "
        f"{facts['free_mb']:,.0f} MB are free on its disk."
    )
    left = facts["unfinished"]
    if left["files"]:
        print_text(f"{left['files']} unfinished files ({left['mb']:,.0f} MB) go a day after their last change.")


def _counted(number: int) -> str:
    if number == 1:
        return "1 entry"
    return f"{number:,} entries"


def _ago(seconds: float) -> str:
    """`5 min ago`, in the largest unit that is reached."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return "now"


def _mb(size: float) -> float:
    return round(size / MB, 1)


def _seconds(age: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", age.strip())
    if not match:
        raise RecipeError(f"--older-than {age} is not an age.", "Give one such as 12h, 30d or 8w.")
    return float(match[1]) * SECONDS[match[2]]
