"""A network as a list of steps: which module is called, on which values, and which values it returns.

Steps between two points where a single tensor is alive become a block (a module of its own), so that a network of a
hundred flat layers has the residual blocks that its authors had in mind.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from torch import Tensor, nn

MOST_BLOCKS = 16  # more are grouped by resolution, as in torch's residual networks
BLOCK_NAME = re.compile(r"^(?:.*?_)?(?:block_?\d+[a-z]*|expanded_conv(?:_\d+)?)(?=_|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphStep:
    """One call of a module.

    `weighty`: it holds a kernel; `depthwise`: a kernel per channel. `opens`: padding, dropout or reshaping that goes
    with what comes next. `merges`: it joins branches or pools. `size` is (H, W) of the image that it returns.
    """

    module: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    weighty: bool = False
    depthwise: bool = False
    opens: bool = False
    merges: bool = False
    normalises: bool = False
    size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCall:
    """A step as it is run; `dead` values aren't needed afterwards."""

    module: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    dead: tuple[int, ...]


class Graph(nn.Module):
    """Runs its children in order: `source` is the value that comes in, `result` the one that goes out."""

    def __init__(self, parts: Mapping[str, nn.Module], calls: Sequence[LayerCall], source: int, result: int) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self.calls = tuple(calls)
        self.source = source
        self.result = result

    def forward(self, x: Tensor) -> Any:
        """Run the calls in order and return the value of the last one."""
        values: dict[int, Any] = {self.source: x}
        del x
        for call in self.calls:
            output = self._modules[call.module](*[values[i] for i in call.inputs])  # type: ignore[misc]
            if len(call.outputs) == 1:
                values[call.outputs[0]] = output
            else:
                values.update(zip(call.outputs, output, strict=True))
            del output
            for key in call.dead:
                values.pop(key, None)
        return values[self.result]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    name: str
    steps: tuple[GraphStep, ...]

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W) after the last kernel: a pooling behind it doesn't count."""
        return next((s.size for s in reversed(self.steps) if s.weighty), None)

    @property
    def inputs(self) -> tuple[int, ...]:
        """The values that it is called on: a single step's own, or the one value that enters several steps."""
        inputs = self.steps[0].inputs
        return inputs if len(self.steps) == 1 else inputs[:1]

    @property
    def outputs(self) -> tuple[int, ...]:
        return self.steps[-1].outputs


def assemble_network(
    steps: Sequence[GraphStep], modules: Mapping[str, nn.Module], source: int, result: int
) -> nn.Module:
    """Put a network together, its blocks as sub-modules where no module is called twice."""
    if len({s.module for s in steps}) < len(steps):
        return _as_graph([_single(s) for s in steps], modules, source, result)
    blocks, rest = _split_into_blocks(steps, result)
    children: dict[str, nn.Module] = dict(modules)
    units: list[_Block] = []
    for name, members in _units(blocks):
        unit = _Block(name=name, steps=tuple(step for block in members for step in block.steps))
        children[name] = _unit_module(unit, members, modules)
        units.append(unit)
    return _as_graph([*units, *map(_single, rest)], children, source, result)


def _split_into_blocks(steps: Sequence[GraphStep], result: int) -> tuple[list[_Block], list[GraphStep]]:
    """Return the blocks, and the steps that stay at the top.

    All steps stay there where the last block wouldn't return one single value, or where two blocks would share a name.
    """
    body, tail = _split_tail(steps)
    clean = _clean_points(steps, result)
    blocks = _name_blocks(_runs_between(body, clean))
    ends_clean = not body or len(body) - 1 in clean
    names = {b.name for b in blocks}
    if ends_clean and len(names) == len(blocks):
        return blocks, tail
    return [], list(steps)


def _units(blocks: Sequence[_Block]) -> list[tuple[str, tuple[_Block, ...]]]:
    """Return names and members of the network's children: the blocks, or groups of them where there are many."""
    if len(blocks) > MOST_BLOCKS:
        return _groups_by_resolution(blocks)
    return [(b.name, (b,)) for b in blocks]


def _unit_module(unit: _Block, members: Sequence[_Block], modules: Mapping[str, nn.Module]) -> nn.Module:
    """Return the module of a block, or of a group of blocks (each a module below it)."""
    if len(unit.steps) == 1:
        return modules[unit.steps[0].module]
    source = unit.steps[0].inputs[0]
    result = unit.steps[-1].outputs[0]
    if len(members) == 1:
        return _as_graph([_single(s) for s in unit.steps], modules, source, result)
    inner = {block.name: _unit_module(block, (block,), modules) for block in members}
    return _as_graph(members, inner, source, result)


def _single(step: GraphStep) -> _Block:
    return _Block(name=step.module, steps=(step,))


