from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from frostline.base.errors import DataError
from frostline.data.decode import decode_all, hash_files
from frostline.data.folder_tree import read_tree
from frostline.data.overview import image_facts
from frostline.data.scan import Listing, scan
from helpers.data_makers import SMALL, folder, save, shared


def told(listing: Listing, kind: str) -> tuple[str, ...]:
    """The examples of the one warning of that kind."""
    (warning,) = [w for w in listing.warnings if w.kind == kind]
    assert warning.count >= len(warning.examples)
    return warning.examples


def test_class_folders_are_read_in_order_with_nested_images(tmp_path: Path) -> None:
    folder(tmp_path, bees=2, ants=1)
    save(tmp_path / "ants" / "more" / "x.JPG", 50)
    listing = scan(tmp_path)
    assert listing.kind == "class-folders"
    assert [row.id for row in listing.rows] == ["ants/000.png", "ants/more/x.JPG", "bees/000.png", "bees/001.png"]
    assert [row.class_name for row in listing.rows] == ["ants", "ants", "bees", "bees"]
    assert {row.part for row in listing.rows} == {None}
    assert all(row.path.is_file() for row in listing.rows)


@pytest.mark.parametrize("name", ["val", "valid", "Validation", "VAL"])
def test_split_folders_are_known_by_any_usual_name(tmp_path: Path, name: str) -> None:
    folder(tmp_path, **{"Train__a": 1, "Train__b": 1, f"{name}__a": 1, f"{name}__b": 1, "test__a": 1, "test__b": 1})
    listing = scan(tmp_path)
    assert listing.kind == "split-folders"
    assert {row.part for row in listing.rows if row.id.startswith(name)} == {"val"}
    assert {row.part for row in listing.rows} == {"train", "val", "test"}


def test_what_is_no_image_is_ignored_and_listed(tmp_path: Path) -> None:
    folder(tmp_path, a=1, b=1)
    save(tmp_path / "loose.png", 9)
    save(tmp_path / "a" / ".hidden.png", 9)
    save(tmp_path / ".cache" / "x.png", 9)
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "README.md").write_text("x")
    (tmp_path / "empty").mkdir()
    listing = scan(tmp_path)
    assert [row.id for row in listing.rows] == ["a/000.png", "b/000.png"]
    assert listing.ignored == (".cache/", "README.md", "a/.hidden.png", "a/notes.txt", "empty/", "loose.png")


def test_links_inside_the_data_and_its_project_are_followed(tmp_path: Path) -> None:
    pool = folder(tmp_path / "pool", a=1, c=2)
    root = folder(tmp_path / "data", a=2, b=1)
    (root / "a" / "inside.png").symlink_to(root / "b" / "000.png")
    (root / "a" / "stored.png").symlink_to(pool / "a" / "000.png")
    (root / "a" / "fetch_me.png").symlink_to(tmp_path / "pool" / "nowhere.png")
    (root / "c").symlink_to(pool / "c")
    listing = scan(root)
    assert listing.ignored == ("a/stored.png", "c/")
    assert listing.unread_classes["c"].startswith(f"it is a link to {pool}")
    (tmp_path / ".dvc").mkdir()
    listing = scan(root)
    names = [row.id for row in listing.rows if row.class_name == "a"]
    assert names == ["a/000.png", "a/001.png", "a/fetch_me.png", "a/inside.png", "a/stored.png"]
    assert [row.id for row in listing.rows if row.class_name == "c"] == ["c/000.png", "c/001.png"]


def test_links_that_leave_the_data_or_go_in_circles_are_left_out_and_named(tmp_path: Path) -> None:
    outside = save(tmp_path / "outside" / "secret.png", 1)
    root = folder(tmp_path / "data", a=4, b=3)
    for name, target, kind, message in (
        ("a/out.png", outside, "links-out", f"a/out.png is a link to {outside}"),
        ("c", outside.parent, "links-out", f"c/ is a link to {outside.parent}"),
        ("a/loop", root, "links-in-circles", f"a/loop/ is a link to {root}, a folder that holds it"),
        ("a/self.png", root / "a" / "self.png", "links-in-circles", "a/self.png is a link that leads to itself"),
    ):
        (root / name).symlink_to(target)
        listing = scan(root)
        assert (told(listing, kind), len(listing.rows)) == ((message,), 7)
        with pytest.raises(DataError, match="is a link") as error:  # where each image gets an answer
            read_tree(root, strict=True)
        assert error.value.hint
        (root / name).unlink()
    (root / "notes").symlink_to(tmp_path / "nowhere")
    (root / ".hidden").symlink_to(tmp_path / "outside")
    assert scan(root).ignored == (".hidden", "notes")


