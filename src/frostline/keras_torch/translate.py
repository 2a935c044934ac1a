"""A Keras model (Functional or Sequential) as a torch module with the same numbers, and fresh weights for it."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from frostline.base.errors import ModelError
from frostline.base.seeds import derive_seed
from frostline.keras_torch.graph import Step, assemble
from frostline.keras_torch.layers import Rescaled, ReversedChannels
from frostline.keras_torch.pieces import FINAL, Piece, Seen, Weight, pieces_for
from frostline.keras_torch.wrap import SEED_RANGE, KerasCall, Shared

REVERSED = "rgb_to_bgr"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """The translated network with the weights that the Keras model had, and what draws each of them anew."""

    template: nn.Module
    draws: tuple[tuple[str, Weight], ...]
    final: str  # activation at the end that was left out: 'softmax', 'sigmoid' or nothing
    reverse: bool  # RGB is turned to BGR first
    rescales: bool  # the first layer is a Rescaling, so pixels from 0 to 255 are wanted

    def build(self, seed: int) -> nn.Module:
        """A network with fresh weights: Keras' own initialisers under seeds of their own. Tensors whose initialiser
        Keras doesn't know any more keep the template's values."""
        import keras

        module = copy.deepcopy(self.template)
        tensors: dict[str, Tensor] = dict(module.named_parameters()) | dict(module.named_buffers())
        with torch.no_grad(), keras.device("cpu"):
            for name, weight in self.draws:
                kind = weight.initializer
                if hasattr(kind, "seed"):
                    drawn = derive_seed(seed, "keras", name) % SEED_RANGE
                    kind = type(kind).from_config({**kind.get_config(), "seed": drawn})
                value = kind(tuple(weight.variable.shape), dtype="float32")
                tensors[name].copy_(weight.change(torch.as_tensor(value).detach()))
        return module


def translate(model: Any, *, reverse: bool, renumber: bool) -> Blueprint:
    """Translate; `reverse` puts a flip from RGB to BGR first, `renumber` counts names that Keras gave by itself (they
    go on counting through a process) from the start.

    Raises ModelError for a model that isn't a graph of layers, or doesn't take one image.
    """
    model = _functional(model)
    if model is None:
        raise ModelError(
            "The Keras model has a call method of its own, so its layers can't be told apart.",
            "Give a Functional or Sequential model.",
        )
    shapes = [tuple(x.shape) for x in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or len(model.outputs) != 1:
        raise ModelError(
            f"The Keras model takes {shapes} and gives {len(model.outputs)} outputs; one batch of "
            "images (N, H, W, C) and one output are needed.",
            "Cut such a model out of it.",
        )
    draft = _Draft(renumber=renumber)
    source = draft.value()
    first = draft.add_own(REVERSED, ReversedChannels(), source) if reverse else source
    (result,) = draft.walk(model, [first])
    result, final = draft.without_final(result)
    module = assemble(draft.steps, draft.modules, source, result)
    paths = {id(m): path for path, m in module.named_modules()}
    draws = [(f"{paths[id(m)]}.{name}", weight) for m, name, weight in draft.weights]
    rescales = bool(draft.steps) and isinstance(draft.modules[draft.steps[0].module], Rescaled)
    return Blueprint(template=module, draws=tuple(draws), final=final, reverse=reverse, rescales=rescales)


def _functional(model: Any) -> Any:
    """The graph in a model: itself, or the one that a built Sequential keeps."""
    import keras

    if isinstance(model, keras.Sequential):
        return getattr(model, "_functional", None)
    return model if hasattr(model, "_nodes_by_depth") and hasattr(model, "inputs") else None


class _Draft:
    """Steps and modules while they are gathered."""

    def __init__(self, *, renumber: bool) -> None:
        self.renumber = renumber
        self.steps: list[Step] = []
        self.modules: dict[str, nn.Module] = {}
        self.weights: list[tuple[nn.Module, str, Weight]] = []
        self._kinds: dict[str, str] = {}
        self._made: dict[int, list[tuple[str, str]]] = {}  # layer -> names and kinds of its pieces
        self._values = 0
        self._counts: dict[str, int] = {}

    def value(self) -> int:
        self._values += 1
        return self._values

    def add_own(self, name: str, module: nn.Module, source: int) -> int:
        """A step that isn't in the Keras model."""
        self.modules[name] = module
        self.steps.append(Step(module=name, inputs=(source,), outputs=(self.value(),), opens=True))
        return self._values

    def walk(self, model: Any, inputs: Sequence[int]) -> list[int]:
        """Steps of a Functional model, nested ones put in their place; gives the values of its outputs."""
        known = {id(tensor): value for tensor, value in zip(model.inputs, inputs, strict=True)}
        for node in _nodes(model):
            tensors = node.arguments.keras_tensors
            if not tensors:
                raise ModelError(
                    f"The Keras layer {node.operation.name!r} reads no image.",
                    "Give a model whose layers all depend on its input.",
                )
            given = [known[id(x)] for x in tensors]
            inner = _functional(node.operation)
            found = self.walk(inner, given) if inner is not None else self._call(node, given)
            known.update(zip(map(id, node.outputs), found, strict=True))
        return [known[id(x)] for x in model.outputs]

    def _call(self, node: Any, given: Sequence[int]) -> list[int]:
        if id(node.operation) not in self._made:
            self._made[id(node.operation)] = self._make(node)
        values = list(given)
        made = self._made[id(node.operation)]
        for i, (name, kind) in enumerate(made):
            last = i == len(made) - 1
            outputs = [self.value() for _ in (node.outputs if last else [0])]
            shape = tuple(node.outputs[0].shape)
            size = (shape[1], shape[2]) if len(shape) == 4 and None not in shape[1:3] else None
            heavy = any(p.ndim >= 2 and p.numel() > max(p.shape) for p in self.modules[name].parameters())
            self.steps.append(
                Step(
                    module=name,
                    inputs=tuple(values),
                    outputs=tuple(outputs),
                    weighty=heavy,
                    depthwise=kind == "depthwise",
                    opens=kind == "opens",
                    merges=kind in ("merges", "pools"),
                    normalises=kind == "norm",
                    size=size,
                )
            )
            values = outputs
        return values

    def _make(self, node: Any) -> list[tuple[str, str]]:
        layer = node.operation
        if getattr(layer, "data_format", None) == "channels_first":
            raise ModelError(
                f"The Keras layer {layer.name!r} is built for channels_first, and channels_last is read.",
                "Build the model with data_format='channels_last'.",
            )
        ranks = tuple(len(x.shape) for x in node.arguments.keras_tensors)
        pieces = pieces_for(Seen(layer=layer, ranks=ranks, plain=_plain(node)))
        name = self._name(layer)
        made = []
        for piece in pieces if pieces is not None else [_wrapped(node)]:
            own = self._free(name + piece.suffix)
            for path, weight in piece.weights.items():
                _put(piece.module, path, weight.value())
                if weight.initializer is not None:
                    self.weights.append((piece.module, path, weight))
            self.modules[own] = piece.module
            self._kinds[own] = piece.kind
            made.append((own, piece.kind))
        return made

    def _name(self, layer: Any) -> str:
        base = _snake(type(layer).__name__)
        if not self.renumber or not re.fullmatch(rf"{base}(_\d+)?", layer.name):
            return str(layer.name)
        count = self._counts[base] = self._counts.get(base, -1) + 1
        return f"{base}_{count}" if count else base

    def _free(self, wanted: str) -> str:
        """A name that a torch module may have for a child, and that no other layer has."""
        name = re.sub(r"[./\\\s]+", "_", wanted) or "layer"
        name = f"{name}_layer" if hasattr(nn.Module, name) or name in ("training", "calls", "source") else name
        free, count = name, 1
        while free in self.modules:
            count += 1
            free = f"{name}_{count}"
        return free

    def without_final(self, result: int) -> tuple[int, str]:
        """Without the softmax or sigmoid that the output comes from, which frostline's loss has in it."""
        final = ""
        while self.steps and self.steps[-1].outputs == (result,):
            step = self.steps[-1]
            kind = self._kinds.get(step.module, "")
            if kind not in ("linear", *FINAL) or (kind in FINAL and final):
                break
            final = final or (kind if kind in FINAL else "")
            self.steps.pop()
            result = step.inputs[0]
        return result, final


