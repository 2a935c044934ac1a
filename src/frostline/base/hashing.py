"""SHA-256 of files, values and tensors, as lower-case hex."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def hash_bytes(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


def hash_file(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def hash_values(*values: Any) -> str:
    """Hash JSON-able values; dictionaries count by content, not by order."""
    return hash_bytes(json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode())


def hash_texts(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode())
        digest.update(b"\x1f")
    return digest.hexdigest()


def hash_tensor(tensor: Tensor) -> str:
    """Hash dtype, shape and values (any device, any memory layout)."""
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    digest = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    digest.update(memoryview(flat.numpy()))  # type: ignore[arg-type]
    return digest.hexdigest()


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Hash names and values, in the order of the names."""
    return hash_texts(f"{name}={hash_tensor(tensors[name])}" for name in sorted(tensors))