def test_data_made_of_links_that_leave_them_are_refused(tmp_path: Path) -> None:
    pool = folder(tmp_path / "pool", a=4, b=4)
    root = folder(tmp_path / "data", a=2, b=2)
    for name in ("a/002.png", "a/003.png", "b/002.png", "b/003.png"):
        (root / name).symlink_to(pool / name)
    with pytest.raises(DataError, match=r"a/002\.png is a link to .*, which lies outside") as error:
        scan(root)
    assert "cp -rL" in error.value.hint
    (root / "b" / "003.png").unlink()
    assert len(scan(root).rows) == 4


def test_folders_full_of_links_to_each_other_end(tmp_path: Path) -> None:
    names = [f"c{k:02}" for k in range(14)]
    folder(tmp_path, **dict.fromkeys(names, 1))
    for one in names:
        for other in names:
            if one != other:
                (tmp_path / one / f"to {other}").symlink_to(f"../{other}")
    listing = scan(tmp_path)
    assert {row.class_name for row in listing.rows} == set(names)
    assert len(listing.rows) < 14**3
    assert len(told(listing, "links-in-circles")) == 20


def test_pipes_sockets_and_folders_under_names_of_images_never_block(tmp_path: Path) -> None:
    folder(tmp_path, a=2, b=2)
    os.mkfifo(tmp_path / "a" / "pipe.png")
    (tmp_path / "a" / "to_pipe.png").symlink_to("pipe.png")
    (tmp_path / "a" / "folder.png").mkdir()
    with pytest.MonkeyPatch.context() as patch, socket.socket(socket.AF_UNIX) as listening:
        patch.chdir(tmp_path / "a")  # names of sockets may have about 100 letters
        listening.bind("socket.png")
    listing = scan(tmp_path)
    assert told(listing, "special-files") == ("a/pipe.png", "a/socket.png")
    assert told(listing, "empty-folders") == ("a/folder.png/",)
    sources = listing.sources(SMALL)
    _, bad = decode_all(sources, SMALL, threads=1, spill_dir=None, progress=None)
    assert bad == {2: "not a file"}
    assert [len(name) for name in hash_files(sources, 1)] == [64, 64, 0, 64, 64]
    assert image_facts(sources, 1).looked_at == 4


def test_folders_below_too_many_others_are_passed_over(tmp_path: Path) -> None:
    folder(tmp_path, a=1, b=1)
    deep = tmp_path / "a"
    for _ in range(60):
        deep /= "d"
    save(deep / "x.png", 5)
    listing = scan(tmp_path)
    assert len(listing.rows) == 2
    assert len(told(listing, "deep-folders")) == 1


def test_what_is_left_out_is_sorted_by_reason(tmp_path: Path) -> None:
    folder(tmp_path, a=2, b=2, x__y=0)
    (tmp_path / "x" / "y").mkdir(parents=True)
    image = (tmp_path / "a" / "000.png").read_bytes()
    found = {
        "hidden": [".x/", "a/.y.png"],
        "system-files": [".DS_Store", "Thumbs.db", "a/._000.png"],
        "unnamed-images": ["a/photo", "a/photo.jpg.part"],
        "unread-formats": ["a/x.HEIC", "a/x.psd"],
        "archives": ["more.tar.gz", "more.zip"],
        "ignored": ["README.md", "a/000.txt"],
        "empty-folders": ["x/"],
        "outside-classes": ["loose.png"],
    }
    (tmp_path / ".x").mkdir()
    for kind, names in found.items():
        for name in names:
            if not name.endswith("/"):
                (tmp_path / name).write_bytes(image if "image" in kind or "class" in kind else b"x")
    assert {w.kind: list(w.examples) for w in scan(tmp_path).warnings} == found


def test_a_data_folder_that_is_itself_a_link_is_fine(tmp_path: Path) -> None:
    folder(tmp_path / "real", a=1, b=1)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert len(scan(tmp_path / "link").rows) == 2


