from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline.base.errors import DataError, FrostlineError, RecipeError
from frostline.base.records import DataPart, Dataset
from helpers.data_makers import build, folder, save, shared


def warned(dataset: Dataset, kind: str) -> tuple[int, tuple[str, ...], str]:
    (warning,) = [w for w in dataset.warnings if w.kind == kind]
    return warning.count, warning.examples, warning.handled


def ids(dataset: Dataset, *parts: DataPart) -> list[str]:
    return [dataset.samples[i].id for i in dataset.rows(*parts)]


def test_a_fifth_of_each_class_is_sealed_where_no_part_is_given(tmp_path: Path) -> None:
    folder(tmp_path, a=10, b=21, c=5)
    dataset = build(tmp_path)
    assert dataset.sealed_from == "20 % drawn at random"
    assert Counter(dataset.classes[x] for x in dataset.labels[dataset.sealed]) == {"a": 2, "b": 4, "c": 1}
    assert not dataset.warnings
    assert ids(build(tmp_path), "sealed") == ids(dataset, "sealed")
    assert ids(build(tmp_path, seed=1), "sealed") != ids(dataset, "sealed")


@pytest.mark.parametrize(
    ("parts", "pooled", "sealed_from", "counts"),
    [
        (("train", "val", "test"), False, "test/", (10, 8, 6)),
        (("train", "val", "test"), True, "test/", (18, 0, 6)),
        (("train", "val"), False, "val/", (10, 0, 8)),
        (("train", "test"), False, "test/", (10, 0, 6)),
        (("train",), False, "20 % drawn at random", (8, 0, 2)),
    ],
)
def test_exactly_one_part_is_sealed(
    tmp_path: Path, parts: tuple[str, ...], pooled: bool, sealed_from: str, counts: tuple[int, int, int]
) -> None:
    sizes = {"train": 5, "val": 4, "test": 3}
    folder(tmp_path, **{f"{part}__{name}": sizes[part] for part in parts for name in "ab"})
    dataset = build(tmp_path, pool_validation=pooled)
    assert dataset.sealed_from == sealed_from
    assert tuple(len(dataset.rows(p)) for p in ("development", "validation", "sealed")) == counts
    assert len(dataset.development) == counts[0] + counts[1]
    assert all(len(s.sha256) == 64 for s in dataset.samples)


@pytest.mark.parametrize("parts", [("train",), ("train", "val"), ("train", "test")])
def test_pool_validation_without_both_parts_is_refused(tmp_path: Path, parts: tuple[str, ...]) -> None:
    folder(tmp_path, **{f"{part}__{name}": 3 for part in parts for name in "ab"})
    with pytest.raises(RecipeError, match="--pool-validation doesn't apply"):
        build(tmp_path, pool_validation=True)


def test_unreadable_files_are_named_counted_and_left_out(tmp_path: Path) -> None:
    folder(tmp_path, a=6, b=6)
    (tmp_path / "a" / "000.png").write_bytes(b"")
    (tmp_path / "b" / "003.png").write_bytes((tmp_path / "b" / "003.png").read_bytes()[:99])
    dataset = build(tmp_path)
    count, examples, handled = warned(dataset, "unreadable")
    assert (count, handled) == (2, "left out: an empty file (1), cut short (1)")
    assert examples[0] == "a/000.png: an empty file"
    assert examples[1].startswith("b/003.png: ")
    assert len(dataset.samples) == 10


def test_ignored_files_tiny_classes_and_imbalance_are_reported(tmp_path: Path) -> None:
    folder(tmp_path, a=40, b=4)
    (tmp_path / "notes.txt").write_text("x")
    dataset = build(tmp_path)
    assert warned(dataset, "ignored")[:2] == (1, ("notes.txt",))
    assert warned(dataset, "tiny-classes")[:2] == (1, ("b (4)",))
    assert warned(dataset, "imbalance")[:2] == (1, ("a (40)", "b (4)"))


@pytest.mark.parametrize(
    ("counts", "options", "message", "hint"),
    [
        ({"a": 3}, {}, r"one class \('a'\)", "Add a folder of anything else"),
        ({"train__a": 3, "val__a": 3}, {}, r"one class \('a'\)", "Add a folder of anything else"),
        ({"a": 1, "b": 5}, {}, "Class 'a' has a single image", "--min-per-class 2"),
        ({"a": 1, "b": 5, "c": 1}, {}, "Classes 'a', 'c' have a single image", "--min-per-class 2"),
        ({"train__a": 1, "train__b": 5, "val__a": 9, "val__b": 9}, {}, "Class 'a' has a single", "--min-per-class 2"),
        (
            {"train__a": 3, "train__b": 3, "val__a": 3, "val__c": 3},
            {},
            r"train/, val/ in .* differ: 'c' missing in train/; 'b' missing in val/",
            "same classes",
        ),
        ({"a": 2, "b": 2}, {}, "too few different images to seal", "test/ folder"),
        ({"a": 3, "b": 4}, {"min_per_class": 9}, r"No class has 9 .*'b', has 4", "Lower --min-per-class"),
        ({"a": 9, "b": 3}, {"min_per_class": 4}, r"one class \('a'\)", "Add a folder"),
        ({"a": 9, "b": 4}, {"labels_per_class": 4}, "--labels-per-class 4: class 'b' has 3 ", "at most 3"),
    ],
)
def test_data_that_cannot_be_compared_on_is_refused(
    tmp_path: Path, counts: dict[str, int], options: dict[str, int], message: str, hint: str
) -> None:
    with pytest.raises((DataError, RecipeError), match=message) as error:
        build(folder(tmp_path, **counts), **options)
    assert hint in error.value.hint


