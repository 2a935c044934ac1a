"""Execute a network once and record what happened: every operation and every module call, on one clock.

The clock counts operations; boundaries (a module is entered or left) are numbered in their own order and carry the
clock. For each tensor: when it was born, when it was read, what it depends on, and who made it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from frostline.base.errors import ModelError
from frostline.cutting.guard import exact, untouched
from frostline.cutting.inputs import Call, as_call
from frostline.cutting.outputs import tensors_of
from frostline.cutting.refuse import refuse_unwatchable, scripted

PARAMETER = 1  # taint bit: depends on a parameter or buffer. Input i has the bit 2 << i.
EXTERNAL = -1  # born before the run: parameters, buffers and tensors that the code holds
READ_OUT = frozenset({Tensor.tolist, Tensor.numpy, Tensor.__array__})  # values that Python takes past the dispatcher
MASKED = (torch.ops.aten.index, torch.ops.aten.masked_select)
DECIDING = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)

BoundarySide = Literal["in", "out"]
SIDE_WORDS: dict[BoundarySide, str] = {"in": "before", "out": "after"}  # of a module


@dataclass(slots=True, kw_only=True)
class TensorRecord:
    """One tensor, by identity. It is kept alive so that no other tensor gets its identity."""

    tensor: Tensor
    born: int
    taint: int
    maker: str = ""  # innermost module that was running
    operation: str = ""  # what made it, then what wrote into it
    parents: tuple[int, ...] = ()
    reads: list[int] = field(default_factory=list)
    filled: int | None = None  # when something that depends on the inputs was first written into it
    picked: tuple[int, int] | None = None  # (axis, index) where it is one slice of its parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """A module is entered (`in`: tensors are its arguments) or left (`out`: tensors are what it returns)."""

    index: int
    where: BoundarySide
    module: str
    clock: int  # operations done before it
    tensors: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{SIDE_WORDS[self.where]} {self.module}"


@dataclass(frozen=True, slots=True)
class Decision:
    """Values that Python code read, or (`shapes`) that say how large a tensor is."""

    clock: int
    taint: int
    module: str  # innermost module that was running
    shapes: bool = False


@dataclass(slots=True, kw_only=True)
class Recording:
    """Everything that one forward pass did. It holds all tensors of the pass: keep it only while analysing."""

    model: nn.Module
    batch: int  # samples in the example inputs
    tensors: dict[int, TensorRecord] = field(default_factory=dict)
    boundaries: list[Boundary] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    inputs: tuple[int, ...] = ()
    input_names: tuple[str, ...] = ()
    output: Any = None
    clock: int = 0
    operations: list[tuple[int, float]] = field(default_factory=list)  # (clock, floating-point operations)
    parameter_names: dict[int, str] = field(default_factory=dict)
    buffer_names: dict[int, str] = field(default_factory=dict)
    writes: dict[int, list[int]] = field(default_factory=dict)  # storage -> clocks of in-place operations
    decisions: list[Decision] = field(default_factory=list)

    def first(self, where: BoundarySide, module: str) -> Boundary:
        """Return the first entry into, or exit from, a module that was called."""
        return next(b for b in self.boundaries if b.where == where and b.module == module)

    def reads(self, names: dict[int, str]) -> dict[str, tuple[int, ...]]:
        """Return the clocks at which each named parameter (or buffer) was read; none where it never was."""
        clocks: dict[str, tuple[int, ...]] = {}
        for key, name in names.items():
            record = self.tensors.get(key)
            clocks[name] = tuple(record.reads) if record else ()
        return clocks


def boundary_tensors(value: Any) -> list[Tensor]:
    """Return the tensors among a module's arguments or results, in the order in which :mod:`skeleton` replaces them."""
    return [x for x in tree_leaves(value) if isinstance(x, Tensor)]


