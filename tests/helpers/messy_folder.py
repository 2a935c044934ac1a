"""A folder as somebody else may have collected it: every odd thing that `docs/input.md` has a row for, in one place.

`python tests/helpers/messy_folder.py FOLDER` writes it, for a look by hand: FOLDER/birds is what `frostline fit` gets.
"""

from __future__ import annotations

import codecs
import io
import os
import shutil
import socket
import stat
import sys
import unicodedata
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("egret", "heron", "stork")
EACH = {"train": 8, "test": 4}
LEFT_OUT = ("lonely", "unreadable")  # what --min-per-class 2 leaves out
ORIENTATION = 0x0112


def picture(seed: int, size: int = 40) -> Image.Image:
    """Coarse random blobs, unlike those of any other seed; the first of a hundred seeds gives the tint of a class."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 160, (6, 6, 3), dtype=np.uint8)
    coarse[:, :, seed // 100 % 3] += 90
    return Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)


def write_folder(root: Path) -> Path:
    """Write root/birds with train/ and test/, and root/elsewhere, to which links of it lead."""
    data = root / "birds"
    for part, count in EACH.items():
        for k, name in enumerate(CLASSES):
            for i in range(count):
                save(data / part / name / f"{i}.png", picture(100 * k + i + 50 * (part == "test")))
    for make in (
        *(broken_files, odd_formats, odd_pixels, odd_sizes, huge_images, odd_names, files_of_systems, other_files),
        *(links, special_files, odd_classes, leaks),
    ):
        make(data)
    return data


def save(path: Path, image: Image.Image, form: str | None = None, **how: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, form, **how)
    return path


def held(image: Image.Image, form: str, **how: object) -> bytes:
    """The bytes of an image's file."""
    file = io.BytesIO()
    image.save(file, form, **how)
    return file.getvalue()


