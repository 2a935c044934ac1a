"""Which names of folders, of cells and of splits mean the training, the validation and the test part."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Literal

GivenPart = Literal["train", "val", "test"]

PARTS: dict[str, GivenPart] = {
    "train": "train",
    "training": "train",
    "trn": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "tst": "test",
    "holdout": "test",
}
WORDS = "train, val, test"
# Words beside a part's that say nothing: `training_set`, `seg_train`, `Train Images`.
FILLERS = frozenset(
    "data dataset datasets file files folder image images imgs img part photo photos picture pictures sample samples "
    "seg set sets split subset the".split()
)
GLUED = re.compile(rf"({'|'.join(PARTS)})({'|'.join(sorted(FILLERS))})")  # `trainset`, `valdata`


def part_of(name: str) -> GivenPart | None:
    """The part that a name means by itself; None where it means none, or may mean something else."""
    part, rest = _told_apart(name)
    if rest:
        return None
    return part


def parts_of(names: Iterable[str]) -> dict[str, GivenPart]:
    """The parts that names mean side by side: `birds_train` and `birds_test` differ in the part alone."""
    found: dict[str, GivenPart] = {}
    of_rest: dict[tuple[str, ...], dict[str, GivenPart]] = defaultdict(dict)
    for name in names:
        part, rest = _told_apart(name)
        if part is None:
            continue
        if rest:
            of_rest[rest][name] = part
        else:
            found[name] = part
    for members in of_rest.values():
        if len(members) > 1 and "train" in members.values() and len(set(members.values())) == len(members):
            found |= members
    return found


def _told_apart(name: str) -> tuple[GivenPart | None, tuple[str, ...]]:
    """The one part among a name's words, and those words that aren't fillers."""
    split = GLUED.sub(r"\1 \2", name.casefold())
    words = re.findall(r"[^\W\d_]+|\d+", split)
    parts = [PARTS[word] for word in words if word in PARTS]
    if len(parts) != 1:
        return None, ()
    return parts[0], tuple(word for word in words if word not in PARTS and word not in FILLERS)