def _as_graph(parts: Sequence[_Block], modules: Mapping[str, nn.Module], source: int, result: int) -> Graph:
    """Return a module that calls the parts in order, and lets go of each value after its last use."""
    last_use = {value: i for i, part in enumerate(parts) for value in part.inputs}
    calls = []
    for i, part in enumerate(parts):
        values = dict.fromkeys((*part.inputs, *part.outputs))
        dead = tuple(v for v in values if last_use.get(v, i) == i and v != result)
        calls.append(LayerCall(module=part.name, inputs=part.inputs, outputs=part.outputs, dead=dead))
    return Graph({part.name: modules[part.name] for part in parts}, calls, source, result)


def _split_tail(steps: Sequence[GraphStep]) -> tuple[list[GraphStep], list[GraphStep]]:
    """Split off what leads from the last features to the class scores: pooling, dropout, the last layer."""
    last = max((i for i, s in enumerate(steps) if s.weighty), default=len(steps))
    while last > 0 and (steps[last - 1].opens or steps[last - 1].merges) and len(steps[last - 1].inputs) == 1:
        last -= 1
    return list(steps[:last]), list(steps[last:])


def _clean_points(steps: Sequence[GraphStep], result: int) -> set[int]:
    """Return the steps after which a single value is alive: the last output of that very step."""
    last_use = {value: i for i, step in enumerate(steps) for value in step.inputs} | {result: len(steps)}
    alive: set[int] = set(steps[0].inputs) if steps else set()
    clean = set()
    for i, step in enumerate(steps):
        alive = {v for v in alive | set(step.outputs) if last_use.get(v, -1) > i}
        if alive == set(step.outputs[-1:]):
            clean.add(i)
    return clean


def _runs_between(steps: Sequence[GraphStep], clean: Iterable[int]) -> list[tuple[GraphStep, ...]]:
    """Split the steps at clean points; each run holds a kernel, and begins with what its kernel needs (padding), behind
    a merge with its normalisation, or where a residual connection leaves."""
    points = set(clean)
    reads = Counter(value for step in steps for value in step.inputs)
    runs: list[tuple[GraphStep, ...]] = []
    current: list[GraphStep] = []
    for i, step in enumerate(steps):
        current.append(step)
        next_begins = reads[step.outputs[-1]] > 1 or _begins_after(step, steps[i + 1 :])
        if i in points and any(s.weighty for s in current) and next_begins:
            runs.append(tuple(current))
            current = []
    if current and runs and not any(s.weighty for s in current):
        runs[-1] = (*runs[-1], *current)
    elif current:
        runs.append(tuple(current))
    return runs


def _begins_after(before: GraphStep, steps: Sequence[GraphStep]) -> bool:
    """True where a run may begin with the first of `steps`."""
    following = next((s for s in steps if not s.opens), None)
    return following is not None and (following.weighty or (following.normalises and before.merges))


def _name_blocks(runs: Sequence[tuple[GraphStep, ...]]) -> list[_Block]:
    """Join neighbours to which their authors gave one block's name, and a depthwise kernel to what follows it."""
    blocks: list[_Block] = []
    for steps in runs:
        name = _block_name(steps)
        if blocks and (_only_depthwise(blocks[-1]) or blocks[-1].name == name):
            blocks[-1] = _Block(name=name, steps=(*blocks[-1].steps, *steps))
        else:
            blocks.append(_Block(name=name, steps=steps))
    return blocks


def _block_name(steps: Sequence[GraphStep]) -> str:
    """Return the authors' name of the block, or the name of its last merge, or of its first kernel."""
    first = next((s.module for s in steps if s.weighty), steps[0].module)
    match = BLOCK_NAME.match(first)
    if match:
        return match.group()
    return next((s.module for s in reversed(steps) if s.merges and len(s.inputs) > 1), first)


def _only_depthwise(block: _Block) -> bool:
    return all(s.depthwise for s in block.steps if s.weighty)


def _groups_by_resolution(blocks: Sequence[_Block]) -> list[tuple[str, tuple[_Block, ...]]]:
    """Group neighbours of one resolution, named by what their names share, or by the last one's."""
    groups: list[list[_Block]] = []
    for block in blocks:
        if groups and block.size is not None and groups[-1][-1].size == block.size:
            groups[-1].append(block)
        else:
            groups.append([block])
    used: set[str] = set()
    result: list[tuple[str, tuple[_Block, ...]]] = []
    for group in groups:
        name = _shared_name([b.name for b in group])
        if name in used:
            name = group[-1].name
        used.add(name)
        result.append((name, tuple(group)))
    return result


def _shared_name(names: Sequence[str]) -> str:
    """Return what numbered names have in common, up to the end of a word or of a number.

    conv2_block1 and conv2_block2 share conv2, block2a and block2b share block2. Without a number in it, that says too
    little, and the last name is returned.
    """
    if len(names) == 1:
        return names[0]
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    shared = "".join(letters[0] for letters in alike)
    following = {name[len(shared) : len(shared) + 1] for name in names}
    if not all(c in ("", "_") or (shared[-1:].isdigit() and c.isalpha()) for c in following):
        shared = shared.rpartition("_")[0]
    shared = shared.rstrip("_")
    return shared if any(c.isdigit() for c in shared) else names[-1]