def broken_files(data: Path) -> None:
    """Files under names of images that hold no whole image."""
    folder = data / "train" / "heron"
    jpeg = held(picture(1001, 80), "JPEG")
    png = held(picture(1002, 80), "PNG")
    contents = {
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "cut.png": png[: len(png) // 2],
        "flipped.png": png[:60] + bytes(b ^ 255 for b in png[60:90]) + png[90:],
        "empty.jpg": b"",
        "empty.png": b"",
        "text.jpg": b"not an image at all\n",
        "page.jpg": b"<!DOCTYPE html><html><body>404</body></html>",
        "paper.png": b"%PDF-1.4\n",
        "pointer.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "phone.jpg": b"\0\0\0\x18ftypheic\0\0\0\0",
        "film.png": b"\0\0\0\x18ftypmp42\0\0\0\0",
        "layers.jpg": b"8BPS\0\1",
        "noise.gif": np.random.default_rng(0).bytes(600),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def odd_formats(data: Path) -> None:
    """Whole images under the names of other formats, animations, and several images in a file."""
    folder = data / "train" / "egret"
    save(folder / "really_jpeg.png", picture(1101), "JPEG")
    save(folder / "really_png.jpg", picture(1102), "PNG")
    save(folder / "really_webp.JPEG", picture(1103), "WEBP")
    frames = [picture(1110 + k) for k in range(3)]
    forms = {"moving.gif": "GIF", "moving.png": "PNG", "moving.webp": "WEBP", "pages.tif": "TIFF"}
    for k, (name, form) in enumerate(forms.items()):
        (folder / name).write_bytes(held(frames[0], form, save_all=True, append_images=frames[1:]))
        frames = [*frames[1:], picture(1120 + k)]


def odd_pixels(data: Path) -> None:
    """Colour modes, depths, transparency and orientation that networks don't take as they are."""
    folder = data / "train" / "stork"
    save(folder / "print.jpg", picture(1201).convert("CMYK"))
    save(folder / "palette.png", picture(1202).quantize(16))
    save(folder / "palette.gif", picture(1203).quantize(16))
    deep = np.asarray(picture(1204).convert("L")).astype(np.uint16) * 257
    save(folder / "sixteen.png", Image.fromarray(deep))
    save(folder / "sixteen.tif", Image.fromarray(deep[::-1].copy()))
    alpha = picture(1205).convert("RGBA")
    alpha.putalpha(Image.linear_gradient("L").resize(alpha.size))
    save(folder / "alpha.png", alpha)
    save(folder / "alpha.webp", alpha.transpose(Image.Transpose.ROTATE_90), lossless=True)
    save(folder / "grey.jpg", picture(1206).convert("L"))
    save(folder / "grey.png", picture(1207).convert("L"))
    save(folder / "black_and_white.png", picture(1208).convert("1"))
    exif = Image.Exif()
    for turn in (3, 6):
        exif[ORIENTATION] = turn
        save(folder / f"turned{turn}.jpg", picture(1210 + turn, 60), exif=exif)
    save(folder / "one_colour.png", Image.new("RGB", (30, 30), (9, 99, 199)))


def odd_sizes(data: Path) -> None:
    """One pixel, and a strip."""
    folder = data / "train" / "egret"
    save(folder / "pixel.png", Image.new("RGB", (1, 1), (200, 30, 90)))
    save(folder / "pixel.gif", Image.new("L", (1, 1), 77))
    save(folder / "strip.png", picture(1301, 64).resize((900, 12)))


def huge_images(data: Path) -> None:
    """Flat images of 108 million pixels that are small files."""
    folder = data / "train" / "egret"
    save(folder / "huge.png", Image.new("1", (12_000, 9_000)))
    save(folder / "huge.jpg", Image.new("L", (12_000, 9_000), 40), quality=20)


def odd_names(data: Path) -> None:
    """Names with blanks, line breaks and escapes, in both Unicode forms, too alike, very long, or no text."""
    folder = data / "train" / "heron"
    names = (
        *(" both ends .png", "two\nlines.png", "\x1b[31mred.png", "image (1).jpg", "=1+2.png", "<b>bold<b>.png"),
        *(unicodedata.normalize(form, "caf\u00e9.png") for form in ("NFC", "NFD")),
        *("Photo.PNG", "photo.png", f"{'n' * 240}.png", "-rf.png", "\u202egnp.exe.png", "\u732b.png"),
    )
    for k, name in enumerate(names):
        save(folder / name, picture(1400 + k))
    path = os.fsencode(folder) + b"/no text \xff\xfe.png"
    save(Path(os.fsdecode(path)), picture(1450))


def files_of_systems(data: Path) -> None:
    """What systems and their programs leave among people's files, and hidden files."""
    image = held(picture(1501), "PNG")
    names = (
        *("Thumbs.db", "train/heron/Thumbs.db", "train/heron/desktop.ini", ".DS_Store", "train/heron/.DS_Store"),
        *("train/heron/._0.png", "__MACOSX/heron/0.png", "train/@eaDir/0.png", ".ipynb_checkpoints/0.png"),
        *("train/heron/.hidden.png", ".cache/x.png", "train/.git/config"),
    )
    for name in names:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(image)


def other_files(data: Path) -> None:
    """Files that are no images by their names: some are, some go with images, some may hold images."""
    image = held(picture(1601), "JPEG")
    contents = {
        "train/egret/photo.jpg.crdownload": image,
        "train/egret/photo": image,
        "train/egret/photo.dat": held(picture(1602), "PNG"),
        "train/egret/IMG_0001.HEIC": b"\0\0\0\x18ftypheic\0\0\0\0",
        "train/egret/drawing.psd": b"8BPS\0\1",
        "train/egret/0.xml": b"<annotation/>",
        "train/egret/0.txt": b"0 0.5 0.5 1 1\n",
        "train/stork/film.mp4": b"\0\0\0\x18ftypmp42\0\0\0\0",
        "train/stork/paper.pdf": b"%PDF-1.4\n",
        "birds.zip": b"PK\x03\x04",
        "labels.csv": b"image,label\n",
        "README.md": b"birds\n",
        "loose.png": held(picture(1603), "PNG"),
        "train/loose.png": held(picture(1604), "PNG"),
        "backup/heron/0.png": held(picture(1605), "PNG"),
    }
    for name, content in contents.items():
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(content)


def links(data: Path) -> None:
    """Links inside the data, out of them, to nothing and in circles."""
    elsewhere = data.parent / "elsewhere"
    save(elsewhere / "secret.png", picture(1701))
    folder = data / "train" / "stork"
    (folder / "fine.png").symlink_to(save(data / "train" / "stork" / "more" / "kept.png", picture(1702)))
    (folder / "out.png").symlink_to(elsewhere / "secret.png")
    (folder / "out").symlink_to(elsewhere)
    (folder / "climbing.png").symlink_to("../../../elsewhere/secret.png")
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "itself.png").symlink_to("itself.png")
    (folder / "around").symlink_to(data / "train")
    (folder / "here").symlink_to(".")


def special_files(data: Path) -> None:
    """Folders, pipes, sockets and devices under names of images; what can't be opened for want of rights."""
    folder = data / "train" / "heron"
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    (folder / "null.png").symlink_to("/dev/zero")
    (folder / "to_pipe.png").symlink_to("pipe.png")
    path = folder / "socket.png"
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.open(folder, os.O_RDONLY)  # names of sockets may have about 100 letters
        listening.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)
    if os.geteuid() == 0:
        os.mknod(folder / "device.png", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    save(folder / "locked.png", picture(1801)).chmod(0)
    save(folder / "locked" / "0.png", picture(1802)).parent.chmod(0)


def odd_classes(data: Path) -> None:
    """Classes that are empty, small or unreadable, that differ in case alone or in nothing to be seen."""
    for part, count in EACH.items():
        (data / part / "empty").mkdir()
        (data / part / "nested" / "a" / "b").mkdir(parents=True)
        for k, name in enumerate(("Heron", "ibis ", unicodedata.normalize("NFD", "\u00e9gret"))):
            for i in range(count):
                save(data / part / name / f"{i}.png", picture(1900 + 100 * k + i + 50 * (part == "test")))
        save(data / part / "lonely" / "0.png", picture(2300 + count))
        (data / part / "unreadable").mkdir()
        (data / part / "unreadable" / "0.png").write_bytes(b"")
        (data / part / "notes").mkdir()
        (data / part / "notes" / "notes.txt").write_text("no image")
    save(data / "train" / "ibis" / "joined.png", picture(2350))
    save(data / "train" / unicodedata.normalize("NFC", "\u00e9gret") / "joined.png", picture(2351))


def leaks(data: Path) -> None:
    """Copies in train/ and test/: equal bytes, equal pixels, saved again; and equal images in two classes."""
    train = data / "train"
    test = data / "test"
    shutil.copy(test / "egret" / "0.png", train / "egret" / "leak_bytes.png")
    save(train / "egret" / "leak_pixels.bmp", Image.open(test / "egret" / "1.png"))
    save(train / "egret" / "leak_again.jpg", Image.open(test / "egret" / "2.png"), quality=70)
    shutil.copy(test / "egret" / "3.png", train / "stork" / "leak_conflict.png")
    shutil.copy(train / "egret" / "5.png", train / "egret" / "5 - Copy.png")
    shutil.copy(train / "egret" / "6.png", train / "stork" / "conflict.png")


def write_table(root: Path) -> Path:
    """Write root/table.csv as a spreadsheet may leave it, with most of what goes wrong in tables that can be read."""
    rows = []
    for part, count in EACH.items():
        for k in range(3):
            for i in range(count):
                name = f"images/{part}_{k}_{i}.png"
                save(root / name, picture(2500 + 100 * k + i + 50 * (part == "test")))
                rows.append([name, str(k + 8), part])
    save(root / "images" / unicodedata.normalize("NFD", "caf\u00e9.png"), picture(2801))
    save(root / "images" / "two, three.png", picture(2802))
    rows += [
        ["images/caf\u00e9.png", "8", "train"],
        ["images\\train_0_0.png", "8", "train"],  # the first row's image
        ["images/two, three.png", "9", "train"],
        ["images/train_1_1.png", "10", "train"],  # which another row calls 9
        ["images/test_2_0.png", "10", "train"],  # which the test part holds
        ["images/test_2_1.png", "8", "train"],  # the same, and called 10 there
        ["images/gone.png", "9", "train"],
        ["images/train_2_2.png", "", "train"],
        ["images/train_2_3.png", "  ", "train"],
        ["", "8", "train"],
        ["", "", ""],
    ]
    lines = [
        ["id", "image", "label", "split"],
        *([f"bird {n % 30}" if row[2] else "", *row] for n, row in enumerate(rows)),
    ]
    text = "\r\n".join(";".join(f'"{cell}"' if "," in cell else cell for cell in line) for line in lines)
    path = root / "table.csv"
    path.write_bytes(codecs.BOM_UTF8 + text.encode())
    return path


if __name__ == "__main__":
    print(write_folder(Path(sys.argv[1])))
    print(write_table(Path(sys.argv[1]) / "tables"))
