"""A Keras layer (or operation) that has no twin in torch, run by Keras itself on tensors that torch owns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from frostline.keras_torch.layers import channels_before, channels_behind

SEED_RANGE = 2**31 - 1


class Shared:
    """A Keras object that copies of a network share: it holds no state that is used, and is costly to copy."""

    def __init__(self, layer: Any, arguments: Callable[[list[Tensor]], tuple[Any, Any]]) -> None:
        self.layer, self.arguments = layer, arguments

    def __deepcopy__(self, memo: dict[int, Any]) -> Shared:
        return self


class KerasCall(nn.Module):
    """Calls the layer statelessly: weights that Keras trains are parameters here, its other state is buffers.

    Seeds of Keras' random layers are drawn from torch's generator at each call in training, so that a seeded step
    gives the same bits again; Keras' own counter would go on from run to run.
    """

    def __init__(self, shared: Shared, trainable: Mapping[str, Tensor], other: Mapping[str, Tensor | None]) -> None:
        super().__init__()
        self.shared = shared
        self.trainable_names, self.other_names = tuple(trainable), tuple(other)
        for name, value in trainable.items():
            self.register_parameter(name, nn.Parameter(value))
        for name, state in other.items():
            self.register_buffer(name, state)  # None: the state of a generator of seeds

    def forward(self, *held: Tensor) -> Any:
        """Values come and go with the channels on axis 1, where they have four axes."""
        import keras

        layer = self.shared.layer
        args, kwargs = self.shared.arguments([channels_behind(x) for x in held])
        with keras.device(_name(held[0].device)):
            if not hasattr(layer, "stateless_call"):
                result = layer(*args, **kwargs)
            else:
                if getattr(layer, "_call_has_training_arg", False):
                    kwargs = {**kwargs, "training": self.training}
                trainable = [self.get_parameter(name) for name in self.trainable_names]
                other = [self._state(name, held[0].device) for name in self.other_names]
                result, after = layer.stateless_call(trainable, other, *args, **kwargs)
                self._keep(after)
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

    def _keep(self, after: list[Any]) -> None:
        """Statistics move in training mode only, in place."""
        if not self.training:
            return
        with torch.no_grad():
            for name, value in zip(self.other_names, after, strict=True):
                buffer = self._buffers[name]
                if buffer is not None:
                    buffer.copy_(value)


def _name(device: torch.device) -> str:
    return device.type if device.index is None else f"{device.type}:{device.index}"
