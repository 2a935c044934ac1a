"""From found and decoded images to the Dataset: what is left out, what is sealed, what stays together.

The order of the steps is part of the contract: rows without a label, unreadable files, small classes, classes compared
across parts, sealing and duplicates, labels per class. Whatever is left out is named, counted and recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from frostline.base.errors import DataError, RecipeError
from frostline.base.records import DataPart, Dataset, IntArray, Sample
from frostline.base.seeds import derive_seed, numpy_generator
from frostline.data.checks import (
    EXAMPLES,
    AssembleOptions,
    Work,
    check_classes,
    compare_classes,
    leave_out_small_classes,
    leave_out_unlabelled,
    leave_out_unreadable,
    report_sizes,
)
from frostline.data.class_names import in_order
from frostline.data.contract import Samples
from frostline.data.duplicates import find_duplicates, merge_groups
from frostline.data.scan import Listing
from frostline.data.split import draw_fraction
from frostline.data.texts import Texts, find_equal_texts

__all__ = ["AssembleOptions", "assemble"]

SEALED_FRACTION = 0.2


def assemble(
    listing: Listing,
    images: Samples,
    bad: Mapping[int, str],
    file_hashes: Sequence[str],
    *,
    options: AssembleOptions,
) -> tuple[Dataset, IntArray]:
    """The data set, and for each of its samples the row of the listing (and of `images` and `file_hashes`).

    `bad` maps rows that couldn't be decoded to the reason. Raises DataError for data that can't be compared on (no
    readable image, one class, a class with one image, classes that differ between parts, too few to seal), and
    RecipeError for a setting that doesn't apply.
    """
    work = Work(listing=listing, options=options, rows=list(range(len(listing.rows))))
    work.warnings.extend(listing.warnings)
    sealed_from = _assign_parts(work)
    leave_out_unlabelled(work)
    leave_out_unreadable(work, bad)
    leave_out_small_classes(work)
    compare_classes(work)
    check_classes(work)
    report_sizes(work)
    duplicates = _find_duplicates(work, images, file_hashes)
    if sealed_from is None:
        sealed_from = _draw_sealed(work)
    _keep_copies_apart(work, duplicates)
    _draw_labels(work)
    return _dataset(work, file_hashes, sealed_from), np.array(work.rows, dtype=np.int64)


def _dataset(work: Work, file_hashes: Sequence[str], sealed_from: str) -> Dataset:
    classes = in_order({work.row(i).class_name for i in work.rows})
    label = {name: k for k, name in enumerate(classes)}
    samples = [
        Sample(
            id=row.id,
            path=row.path,
            label=label[row.class_name],
            part=work.parts[i],
            group=work.groups[i],
            sha256=file_hashes[i],
        )
        for i, row in ((i, work.row(i)) for i in work.rows)
    ]
    return Dataset(
        path=str(work.listing.root),
        kind=work.listing.kind,
        classes=classes,
        samples=tuple(samples),
        sealed_from=sealed_from,
        warnings=tuple(work.warnings),
    )


def _assign_parts(work: Work) -> str | None:
    """Exactly one part is sealed: test/, else val/, else one that is drawn later (None)."""
    given = {row.part for row in work.listing.rows}
    if work.options.pool_validation and not {"val", "test"} <= given:
        raise RecipeError(
            f"--pool-validation doesn't apply: {work.listing.root} has no {work.part_name('val')} beside a "
            f"{work.part_name('test')}.",
            "Leave it out: a validation part without a test part is sealed.",
        )
    if "train" not in given and given != {None}:
        names = " and ".join(sorted(work.part_name(part) for part in given if part))
        raise DataError(
            f"{work.listing.root} has {names}, but no {work.part_name('train')}.", "Say which rows are to learn from."
        )
    meaning: dict[str | None, DataPart] = {"test": "sealed", "val": "validation"}
    if "test" not in given:
        meaning["val"] = "sealed"
    elif work.options.pool_validation:
        meaning["val"] = "development"
    work.parts = {i: meaning.get(row.part, "development") for i, row in enumerate(work.listing.rows)}
    if "test" in given:
        sealed = "test"
    else:
        sealed = None
        if "val" in given:
            sealed = "val"
    return sealed and work.part_name(sealed)


def _find_duplicates(work: Work, images: Samples, file_hashes: Sequence[str]) -> list[tuple[int, ...]]:
    """Sets of copies as listing rows; copies and given groups become the groups that no split tears apart."""
    rows = work.rows
    chosen = images.select(rows)
    if isinstance(chosen, Texts):
        found = find_equal_texts(chosen.words)
    else:
        found = find_duplicates(chosen, [file_hashes[i] for i in rows], threads=max(1, work.options.threads))
    named: dict[str, list[int]] = {}
    for k, i in enumerate(rows):
        group = work.row(i).group
        if group is not None:
            named.setdefault(group, []).append(k)
    for members in merge_groups(len(rows), [*found.all, *named.values()]):
        first = work.row(rows[members[0]])
        if first.group is None:
            name = first.id
        else:
            name = f"group:{first.group}"
        work.groups.update((rows[k], name) for k in members)
    return [tuple(rows[k] for k in group) for group in found.all]


def _draw_sealed(work: Work) -> str:
    rows = work.rows
    names = [work.row(i).class_name for i in rows]
    labels = np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)
    groups = [work.groups[i] for i in rows]
    drawn = draw_fraction(labels, groups, SEALED_FRACTION, keep=2, generator=numpy_generator(work.options.seed, "seal"))
    if not drawn.any():
        raise DataError(
            f"{work.listing.root} holds too few different {work.noun} to seal a test part ({len(rows)} in "
            f"{len(set(groups))} groups), and at least one class needs three.",
            f"Add {work.noun}, or {'a test/ folder' if work.folders else 'a column split that says test'}.",
        )
    work.parts.update((i, "sealed") for i, taken in zip(rows, drawn.tolist(), strict=True) if taken)
    return f"{SEALED_FRACTION:.0%} drawn at random".replace("%", " %")


def _keep_copies_apart(work: Work, copies: Sequence[tuple[int, ...]]) -> None:
    """No image to learn from has a copy in the sealed part, and none to train on has one in the validation part."""
    of_sealed: list[int] = []
    of_validation: list[int] = []
    together: list[tuple[int, ...]] = []
    _report_conflicts(work, copies)
    for group in copies:
        parts = {work.parts[i] for i in group}
        if len(parts) == 1:
            together.append(group)
        elif "sealed" in parts:
            of_sealed.extend(i for i in group if work.parts[i] != "sealed")
        else:
            of_validation.extend(i for i in group if work.parts[i] == "development")
    for kind, rows in (("copies-of-sealed", of_sealed), ("copies-of-validation", of_validation)):
        part = kind.rpartition("-")[2]
        work.warn(kind, [work.row(i).id for i in sorted(rows)], f"left out of training; the {part} part is unchanged")
        work.leave_out(rows)
    work.warn("copies", _equations(work, together), "kept, always on the same side of a split")
    _check_left(work, {work.row(i).class_name for i in (*of_sealed, *of_validation)})


def _report_conflicts(work: Work, copies: Sequence[tuple[int, ...]]) -> None:
    """Name the copies of one image that are in different classes, one of each class in front."""
    conflicts: list[list[int]] = []
    left_out = 0
    for group in copies:
        first = {work.row(i).class_name: i for i in reversed(group)}
        if len(first) < 2:
            continue
        conflicts.append(sorted(first.values()))
        left_out += len({work.parts[i] for i in group}) > 1
    handled = f"kept: copies of {work.noun} in different classes; one of the labels is wrong"
    if left_out:
        handled += f" (of {left_out} that lie in several parts, the copies to learn from are left out)"
    work.warn("conflicting-labels", _equations(work, conflicts), handled, kept=len(conflicts))


def _check_left(work: Work, classes: set[str]) -> None:
    """A class with too few images left after its copies: refused, or left out with --min-per-class."""
    counts = work.per_class("development")
    small = sorted(name for name in classes if counts[name] < 2)
    if work.options.min_per_class is not None and small:
        examples = [f"{name} ({counts[name]} without its copies)" for name in small]
        handled = f"left out in every part (--min-per-class {work.options.min_per_class})"
        work.warn("classes-of-copies", examples, handled)
        work.leave_out([i for i in work.rows if work.row(i).class_name in small])
        check_classes(work)
    else:
        for name in small:
            raise DataError(
                f"Class {name!r} has {counts[name]} {work.noun} left to learn from in {work.listing.root}, because "
                f"the others are copies of {work.noun} in its sealed or validation part.",
                "Remove the copies from one side, or leave the class out with --min-per-class 2.",
            )


def _draw_labels(work: Work) -> None:
    """N labels per class, the same N (and more for a larger N) whatever else the data holds."""
    wanted = work.options.labels_per_class
    if wanted is None:
        return
    rows: dict[str, list[int]] = {}
    for i in work.rows:
        if work.parts[i] == "development":
            rows.setdefault(work.row(i).class_name, []).append(i)
    for name in sorted(rows):
        if len(rows[name]) < wanted:
            raise RecipeError(
                f"--labels-per-class {wanted}: class {name!r} has {len(rows[name])} {work.noun} to learn from in "
                f"{work.listing.root}.",
                f"Use at most {min(map(len, rows.values()))}, or --min-per-class {wanted}.",
            )
    spare: list[int] = []
    for members in rows.values():
        order = sorted(members, key=lambda i: derive_seed(work.options.seed, "labels", work.row(i).id))
        spare.extend(order[wanted:])
    work.warn("labels", [work.row(i).id for i in sorted(spare)], f"left out (--labels-per-class {wanted})")
    work.leave_out(spare)


def _equations(work: Work, groups: Sequence[Sequence[int]]) -> list[str]:
    """`a/0.png = b/1.png`; rows of tables with their classes, where these differ."""
    return [" = ".join(_with_class(work, i, group) for i in group[:EXAMPLES]) for group in groups]


def _with_class(work: Work, index: int, group: Sequence[int]) -> str:
    row = work.row(index)
    if work.folders or len({work.row(i).class_name for i in group}) == 1:
        return row.id
    return f"{row.id} ({row.class_name!r})"