def _nodes(model: Any) -> Iterator[Any]:
    """Calls in an order in which they can be run."""
    for depth in sorted(model._nodes_by_depth, reverse=True):
        yield from (n for n in model._nodes_by_depth[depth] if n.operation is not None and not n.is_input)


def _plain(node: Any) -> bool:
    """Nothing but tensors is handed over; `training` and an absent mask don't count."""
    import keras

    arguments = node.arguments
    rest = {k: v for k, v in arguments.kwargs.items() if k != "training" and v is not None}
    flat = keras.tree.flatten((arguments.args, rest))
    return len(flat) == len(arguments.keras_tensors)


def _put(module: nn.Module, path: str, value: Tensor) -> None:
    owner, _, name = path.rpartition(".")
    target = module.get_submodule(owner)
    if name in target._parameters:
        target._parameters[name] = nn.Parameter(value)
    else:
        target._buffers[name] = value


def _wrapped(node: Any) -> Piece:
    """The layer run by Keras: its trained variables as parameters, the others as buffers."""
    layer = node.operation

    def arguments(tensors: list[Tensor]) -> tuple[Any, Any]:
        known = {id(k): t for k, t in zip(node.arguments.keras_tensors, tensors, strict=True)}
        args, kwargs = node.arguments.fill_in(known)
        return args, {k: v for k, v in kwargs.items() if k != "training"}

    trainable: dict[str, Tensor] = {}
    other: dict[str, Tensor | None] = {}
    weights: dict[str, Weight] = {}
    drawers = {id(v): d for v, d in _initializers(layer)}
    for variable in getattr(layer, "trainable_variables", ()):
        name = _short(variable, layer, {*trainable, *other})
        trainable[name] = variable.value.detach().float().cpu().clone()
        weights[name] = Weight(variable=variable, initializer=drawers.get(id(variable)))
    for variable in getattr(layer, "non_trainable_variables", ()):
        name = _short(variable, layer, {*trainable, *other})
        seed = "seed_generator" in variable.path
        other[name] = None if seed else variable.value.detach().cpu().clone()
        if not seed and id(variable) in drawers:
            weights[name] = Weight(variable=variable, initializer=drawers[id(variable)])
    return Piece(module=KerasCall(Shared(layer, arguments), trainable, other), weights=weights)


def _initializers(layer: Any) -> Iterator[tuple[Any, Any]]:
    for part in layer._flatten_layers() if hasattr(layer, "_flatten_layers") else ():
        for variable in (*part._trainable_variables, *part._non_trainable_variables):
            found = getattr(part, f"{variable.name}_initializer", None)
            if callable(found):
                yield variable, found


def _short(variable: Any, layer: Any, used: set[str]) -> str:
    """The variable's path below its layer, as a name that a torch module takes."""
    name = re.sub(r"\W+", "_", str(variable.path).removeprefix(f"{layer.name}/"))
    name = f"{name}_value" if hasattr(nn.Module, name) else name
    return name if name not in used else f"{name}_{len(used)}"


def _snake(name: str) -> str:
    """As Keras names a layer after its class."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
