"""Watches a forward pass for uses of parameters, and takes from the backward pass what each sample's gradient needs.

A mode of torch's own sees every function that the network's code calls, so a layer counts by what it computes
(`linear`, `conv2d`, `embedding`, ...) and not by its class. The output of each use gets a hook; when the gradient
arrives there, the gradient of the parameter is read off for each sample, projected. No parameter has a gradient of its
own meanwhile, and the backward pass ends at the first watched parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from frostline.forecast.attention import ARGUMENTS, ATTENTION, apart, can_be_taken_apart
from frostline.forecast.projection import Projection, make_projection

PerSample = Callable[[Tensor], Tensor]  # the gradient of what a use gave -> (B, size) of the parameter

# what gives a parameter another shape, its numbers in the same order
SAME_NUMBERS = frozenset(
    (Tensor.reshape, Tensor.view, Tensor.unsqueeze, Tensor.flatten, torch.reshape, torch.unsqueeze, torch.flatten)
)


class Watch(TorchFunctionMode):
    """Active as a context around one forward pass of `batch` samples, and the backward passes that follow it.

    `projections` grow with the parameters that are met. Set `collect` before a backward pass: it is called with each
    parameter's name and projected gradients (B, size), once for each use.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        projections: dict[str, Projection],
        readers: Mapping[Any, Reader],
        *,
        batch: int,
        samples_second: bool,
    ) -> None:
        super().__init__()
        self.names = {id(parameter): name for name, parameter in parameters.items()}
        self.projections = projections
        self.readers = readers
        self.batch = batch
        self.samples_second = samples_second  # activations of three axes are (tokens, samples, channels)
        self.collect: Callable[[str, Tensor], None] = lambda _name, _numbers: None
        self.failed: dict[str, str] = {}
        self._aliases: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is ATTENTION:
            return self._attention(args, kwargs)
        reader = self.readers.get(func)
        if func in SAME_NUMBERS and args and id(args[0]) in self.names:
            return self._alias(args[0], func(*args, **kwargs))
        if reader is None or not any(id(value) in self.names for value in (*args, *kwargs.values())):
            return func(*args, **kwargs)
        given = dict(zip(reader.arguments.split(), args, strict=False)) | kwargs
        output = func(*args, **kwargs)
        if not isinstance(output, Tensor) or not output.is_floating_point():
            return output
        if reader.one_for_all and output.shape[0] == 1:
            output = output.expand(self.batch, *output.shape[1:])
        uses = self._uses(reader, given, output)
        if not uses:
            return output
        return self._hooked(output, uses)

    def _attention(self, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run torch's attention with its projections in view, where it can be taken apart."""
        given = dict(zip(ARGUMENTS, args, strict=False)) | kwargs
        if not can_be_taken_apart(given, self.names):
            return ATTENTION(*args, **kwargs)
        with self:  # the mode is off inside its own handler
            return apart(given, samples_second=self.samples_second)

    def _uses(self, reader: Reader, given: Mapping[str, Any], output: Tensor) -> list[tuple[str, PerSample]]:
        try:
            return list(reader.read(self, given, output))
        except (ValueError, RuntimeError, KeyError):  # then the proof finds that something is missing
            return []

    def _alias(self, parameter: Tensor, other_form: Any) -> Any:
        """Watch a parameter in another shape too; kept, so that nothing else can have its identity meanwhile."""
        if isinstance(other_form, Tensor) and other_form.numel() == parameter.numel():
            self.names[id(other_form)] = self.names[id(parameter)]
            self._aliases.append(other_form)
        return other_form

    def name_of(self, value: Any) -> str | None:
        """Return the name of a watched parameter; None for anything else."""
        return self.names.get(id(value))

    def projection(self, name: str, parameter: Tensor, kind: str = "all", groups: int = 1) -> Projection:
        if name not in self.projections:
            self.projections[name] = make_projection(name, parameter, kind=kind, groups=groups)
        return self.projections[name]

    def positions(self, values: Tensor) -> Tensor:
        """(B, T, n) from (..., n): positions of a sample side by side. Raises ValueError without such an axis."""
        if self.samples_second and values.ndim == 3 and values.shape[1] == self.batch:
            return values.transpose(0, 1)
        if values.ndim < 2 or values.shape[0] % self.batch:
            raise ValueError(f"its use gives {tuple(values.shape)}, which isn't a row per sample")
        return values.reshape(self.batch, -1, values.shape[-1])

    def _hooked(self, output: Tensor, uses: list[tuple[str, PerSample]]) -> Tensor:
        def hook(gradient: Tensor) -> None:
            with torch.no_grad():
                for name, per_sample in uses:
                    self._take(name, per_sample, gradient)

        if output.requires_grad:
            output.register_hook(hook)  # type: ignore[no-untyped-call]
            return output
        leaf = output.detach().requires_grad_()
        leaf.register_hook(hook)  # type: ignore[no-untyped-call]
        return leaf.clone()  # may be written into, which a leaf may not

    def _take(self, name: str, per_sample: PerSample, gradient: Tensor) -> None:
        try:
            self.collect(name, per_sample(gradient))
        except (ValueError, RuntimeError) as error:  # a use of another form than was thought of
            self.failed.setdefault(name, str(error))


Uses = Iterator[tuple[str, PerSample]]


@dataclass(frozen=True, slots=True)
class Reader:
    """How one function of torch uses parameters."""

    arguments: str  # their names, in order
    read: Callable[[Watch, Mapping[str, Any], Tensor], Uses]
    one_for_all: bool = False  # its output may be one for all samples, which is then repeated


class Saved:
    """A tensor that is read again in the backward pass, and must not be written into before."""

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor
        self._version = tensor._version if isinstance(tensor, Tensor) else 0

    def value(self) -> Any:
        if isinstance(self._tensor, Tensor):
            if self._tensor._version != self._version:
                raise ValueError("what it is applied to is written into later")
            return self._tensor.detach()
        return self._tensor


def over_positions(values: Tensor) -> Tensor:
    """(B, n) float32: the sum over positions of (B, T, n), which torch accumulates in float32 by itself."""
    return values.sum(1).float()
