"""Several networks in one option: `--models SPEC,SPEC=FILE,SPEC=random`, each with its weights and a short label."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from frostline.base.errors import ModelError

RANDOM = "random"
FORM = "SPEC,SPEC=FILE,SPEC=random"
WEIGHT_FILE = re.compile(r"[^=]*\.(?!py\b)[A-Za-z]\w*(:[^/=]+)?")  # a file's ending, then perhaps :KEY
NOT_IN_LABELS = re.compile(r"[^A-Za-z0-9._-]+")
FOLDER_SOURCES = ("run", "hf", "timm", "keras")  # whose specs may be paths, in which an = may stand


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    """One network to start from: its spec, its weights (as `--weights`; None: its own), and what it is called.

    `label` is unique in its list and made of letters, digits, `.`, `_` and `-`, so it may stand in the name of a
    strategy or a file.
    """

    spec: str
    weights: str | None
    label: str

    @property
    def text(self) -> str:
        """The source as a list of sources has it: `SPEC` or `SPEC=WEIGHTS`."""
        if self.weights is None:
            return self.spec
        return f"{self.spec}={self.weights}"


def parse_sources(text: str) -> tuple[SourceSpec, ...]:
    """Parse networks with commas between; weights follow an `=`: a file (`FILE:KEY` for one of several) or `random`.

    Labels are short (`model.py:resnet20` becomes `resnet20`, with random weights `resnet20-random`); where two would
    be the same, the name of the weights' file or a number is added, in the order of the list.

    Raises ModelError for an empty list or entry, an `=` that no weights follow, and a source that is named twice.
    """
    entries = [part.strip() for part in text.split(",")]
    if not any(entries):
        raise ModelError("The list of networks is empty.", f"Give {FORM}.")
    if not all(entries):
        raise ModelError(f"The list of networks {text!r} has nothing between two commas.", f"Give {FORM}.")
    pairs = [_split(entry) for entry in entries]
    twice = [entry for entry, pair in zip(entries, pairs, strict=True) if pairs.count(pair) > 1]
    if twice:
        raise ModelError(f"{twice[0]} stands twice in the list of networks.", "Name every source once.")
    labels = _unique_labels(pairs)
    return tuple(
        SourceSpec(spec=spec, weights=weights, label=label)
        for (spec, weights), label in zip(pairs, labels, strict=True)
    )


def _split(entry: str) -> tuple[str, str | None]:
    """Split an entry at the last `=` that weights follow."""
    places = [place for place, sign in enumerate(entry) if sign == "="]
    for place in reversed(places):
        spec = entry[:place].strip()
        weights = entry[place + 1 :].strip()
        if spec and (weights == RANDOM or WEIGHT_FILE.fullmatch(weights)):
            return spec, weights
    source, _, rest = entry.partition(":")
    if not places or (source in FOLDER_SOURCES and "/" in rest):
        return entry, None
    found = entry[places[-1] + 1 :].strip()
    if not entry[: places[0]].strip():
        raise ModelError(f"{entry!r} has no network before its =.", f"Give {FORM}.")
    if not found:
        raise ModelError(f"{entry!r} has no weights after its =.", "Write SPEC=FILE, SPEC=random, or SPEC alone.")
    raise ModelError(
        f"{entry!r} has {found!r} after its =, which is neither random nor a file of weights.",
        "Write SPEC=FILE (such as net.safetensors or net.pt), SPEC=random, or SPEC alone.",
    )


def _unique_labels(pairs: Sequence[tuple[str, str | None]]) -> list[str]:
    """Return a label for each pair of spec and weights, all of them different."""
    plain = [_short_name(spec, weights) for spec, weights in pairs]
    often = Counter(plain)
    wanted = []
    for label, (_, weights) in zip(plain, pairs, strict=True):
        if often[label] > 1 and weights not in (None, RANDOM):
            assert weights is not None
            label = f"{label}-{_word(PurePosixPath(weights).name.partition('.')[0])}"
        wanted.append(label)
    return _numbered(wanted)


def _short_name(spec: str, weights: str | None) -> str:
    """Return a spec's short name: the factory, the last part of a path, or the network's own name."""
    source, colon, rest = spec.partition(":")
    name = source
    if colon:
        name = rest.rstrip("/").rpartition(":")[2].rpartition("/")[2]
    if source == "keras":
        name = name.removesuffix(".keras")
    word = _word(name)
    if weights == RANDOM:
        return f"{word}-{RANDOM}"
    return word


def _word(text: str) -> str:
    return NOT_IN_LABELS.sub("-", text).strip("-.") or "network"


def _numbered(wanted: Sequence[str]) -> list[str]:
    """Return the labels with numbers from 2 on where one is met again."""
    taken = {label for label in wanted if wanted.count(label) == 1}
    labels = []
    for label in wanted:
        found = label
        number = 2
        while found in taken and wanted.count(label) > 1:
            found = f"{label}-{number}"
            number += 1
        taken.add(found)
        labels.append(found)
    return labels