def test_file_names_that_are_no_text_are_ignored(tmp_path: Path) -> None:
    folder(tmp_path, a=1, b=1)
    try:
        Path(os.fsdecode(os.fsencode(tmp_path / "a") + b"/\xff.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes only text")
    listing = scan(tmp_path)
    assert len(listing.rows) == 2
    assert len(listing.ignored) == 1
    listing.ignored[0].encode()


def test_classes_may_be_called_like_parts(tmp_path: Path) -> None:
    listing = scan(folder(tmp_path, train=2, car=2, ship=2))
    assert listing.kind == "class-folders"
    assert {row.class_name for row in listing.rows} == {"train", "car", "ship"}


def test_other_folders_beside_given_parts_are_ignored(tmp_path: Path) -> None:
    listing = scan(folder(tmp_path, train__a=1, train__b=1, test__a=1, test__b=1, extra=1))
    assert {row.part for row in listing.rows} == {"train", "test"}
    assert listing.ignored == ("extra/000.png",)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "holds no images"),
        ({"val__a": 1, "val__b": 1}, "holds val/ but no train/"),
        ({"train": 3, "val": 3}, "train holds images, but no class folders"),
        ({"train__a": 1, "train__b": 1, "extra": 1}, "two ways.*'extra'"),
        ({"train__a": 1, "val__a": 1, "valid__a": 1}, "both val/ and valid/"),
    ],
)
def test_layouts_that_cannot_be_read_are_refused(tmp_path: Path, counts: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        scan(folder(tmp_path, **counts))
    assert error.value.hint


def test_a_missing_path_a_file_and_a_flat_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        scan(tmp_path / "nowhere")
    image = save(tmp_path / "flat" / "x.png", 1)
    with pytest.raises(DataError, match="is a file"):
        scan(image)
    with pytest.raises(DataError, match="no class folders"):
        scan(image.parent)


def test_files_found_instead_of_images_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.heic").write_bytes(b"x")
    with pytest.raises(DataError, match=r"no images that can be read \(found 1 HEIC file\)"):
        scan(tmp_path)
    (tmp_path / "a" / "x.heic").rename(tmp_path / "a" / "x.doc")
    with pytest.raises(DataError, match=r"no images \(found \.doc files\)"):
        scan(tmp_path)


def test_real_data_has_the_counts_of_its_readme() -> None:
    rows = scan(shared("ants_bees")).rows
    assert sum(row.part == "train" for row in rows) == 244
    assert sum(row.part == "val" for row in rows) == 153


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),
        ("training_set", "test_set"),
        ("seg_train", "seg_test"),
        ("Train Images", "Test Images"),
        ("trainset", "testset"),
        ("birds_train", "birds_test"),
        ("train2017", "test2017"),
        ("trn", "tst"),
        ("x-train", "x-holdout"),
    ],
)
def test_split_folders_are_known_under_other_names(tmp_path: Path, train: str, test: str) -> None:
    listing = scan(folder(tmp_path, **{f"{part}__{name}": 1 for part in (train, test) for name in "ab"}))
    assert listing.kind == "split-folders"
    assert {row.class_name for row in listing.rows} == {"a", "b"}
    assert {row.id.partition("/")[0]: row.part for row in listing.rows} == {train: "train", test: "test"}