def test_nothing_readable_is_refused(tmp_path: Path) -> None:
    folder(tmp_path, a=2, b=2)
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"x")
    with pytest.raises(DataError, match=r"None of the 4 images.*a/000\.png: not an image"):
        build(tmp_path)


def test_a_class_without_readable_pictures_takes_the_users_word(tmp_path: Path) -> None:
    folder(tmp_path, a=5, b=5, c=1)
    (tmp_path / "c" / "000.png").write_bytes(b"x")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x.avif").write_bytes(b"x")
    with pytest.raises(DataError, match=r"class 'c' .* can be read: the first is c/000\.png: not an image"):
        build(tmp_path)
    dataset = build(tmp_path, min_per_class=1)
    assert dataset.classes == ("a", "b")
    count, examples, handled = warned(dataset, "unread-classes")
    assert (count, handled) == (2, "left out (--min-per-class 1)")
    assert examples[1].startswith("class 'd': it holds 1 AVIF file")


def test_classes_of_parts_that_differ_in_case_are_named(tmp_path: Path) -> None:
    folder(tmp_path, train__Cat=3, train__dog=3, test__cat=3, test__dog=3)
    with pytest.raises(DataError, match="'cat' missing in train/") as error:
        build(tmp_path)
    assert "'cat' and 'Cat' look like one class" in error.value.hint


def test_an_unreadable_test_part_is_not_silently_replaced(tmp_path: Path) -> None:
    folder(tmp_path, train__a=3, train__b=3, val__a=3, val__b=3, test__a=1, test__b=1)
    for path in (tmp_path / "test").rglob("*.png"):
        path.write_bytes(b"x")
    with pytest.raises(DataError, match="'a', 'b' missing in test/"):
        build(tmp_path)


def test_small_classes_are_left_out_before_classes_are_compared(tmp_path: Path) -> None:
    folder(tmp_path, train__a=5, train__b=5, train__c=1, val__a=5, val__b=5, val__d=5)
    dataset = build(tmp_path, min_per_class=2)
    assert dataset.classes == ("a", "b")
    assert warned(dataset, "small-classes")[:2] == (2, ("c (1)", "d (0)"))


def test_copies_share_a_group_and_are_reported(tmp_path: Path) -> None:
    folder(tmp_path, a=8, b=8)
    shutil.copy(tmp_path / "a" / "001.png", tmp_path / "a" / "copy.png")
    Image.open(tmp_path / "b" / "002.png").save(tmp_path / "b" / "again.jpg", quality=90)
    dataset = build(tmp_path)
    assert warned(dataset, "copies")[0] == 2
    assert set(warned(dataset, "copies")[1]) == {"a/001.png = a/copy.png", "b/002.png = b/again.jpg"}
    group = {s.id: s.group for s in dataset.samples}
    part = {s.id: s.part for s in dataset.samples}
    assert len(set(group.values())) == 16
    for one, other in (("a/001.png", "a/copy.png"), ("b/002.png", "b/again.jpg")):
        assert group[one] == group[other]
        assert part[one] == part[other]


def test_copies_of_sealed_pictures_are_left_out_and_the_sealed_part_is_unchanged(tmp_path: Path) -> None:
    folder(tmp_path, train__a=5, train__b=5, val__a=5, val__b=5, test__a=4, test__b=4)
    before = ids(build(tmp_path), "sealed")
    shutil.copy(tmp_path / "test" / "a" / "001.png", tmp_path / "train" / "a" / "leak.png")
    shutil.copy(tmp_path / "test" / "b" / "001.png", tmp_path / "val" / "b" / "leak.png")
    Image.open(tmp_path / "test" / "b" / "002.png").save(tmp_path / "train" / "b" / "leak.jpg", quality=90)
    shutil.copy(tmp_path / "val" / "b" / "004.png", tmp_path / "train" / "b" / "other.png")
    dataset = build(tmp_path)
    assert ids(dataset, "sealed") == before
    leaks = ("train/a/leak.png", "train/b/leak.jpg", "val/b/leak.png")
    assert warned(dataset, "copies-of-sealed")[:2] == (3, leaks)
    assert warned(dataset, "copies-of-validation")[:2] == (1, ("train/b/other.png",))
    assert not {*leaks, "train/b/other.png"} & {s.id for s in dataset.samples}


