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
from frostline.keras_torch.graph import GraphStep, assemble_network
from frostline.keras_torch.layers import ReversedChannels
from frostline.keras_torch.pieces import FINAL_ACTIVATIONS, LayerUse, Piece, Weight, pieces_for
from frostline.keras_torch.scaling import InputScaling, find_scaling
from frostline.keras_torch.wrap import SEED_RANGE, KerasCall, SharedLayer

CHANNEL_FLIP = "rgb_to_bgr"  # the name of that layer
RESERVED_NAMES = ("training", "calls", "source", "result")  # attributes of a Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """The translated network with the weights that the Keras model had, and the initialiser of each."""

    template: nn.Module
    draws: tuple[tuple[str, Weight], ...]
    final: str  # activation at the end that was left out: 'softmax', 'sigmoid' or nothing
    reverse: bool  # RGB is turned to BGR first
    scaling: InputScaling  # what the model does to its images before its first layer with weights

    def build(self, seed: int) -> nn.Module:
        """Return a network with fresh weights, drawn by Keras' own initialisers under seeds of their own. Tensors whose
        initialiser Keras doesn't know keep the template's values."""
        import keras

        module = copy.deepcopy(self.template)
        tensors: dict[str, Tensor] = dict(module.named_parameters()) | dict(module.named_buffers())
        with torch.no_grad(), keras.device("cpu"):
            for name, weight in self.draws:
                initializer = weight.initializer
                if hasattr(initializer, "seed"):
                    own_seed = derive_seed(seed, "keras", name) % SEED_RANGE
                    initializer = type(initializer).from_config({**initializer.get_config(), "seed": own_seed})
                value = initializer(tuple(weight.variable.shape), dtype="float32")
                tensors[name].copy_(weight.convert(torch.as_tensor(value).detach()))
        return module


