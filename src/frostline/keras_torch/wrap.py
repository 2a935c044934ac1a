"""A Keras layer (or operation) without an equivalent in torch, run by Keras itself on tensors that torch owns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from frostline.keras_torch.layers import channels_before, channels_behind

SEED_RANGE = 2**31 - 1


class SharedLayer:
    """A Keras layer that copies of a network share: none of its state is used, and it is costly to copy."""

    def __init__(self, layer: Any, arguments: Callable[[list[Tensor]], tuple[Any, Any]]) -> None:
        self.layer = layer
        self.arguments = arguments

    def __deepcopy__(self, memo: dict[int, Any]) -> SharedLayer:
        return self


class KerasCall(nn.Module):
    """Calls the layer statelessly: weights that Keras trains are parameters here, its other state is buffers.

    Seeds of Keras' random layers are drawn from torch's generator at each call in training, so that a step repeats bit
    for bit under one seed; Keras' own counter would go on from run to run.
    """

    def __init__(
        self, shared: SharedLayer, trainable: Mapping[str, Tensor], other: Mapping[str, Tensor | None]
    ) -> None:
        super().__init__()
        self.shared = shared
        self.trainable_names = tuple(trainable)
        self.other_names = tuple(other)
        for name, value in trainable.items():
            self.register_parameter(name, nn.Parameter(value))
        for name, state in other.items():
            self.register_buffer(name, state)  # None: the state of a generator of seeds

    def forward(self, *inputs: Tensor) -> Any:
        """Run the layer; inputs and outputs of four axes have their channels on axis 1."""
        import keras

        layer = self.shared.layer
        args, kwargs = self.shared.arguments([channels_behind(x) for x in inputs])
        with keras.device(_keras_device(inputs[0].device)):
            if not hasattr(layer, "stateless_call"):
                result = layer(*args, **kwargs)
            else:
                if getattr(layer, "_call_has_training_arg", False):
                    kwargs = {**kwargs, "training": self.training}
                trainable = [self.get_parameter(name) for name in self.trainable_names]
                other = [self._state(name, inputs[0].device) for name in self.other_names]
                result, after = layer.stateless_call(trainable, other, *args, **kwargs)
                self._update_buffers(after)
        if isinstance(result, Tensor):
            return channels_before(result)
        return tuple(channels_before(x) for x in keras.tree.flatten(result))

    def _state(self, name: str, device: torch.device) -> Tensor:
        value = self._buffers[name]
        if value is not None:
            return value.clone()
        state = torch.zeros(2, dtype=torch.int32)  # a seed and a counter
        if self.training:
            state[:1] = torch.randint(SEED_RANGE, (1,), dtype=torch.int32)
        return state.to(device)

    def _update_buffers(self, after: list[Any]) -> None:
        """Take over the layer's new state in place, in training mode only."""
        if not self.training:
            return
        with torch.no_grad():
            for name, value in zip(self.other_names, after, strict=True):
                buffer = self._buffers[name]
                if buffer is not None:
                    buffer.copy_(value)


def _keras_device(device: torch.device) -> str:
    """Write a device as Keras does."""
    return device.type if device.index is None else f"{device.type}:{device.index}"
