"""What a forecast is asked, and the samples and blocks that it rests on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from frostline.base.errors import DataError
from frostline.base.records import Block, Dataset, FloatArray, IntArray
from frostline.data.split import inner_folds, inner_split
from frostline.features.extract import Features
from frostline.forecast.tangent import Progress
from frostline.recipe.recipe import Recipe

MOST_ROWS = 1000  # development rows that a forecast reads; of more, it is a forecast for so many
INNER_FOLDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be forecast: recipes on blocks of the development samples, which `features` cover in order."""

    dataset: Dataset
    features: Features
    development: IntArray
    blocks: Sequence[Block]
    recipes: Sequence[Recipe]
    seed: int
    class_weights: Callable[[IntArray], FloatArray | None] = lambda _rows: None  # (C,) for samples to learn from
    progress: Progress = lambda _done, _total: None


def rows_read(question: Question) -> IntArray:
    """Return the positions of the development samples that are read: all, or a stratified draw."""
    development = question.development
    if len(development) <= MOST_ROWS:
        return np.arange(len(development))
    share = MOST_ROWS / len(development)
    _, drawn = inner_split(question.dataset, development, fraction=share, seed=question.seed, block=-2)
    return np.searchsorted(development, drawn)


@dataclass(frozen=True, slots=True)
class Fold:
    """One block: positions among the rows read, to learn from and to predict, and inner folds of the former."""

    block: Block
    train: IntArray
    held: IntArray
    inner: tuple[tuple[IntArray, IntArray], ...]


def folds_of(question: Question, rows: IntArray) -> list[Fold]:
    """Return the blocks as far as the rows read go; without inner folds where all to learn from are copies of one."""
    read = question.development[rows]
    folds = []
    for block in question.blocks:
        train = np.intersect1d(block.train, read)
        try:
            inner = inner_folds(question.dataset, train, folds=INNER_FOLDS, seed=question.seed, block=block.index)
        except DataError:  # copies of one image
            inner = []
        positions = [tuple(np.searchsorted(read, part) for part in pair) for pair in inner if len(pair[1])]
        held = np.intersect1d(block.validation, read)
        folds.append(
            Fold(block, np.searchsorted(read, train), np.searchsorted(read, held), tuple(positions))  # type: ignore[arg-type]
        )
    return folds
