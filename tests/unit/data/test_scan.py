from __future__ import annotations

import os
from pathlib import Path

import pytest

from frostline.base.errors import DataError
from frostline.data.scan import scan
from helpers.data_makers import folder, save, shared


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


def test_links_that_leave_the_folder_and_linked_folders_are_ignored(tmp_path: Path) -> None:
    outside = save(tmp_path / "outside" / "secret.png", 1)
    root = folder(tmp_path / "data", a=2, b=1)
    (root / "a" / "out.png").symlink_to(outside)
    (root / "a" / "broken.png").symlink_to(tmp_path / "nowhere.png")
    (root / "a" / "inside.png").symlink_to(root / "b" / "000.png")
    (root / "c").symlink_to(outside.parent)
    (root / "a" / "loop").symlink_to(root)
    listing = scan(root)
    assert [row.id for row in listing.rows] == ["a/000.png", "a/001.png", "a/inside.png", "b/000.png"]
    assert listing.ignored == ("a/broken.png", "a/loop/", "a/out.png", "c/")


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
    with pytest.raises(DataError, match=r"no images \(found \.heic files\)"):
        scan(tmp_path)


def test_real_data_has_the_counts_of_its_readme() -> None:
    rows = scan(shared("ants_bees")).rows
    assert sum(row.part == "train" for row in rows) == 244
    assert sum(row.part == "val" for row in rows) == 153