def storage_key(tensor: Tensor) -> int:
    """Return a number that all tensors in the same memory share."""
    return int(tensor.untyped_storage()._cdata)


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees each operation while it is on; module hooks (see :func:`record`) keep `running` up to date."""

    def __init__(self, recording: Recording) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.recording = recording
        self.running: list[str] = []  # modules that are running, the innermost last
        self._sharing: dict[int, list[int]] = {}  # storage -> tensors in it

    @property
    def innermost(self) -> str:
        """The innermost module that is running."""
        if self.running:
            return self.running[-1]
        return ""

    def know(self, tensor: Tensor, *, born: int = EXTERNAL, taint: int = 0) -> TensorRecord:
        """Return the record of a tensor, made now if it is met for the first time."""
        record = self.recording.tensors.get(id(tensor))
        if record is None:
            record = TensorRecord(tensor=tensor, born=born, taint=taint, maker=self.innermost)
            self.recording.tensors[id(tensor)] = record
            self._sharing.setdefault(storage_key(tensor), []).append(id(tensor))
        return record

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.recording.clock += 1
        clock = self.recording.clock
        taint = 0
        parents = []
        for tensor in tensors_of([args, kwargs]):
            record = self.know(tensor)
            record.reads.append(clock)
            taint |= record.taint
            parents.append(id(tensor))
        result = func(*args, **kwargs)
        for tensor in tensors_of(result):
            record = self.know(tensor, born=clock)
            record.taint |= taint
            record.operation = f"{record.operation} {func}".strip()
            record.parents += tuple(parents)
            if func._overloadpacket is torch.ops.aten.select:
                record.picked = (int(args[1]), int(args[2]))
        if any(tag in func.tags for tag in DECIDING):
            self._note_decision(func, args)
        if func._schema.is_mutable:
            self._note_writes(func, args, kwargs, taint)
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.recording.operations.append((clock, float(count(*args, **kwargs, out_val=result))))
        return result

    def _note_writes(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], taint: int) -> None:
        """Note what an in-place operation changes: every tensor in that memory, not only the one it was called on."""
        for position, argument in enumerate(func._schema.arguments):
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            written = args[position] if position < len(args) else kwargs.get(argument.name)
            for tensor in tensors_of(written):
                key = storage_key(tensor)
                self.recording.writes.setdefault(key, []).append(self.recording.clock)
                for other in self._sharing.get(key, ()):
                    record = self.recording.tensors[other]
                    record.taint |= taint
                    if record.filled is None and taint & ~PARAMETER:
                        record.filled = self.recording.clock

    def _note_decision(self, func: Any, args: tuple[Any, ...]) -> None:
        """Note values that decide something: a mask does, whatever it is laid on; whole numbers as an index don't."""
        deciding: Any = args
        if func._overloadpacket in MASKED:
            deciding = [x for x in tensors_of(args[1]) if x.dtype in (torch.bool, torch.uint8)]
        taint = 0
        for tensor in tensors_of(deciding):
            taint |= self.know(tensor).taint
        if taint:
            self._decide(taint, shapes=DECIDING[1] in func.tags)

    def _decide(self, taint: int, *, shapes: bool = False) -> None:
        self.recording.decisions.append(Decision(self.recording.clock, taint, self.innermost, shapes))

    def read_out(self, tensor: Tensor) -> None:
        """Note that Python code takes the values of a tensor past the dispatcher."""
        self._decide(self.know(tensor).taint)


class _Listener(TorchFunctionMode):
    """Hears of values that leave torch without an operation, such as `tolist`."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in READ_OUT and args and isinstance(args[0], Tensor):
            self.recorder.read_out(args[0])
        return func(*args, **(kwargs or {}))


def record(model: nn.Module, inputs: Call | Sequence[Tensor]) -> Recording:
    """Run `model` once on `inputs` (samples along the first axis) in inference mode and record what it did.

    The module is left as it was. In-place writes of its code can't reach `inputs`, since it gets copies.
    Raises ModelError for a network that can't be watched (see :func:`refuse_unwatchable`).
    """
    refuse_unwatchable(model)
    call = as_call(inputs)
    copies = [x.detach().clone() for x in call.tensors]
    recording = Recording(model=model, batch=call.batch, input_names=call.names)
    recorder = Recorder(recording)
    recording.parameter_names = _known_names(recorder, model.named_parameters())
    recording.buffer_names = _known_names(recorder, model.named_buffers())
    for position, tensor in enumerate(copies):
        recorder.know(tensor, born=0, taint=2 << position)
    recording.inputs = tuple(id(x) for x in copies)
    with untouched(model), exact(), torch.no_grad():
        model.eval()
        handles = _watch_modules(model, recorder)
        try:
            with _Listener(recorder), recorder:
                recording.output = call.with_tensors(copies).run(model)
        except Exception as error:  # whatever the network's code raises
            raise _does_not_run(copies, error) from error
        finally:
            for handle in handles:
                handle.remove()
    for tensor in tensors_of(recording.output):  # what the network returns is read by its caller
        recorder.know(tensor).reads.append(recording.clock + 1)
    return recording


def _known_names(recorder: Recorder, tensors: Iterable[tuple[str, Tensor]]) -> dict[int, str]:
    """Record parameters or buffers; return their names by identity."""
    names: dict[int, str] = {}
    for name, tensor in tensors:
        recorder.know(tensor, taint=PARAMETER)
        names[id(tensor)] = name
    return names


def _does_not_run(inputs: Sequence[Tensor], error: Exception) -> ModelError:
    shapes = " and ".join(" x ".join(map(str, x.shape)) for x in inputs)
    first_line = (str(error).strip().splitlines() or [""])[0]
    return ModelError(
        f"The network doesn't run on an example of {shapes} ({type(error).__name__}: {first_line}).",
        "Check that its arguments and --size belong together.",
    )


def _watch_modules(model: nn.Module, recorder: Recorder) -> list[Any]:
    """Put hooks on every module that note its boundaries; return their handles."""
    recording = recorder.recording
    names = {module: name for name, module in model.named_modules()}

    def note(where: BoundarySide, module: str, value: Any) -> None:
        tensors = boundary_tensors(value)
        for tensor in tensors:
            recorder.know(tensor)
        recording.boundaries.append(
            Boundary(
                index=len(recording.boundaries),
                where=where,
                module=module,
                clock=recording.clock,
                tensors=tuple(id(t) for t in tensors),
            )
        )

    def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
        name = names[module]
        recording.calls[name] = recording.calls.get(name, 0) + 1
        note("in", name, (args, kwargs))
        recorder.running.append(name)

    def leave(module: nn.Module, _args: Any, _kwargs: Any, result: Any) -> None:
        recorder.running.pop()
        note("out", names[module], result)

    handles: list[Any] = []
    for module in names:  # before the user's own hooks, which belong to what runs from the boundary on
        if not scripted(module):
            handles.append(module.register_forward_pre_hook(enter, with_kwargs=True, prepend=True))
            handles.append(module.register_forward_hook(leave, with_kwargs=True, prepend=True))
    return handles