def test_a_class_that_is_only_copies_of_sealed_pictures_takes_the_users_word(tmp_path: Path) -> None:
    folder(tmp_path, train__a=5, val__a=5, val__b=5)
    shutil.copytree(tmp_path / "val" / "b", tmp_path / "train" / "b")
    save(tmp_path / "train" / "c" / "0.png", 901)
    save(tmp_path / "train" / "c" / "1.png", 902)
    save(tmp_path / "val" / "c" / "0.png", 903)
    with pytest.raises(DataError, match="Class 'b' has 0 images left") as error:
        build(tmp_path)
    assert error.value.hint.endswith("--min-per-class 2.")
    dataset = build(tmp_path, min_per_class=2)
    assert dataset.classes == ("a", "c")
    assert warned(dataset, "classes-of-copies")[1] == ("b (0 without its copies)",)


def test_equal_pictures_with_different_classes_are_reported(tmp_path: Path) -> None:
    folder(tmp_path, a=8, b=8)
    shutil.copy(tmp_path / "a" / "001.png", tmp_path / "b" / "x.png")
    dataset = build(tmp_path)
    assert warned(dataset, "conflicting-labels")[:2] == (1, ("a/001.png = b/x.png",))
    assert len(dataset.samples) == 17


def test_equal_pictures_of_other_classes_in_other_parts_leave_the_sealed_part_as_it_is(tmp_path: Path) -> None:
    folder(tmp_path, train__a=5, train__b=5, test__a=4, test__b=4)
    before = ids(build(tmp_path), "sealed")
    shutil.copy(tmp_path / "test" / "a" / "001.png", tmp_path / "train" / "b" / "x.png")
    Image.open(tmp_path / "train" / "a" / "002.png").save(tmp_path / "train" / "b" / "y.bmp")
    dataset = build(tmp_path)
    assert ids(dataset, "sealed") == before
    count, examples, handled = warned(dataset, "conflicting-labels")
    assert (count, examples) == (2, ("test/a/001.png = train/b/x.png", "train/a/002.png = train/b/y.bmp"))
    assert "of 1 that lie in several parts, the copies to learn from are left out" in handled
    assert "train/b/x.png" not in ids(dataset, "development")
    assert "train/b/y.bmp" in ids(dataset, "development")


def test_all_conflicts_are_listed(tmp_path: Path) -> None:
    folder(tmp_path, a=30, b=30)
    for path in sorted((tmp_path / "a").iterdir())[:25]:
        shutil.copy(path, tmp_path / "b" / f"again {path.name}")
    count, examples, _ = warned(build(tmp_path), "conflicting-labels")
    assert (count, len(examples)) == (25, 25)


def test_labels_per_class_are_drawn_from_training_rows_and_nest(tmp_path: Path) -> None:
    folder(tmp_path, **{f"{part}__{name}": 6 for part in ("train", "val", "test") for name in "ab"})
    few, more = build(tmp_path, labels_per_class=2), build(tmp_path, labels_per_class=4)
    assert Counter(few.labels[few.rows("development")].tolist()) == {0: 2, 1: 2}
    assert set(ids(few, "development")) < set(ids(more, "development"))
    assert len(few.rows("validation")) == len(few.rows("sealed")) == 12
    assert warned(few, "labels")[0] == 8
    other = build(tmp_path, labels_per_class=2, seed=5)
    assert ids(other, "development") != ids(few, "development")
    save(tmp_path / "test" / "b" / "new.png", 999)
    assert ids(build(tmp_path, labels_per_class=2), "development") == ids(few, "development")


def test_messages_are_one_sentence_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(FrostlineError) as error:
        build(folder(tmp_path, a=1, b=3))
    assert "\n" not in error.value.message
    assert error.value.message.endswith(".")
    assert error.value.hint


def test_real_data_with_a_planted_leak_is_cleaned(tmp_path: Path) -> None:
    source = shared("flowers5")
    for part in ("train", "test"):
        for name in ("rose", "tulip"):
            for path in sorted((source / part / name).iterdir())[:6]:
                (tmp_path / part / name).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, tmp_path / part / name)
    victim = sorted((tmp_path / "test" / "rose").iterdir())[0]
    Image.open(victim).save(tmp_path / "train" / "rose" / "resaved.jpg", quality=70)
    dataset = build(tmp_path)
    assert warned(dataset, "copies-of-sealed")[:2] == (1, ("train/rose/resaved.jpg",))
    assert np.bincount(dataset.labels[dataset.rows("development")]).tolist() == [6, 6]


def test_a_part_without_labels_is_for_predict(tmp_path: Path) -> None:
    folder(tmp_path, train__a=3, train__b=3, test__unknown=3)
    with pytest.raises(DataError, match="differ") as error:
        build(tmp_path)
    assert "frostline predict" in error.value.hint


def test_measured_numbers_are_no_classes(tmp_path: Path) -> None:
    folder(tmp_path, **{f"{k}.{k}5": 1 for k in range(8)})
    with pytest.raises(DataError, match="look like measured numbers") as error:
        build(tmp_path)
    assert "ranges" in error.value.hint
