from __future__ import annotations

import json

import pytest
import torch

from frostline.base.errors import DataError
from frostline.data.preprocess import Preprocess, to_input

RGB = Preprocess.default(24, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 3)
GREY = Preprocess.default(24, (0.3,), (0.2,), 1)


def images(channels: int, n: int = 7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, 24, 23), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("preprocess", [RGB, GREY], ids=["rgb", "grey"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_to_input_equals_torchvision_normalize(preprocess: Preprocess, channels_last: bool) -> None:
    from torchvision.transforms.v2.functional import normalize

    x = images(preprocess.channels)
    expected = normalize(x.double() / 255, list(preprocess.mean), list(preprocess.std))
    result = to_input(x, preprocess, device="cpu", channels_last=channels_last)
    assert result.dtype == torch.float32
    assert (result.double() - expected).abs().max() < 1e-6


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_sample_has_the_same_bits_and_layout_in_any_batch_and_source_layout(channels_last: bool) -> None:
    x = images(3)
    whole = to_input(x, RGB, device="cpu", channels_last=channels_last)
    assert torch.equal(whole, to_input(x, RGB, device="cpu", channels_last=not channels_last))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert whole.is_contiguous(memory_format=layout)
    for i in range(len(x)):
        assert torch.equal(to_input(x[i : i + 1], RGB, device="cpu", channels_last=channels_last)[0], whole[i])
    other = to_input(x.to(memory_format=torch.channels_last), RGB, device="cpu", channels_last=channels_last)
    assert torch.equal(other, whole)
    assert other.stride() == whole.stride()


def test_grey_input_has_the_asked_strides_although_both_layouts_fit() -> None:
    x = images(1)
    for source in (x, x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)):
        assert to_input(source, GREY, device="cpu", channels_last=False).stride() == (552, 552, 23, 1)
        assert to_input(source, GREY, device="cpu", channels_last=True).stride() == (552, 1, 23, 1)


def test_to_input_refuses_other_types_and_channels() -> None:
    with pytest.raises(ValueError, match="uint8"):
        to_input(images(3).float(), RGB, device="cpu", channels_last=False)
    with pytest.raises(ValueError, match="uint8"):
        to_input(images(1), RGB, device="cpu", channels_last=False)


def test_default_resizes_to_size_over_0875_and_spreads_one_number_over_channels() -> None:
    preprocess = Preprocess.default(224, (0.5,), (0.25,), 3)
    assert (preprocess.resize, preprocess.size, preprocess.mode) == (256, (224, 224), "RGB")
    assert preprocess.mean == (0.5, 0.5, 0.5)
    assert preprocess.std == (0.25, 0.25, 0.25)
    assert (GREY.mode, GREY.channels) == ("L", 1)


def test_record_survives_json() -> None:
    for preprocess in (RGB, GREY):
        assert Preprocess.from_json(json.loads(json.dumps(preprocess.to_json()))) == preprocess


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": 2}, "unknown key 'gamma'"),
        ({"mean": None}, "another type"),
        ({"mode": "HSV"}, "Colour mode 'HSV'"),
        ({"interpolation": "area"}, "'area' is not known"),
        ({"crop": "corner"}, "crop='corner'"),
        ({"size": [224]}, "another type"),
        ({"resize": 0}, "not an image's size"),
        ({"std": [0.0]}, "--std 0 can't be used"),
    ],
)
def test_a_record_with_a_wrong_value_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Preprocess.from_json({**RGB.to_json(), **change})


def test_a_record_with_a_missing_key_is_refused() -> None:
    record = RGB.to_json()
    del record["std"]
    with pytest.raises(DataError, match="no key 'std'"):
        Preprocess.from_json(record)


@pytest.mark.parametrize(("mean", "std", "named"), [((1.0, 2.0), (1.0,), "--mean"), ((0.5,), (1.0,) * 4, "--std")])
def test_mean_and_std_of_another_length_are_refused_by_the_name_of_the_option(
    mean: tuple[float, ...], std: tuple[float, ...], named: str
) -> None:
    with pytest.raises(DataError, match=named) as error:
        Preprocess.default(32, mean, std, 3)
    assert named in error.value.hint


def test_other_channels_are_a_mode_of_their_own() -> None:
    preprocess = Preprocess.default(32, (0.5,), (0.25,), 5)
    assert (preprocess.mode, preprocess.channels, preprocess.mean) == ("N", 5, (0.5,) * 5)
    assert Preprocess.from_json(json.loads(json.dumps(preprocess.to_json()))) == preprocess
    with pytest.raises(DataError, match="0 channels"):
        Preprocess.default(32, (0.5,), (0.5,), 0)
    with pytest.raises(DataError, match="4 channels don't go with colour mode RGB"):
        Preprocess.from_json({**RGB.to_json(), "channels": 4})


def test_records_from_before_there_were_other_channels_are_read() -> None:
    for preprocess in (RGB, GREY):
        record = preprocess.to_json()
        del record["channels"]
        assert Preprocess.from_json(record) == preprocess