def translate(model: Any, *, reverse: bool, renumber: bool) -> Blueprint:
    """Translate a Keras model.

    `reverse` puts a flip from RGB to BGR first. `renumber` counts names that Keras gave by itself from the start, since
    Keras goes on counting as long as a process lasts.

    Raises ModelError for a model that isn't a graph of layers, or doesn't take one image.
    """
    model = _functional(model)
    if model is None:
        raise ModelError(
            "The Keras model has a call method of its own, so its layers can't be separated.",
            "Give a Functional or Sequential model.",
        )
    shapes = [tuple(x.shape) for x in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or len(model.outputs) != 1:
        raise ModelError(
            f"The Keras model takes {shapes} and returns {len(model.outputs)} outputs; it has to take one batch of "
            "images (N, H, W, C) and return one output.",
            "Save the part of it that does as a model of its own, and give that.",
        )
    draft = _Draft(renumber=renumber)
    source = draft.value()
    first = source
    if reverse:
        first = draft.add_extra(CHANNEL_FLIP, ReversedChannels(), source)
    (result,) = draft.walk(model, [first])
    result, final = draft.without_final(result)
    module = assemble_network(draft.steps, draft.modules, source, result)
    paths = {id(m): path for path, m in module.named_modules()}
    draws = [(f"{paths[id(m)]}.{name}", weight) for m, name, weight in draft.weights]
    height, width, channels = model.inputs[0].shape[1:]
    scaling = InputScaling()
    if channels is not None:
        scaling = find_scaling(draft.steps, draft.modules, draft.classes, source, (height, width, channels))
    return Blueprint(template=module, draws=tuple(draws), final=final, reverse=reverse, scaling=scaling)


def _functional(model: Any) -> Any:
    """Return the graph in a model: itself, or the one that a built Sequential keeps; None for other models."""
    import keras

    if isinstance(model, keras.Sequential):
        return getattr(model, "_functional", None)
    if hasattr(model, "_nodes_by_depth") and hasattr(model, "inputs"):
        return model
    return None


class _Draft:
    """Steps and modules while they are collected. Values are numbered from 1."""

    def __init__(self, *, renumber: bool) -> None:
        self.renumber = renumber
        self.steps: list[GraphStep] = []
        self.modules: dict[str, nn.Module] = {}
        self.classes: dict[str, str] = {}  # of Keras, by the module's name
        self.weights: list[tuple[nn.Module, str, Weight]] = []
        self._kinds: dict[str, str] = {}
        self._pieces: dict[int, list[tuple[str, str]]] = {}  # id of a layer -> names and kinds of its pieces
        self._values = 0
        self._counts: dict[str, int] = {}

    def value(self) -> int:
        """Return the number of a new value."""
        self._values += 1
        return self._values

    def add_extra(self, name: str, module: nn.Module, source: int) -> int:
        """Add a step that isn't in the Keras model; return its value."""
        result = self.value()
        self.modules[name] = module
        self.classes[name] = type(module).__name__
        self.steps.append(GraphStep(module=name, inputs=(source,), outputs=(result,), opens=True))
        return result

    def walk(self, model: Any, inputs: Sequence[int]) -> list[int]:
        """Add the steps of a Functional model, nested ones in their place; return the values of its outputs."""
        values = {id(tensor): value for tensor, value in zip(model.inputs, inputs, strict=True)}
        for node in _nodes(model):
            tensors = node.arguments.keras_tensors
            if not tensors:
                raise ModelError(
                    f"The Keras layer {node.operation.name!r} reads no image.",
                    "Give a model whose layers all depend on its input.",
                )
            arguments = [values[id(x)] for x in tensors]
            values.update(zip(map(id, node.outputs), self._add_node(node, arguments), strict=True))
        return [values[id(x)] for x in model.outputs]

    def _add_node(self, node: Any, arguments: Sequence[int]) -> list[int]:
        inner = _functional(node.operation)
        if inner is None:
            return self._add_layer(node, arguments)
        return self.walk(inner, arguments)

    def _add_layer(self, node: Any, arguments: Sequence[int]) -> list[int]:
        """Add a layer's pieces one after the other: the last one returns what the layer returns."""
        layer = id(node.operation)
        if layer not in self._pieces:
            self._pieces[layer] = self._add_modules(node)
        pieces = self._pieces[layer]
        counts = [1] * (len(pieces) - 1) + [len(node.outputs)]
        values = list(arguments)
        for (name, kind), count in zip(pieces, counts, strict=True):
            outputs = [self.value() for _ in range(count)]
            step = GraphStep(
                module=name,
                inputs=tuple(values),
                outputs=tuple(outputs),
                weighty=_is_weighty(self.modules[name]),
                depthwise=kind == "depthwise",
                opens=kind == "opens",
                merges=kind in ("merges", "pools"),
                normalises=kind == "norm",
                size=_image_size(node),
            )
            self.steps.append(step)
            values = outputs
        return values

    def _add_modules(self, node: Any) -> list[tuple[str, str]]:
        """Add the modules of a layer's pieces; return their names and kinds."""
        layer = node.operation
        if getattr(layer, "data_format", None) == "channels_first":
            raise ModelError(
                f"The Keras layer {layer.name!r} is built for channels_first; only channels_last can be translated.",
                "Build the model with data_format='channels_last'.",
            )
        ranks = tuple(len(x.shape) for x in node.arguments.keras_tensors)
        pieces = pieces_for(LayerUse(layer=layer, ranks=ranks, only_tensors=_gets_only_tensors(node)))
        if _reverses_channels(node):
            pieces = [Piece(module=ReversedChannels(), kind="opens")]
        if pieces is None:
            pieces = [_wrapped(node)]
        layer_name = self._layer_name(layer)
        named = []
        for piece in pieces:
            name = self._free_name(layer_name + piece.suffix)
            for path, weight in piece.weights.items():
                _put_tensor(piece.module, path, weight.value())
                if weight.initializer is not None:
                    self.weights.append((piece.module, path, weight))
            self.modules[name] = piece.module
            self.classes[name] = type(layer).__name__
            self._kinds[name] = piece.kind
            named.append((name, piece.kind))
        return named

    def _layer_name(self, layer: Any) -> str:
        base = _snake(type(layer).__name__)
        if not self.renumber or not re.fullmatch(rf"{base}(_\d+)?", layer.name):
            return str(layer.name)
        count = self._counts.get(base, -1) + 1
        self._counts[base] = count
        return f"{base}_{count}" if count else base

    def _free_name(self, wanted: str) -> str:
        """Return a name that a torch module may have for a child, and that no other layer has."""
        name = re.sub(r"[./\\\s]+", "_", wanted) or "layer"
        if hasattr(nn.Module, name) or name in RESERVED_NAMES:
            name = f"{name}_layer"
        free = name
        count = 1
        while free in self.modules:
            count += 1
            free = f"{name}_{count}"
        return free

    def without_final(self, result: int) -> tuple[int, str]:
        """Take out a softmax or sigmoid at the end, which frostline's loss includes; return the value before it and its
        name."""
        final = ""
        while self.steps and self.steps[-1].outputs == (result,):
            step = self.steps[-1]
            kind = self._kinds.get(step.module, "")
            if kind in FINAL_ACTIVATIONS and not final:
                final = kind
            elif kind != "linear":
                break
            self.steps.pop()
            result = step.inputs[0]
        return result, final


def _nodes(model: Any) -> Iterator[Any]:
    """Yield the model's calls in an order in which they can be run."""
    for depth in sorted(model._nodes_by_depth, reverse=True):
        yield from (n for n in model._nodes_by_depth[depth] if n.operation is not None and not n.is_input)


def _is_weighty(module: nn.Module) -> bool:
    """True where the module holds a kernel: a tensor that is more than a vector along one axis."""
    return any(p.ndim >= 2 and p.numel() > max(p.shape) for p in module.parameters())


def _image_size(node: Any) -> tuple[int, int] | None:
    """Return (H, W) of the layer's output, where it is an image of a known size."""
    shape = tuple(node.outputs[0].shape)
    if len(shape) != 4 or None in shape[1:3]:
        return None
    return shape[1], shape[2]


def _gets_only_tensors(node: Any) -> bool:
    """True where the call hands over nothing but tensors; `training` and an absent mask don't count."""
    import keras

    arguments = node.arguments
    rest = {k: v for k, v in arguments.kwargs.items() if k != "training" and v is not None}
    flat = keras.tree.flatten((arguments.args, rest))
    return len(flat) == len(arguments.keras_tensors)


def _reverses_channels(node: Any) -> bool:
    """True for x[..., ::-1] of images: torch has no negative steps, so Keras can't run it on torch."""
    tensors = node.arguments.keras_tensors
    if type(node.operation).__name__ != "GetItem" or len(tensors) != 1 or len(tensors[0].shape) != 4:
        return False
    key = node.arguments.kwargs.get("key", node.arguments.args[-1])
    if not isinstance(key, list | tuple) or not key or key[-1] != slice(None, None, -1):
        return False
    before = [part for part in key[:-1] if part is not Ellipsis]
    whole = all(isinstance(part, slice) and part == slice(None) for part in before)
    return whole and (Ellipsis in key[:-1] or len(before) == 3)


def _put_tensor(module: nn.Module, path: str, value: Tensor) -> None:
    owner, _, name = path.rpartition(".")
    target = module.get_submodule(owner)
    if name in target._parameters:
        target._parameters[name] = nn.Parameter(value)
    else:
        target._buffers[name] = value


def _wrapped(node: Any) -> Piece:
    """Return a piece in which Keras runs the layer: its trainable variables as parameters, the others as buffers."""
    layer = node.operation

    def arguments(tensors: list[Tensor]) -> tuple[Any, Any]:
        known = {id(k): t for k, t in zip(node.arguments.keras_tensors, tensors, strict=True)}
        args, kwargs = node.arguments.fill_in(known)
        return args, {k: v for k, v in kwargs.items() if k != "training"}

    trainable: dict[str, Tensor] = {}
    other: dict[str, Tensor | None] = {}
    weights: dict[str, Weight] = {}
    initializers = {id(variable): initializer for variable, initializer in _initializers(layer)}
    for variable in getattr(layer, "trainable_variables", ()):
        name = _variable_name(variable, layer, {*trainable, *other})
        trainable[name] = variable.value.detach().float().cpu().clone()
        weights[name] = Weight(variable=variable, initializer=initializers.get(id(variable)))
    for variable in getattr(layer, "non_trainable_variables", ()):
        name = _variable_name(variable, layer, {*trainable, *other})
        if "seed_generator" in variable.path:
            other[name] = None
            continue
        other[name] = variable.value.detach().cpu().clone()
        if id(variable) in initializers:
            weights[name] = Weight(variable=variable, initializer=initializers[id(variable)])
    return Piece(module=KerasCall(SharedLayer(layer, arguments), trainable, other), weights=weights)


def _initializers(layer: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the variables of a layer and of those inside it whose initialiser is known."""
    if not hasattr(layer, "_flatten_layers"):
        return
    for part in layer._flatten_layers():
        for variable in (*part._trainable_variables, *part._non_trainable_variables):
            initializer = getattr(part, f"{variable.name}_initializer", None)
            if callable(initializer):
                yield variable, initializer


def _variable_name(variable: Any, layer: Any, used: set[str]) -> str:
    """Turn the variable's path below its layer into a name that a torch module accepts."""
    name = re.sub(r"\W+", "_", str(variable.path).removeprefix(f"{layer.name}/"))
    if hasattr(nn.Module, name):
        name = f"{name}_value"
    if name in used:
        name = f"{name}_{len(used)}"
    return name


def _snake(name: str) -> str:
    """Turn a class's name into a layer's, as Keras does."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
