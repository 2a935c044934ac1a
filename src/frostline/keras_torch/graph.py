"""A network as a list of steps: which module is called, on which values, and which values it gives.

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

MOST_BLOCKS = 16  # more are put together by resolution, as torch's residual networks are
BLOCK = re.compile(r"^(?:.*?_)?(?:block_?\d+[a-z]*|expanded_conv(?:_\d+)?)(?=_|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call. `weighty`: holds a kernel, `depthwise`: only one a channel. `opens`: padding, dropout or reshaping that
    goes with what comes next. `merges`: joins branches or pools. `size` is (H, W) of an image that it gives."""

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
    """A step as it is run; `dead` values aren't needed any more afterwards."""

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
        self.calls, self.source, self.result = tuple(calls), source, result

    def forward(self, x: Tensor) -> Any:
        """The last value, which is what the network (or the block) gives."""
        values: dict[int, Any] = {self.source: x}
        del x
        for call in self.calls:
            given = self._modules[call.module](*[values[i] for i in call.inputs])  # type: ignore[misc]
            if len(call.outputs) == 1:
                values[call.outputs[0]] = given
            else:
                values.update(zip(call.outputs, given, strict=True))
            del given
            for key in call.dead:
                values.pop(key, None)
        return values[self.result]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    name: str
    steps: tuple[Step, ...]

    @property
    def size(self) -> tuple[int, int] | None:
        """Of the last kernel's output: a pooling behind it doesn't count."""
        return next((s.size for s in reversed(self.steps) if s.weighty), None)


def assemble(steps: Sequence[Step], modules: Mapping[str, nn.Module], source: int, result: int) -> nn.Module:
    """The network, its blocks as sub-modules where no module is called twice."""
    if len({s.module for s in steps}) < len(steps):
        return _graph([_single(s) for s in steps], modules, source, result)
    body, tail = _tail(steps)
    alive = _clean_points(steps, result)
    blocks = _named(_blocks(body, alive))
    names = [b.name for b in blocks]
    if (body and len(body) - 1 not in alive) or len(set(names)) < len(names):  # no one value goes on: leave it flat
        blocks, tail = [], list(steps)
    units = _groups(blocks) if len(blocks) > MOST_BLOCKS else [(b.name, (b,)) for b in blocks]
    made: dict[str, nn.Module] = dict(modules)
    outer: list[_Block] = []
    for label, members in units:
        unit = _Block(name=label, steps=tuple(step for block in members for step in block.steps))
        made[label] = _contained(unit, members, modules)
        outer.append(unit)
    return _graph([*outer, *map(_single, tail)], made, source, result)


def _contained(unit: _Block, members: Sequence[_Block], modules: Mapping[str, nn.Module]) -> nn.Module:
    """The module of a block, or of a group of blocks (each a module below it)."""
    ends = unit.steps[0].inputs[0], unit.steps[-1].outputs[0]
    if len(unit.steps) == 1:
        return modules[unit.steps[0].module]
    if len(members) == 1:
        return _graph([_single(s) for s in unit.steps], modules, *ends)
    inner = {block.name: _contained(block, (block,), modules) for block in members}
    return _graph(members, inner, *ends)


def _single(step: Step) -> _Block:
    return _Block(name=step.module, steps=(step,))


def _graph(parts: Sequence[_Block], modules: Mapping[str, nn.Module], source: int, result: int) -> Graph:
    """Blocks of several steps are called on their first step's input, and give their last one's output."""
    calls = [
        (part.name, part.steps[0].inputs if len(part.steps) == 1 else part.steps[0].inputs[:1], part.steps[-1].outputs)
        for part in parts
    ]
    last_use = {value: i for i, (_, inputs, _) in enumerate(calls) for value in inputs}
    made = [
        LayerCall(
            module=name,
            inputs=inputs,
            outputs=outputs,
            dead=tuple(v for v in dict.fromkeys((*inputs, *outputs)) if last_use.get(v, i) == i and v != result),
        )
        for i, (name, inputs, outputs) in enumerate(calls)
    ]
    return Graph({name: modules[name] for name, _, _ in calls}, made, source, result)


