"""Versions of the packages that a run computes with."""

from __future__ import annotations

import contextlib
import importlib.metadata

# The last two are extras that change the results of a run.
RECORDED_PACKAGES = (
    *("torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn", "pillow", "safetensors"),
    *("cleanlab", "keras"),
)


def package_versions() -> dict[str, str]:
    """Return versions by name; a package that isn't installed under its own name is left out."""
    versions: dict[str, str] = {}
    for name in RECORDED_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
