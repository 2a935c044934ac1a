"""Versions of the packages that a run computes with."""

from __future__ import annotations

import contextlib
import importlib.metadata

# The last two are extras that change what a run finds.
PACKAGES = (
    *("torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn", "pillow", "safetensors"),
    *("cleanlab", "keras"),
)


def package_versions() -> dict[str, str]:
    """Versions by name; a package that isn't installed under its own name is left out."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
