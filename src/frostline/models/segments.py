"""Which modules start a stage: a walk down the module tree in the order of execution (5 to 16 for usual networks)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from frostline.models.cuts import Cut, Place
from frostline.models.heads import HeadSite
from frostline.models.recorder import Recording

FEWEST, MOST = 5, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A module with weights that runs as one piece; `last` names the final one of several that were merged."""

    name: str
    entered: int  # boundary number of its first entry
    left: int  # and of its first exit (of the last merged module)
    size: int  # parameters


class _Tree:
    """Which modules ran, when, and with which weights."""

    def __init__(self, recording: Recording, head: HeadSite) -> None:
        self.model, self.head = recording.model, head
        self.entered: dict[str, int] = {}
        self.left: dict[str, int] = {}
        for boundary in recording.boundaries:
            times = self.entered if boundary.where == "in" else self.left
            times.setdefault(boundary.module, boundary.index)

    def children(self, name: str) -> list[str]:
        """The nearest modules below that ran, in order of execution; lists that are never called are looked through."""
        found = []
        for child, _ in self.model.get_submodule(name).named_children():
            path = f"{name}.{child}" if name else child
            found += [path] if path in self.entered else self.children(path)
        return sorted(set(found), key=lambda path: self.entered[path])

    def weighty(self, name: str) -> bool:
        """Holds a matrix (or kernel) outside the head: a vector in disguise, such as a scale of (1, 1, D), is none."""
        below = self.model.get_submodule(name).named_parameters(name)
        return any(p.ndim >= 2 and p.numel() > max(p.shape) for path, p in below if not self.head.owns(path))

    def parts(self, names: Iterable[str]) -> list[str]:
        """Weighty modules among these; those that hold the head are opened."""
        found: list[str] = []
        for name in names:
            if self.head.path.startswith(name + "."):
                found += self.parts(self.children(name))
            elif self.weighty(name) and not self.head.owns(name):
                found.append(name)
        return found

    def opened(self, name: str, clean: set[int]) -> list[str]:
        """Weighty parts one level down (single ones are looked through); empty where most of them end without a cut,
        such as embeddings that are added up, or the branches of a block."""
        parts = self.parts(self.children(name))
        if len(parts) == 1:
            return self.opened(parts[0], clean)
        ends = [any(self.left[a] <= index <= self.entered[b] for index in clean) for a, b in pairwise(parts)]
        return parts if 2 * sum(ends) > len(ends) else []

    def segment(self, name: str) -> Segment:
        below: nn.Module = self.model.get_submodule(name)
        size = sum(p.numel() for p in below.parameters())
        return Segment(name=name, entered=self.entered[name], left=self.left[name], size=size)


def find_segments(recording: Recording, cuts: dict[Place, Cut | str], head: HeadSite) -> list[Segment]:
    """Segments in order of execution.

    The root's children; where fewer than 5 of them hold weights, containers are opened one level: all at once if at
    most 16 result, else the largest first. More than 16 are merged: always the two smallest neighbours.
    """
    tree = _Tree(recording, head)
    clean = {cut.index for cut in cuts.values() if isinstance(cut, Cut)}
    names = tree.parts(tree.children(""))
    while len(names) < FEWEST:
        opened = {name: parts for name in names if (parts := tree.opened(name, clean))}
        if not opened:
            break
        every = [part for name in names for part in opened.get(name, [name])]
        if len(every) <= MOST:
            names = every
        else:
            largest = max(opened, key=lambda name: tree.segment(name).size)
            names = [part for name in names for part in (opened[name] if name == largest else [name])]
    segments: list[Segment] = []
    for segment in sorted((tree.segment(name) for name in names), key=lambda s: s.entered):
        if not segments or segment.entered > segments[-1].left:  # what runs within another one belongs to it
            segments.append(segment)
    return _merged(segments)


def weighty_between(recording: Recording, head: HeadSite, index: int) -> list[str]:
    """Modules with matrices or kernels that are entered after boundary `index` and before the head."""
    tree = _Tree(recording, head)
    at_head = tree.entered[head.path]
    inside = [name for name, at in tree.entered.items() if index < at < at_head and tree.weighty(name)]
    return [name for name in inside if not any(name.startswith(other + ".") for other in inside)]


def _merged(segments: list[Segment]) -> list[Segment]:
    """At most 16: neighbours are joined, smallest sum of parameters first; the later one gives its name."""
    while len(segments) > MOST:
        sizes = [a.size + b.size for a, b in pairwise(segments)]
        i = sizes.index(min(sizes))
        first, second = segments[i : i + 2]
        both = Segment(name=second.name, entered=first.entered, left=second.left, size=sizes[i])
        segments = [*segments[:i], both, *segments[i + 2 :]]
    return segments
