"""Which modules start a stage: a walk down the module tree in the order of execution (5 to 16 for usual networks)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from frostline.cutting.cuts import Cut, Place
from frostline.cutting.heads import HeadSite
from frostline.cutting.recorder import Recording

FEWEST_STAGES = 5
MOST_STAGES = 16
FEWEST_CUTS = 4  # where fewer stages end with one, more modules are opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A module with weights that runs as one piece; `last` names the final one of several that were merged."""

    name: str
    entered: int  # boundary number of its first entry
    exited: int  # and of its first exit (of the last merged module)
    size: int  # parameters


class _ModuleTree:
    """The modules that ran, each with its time and its weights."""

    def __init__(self, recording: Recording, head: HeadSite, cuts: Iterable[Cut | str] = ()) -> None:
        self.model = recording.model
        self.head = head
        self.clean = [cut for cut in cuts if isinstance(cut, Cut)]
        self.clocks = [boundary.clock for boundary in recording.boundaries]
        self.entered: dict[str, int] = {}
        self.exited: dict[str, int] = {}
        numbers = {"in": self.entered, "out": self.exited}
        for boundary in recording.boundaries:
            numbers[boundary.where].setdefault(boundary.module, boundary.index)

    def children(self, name: str) -> list[str]:
        """Return the nearest modules below that ran, in order of execution, also those in lists that aren't called."""
        paths: set[str] = set()
        for child, _ in self.model.get_submodule(name).named_children():
            path = f"{name}.{child}".removeprefix(".")
            if path in self.entered:
                paths.add(path)
            else:
                paths.update(self.children(path))
        return sorted(paths, key=lambda path: self.entered[path])

    def weighty(self, name: str) -> bool:
        """True where it holds a matrix (or kernel) outside the head.

        A vector in disguise, such as a scale of (1, 1, D), is not one.
        """
        below = self.model.get_submodule(name).named_parameters(name)
        return any(p.ndim >= 2 and p.numel() > max(p.shape) for path, p in below if not self.head.owns(path))

    def parts(self, names: Iterable[str]) -> list[str]:
        """Return the weighty modules among these; those that hold the head are opened."""
        weighty: list[str] = []
        for name in names:
            if self.head.path.startswith(name + "."):
                weighty += self.parts(self.children(name))
            elif self.weighty(name) and not self.head.owns(name):
                weighty.append(name)
        return weighty

    def ends_clean(self, exited: int, entered: int) -> bool:
        """True where there is a cut from an exit (or with its operation) to the next entry."""
        return any(self.clocks[exited] <= cut.clock and cut.index <= entered for cut in self.clean)

    def clean_ends(self, names: Sequence[str]) -> int:
        """Count those of these modules, in order of execution, that end with a cut before the next begins."""
        return sum(self.ends_clean(self.exited[a], self.entered[b]) for a, b in pairwise(names))

    def opened(self, name: str) -> list[str]:
        """Return the weighty parts one level down, or two where most of the first level end without a cut.

        Empty where most of those end without one too, such as embeddings that are added up, or the branches of a block.
        """
        parts = self.below(name)
        if self.mostly_clean(parts):
            return parts
        deeper = [below for part in parts for below in self.below(part) or [part]]
        return deeper if self.mostly_clean(deeper) else []

    def below(self, name: str) -> list[str]:
        """Return the weighty parts one level down; a single one is opened in turn."""
        parts = self.parts(self.children(name))
        while len(parts) == 1:
            parts = self.parts(self.children(parts[0]))
        return parts

    def mostly_clean(self, parts: Sequence[str]) -> bool:
        """True where more than half of the parts, the last left out, end with a cut before the next begins."""
        return 2 * self.clean_ends(parts) > len(parts) - 1

    def segment(self, name: str) -> Segment:
        module: nn.Module = self.model.get_submodule(name)
        size = sum(parameter.numel() for parameter in module.parameters())
        return Segment(name=name, entered=self.entered[name], exited=self.exited[name], size=size)

    def largest(self, names: Iterable[str]) -> str:
        """Return the module with the most parameters."""
        return max(names, key=lambda name: self.segment(name).size)


def find_segments(recording: Recording, cuts: dict[Place, Cut | str], head: HeadSite) -> list[Segment]:
    """Return the segments in order of execution.

    The root's children; where fewer than 5 of them hold weights, containers are opened one level: all at once if at
    most 16 result, otherwise the largest first. Where fewer than 4 end with a cut, modules with cuts inside are opened
    too. More than 16 are merged: the two smallest neighbours, those first between which there is no cut.
    """
    tree = _ModuleTree(recording, head, cuts.values())
    names = _opened_for_cuts(tree, _opened_to_fewest(tree, tree.parts(tree.children(""))))
    segments: list[Segment] = []
    for segment in sorted((tree.segment(name) for name in names), key=lambda s: s.entered):
        if not segments or segment.entered > segments[-1].exited:  # what runs within another one belongs to it
            segments.append(segment)
    return _merged(tree, segments)


def _opened_to_fewest(tree: _ModuleTree, names: list[str]) -> list[str]:
    """Open modules until there are enough."""
    while len(names) < FEWEST_STAGES:
        parts = {name: tree.opened(name) for name in names}
        containers = [name for name in names if parts[name]]
        if not containers:
            break
        opened = [part for name in names for part in parts[name] or [name]]
        if len(opened) <= MOST_STAGES:
            names = opened
        else:
            largest = tree.largest(containers)
            names = _with_parts(names, largest, parts[largest])
    return names


def _opened_for_cuts(tree: _ModuleTree, names: list[str]) -> list[str]:
    """Open modules with cuts inside until there are enough cuts; the largest first."""
    tried: set[str] = set()
    while names and tree.clean_ends([*names, tree.head.path]) < FEWEST_CUTS:
        untried = [name for name in names if name not in tried]
        if not untried:
            break
        largest = tree.largest(untried)
        tried.add(largest)
        parts = tree.opened(largest)
        if parts:
            names = _with_parts(names, largest, parts)
    return names


def _with_parts(names: Sequence[str], module: str, parts: Sequence[str]) -> list[str]:
    """Return the names with the parts of one module in its place."""
    place = names.index(module)
    return [*names[:place], *parts, *names[place + 1 :]]


def weighty_between(recording: Recording, head: HeadSite, index: int) -> list[str]:
    """Return the modules with matrices or kernels that are entered after boundary `index` and before the head."""
    tree = _ModuleTree(recording, head)
    at_head = tree.entered[head.path]
    inside = [name for name, at in tree.entered.items() if index < at < at_head and tree.weighty(name)]
    return [name for name in inside if not any(name.startswith(other + ".") for other in inside)]


def _merged(tree: _ModuleTree, segments: list[Segment]) -> list[Segment]:
    """Join neighbours until there are at most 16: those without a cut between them first, then the smallest sum of
    parameters; the later one gives its name."""
    while len(segments) > MOST_STAGES:
        costs = [(tree.ends_clean(a.exited, b.entered), a.size + b.size) for a, b in pairwise(segments)]
        i = costs.index(min(costs))
        first, second = segments[i : i + 2]
        joined = Segment(name=second.name, entered=first.entered, exited=second.exited, size=costs[i][1])
        segments = [*segments[:i], joined, *segments[i + 2 :]]
    return segments
