from __future__ import annotations

import gc
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from frostline.data import decode
from frostline.data import images as images_module
from frostline.data.decode import ImageError, decode_all, hash_files, in_threads, read_image
from frostline.data.preprocess import Preprocess
from helpers.data_makers import SMALL, images_of, noise, save, shared

GREY = Preprocess.default(28, (0.5,), (0.5,), 1)
SHORT = SMALL.resize  # 32


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def corners() -> Image.Image:
    """64 x 32: red left half, blue right half, a green band on top of both."""
    pixels = np.zeros((32, 64, 3), dtype=np.uint8)
    pixels[:, :32, 0] = pixels[:, 32:, 2] = 255
    pixels[:8] = (0, 255, 0)
    return Image.fromarray(pixels)


def test_a_picture_of_the_right_size_is_returned_bit_for_bit() -> None:
    pixels = noise(1, SHORT, SHORT)
    assert np.array_equal(read_image(encoded(Image.fromarray(pixels)), SMALL), pixels)


@pytest.mark.parametrize(("width", "height"), [(101, 67), (67, 101), (20, 30), (32, 500), (5000, 10)])
def test_the_short_side_is_the_asked_one_and_the_long_one_torchvisions(width: int, height: int) -> None:
    from torchvision.transforms.v2.functional import resize

    image = Image.fromarray(noise(2, height, width))
    result = read_image(encoded(image), SMALL)
    assert min(result.shape[:2]) == SHORT
    if max(width, height) <= 8 * min(width, height):
        assert np.array_equal(result, np.asarray(resize(image, SHORT)))
    else:
        assert max(result.shape[:2]) == 8 * SHORT


