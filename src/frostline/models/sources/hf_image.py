"""Images for a network in a folder of transformers: its image processor as a Preprocess, tried against it."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from frostline.base.errors import DataError, ModelError
from frostline.base.records import FloatArray
from frostline.data.decode import read_image
from frostline.data.preprocess import Fit, Interpolation, Preprocess
from frostline.data.views import augment_policy, make_view
from frostline.models.network import NetworkOptions
from frostline.models.sources.hf_folder import first_line, library, other_in, quiet
from frostline.models.sources.timm_source import read_preprocess
from frostline.models.weight_files import in_words

# Pillow's numbers of its filters, which the processors record
FILTERS: dict[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
REVERSES = "do_flip_channel_order"  # RGB to BGR, by a layer before the network
KNOWN = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb", REVERSES)  # others are refused
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
HINT = "Write a torch: factory, with MEAN, STD and INPUT_SIZE as they should be."
SQUASHED_FROM = 384  # ConvNeXt's processor: from this size on the image is squashed, below it is cropped
ENLARGED = {"LevitImageProcessor": 256 / 224}  # of processors that don't record it: short side over the size they state


def image_contract(spec: str, folder: Path, config: Any, options: NetworkOptions) -> tuple[Preprocess, bool]:
    """Read the image processor, and whether the network wants BGR; raises ModelError, in a sentence, for what a
    Preprocess can't express."""
    if not any((folder / file).is_file() for file in PROCESSORS):
        return _stated_contract(spec, folder, config, options), False
    processor = _processor(spec, folder)
    record: Mapping[str, Any] = processor.to_dict()
    if "data_config" in record:  # timm's transforms in the library's clothes
        own = read_preprocess(record["data_config"], {}, NetworkOptions())
    else:
        own = _hf_image_contract(spec, config, record, _enlarged(processor))
    reverse = bool(record.get(REVERSES))
    _try(spec, processor, own, reverse)
    if options.size:
        ratio = own.resize / max(own.size)
        own = replace(own, size=(options.size, options.size), resize=max(options.size, round(options.size * ratio)))
    plain = Preprocess.default(own.size, options.mean or own.mean, options.std or own.std, own.channels)
    return replace(own, mean=plain.mean, std=plain.std), reverse


def _stated_contract(spec: str, folder: Path, config: Any, options: NetworkOptions) -> Preprocess:
    """Prepare images as the options alone say: RGB, bilinear, a centre crop. Raises ModelError where one is missing."""
    stated = {"--size N": options.size, "--mean M": options.mean, "--std S": options.std}
    missing = [option for option, value in stated.items() if value is None]
    if options.size is None or options.mean is None or options.std is None:
        raise ModelError(
            f"{folder} holds no {PROCESSORS[0]}, so {spec} doesn't say how its images are prepared.",
            f"Give {in_words(missing)}, or put that file into the folder.",
        )
    channels = int(getattr(config, "num_channels", None) or 3)
    return Preprocess.default(options.size, options.mean, options.std, channels)


def _hf_image_contract(spec: str, config: Any, record: Mapping[str, Any], enlarged: float) -> Preprocess:
    done = [k for k, v in record.items() if v and (k == "rescale_offset" or k.startswith("do_"))]
    steps = [k for k in done if k not in KNOWN]
    if steps:
        raise ModelError(f"The image processor of {spec} has a step {steps[0]}, which frostline can't express.", HINT)
    size, resize, fit = _sizes(spec, record, enlarged)
    channels = int(getattr(config, "num_channels", None) or 3)
    mean, std = _scales(record, channels)
    resample = record.get("resample")
    interpolation = FILTERS.get(int(resample)) if resample is not None else "bilinear"
    if interpolation is None:
        raise ModelError(f"The image processor of {spec} resizes by filter {resample}, which isn't known.", HINT)
    try:
        plain = Preprocess.default(size, mean, std, channels)
        return replace(plain, resize=resize, interpolation=interpolation, fit=fit, centre="floor")
    except DataError as error:
        raise ModelError(f"The image processor of {spec} can't be expressed: {error.message}", HINT) from error


