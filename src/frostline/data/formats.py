"""Which files are images by their name, and what a file is that can't be read as one."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

# The endings of JPEG are those that browsers and phones write.
ENDINGS = frozenset(
    ".jpg .jpeg .jpe .jfif .jif .pjpeg .pjp .mpo .png .bmp .gif .webp .tif .tiff .ppm .pgm .pbm .pnm".split()
)
# Formats of images that aren't read, by their endings: a class of these alone would vanish without a word.
UNREAD = {
    ".avif": "AVIF",
    ".heic": "HEIC",
    ".heif": "HEIF",
    ".hif": "HEIF",
    ".jxl": "JPEG XL",
    ".jp2": "JPEG 2000",
    ".j2k": "JPEG 2000",
    ".svg": "SVG",
    ".psd": "Photoshop",
    ".ico": "ICO",
    ".icns": "ICNS",
    ".tga": "TGA",
    ".dds": "DDS",
    ".exr": "OpenEXR",
    ".hdr": "Radiance HDR",
    ".dcm": "DICOM",
    ".dicom": "DICOM",
    ".nii": "NIfTI",
    ".nrrd": "NRRD",
    ".mha": "MetaImage",
    ".fits": "FITS",
    ".npy": "NumPy",
    ".npz": "NumPy",
    ".pcx": "PCX",
    ".dng": "camera raw",
    ".cr2": "camera raw",
    ".cr3": "camera raw",
    ".nef": "camera raw",
    ".arw": "camera raw",
    ".orf": "camera raw",
    ".raf": "camera raw",
    ".rw2": "camera raw",
}
READ = "JPEG, PNG, BMP, GIF, WebP, TIFF and PPM are read"
# The first bytes of what often lies under an image's name.
STARTS = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the image itself (git lfs pull fetches it)"),
    (b"/annex/objects/", "a pointer of git-annex, not the image itself (git annex get fetches it)"),
    (b"<svg", "SVG, which isn't read"),
    (b"<", "a web page or XML, not an image"),
    (b"%PDF", "PDF, which isn't read"),
    (b"%!PS", "EPS, which isn't read"),
    (b"8BPS", "a Photoshop file, which isn't read"),
    (b"PK\x03\x04", "a zip archive, not an image"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL, which isn't read"),
    (b"\xff\x0a", "JPEG XL, which isn't read"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000, which isn't read"),
    (b"\x00\x00\x01\x00", "ICO, which isn't read"),
    (b"II*\x00", "a TIFF of a kind that isn't read, or damaged"),
    (b"MM\x00*", "a TIFF of a kind that isn't read, or damaged"),
)
BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF"}
HEAD = 32  # bytes that are looked at
# The first bytes of formats that are read (of PPM they are too short to tell).
IMAGES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\x00", b"MM\x00*")
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar", ".gz", ".bz2", ".xz")


def is_image(name: str) -> bool:
    """Whether a file of that name is taken for an image."""
    return ending(name) in ENDINGS and not name.startswith(".")


def ending(name: str) -> str:
    """The last ending of a file's name, in lower case, with its dot."""
    return os.path.splitext(name)[1].lower()


def what_it_is(head: bytes) -> str | None:
    """What a file that is no readable image is by its first bytes, in words; None where they tell nothing."""
    if head[4:8] == b"ftyp":
        return f"{BRANDS.get(head[8:12], 'a video')}, which isn't read"
    return next((words for start, words in STARTS if head.lstrip().startswith(start) or head.startswith(start)), None)


def begins_as_image(head: bytes) -> bool:
    """Whether a file's first bytes are those of an image of a format that is read."""
    return head.startswith(IMAGES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def unread_formats(names: Iterable[str]) -> Counter[str]:
    """How many of these files are of formats of images that aren't read, by the format's name."""
    return Counter(UNREAD[ending(name)] for name in names if ending(name) in UNREAD)


def formats_in_words(formats: Counter[str]) -> str:
    """`8 AVIF and 2 SVG files`."""
    counted = [f"{count} {name}" for name, count in formats.most_common()]
    if len(counted) > 1:
        shown = f"{', '.join(counted[:-1])} and {counted[-1]}"
    else:
        shown = counted[0]
    return f"{shown} file{'s' if formats.total() > 1 else ''}"
