"""Splits rows so that classes are kept in proportion and groups are never torn apart: blocks, inner parts, draws.

Everything is a pure function of (labels, groups, seed): the strategy is never part of it, so strategies stay paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frostline.base.errors import DataError, RecipeError
from frostline.base.records import Block, Dataset, IntArray
from frostline.base.seeds import numpy_generator

MOST_FOLDS = 5
LARGE = 20_000  # development rows beyond which one hold-out block tells enough
HOLD_OUT = 0.2
REPEATS_WHERE_CHEAP = 3
REPEATED = 2_000  # development rows beyond which further repeats would narrow what is narrow already


@dataclass(slots=True)
class _Group:
    """Rows that stay together: their positions, and how many of each class they hold."""

    positions: list[int]
    counts: dict[int, int]


def make_blocks(dataset: Dataset, *, count: int | None, seed: int, cheap: bool = False) -> tuple[Block, ...]:
    """The paired splits of the development rows (indices into `dataset.samples`, ascending).

    A given validation part is the one block. Otherwise the blocks are the folds of a stratified, grouped K-fold, K
    from the smallest class (2 to 5): one repeat, or exactly `count` folds, going on into further repeats. `cheap` says
    that no strategy is stepped: then, up to 2,000 rows and without `count`, three repeats (docs/decisions/0011).
    Beyond 20,000 development rows and without `count`, one hold-out of 20 %. Each row is predicted once per repeat.
    Raises RecipeError where `count` meets a given validation part, DataError where all rows are one group.
    """
    validation = dataset.rows("validation")
    if len(validation):
        if count is not None:
            raise RecipeError(
                f"--blocks {count} doesn't apply: the data has a validation part, which is the one block.",
                "Leave --blocks out, or add --pool-validation.",
            )
        return (Block(index=0, repeat=0, fold=0, train=dataset.rows("development"), validation=validation),)
    rows = dataset.rows("development")
    if count is None and len(rows) > LARGE:
        train, held = inner_split(dataset, rows, fraction=HOLD_OUT, seed=seed, block=-1)
        return (Block(index=0, repeat=0, fold=0, train=train, validation=held),)
    labels, groups = _of(dataset, rows)
    folds = number_of_folds(labels, groups)
    total = count or folds * (REPEATS_WHERE_CHEAP if cheap and len(rows) <= REPEATED else 1)
    blocks: list[Block] = []
    for repeat in range(-(-total // folds)):
        assigned = assign_folds(labels, groups, folds, generator=numpy_generator(seed, "blocks", repeat))
        for fold in range(min(folds, total - repeat * folds)):
            blocks.append(
                Block(
                    index=len(blocks),
                    repeat=repeat,
                    fold=fold,
                    train=rows[assigned != fold],
                    validation=rows[assigned == fold],
                )
            )
    return tuple(blocks)


def inner_split(
    dataset: Dataset, rows: IntArray, *, fraction: float, seed: int, block: int
) -> tuple[IntArray, IntArray]:
    """Training and validation rows drawn from `rows`, stratified and grouped; both ascending.

    Every class keeps at least one training row; a class that can't give a validation row has none there.
    """
    rows = np.sort(rows)
    labels, groups = _of(dataset, rows)
    drawn = draw_fraction(labels, groups, fraction, keep=1, generator=numpy_generator(seed, "inner-split", block))
    return rows[~drawn], rows[drawn]


def inner_folds(
    dataset: Dataset, rows: IntArray, *, folds: int, seed: int, block: int
) -> list[tuple[IntArray, IntArray]]:
    """Training and validation rows of a stratified, grouped K-fold over `rows`; each row is validated once.

    K is `folds`, or fewer where the smallest class has fewer groups (at least 2). Raises DataError where all rows are
    one group.
    """
    rows = np.sort(rows)
    labels, groups = _of(dataset, rows)
    used = number_of_folds(labels, groups, most=folds)
    assigned = assign_folds(labels, groups, used, generator=numpy_generator(seed, "inner-folds", block))
    return [(rows[assigned != fold], rows[assigned == fold]) for fold in range(used)]


def number_of_folds(labels: IntArray, groups: Sequence[str], *, most: int = MOST_FOLDS) -> int:
    """K: as many folds as the smallest class has groups, at least 2 and at most `most` (itself at least 2)."""
    per_class: dict[int, set[str]] = {}
    for label, group in zip(labels.tolist(), groups, strict=True):
        per_class.setdefault(label, set()).add(group)
    if len(set(groups)) < 2:
        raise DataError(
            f"All {len(labels)} images to learn from are copies or belong to one group, so they can't be split.",
            "Add other images.",
        )
    return max(2, min(most, *(len(names) for names in per_class.values())))


def assign_folds(labels: IntArray, groups: Sequence[str], folds: int, *, generator: np.random.Generator) -> IntArray:
    """Fold (0 .. folds - 1) of each row.

    Greedy, largest groups first: each goes where the squared shares of its classes grow least, ties to the smaller
    fold. Where all groups are single rows, the folds of a class differ by at most one row. Own, after scikit-learn's
    StratifiedGroupKFold.
    """
    class_size = _fold_sizes(labels)
    held: list[dict[int, int]] = [{} for _ in range(folds)]
    totals = [0] * folds
    result = np.zeros(len(labels), dtype=np.int64)

    def cost(fold: int, group: _Group) -> tuple[float, int, int]:
        filled = held[fold]
        grown = sum(n * (2 * filled.get(c, 0) + n) / class_size[c] ** 2 for c, n in group.counts.items())
        return grown, totals[fold], fold

    for group in sorted(_shuffled(labels, groups, generator), key=lambda g: -len(g.positions)):
        best = min(range(folds), key=lambda fold: cost(fold, group))
        for c, n in group.counts.items():
            held[best][c] = held[best].get(c, 0) + n
        totals[best] += len(group.positions)
        result[group.positions] = best
    return result


def draw_fraction(
    labels: IntArray, groups: Sequence[str], fraction: float, *, keep: int, generator: np.random.Generator
) -> np.typing.NDArray[np.bool_]:
    """Mask of rows drawn: about `fraction` of each class, whole groups only, `keep` rows or more of a class left.

    Classes of three rows or more give at least one where their groups allow it; should nothing be drawn by that,
    classes of two give one. Groups come in random order, not by size: else copies would always be drawn first.
    """
    class_size = _fold_sizes(labels)
    order = _shuffled(labels, groups, generator)
    wanted = {c: min(n - keep, max(round(fraction * n), int(n >= 3))) for c, n in class_size.items()}
    drawn = _draw(order, wanted, class_size, keep)
    if not drawn:
        drawn = _draw(order, {c: min(1, n - keep) for c, n in class_size.items()}, class_size, keep)
    mask = np.zeros(len(labels), dtype=np.bool_)
    mask[drawn] = True
    return mask


def _draw(order: list[_Group], wanted: dict[int, int], class_size: dict[int, int], keep: int) -> list[int]:
    taken = dict.fromkeys(wanted, 0)
    chosen: list[int] = []

    def allowed(group: _Group) -> bool:
        return all(class_size[c] - taken[c] - n >= keep for c, n in group.counts.items())

    def gain(group: _Group) -> int:
        """By how many rows the drawn part comes closer to what is wanted."""
        missing = {c: wanted[c] - taken[c] for c in group.counts}
        return sum(abs(missing[c]) - abs(missing[c] - n) for c, n in group.counts.items())

    def take(group: _Group) -> None:
        chosen.extend(group.positions)
        for c, n in group.counts.items():
            taken[c] += n

    left = []
    for group in order:
        if gain(group) > 0 and allowed(group):
            take(group)
        else:
            left.append(group)
    for group in sorted(left, key=lambda g: len(g.positions)):  # a class of large groups gives its smallest
        if any(wanted[c] > 0 and taken[c] == 0 for c in group.counts) and allowed(group):
            take(group)
    return chosen


def _shuffled(labels: IntArray, groups: Sequence[str], generator: np.random.Generator) -> list[_Group]:
    """Groups in random order."""
    found: dict[str, _Group] = {}
    for position, (label, name) in enumerate(zip(labels.tolist(), groups, strict=True)):
        group = found.setdefault(name, _Group([], {}))
        group.positions.append(position)
        group.counts[label] = group.counts.get(label, 0) + 1
    every = list(found.values())
    return [every[i] for i in generator.permutation(len(every))]


def _fold_sizes(labels: IntArray) -> dict[int, int]:
    classes, counts = np.unique(labels, return_counts=True)
    return dict(zip(classes.tolist(), counts.tolist(), strict=True))


def _of(dataset: Dataset, rows: IntArray) -> tuple[IntArray, list[str]]:
    chosen = [dataset.samples[i] for i in rows.tolist()]
    return np.array([s.label for s in chosen], dtype=np.int64), [s.group for s in chosen]
