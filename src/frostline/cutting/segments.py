"""Which modules start a stage: a walk down the module tree in the order of execution (5 to 16 for usual networks)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from frostline.cutting.cuts import Cut, Place
from frostline.cutting.heads import HeadSite
from frostline.cutting.recorder import Recording

FEWEST, MOST = 5, 16
CUTS = 4  # where fewer stages end with one, more modules are opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A module with weights that runs as one piece; `last` names the final one of several that were merged."""

    name: str
    entered: int  # boundary number of its first entry
    left: int  # and of its first exit (of the last merged module)
    size: int  # parameters


class _Tree:
    """Which modules ran, when, and with which weights."""

    def __init__(self, recording: Recording, head: HeadSite, cuts: Iterable[Cut | str] = ()) -> None:
        self.model = recording.model
        self.head = head
        self.clean = [cut for cut in cuts if isinstance(cut, Cut)]
        self.clocks = [boundary.clock for boundary in recording.boundaries]
        self.entered: dict[str, int] = {}
        self.left: dict[str, int] = {}
        for boundary in recording.boundaries:
            if boundary.where == "in":
                times = self.entered
            else:
                times = self.left
            times.setdefault(boundary.module, boundary.index)

    def children(self, name: str) -> list[str]:
        """The nearest modules below that ran, in order of execution; lists that are never called are looked through."""
        found = []
        for child, _ in self.model.get_submodule(name).named_children():
            path = child
            if name:
                path = f"{name}.{child}"
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

    def ends_clean(self, left: int, entered: int) -> bool:
        """Whether there is a cut from an exit (or with its operation) to the next entry."""
        return any(self.clocks[left] <= cut.clock and cut.index <= entered for cut in self.clean)

    def clean_ends(self, names: Sequence[str]) -> int:
        """How many of these modules, in order of execution, end with a cut before the next begins."""
        return sum(self.ends_clean(self.left[a], self.entered[b]) for a, b in pairwise(names))

    def opened(self, name: str) -> list[str]:
        """Weighty parts one level down (single ones are looked through), or two where those of one end without a cut;
        empty where most of them do, such as embeddings that are added up, or the branches of a block."""
        parts = self.below(name)
        if self.mostly_clean(parts):
            return parts
        deeper = [below for part in parts for below in self.below(part) or [part]]
        if self.mostly_clean(deeper):
            return deeper
        return []

    def below(self, name: str) -> list[str]:
        parts = self.parts(self.children(name))
        if len(parts) == 1:
            return self.below(parts[0])
        return parts

    def mostly_clean(self, parts: Sequence[str]) -> bool:
        return 2 * self.clean_ends(parts) > len(parts) - 1

    def segment(self, name: str) -> Segment:
        below: nn.Module = self.model.get_submodule(name)
        size = sum(p.numel() for p in below.parameters())
        return Segment(name=name, entered=self.entered[name], left=self.left[name], size=size)


def find_segments(recording: Recording, cuts: dict[Place, Cut | str], head: HeadSite) -> list[Segment]:
    """Segments in order of execution.

    The root's children; where fewer than 5 of them hold weights, containers are opened one level: all at once if at
    most 16 result, else the largest first. Where fewer than 4 end with a cut, what has cuts inside is opened too. More
    than 16 are merged: the two smallest neighbours, those first between which there is no cut.
    """
    tree = _Tree(recording, head, cuts.values())
    names = _opened_for_cuts(tree, _opened_to_fewest(tree, tree.parts(tree.children(""))))
    segments: list[Segment] = []
    for segment in sorted((tree.segment(name) for name in names), key=lambda s: s.entered):
        if not segments or segment.entered > segments[-1].left:  # what runs within another one belongs to it
            segments.append(segment)
    return _merged(tree, segments)


def _opened_to_fewest(tree: _Tree, names: list[str]) -> list[str]:
    while len(names) < FEWEST:
        opened = {name: parts for name in names if (parts := tree.opened(name))}
        if not opened:
            break
        every = [part for name in names for part in opened.get(name, [name])]
        if len(every) <= MOST:
            names = every
        else:
            largest = max(opened, key=lambda name: tree.segment(name).size)
            names = [part for name in names for part in (opened[name] if name == largest else [name])]
    return names


def _opened_for_cuts(tree: _Tree, names: list[str]) -> list[str]:
    """Modules with cuts inside are opened until there are enough; the largest first."""
    shut: set[str] = set()
    while names and tree.clean_ends([*names, tree.head.path]) < CUTS:
        closed = [name for name in names if name not in shut]
        if not closed:
            break
        largest = max(closed, key=lambda name: tree.segment(name).size)
        parts = tree.opened(largest)
        if parts:
            names = [part for name in names for part in (parts if name == largest else [name])]
        shut.add(largest)
    return names


def weighty_between(recording: Recording, head: HeadSite, index: int) -> list[str]:
    """Modules with matrices or kernels that are entered after boundary `index` and before the head."""
    tree = _Tree(recording, head)
    at_head = tree.entered[head.path]
    inside = [name for name, at in tree.entered.items() if index < at < at_head and tree.weighty(name)]
    return [name for name in inside if not any(name.startswith(other + ".") for other in inside)]


def _merged(tree: _Tree, segments: list[Segment]) -> list[Segment]:
    """At most 16: neighbours are joined, those without a cut between them first, then the smallest sum of parameters;
    the later one gives its name."""
    while len(segments) > MOST:
        costs = [(tree.ends_clean(a.left, b.entered), a.size + b.size) for a, b in pairwise(segments)]
        i = costs.index(min(costs))
        first, second = segments[i : i + 2]
        both = Segment(name=second.name, entered=first.entered, left=second.left, size=costs[i][1])
        segments = [*segments[:i], both, *segments[i + 2 :]]
    return segments
