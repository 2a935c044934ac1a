"""The contract of a picture network in a folder of transformers: its image processor as a Preprocess, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from frostline.base.errors import ModelError
from frostline.data.preprocess import Interpolation, Preprocess
from frostline.models.network import NetworkOptions
from frostline.models.sources.hf_folder import read_json

# Pillow's numbers of its filters, which the processors record
FILTERS: dict[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


def picture_contract(spec: str, folder: Path, config: Any, options: NetworkOptions) -> Preprocess:
    """Read preprocessor_config.json; raises ModelError, in a sentence, for what a Preprocess can't express."""
    raise ModelError(f"{spec} reads pictures, which hf: can't yet.", "Take timm: or torchvision:.")