def test_jpeg_draft_never_goes_below_the_target() -> None:
    image = Image.fromarray(noise(3, 300, 400))
    drafted = read_image(encoded(image, "JPEG", quality=95), SMALL)
    exact = read_image(encoded(image), SMALL)
    assert drafted.shape == exact.shape == (32, 42, 3)
    assert np.abs(drafted.astype(int) - exact).mean() < 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_pillow_does(kind: str, orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(corners(), kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    result = read_image(data, SMALL)
    assert result.shape[:2] == ((64, 32) if orientation >= 5 else (32, 64))
    assert np.array_equal(result, expected)


def test_transparency_is_laid_on_white() -> None:
    pixels = np.zeros((32, 32, 4), dtype=np.uint8)
    pixels[:, 16:] = (200, 10, 10, 255)
    half = Image.fromarray(pixels)
    for image in (half, half.convert("LA"), half.convert("RGBA").quantize(16)):
        result = read_image(encoded(image), SMALL)
        assert (result[:, :12] >= 254).all(), image.mode
        assert result[:, 20:, 2].max() < 90, image.mode
    assert (read_image(encoded(half), GREY)[:, :12] == 255).all()


def test_palette_one_bit_and_cmyk_pictures_become_colours() -> None:
    palette = corners().quantize(8)
    assert np.array_equal(read_image(encoded(palette), SMALL), np.asarray(palette.convert("RGB")))
    bits = Image.fromarray(noise(4, 32, 32)).convert("1")
    assert set(np.unique(read_image(encoded(bits), SMALL))) == {0, 255}
    cmyk = read_image(encoded(corners().convert("CMYK"), "TIFF"), SMALL)
    assert np.abs(cmyk.astype(int) - np.asarray(corners())).max() < 3


def test_grey_files_fill_three_channels_and_colour_files_one() -> None:
    grey = Image.fromarray(noise(5, 32, 32, 1)[:, :, 0])
    result = read_image(encoded(grey), SMALL)
    assert result.shape == (32, 32, 3)
    assert all(np.array_equal(result[:, :, c], np.asarray(grey)) for c in range(3))
    colour = Image.fromarray(noise(6, 32, 32))
    assert np.array_equal(read_image(encoded(colour), GREY)[:, :, 0], np.asarray(colour.convert("L")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    values = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    result = read_image(encoded(Image.fromarray(values), kind), SMALL)
    assert np.array_equal(result[:, :, 0], np.rint(values / 257).astype(np.uint8))


def test_16_bit_colour_keeps_its_range() -> None:
    rows = b"".join(b"\0" + struct.pack(">96H", *([v * 257] * 96)) for v in range(0, 256, 8))

    def chunk(kind: bytes, body: bytes) -> bytes:
        import zlib

        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    import zlib

    header = struct.pack(">IIBBBBB", 32, 32, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert read_image(data, SMALL)[:, 0, 0].tolist() == list(range(0, 256, 8))


def test_floating_point_pictures_are_read_from_0_to_1_only() -> None:
    values = np.linspace(0, 1, 32 * 32, dtype=np.float32).reshape(32, 32)
    result = read_image(encoded(Image.fromarray(values), "TIFF"), GREY)
    assert (result.min(), result.max()) == (0, 255)
    with pytest.raises(ImageError, match="outside 0 to 1"):
        read_image(encoded(Image.fromarray(values * 300), "TIFF"), GREY)


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert read_image(data, SMALL)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "an empty file"),
        (b"GIF89a", "damaged|not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG, which isn't read"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"),
        (b"\n<!DOCTYPE html><title>404</title>", "a web page"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avif", "AVIF, which isn't read"),
        (b"\0\0\0\x1cftypheic\0\0\0\0heic", "HEIC, which isn't read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "EPS, which isn't read"),
        (encoded(Image.fromarray(noise(7, 200, 200)), "JPEG")[:2000], "cut short"),
        (encoded(Image.fromarray(noise(7, 200, 200)))[:3000], "cut short|damaged"),
    ],
)
def test_damaged_files_are_refused_with_a_reason(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        read_image(data, SMALL)
    path = tmp_path / "x.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=reason) as error:
        read_image(path, SMALL)
    assert str(tmp_path) not in str(error.value)


def test_files_with_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_PIXELS", 5000)
    with pytest.raises(ImageError, match="too large"):
        read_image(encoded(Image.new("L", (100, 51))), SMALL)
    assert read_image(encoded(Image.new("L", (400, 400)), "JPEG"), SMALL).shape == (32, 32, 3)  # 50 x 50 by draft
    monkeypatch.undo()
    bomb = bytearray(encoded(Image.new("1", (8, 8))))
    bomb[16:24] = struct.pack(">II", 60_000, 60_000)
    import zlib

    bomb[29:33] = struct.pack(">I", zlib.crc32(bytes(bomb[12:29])))
    with pytest.raises(ImageError, match="too large"):
        read_image(bytes(bomb), SMALL)


def test_missing_files_are_refused_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="can't be opened"):
        read_image(tmp_path / "nowhere.png", SMALL)


def test_decode_all_names_bad_files_and_goes_on(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{k}.png", k) for k in range(5)]
    paths[2].write_bytes(paths[2].read_bytes()[:60])
    calls: list[tuple[int, int]] = []
    pictures, bad = decode_all(paths, SMALL, threads=2, spill_dir=None, progress=lambda *c: calls.append(c))
    assert list(bad) == [2]
    assert pictures[2].shape == (0, 0, 3)
    assert all(np.array_equal(pictures[i], read_image(paths[i], SMALL)) for i in (0, 1, 3, 4))
    assert calls == [(i, 5) for i in range(1, 6)]
    assert [len(h) for h in hash_files([*paths, tmp_path / "gone"], 2)] == [64] * 5 + [0]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_results_come_in_order_whatever_the_threads(threads: int, count: int) -> None:
    assert list(in_threads(lambda i: i * i, range(count), threads, 16)) == [i * i for i in range(count)]


def test_cut_off_files_stay_bad_when_other_code_allows_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    path = tmp_path / "x.jpg"
    path.write_bytes(encoded(Image.fromarray(noise(8, 200, 200)), "JPEG")[:2000])
    _, bad = decode_all([path], SMALL, threads=1, spill_dir=None, progress=None)
    assert bad == {0: "cut short (the end is missing)"}
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_many_pictures_spill_into_a_file_that_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [save(tmp_path / "in" / f"{k}.png", k, height=32 + k) for k in range(6)]
    kept, _ = decode_all(paths, SMALL, threads=1, spill_dir=None, progress=None)
    monkeypatch.setattr(images_module, "SPILL_BYTES", 7000)
    (tmp_path / "spill").mkdir()
    spilled, _ = decode_all(paths, SMALL, threads=2, spill_dir=tmp_path / "spill", progress=None)
    assert all(isinstance(image, np.memmap) for image in spilled)
    assert not any(isinstance(image, np.memmap) for image in kept)
    assert spilled.nbytes == kept.nbytes
    assert all(np.array_equal(a, b) for a, b in zip(kept, spilled, strict=True))
    assert np.array_equal(spilled.select([4, 1])[0], kept[4])
    del spilled
    gc.collect()
    assert list((tmp_path / "spill").iterdir()) == []


def test_a_selection_shares_memory_and_pictures_are_read_only() -> None:
    pictures = images_of([noise(k, 8 + k, 9) for k in range(4)])
    chosen = pictures.select([3, 0])
    assert len(chosen) == 2
    assert chosen.nbytes == 3 * 9 * (11 + 8)
    assert np.shares_memory(chosen[0], pictures[3])
    assert len(list(pictures)) == 4
    with pytest.raises(ValueError, match="read-only"):
        chosen[0][0, 0, 0] = 1
    assert images_of([]).nbytes == 0


def test_real_photos_decode_close_to_the_full_resolution_path() -> None:
    path = sorted((shared("flowers5") / "test" / "rose").iterdir())[0]
    image = Image.open(path).convert("RGB")
    expected = np.asarray(image.resize((SHORT, SHORT), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(read_image(path, SMALL) - expected).mean() < 3