def _tail(steps: Sequence[Step]) -> tuple[list[Step], list[Step]]:
    """What leads from the last features to the class scores stays at the top: pooling, dropout, the last layer."""
    last = max((i for i, s in enumerate(steps) if s.weighty), default=len(steps))
    while last > 0 and (steps[last - 1].opens or steps[last - 1].merges) and len(steps[last - 1].inputs) == 1:
        last -= 1
    return list(steps[:last]), list(steps[last:])


def _clean_points(steps: Sequence[Step], result: int) -> set[int]:
    """Steps after which a single value is alive: the last output of that very step."""
    last_use = {value: i for i, step in enumerate(steps) for value in step.inputs} | {result: len(steps)}
    alive: set[int] = set(steps[0].inputs) if steps else set()
    clean = set()
    for i, step in enumerate(steps):
        alive = {v for v in alive | set(step.outputs) if last_use.get(v, -1) > i}
        if alive == set(step.outputs[-1:]):
            clean.add(i)
    return clean


def _blocks(steps: Sequence[Step], clean: Iterable[int]) -> list[tuple[Step, ...]]:
    """Runs of steps between clean points; each holds a kernel, and begins with what its kernel needs (padding), behind
    a merge with its normalisation, or where a residual connection leaves."""
    points, found, current = set(clean), [], []
    reads = Counter(value for step in steps for value in step.inputs)
    for i, step in enumerate(steps):
        current.append(step)
        begins = reads[step.outputs[-1]] > 1 or _begins(steps, i + 1, step)
        if i in points and any(s.weighty for s in current) and begins:
            found.append(tuple(current))
            current = []
    if current and found and not any(s.weighty for s in current):
        found[-1] = (*found[-1], *current)
    elif current:
        found.append(tuple(current))
    return found


def _begins(steps: Sequence[Step], at: int, before: Step) -> bool:
    following = next((s for s in steps[at:] if not s.opens), None)
    return following is not None and (following.weighty or (following.normalises and before.merges))


def _named(blocks: Sequence[tuple[Step, ...]]) -> list[_Block]:
    """Neighbours that their authors gave one block's name are one block, and a depthwise kernel goes with the next."""
    found: list[_Block] = []
    for steps in blocks:
        first = next((s.module for s in steps if s.weighty), steps[0].module)
        joined = next((s.module for s in reversed(steps) if s.merges and len(s.inputs) > 1), first)
        match = BLOCK.match(first)
        name = match.group() if match else joined
        before = found[-1] if found else None
        if before is not None and (all(s.depthwise for s in before.steps if s.weighty) or before.name == name):
            found[-1] = _Block(name=name, steps=(*before.steps, *steps))
        else:
            found.append(_Block(name=name, steps=steps))
    return found


def _groups(blocks: Sequence[_Block]) -> list[tuple[str, tuple[_Block, ...]]]:
    """Neighbours of one resolution together, named by what their names share, else by the last."""
    groups: list[list[_Block]] = []
    for block in blocks:
        if groups and block.size is not None and groups[-1][-1].size == block.size:
            groups[-1].append(block)
        else:
            groups.append([block])
    result: list[tuple[str, tuple[_Block, ...]]] = []
    used: set[str] = set()
    for group in groups:
        name = _shared_name([b.name for b in group])
        name = name if name not in used else group[-1].name
        used.add(name)
        result.append((name, tuple(group)))
    return result


def _shared_name(names: Sequence[str]) -> str:
    """What numbered names have in common, up to the end of a word or of a number: conv2_block1 and conv2_block2 share
    conv2, block2a and block2b share block2. Without a number in it, it says too little: the last name then."""
    if len(names) == 1:
        return names[0]
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    shared = "".join(letters[0] for letters in alike)
    following = {name[len(shared) : len(shared) + 1] for name in names}
    if not all(c in ("", "_") or (shared[-1:].isdigit() and c.isalpha()) for c in following):
        shared = shared.rpartition("_")[0]
    shared = shared.rstrip("_")
    return shared if any(c.isdigit() for c in shared) else names[-1]