@pytest.mark.parametrize(
    "names", [("fold1", "fold2"), ("cartoon", "photo", "sketch"), ("2019", "2020"), ("train1", "train2")]
)
def test_folders_with_the_same_classes_below_are_refused_unless_their_names_say_what_they_are(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    with pytest.raises(DataError, match=f"{names[0]}/.* and {names[-1]}/, each with a/ and b/ below") as error:
        scan(folder(tmp_path, **{f"{top}__{name}": 1 for top in names for name in "ab"}))
    assert str(tmp_path / names[0]) in error.value.hint


def test_folders_below_classes_may_repeat_where_they_are_no_layout(tmp_path: Path) -> None:
    counts = {"cat__day": 1, "dog__day": 1, "cat": 1, "test_tube": 1, "beaker__red": 1, "beaker__blue": 1}
    listing = scan(folder(tmp_path, **counts))
    assert {row.class_name for row in listing.rows} == {"cat", "dog", "test_tube", "beaker"}


HINTS = {
    "one too high": ({"flowers__rose": 1, "flowers__tulip": 1}, "flowers"),
    "two too high": ({"x__chest__train__ill": 1, "x__chest__train__well": 1}, "x/chest"),
    "inside train": ({"train__f__rose": 1, "train__f__tulip": 1, "test__f__rose": 1}, "train"),
}


@pytest.mark.parametrize(("counts", "below"), HINTS.values(), ids=HINTS)
def test_data_that_begin_further_down_are_pointed_to(tmp_path: Path, counts: dict[str, int], below: str) -> None:
    with pytest.raises(DataError, match="single") as error:
        scan(folder(tmp_path, **counts))
    assert error.value.hint.endswith(f"{tmp_path / below}.")


@pytest.mark.parametrize("layout", ["images/x.png", "x.png"])
def test_a_table_of_labels_beside_images_is_pointed_to(tmp_path: Path, layout: str) -> None:
    save(tmp_path / layout, 1)
    for name in ("zzz.csv", "labels.csv", "notes.txt"):
        (tmp_path / name).write_text("image,label\n")
    with pytest.raises(DataError) as error:
        scan(tmp_path)
    assert str(tmp_path / "labels.csv") in error.value.hint


def test_endings_that_browsers_and_phones_write_are_images(tmp_path: Path) -> None:
    folder(tmp_path, b=1)
    for ending in ("jfif", "JPE", "pjpeg", "mpo"):
        save(tmp_path / "a" / "x.jpg", 1).rename(tmp_path / "a" / f"x.{ending}")
    assert len(scan(tmp_path).rows) == 5


def test_class_folders_of_formats_that_are_not_read_are_known(tmp_path: Path) -> None:
    folder(tmp_path, a=1, b=1)
    for name in ("c/x.avif", "c/y.AVIF", "c/z.heic", "d/x.txt", "a/x.avif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (reason,) = scan(tmp_path).unread_classes.values()
    assert reason.startswith("it holds 2 AVIF and 1 HEIC files; JPEG, PNG")


def test_parts_below_classes_are_parts(tmp_path: Path) -> None:
    counts = {f"{name}__{part}": 1 for name in ("cat", "dog") for part in ("train", "test", "old")}
    listing = scan(folder(tmp_path, **counts))
    assert [(r.class_name, r.part) for r in listing.rows] == [(c, p) for c in ("cat", "dog") for p in ("test", "train")]
    assert listing.ignored == ("cat/old/000.png", "dog/old/000.png")


def test_levels_below_classes_are_said(tmp_path: Path) -> None:
    listing = scan(folder(tmp_path, animals__cat=1, animals__dog=1, plants__rose=1))
    (warning,) = listing.warnings
    assert warning.kind == "folders-below-classes"
    assert warning.examples == ("animals/ with cat/ and dog/", "plants/ with rose/")


def test_folders_of_systems_are_ignored(tmp_path: Path) -> None:
    folder(tmp_path, a=1, b=1, **{"@eaDir": 1, "a__@eaDir": 1, "lost+found": 1})
    listing = scan(tmp_path)
    assert {row.class_name for row in listing.rows} == {"a", "b"}
    assert listing.ignored == ("@eaDir/", "a/@eaDir/", "lost+found/")


def test_what_lies_in_the_place_of_images_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_bytes(b"x")
    with pytest.raises(DataError, match="1 files without an ending"):
        scan(tmp_path)
    for name in ("test.csv", "train.csv"):
        (tmp_path / name).write_text("image,label\n")
    with pytest.raises(DataError) as error:
        scan(tmp_path)
    assert "train.csv" in error.value.hint
    assert "a column split" in error.value.hint
    (tmp_path / "x.zip").write_bytes(b"PK")
    with pytest.raises(DataError) as error:
        scan(tmp_path / "x.zip")
    assert "Unpack" in error.value.hint


def test_a_test_folder_without_labels_is_for_predict(tmp_path: Path) -> None:
    folder(tmp_path, train__a=1, train__b=1, test=2)
    with pytest.raises(DataError, match="no class folders") as error:
        scan(tmp_path)
    assert "frostline predict" in error.value.hint


def test_names_that_trip_other_programs_up_are_told_and_read(tmp_path: Path) -> None:
    folder(tmp_path, a=1, b=1)
    odd = ("two\nlines.png", " first.png", "last .png", "\u202egnp.exe.png")
    for name in odd:
        save(tmp_path / "a" / name, 7)
    for name in ("Photo.png", "photo.png", "caf\u00e9.png", "cafe\u0301.png"):
        save(tmp_path / "b" / name, 8)
    listing = scan(tmp_path)
    assert len(listing.rows) == 10
    assert sorted(told(listing, "odd-names")) == sorted(ascii(f"a/{name}") for name in odd)
    assert told(listing, "names-alike") == (
        "'b/Photo.png' and 'b/photo.png'",
        "'b/cafe\\u0301.png' and 'b/caf\\xe9.png'",
    )


def test_classes_that_would_vanish_for_their_names_are_known(tmp_path: Path) -> None:
    image = save(tmp_path / "a" / "x.png", 1).read_bytes()
    for name in ("b/x.png", "c/photo", "d/notes.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(image if "notes" not in name else b"x")
    assert scan(tmp_path).unread_classes == {"c": "c/photo has no ending of images"}
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).mkdir()
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/d/\xff.png")).write_bytes(image)
    except OSError:
        pytest.skip("this file system takes only text")
    assert scan(tmp_path).unread_classes == {
        "\\udcff": "it has a name that is no text",
        "c": "c/photo has no ending of images",
        "d": "the name of d/\\udcff.png is no text",
    }


def test_thousands_of_classes_are_read(tmp_path: Path) -> None:
    image = save(tmp_path / "x.png", 1, height=8, width=8).read_bytes()
    for k in range(1000):
        (tmp_path / "data" / f"c{k}").mkdir(parents=True)
        (tmp_path / "data" / f"c{k}" / "x.png").write_bytes(image)
    listing = scan(tmp_path / "data")
    assert len({row.class_name for row in listing.rows}) == 1000
    assert listing.warnings == ()
