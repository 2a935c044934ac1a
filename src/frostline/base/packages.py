"""Versions of the packages that a run computes with."""

from __future__ import annotations

import contextlib
import importlib.metadata

PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn", "pillow", "safetensors", "imagehash")

OPTIONAL_PACKAGES = ("cleanlab", "keras")  # those that change what a run finds


def package_versions() -> dict[str, str]:
    """Versions of what a run computes with."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    for name in OPTIONAL_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
