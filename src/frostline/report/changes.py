"""What has changed between a recorded run and this machine, and what may differ because of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from frostline.base.device import default_threads, machine
from frostline.base.packages import RECORDED_PACKAGES, package_versions
from frostline.base.version import VERSION
from frostline.bundle.schema import RunResult

BITS = "the kernels, so the last bits of all that is computed"
MAY_DIFFER = {
    "frostline": "anything: the method itself may have changed (see CHANGELOG.md)",
    "torch": "the kernels, so the last bits of trained tensors, stored activations and what follows from them",
    "torchvision": "the resizing and cropping of pixels, and the definition of torchvision's networks",
    "timm": "the definition and preprocessing of timm's networks; of other networks nothing",
    "numpy": "the random draws of labels, views and resamples, and the last bits of sums",
    "scipy": "the quantiles behind intervals and p-values, in their last bits",
    "scikit-learn": "the splits into blocks, the baseline, and the search for neighbours",
    "pillow": "the decoding and resizing of images, so every pixel",
    "safetensors": "the layout of model.safetensors and moments.safetensors, not the values in them",
    "cleanlab": "which labels are doubted",
    "keras": "the definition and preprocessing of Keras networks; of other networks nothing",
    "python": "the order and text of what its own modules write; hardly ever a number",
    "system": "the mathematical library, so last bits",
    "processor": BITS,
    "cpu_capability": BITS,
    "gpu": f"{BITS} there",
    "cores": "the order of sums in numpy and scipy, so last bits of the baseline",
    "device": BITS,
    "precision": "the rounding of every activation",
    "channels_last": "the kernels, so last bits",
    "threads": "the order of sums, so last bits",
    "chunk": "the batch size that kernels are chosen by, so last bits",
}
NAMES = {
    "cpu_capability": "instruction set",
    "channels_last": "layout channels_last",
    "chunk": "inference batch",
    "cores": "number of cores",
    "system": "operating system",
}
COMPUTE = ("device", "precision", "channels_last", "threads", "chunk")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that a run was computed with and that differs here; None where it isn't installed or known."""

    what: str
    before: str | None
    now: str | None
    may_differ: str

    def sentence(self) -> str:
        """Return the change and what it may affect, in words."""
        before = self.before or "not there"
        now = self.now or "not there"
        return f"{NAMES.get(self.what, self.what)} was {before} and is {now}: it may change {self.may_differ}."


def environment_changes(result: RunResult) -> list[Change]:
    """Compare frostline, packages and machine here with those of the record."""
    changes = _changes({"frostline": result.version}, {"frostline": VERSION})
    recorded = {name: result.packages[name] for name in RECORDED_PACKAGES if name in result.packages}
    changes += _changes(recorded, package_versions())
    here = machine()
    return changes + _changes({name: result.machine.get(name) for name in here}, here)


def compute_changes(result: RunResult, compute: Mapping[str, Any]) -> list[Change]:
    """Compare what a replay computes with and what the record says: they differ where the written rule has changed."""
    recorded = {name: result.machine.get(name) for name in COMPUTE}
    return _changes(recorded, {name: compute[name] for name in COMPUTE})


def overruled(result: RunResult) -> list[str]:
    """List, in words, where this machine's own rule differs from the record, which a replay keeps to."""
    recorded = result.machine.get("threads")
    own = default_threads()
    if result.settings.get("threads") is None and recorded != own:
        return [f"The run took {recorded} threads by rule; here the rule says {own}. The recorded number is used."]
    return []


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    names = [*before, *(name for name in now if name not in before)]
    return [
        Change(
            what=name,
            before=_text(before.get(name)),
            now=_text(now.get(name)),
            may_differ=MAY_DIFFER.get(name, "what is computed with it"),
        )
        for name in names
        if before.get(name) != now.get(name)
    ]


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return str(value)