def _processor(spec: str, folder: Path) -> Any:
    with quiet():
        try:
            return library().AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:
            damaged = ModelError(
                f"The image processor of {spec} can't be read ({first_line(error)}).",
                f"Is {PROCESSORS[0]} complete? Without that file, --size, --mean and --std say it all.",
            )
            raise other_in(folder, *PROCESSORS) or damaged from error


def _enlarged(processor: Any) -> float:
    name = type(processor).__name__
    return next((factor for start, factor in ENLARGED.items() if name.startswith(start)), 1.0)


def _sizes(spec: str, record: Mapping[str, Any], enlarged: float) -> tuple[int, int, Fit]:
    """(side of the input, side before the crop, how the image is fitted), in pixels."""
    size = {}
    if record.get("do_resize"):
        size = _sides(record.get("size"))
    crop = {}
    if record.get("do_center_crop"):
        crop = _sides(record.get("crop_size"))
    short = size.get("shortest_edge")
    height = size.get("height")
    width = size.get("width")
    fraction = record.get("crop_pct") or 1 / enlarged
    if short and record.get("crop_pct") and not crop:
        if short >= SQUASHED_FROM:
            whole = short
        else:
            whole = math.floor(short / fraction)
        return short, whole, "squash" if short >= SQUASHED_FROM else "crop"
    side = crop.get("height") or height
    if crop:
        found = {crop.get("height"), crop.get("width")}
    else:
        found = {height, width}
    if side is None or found != {side} or height != width:
        raise ModelError(
            f"The image processor of {spec} resizes to {size or 'no size'} and crops to "
            f"{crop or 'no size'}, which frostline can't express.",
            HINT,
        )
    if short and crop:
        return side, math.floor(short / fraction), "crop"
    if crop and record.get("crop_pct") and height:
        return side, math.floor(height / fraction), "crop"
    return side, height or side, "squash"


def _sides(size: Any) -> dict[str, int]:
    if isinstance(size, int):
        return {"height": size, "width": size}
    return {k: int(v) for k, v in dict(size or {}).items() if v is not None}


def _scales(record: Mapping[str, Any], channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std in units of [0, 1] of the pixels, whatever the processor's own scale is."""
    factor = 255.0
    if record.get("do_rescale"):
        factor = 255 * float(record["rescale_factor"])
    mean = [0.0] * channels
    std = [1.0] * channels
    if record.get("do_normalize"):
        mean = list(record["image_mean"])
        std = list(record["image_std"])
    if record.get("include_top"):  # EfficientNet's divides by std a second time
        std = [s * s for s in std]
    return tuple(m / factor for m in mean), tuple(s / factor for s in std)


def _try(spec: str, processor: Any, contract: Preprocess, reverse: bool) -> None:
    """Prepare an image both ways: what a processor does isn't always what its settings say.

    The image is a ramp to the right in red and one downwards in green, so that another size, crop, order of channels
    or scale shows, but neither the rounding of a resize nor a crop that begins one pixel later. Raises ModelError.
    """
    if contract.mode != "RGB":
        return
    side = contract.resize
    across = np.linspace(0, 255, side * 3 // 2)
    down = np.linspace(0, 255, side)
    pixels = np.stack([*np.meshgrid(across, down), np.full((len(down), len(across)), 64.0)], axis=-1)
    image = Image.fromarray(np.rint(pixels).astype(np.uint8))
    with quiet():
        try:
            theirs = np.asarray(processor([image], return_tensors="pt")["pixel_values"][0], dtype=np.float64)
        except Exception as error:
            raise ModelError(f"The image processor of {spec} doesn't run ({first_line(error)}).", HINT) from error
    file = io.BytesIO()
    image.save(file, "PNG")
    picture = read_image(file.getvalue(), contract)
    view = make_view(picture, contract, augment_policy("none", contract), seed=0, sample="", view=0)
    ours: FloatArray = view.transpose(2, 0, 1).astype(np.float64)
    if theirs.shape == ours.shape:
        scale, shift = (np.array(v)[:, None, None] for v in (contract.std, contract.mean))
        differs = np.abs((theirs[::-1] if reverse else theirs) * scale * 255 + shift * 255 - ours)
        if differs.mean() <= 2 + 255 / side:  # grey levels: a pixel's step in one of three channels, and rounding
            return
    raise ModelError(f"The image processor of {spec} prepares images differently from what its settings say.", HINT)
