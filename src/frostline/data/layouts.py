"""How a folder of images is laid out: class folders, split folders, or something else that has to be said first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from frostline.base.errors import DataError
from frostline.data.folder_tree import FolderTree
from frostline.data.part_names import GivenPart, part_of, parts_of

LAYOUT = "Expected DATA/<class>/<images>, or DATA/train/<class>/<images> with val/ or test/ beside it."
UNLABELLED = (
    "If these images have no labels, move {}/ out of the data: frostline predict answers for them once fit has run."
)
TABLE_ENDINGS = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
SHOWN = 3


def split_folders(path: Path, tree: FolderTree) -> dict[GivenPart, FolderTree]:
    """The split folders, or nothing where the folder holds class folders (a class may be called `train`).

    Raises DataError for two folders that mean the same part, for parts without train, and for a layout that can be
    read two ways.
    """
    meaning = parts_of(folder.name for folder in tree.classes)
    parts: dict[GivenPart, FolderTree] = {}
    for folder in tree.classes:
        part = meaning.get(folder.name)
        if part in parts:
            raise DataError(
                f"{path} holds both {parts[part].name}/ and {folder.name}/, which mean the same part.",
                "Merge or rename one of them.",
            )
        if part is not None:
            parts[part] = folder
    others = [f.name for f in tree.classes if f.name not in meaning]
    if not parts or (others and not any(p.classes for p in parts.values())):
        return {}
    _check_split_folders(path, parts, others)
    return parts


def _check_split_folders(path: Path, parts: dict[GivenPart, FolderTree], others: list[str]) -> None:
    if "train" not in parts:
        names = " and ".join(f"{p.name}/" for p in parts.values())
        raise DataError(f"{path} holds {names} but no train/ with images.", LAYOUT)
    for folder in parts.values():
        if not folder.classes:
            hint = LAYOUT
            if folder is not parts.get("train"):
                hint = UNLABELLED.format(folder.name)
            raise DataError(f"{path / folder.name} holds images, but no class folders.", hint)
        _check_one_class(path / folder.name, folder)
    if others and len(parts) == 1:
        train = parts["train"].name
        raise DataError(
            f"{path} can be read two ways: {train}/ holds class folders, but {others[0]!r} stands beside it.",
            f"Move the other folders away, or rename {train}/ if it is a class.",
        )


def _check_one_class(path: Path, part: FolderTree) -> None:
    """A part with a single folder, and folders below that, has its classes one folder too deep."""
    if len(part.classes) == 1 and len(part.classes[0].classes) > 1 and not part.classes[0].images:
        names = _listed([f.name for f in part.classes[0].classes])
        raise DataError(
            f"{path} holds a single class folder, {part.classes[0].name}/, with {names} below it.",
            f"If {names} are the classes, move them up into {path}.",
        )


def parts_below_classes(tree: FolderTree) -> bool:
    """Whether the parts lie below the classes: cat/train, cat/test, dog/train, dog/test."""
    return len(tree.classes) > 1 and all(
        not folder.images and "train" in parts_of(f.name for f in folder.classes).values() for folder in tree.classes
    )


def folders_below_classes(tree: FolderTree) -> list[str]:
    """Class folders with folders of images below them, in words: their images count for the class above."""
    nested = [folder for folder in tree.classes if folder.classes]
    return [f"{folder.name}/ with {_listed([f.name for f in folder.classes])}" for folder in nested]


def check_layout(path: Path, tree: FolderTree) -> None:
    """Refuse a folder whose classes aren't those that its first level names, with what was probably meant.

    Raises DataError for images without class folders, for one folder too high, and for folders that aren't known as
    splits, but have the same class folders below them.
    """
    if not tree.classes:
        raise DataError(f"{path} holds images, but no class folders.", table_hint(path, tree) or LAYOUT)
    if len(tree.classes) == 1 and not parts_of([tree.classes[0].name]):
        _check_one_folder(path, tree)
    _check_same_below(path, tree)


def _check_one_folder(path: Path, tree: FolderTree) -> None:
    """A single folder is no comparison: the data may begin below it, or a table beside it may hold the labels."""
    (only,) = tree.classes
    below = path / only.name
    node = only
    while len(node.classes) == 1 and not node.images and not part_of(node.classes[0].name):
        node = node.classes[0]
        below /= node.name
    table = table_hint(path, tree)
    if table:
        raise DataError(f"{path} holds images in {only.name}/ alone, so that its folders name no classes.", table)
    if node.classes and not node.images:
        names = ", ".join(f"{f.name}/" for f in node.classes[:SHOWN])
        raise DataError(
            f"{path} holds a single folder of images, {below.relative_to(path)}/, with {names} below it.",
            f"If those are the classes or parts, give {below}.",
        )


def _check_same_below(path: Path, tree: FolderTree) -> None:
    """photo/cat, photo/dog, sketch/cat, sketch/dog: are the classes cat and dog, or photo and sketch?"""
    known = parts_of(f.name for f in tree.classes)
    if parts_below_classes(tree):
        return
    nested = [f for f in tree.classes if len(f.classes) > 1 and not f.images and f.name not in known]
    if len(nested) < 2 or "train" in known.values():
        return
    first = {f.name for f in nested[0].classes}
    alike = [f for f in nested if len(first & {c.name for c in f.classes}) > 1]
    if len(alike) < 2:
        return
    shared = sorted(first.intersection(*({c.name for c in f.classes} for f in alike[1:2])))
    tops = _listed([f.name for f in alike])
    classes = _listed(shared)
    raise DataError(
        f"{path} holds {tops}, each with {classes} below, so that either can be the classes.",
        f"If {classes} are the classes, give one of the folders ({path / alike[0].name}), or rename them to train/ and "
        f"test/. If {tops} are, put their images directly into them. Or give a table with the columns image and label.",
    )


def _listed(names: Sequence[str]) -> str:
    shown = [f"{name}/" for name in names[:SHOWN]]
    if len(names) > SHOWN:
        return f"{', '.join(shown)} and {len(names) - SHOWN} more"
    if len(shown) == 1:
        return shown[0]
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def table_hint(path: Path, tree: FolderTree) -> str:
    """Which table in the folder may hold the labels; empty where there is none."""
    tables = [item.name for item in tree.ignored if item.name.lower().endswith(TABLE_ENDINGS)]
    if not tables:
        return ""
    name = min(tables, key=lambda name: ("label" not in name.lower(), "train" not in name.lower(), name))
    hint = f"If the labels are in {name}, give {path / name}, with the columns image (a path) and label."
    if len(tables) > 1:
        return f"{hint} Join several tables into one, with a column split that says train, val or test."
    return hint
