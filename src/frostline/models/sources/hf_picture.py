"""The contract of a picture network in a folder of transformers: its image processor as a Preprocess, exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frostline.base.errors import ModelError
from frostline.data.preprocess import Fit, Interpolation, Preprocess
from frostline.models.network import NetworkOptions
from frostline.models.sources.hf_folder import first_line, library, quiet

# Pillow's numbers of its filters, which the processors record
FILTERS: dict[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
KNOWN = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb")  # other steps are refused
HINT = "Write a torch: factory, with MEAN, STD and INPUT_SIZE as they should be."
SQUASHED_FROM = 384  # ConvNeXt's processor: from this size on the picture is squashed, below it is cropped


def picture_contract(spec: str, folder: Path, config: Any, options: NetworkOptions) -> Preprocess:
    """Read the image processor; raises ModelError, in a sentence, for what a Preprocess can't express."""
    record = _processor(spec, folder)
    done = [k for k, v in record.items() if v and (k == "rescale_offset" or k.startswith("do_"))]
    steps = [k for k in done if k not in KNOWN]
    if steps:
        raise ModelError(f"The image processor of {spec} has a step {steps[0]}, which frostline can't express.", HINT)
    size, resize, fit = _sizes(spec, record)
    if options.size:
        resize = max(options.size, round(options.size * resize / size))
        size = options.size
        resize = size if fit == "squash" else resize
    channels = int(getattr(config, "num_channels", None) or 3)
    mean, std = _scales(record, channels)
    plain = Preprocess.default(size, options.mean or mean, options.std or std, channels)
    resample = record.get("resample")
    interpolation = FILTERS.get(int(resample)) if resample is not None else "bilinear"
    if interpolation is None:
        raise ModelError(f"The image processor of {spec} resizes by filter {resample}, which isn't known.", HINT)
    return Preprocess(mode=plain.mode, channels=channels, size=plain.size, resize=resize, interpolation=interpolation,
                      mean=plain.mean, std=plain.std, fit=fit)  # fmt: skip


def _processor(spec: str, folder: Path) -> Mapping[str, Any]:
    """All its settings, the class's own defaults among them."""
    with quiet():
        try:
            found = library().AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:
            raise ModelError(f"The image processor of {spec} can't be read ({first_line(error)}).",
                             "The folder needs its preprocessor_config.json.") from error  # fmt: skip
    record: Mapping[str, Any] = found.to_dict()
    return record


def _sizes(spec: str, record: Mapping[str, Any]) -> tuple[int, int, Fit]:
    """(side of the input, short side before the crop, how the picture is fitted), in pixels."""
    size = _sides(record.get("size")) if record.get("do_resize") else {}
    crop = _sides(record.get("crop_size")) if record.get("do_center_crop") else {}
    short, height, width = size.get("shortest_edge"), size.get("height"), size.get("width")
    if short and record.get("crop_pct") and not crop:
        whole = short if short >= SQUASHED_FROM else math.floor(short / record["crop_pct"])
        return short, whole, "squash" if short >= SQUASHED_FROM else "crop"
    side = crop.get("height") or height
    found = {crop.get("height"), crop.get("width")} if crop else {height, width}
    if side is None or found != {side} or (height is not None and height != width):
        raise ModelError(f"The image processor of {spec} resizes to {size or 'no size'} and crops to "
                         f"{crop or 'no size'}, which frostline can't express.", HINT)  # fmt: skip
    if short and crop:
        return side, short, "crop"
    if crop and height != side:
        raise ModelError(f"The image processor of {spec} squashes to {height} pixels and then crops to {side}, which "
                         "frostline can't express.", HINT)  # fmt: skip
    return side, side, "squash"


def _sides(size: Any) -> dict[str, int]:
    if isinstance(size, int):
        return {"height": size, "width": size}
    return {k: int(v) for k, v in dict(size or {}).items() if v is not None}


def _scales(record: Mapping[str, Any], channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std in units of [0, 1] of the pixels, whatever the processor's own scale is."""
    factor = 255 * float(record["rescale_factor"]) if record.get("do_rescale") else 255.0
    mean, std = [0.0] * channels, [1.0] * channels
    if record.get("do_normalize"):
        mean, std = list(record["image_mean"]), list(record["image_std"])
    if record.get("include_top"):  # EfficientNet's divides by std a second time
        std = [s * s for s in std]
    return tuple(m / factor for m in mean), tuple(s / factor for s in std)
