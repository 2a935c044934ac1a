"""Finished arms of an adaptation that goes on, on disk: an interrupted one ends with the same bits."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frostline.adapt.world import Adapted, World
from frostline.base.files import parse_json, write_atomic, write_json
from frostline.base.hashing import hash_bytes
from frostline.base.records import AuditCount, CurvePoint
from frostline.planning.run_source import recipe_of
from frostline.train.start import tensors_by_name

ARRAYS = ("target", "held", "target_features", "held_features", "prior")
MODEL = "model."  # how names of its tensors begin


@dataclass(frozen=True)
class KeptArms:
    """A folder with two files for each finished arm: its tensors and a note with their hash."""

    folder: Path

    def save(self, adapted: Adapted) -> None:
        """Write an arm that is done; the note comes last."""
        from safetensors.torch import save

        tensors: dict[str, Tensor] = {}
        for name in ARRAYS:
            values = getattr(adapted, name)
            if values is not None:
                tensors[name] = torch.from_numpy(np.ascontiguousarray(values))
        if adapted.model is not None:
            for name, tensor in tensors_by_name(adapted.model).items():
                tensors[f"{MODEL}{name}"] = tensor.detach().cpu().contiguous().clone()
        body = save(tensors)
        path = self._path(adapted.arm)
        write_atomic(path.with_suffix(".safetensors"), body)
        write_json(path.with_suffix(".json"), {"sha256": hash_bytes(body), "arm": _arm_note(adapted)})

    def load(self, name: str, world: World) -> Adapted | None:
        """Return an arm that an interrupted run finished; damaged files count as not finished."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = self._path(name)
        try:
            body = path.with_suffix(".safetensors").read_bytes()
            note = parse_json(path.with_suffix(".json").read_text(encoding="utf-8"))
            if note["sha256"] != hash_bytes(body):
                return None
            return _adapted(note["arm"], load(body), world, path)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            return None

    def _path(self, name: str) -> Path:
        return self.folder / f"{hash_bytes(name.encode())[:24]}.arm"


def _arm_note(adapted: Adapted) -> dict[str, Any]:
    return {
        "arm": adapted.arm,
        "recipe": asdict(adapted.recipe),
        "changed": adapted.model is not None,
        "steps": adapted.steps,
        "rate": adapted.rate,
        "curve": [asdict(point) for point in adapted.curve],
        "audit": asdict(adapted.audit),
        "ledger": adapted.ledger,
        "seconds": adapted.seconds,
        "detail": plain(adapted.detail),
    }


def plain(detail: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures as JSON has them: numbers and arrays of numpy become Python's own."""
    text = json.dumps(dict(detail), default=lambda value: np.asarray(value).tolist())
    values: dict[str, Any] = json.loads(text)
    return values


def _adapted(note: Mapping[str, Any], tensors: Mapping[str, Tensor], world: World, path: Path) -> Adapted:
    arrays: dict[str, Any] = {name: tensors[name].numpy() if name in tensors else None for name in ARRAYS}
    model = None
    if note["changed"]:
        model = copy.deepcopy(world.target.trunk.model)
        with torch.no_grad():
            for name, tensor in tensors_by_name(model).items():
                tensor.copy_(tensors[f"{MODEL}{name}"])
        model.eval()
    audit = {**note["audit"], "no_gradient": tuple(note["audit"]["no_gradient"])}
    return Adapted(
        arm=note["arm"],
        recipe=recipe_of(path, note["recipe"]),
        model=model,
        steps=note["steps"],
        rate=note["rate"],
        curve=tuple(CurvePoint(**point) for point in note["curve"]),
        audit=AuditCount(**audit),
        ledger=note["ledger"],
        seconds=note["seconds"],
        detail=note["detail"],
        **arrays,
    )
