from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.base.errors import DataError, RecipeError
from frostline.base.records import Block, Dataset
from frostline.data import split
from frostline.data.split import assign_folds, draw_fraction, inner_folds, inner_split, make_blocks
from helpers.data_makers import dataset_of


@st.composite
def labelled(draw: st.DrawFn, grouped: bool = True) -> Dataset:
    """2 to 5 classes, each of at least two rows; groups of any size that may hold several classes."""
    sizes = draw(st.lists(st.integers(2, 15), min_size=2, max_size=5))
    labels = draw(st.permutations([c for c, n in enumerate(sizes) for _ in range(n)]))
    if not grouped:
        return dataset_of(list(labels))
    many = draw(st.integers(2, len(labels)))
    names = draw(st.lists(st.integers(0, many - 1), min_size=len(labels), max_size=len(labels)))
    names[:2] = [0, 1]
    return dataset_of(list(labels), [f"g{n}" for n in names])


def group_names(dataset: Dataset, rows: np.ndarray) -> set[str]:
    return {dataset.samples[i].group for i in rows}


def same(a: tuple[Block, ...], b: tuple[Block, ...]) -> bool:
    return len(a) == len(b) and all(
        np.array_equal(x.train, y.train) and np.array_equal(x.validation, y.validation)
        for x, y in zip(a, b, strict=True)
    )


@settings(max_examples=60, deadline=None)
@given(labelled(), st.integers(1, 12), st.integers(0, 3))
def test_groups_never_straddle_and_each_row_is_predicted_once_per_repeat(dataset: Dataset, count: int, s: int) -> None:
    blocks = make_blocks(dataset, count=count, seed=s)
    assert [b.index for b in blocks] == list(range(count))
    for block in blocks:
        assert len(block.train)
        assert len(block.validation)
        assert not group_names(dataset, block.train) & group_names(dataset, block.validation)
        assert np.array_equal(np.sort(np.r_[block.train, block.validation]), dataset.development)
    whole = make_blocks(dataset, count=None, seed=s)
    assert np.array_equal(np.sort(np.concatenate([b.validation for b in whole])), dataset.development)
    assert {b.repeat for b in whole} == {0}
    assert 2 <= len(whole) <= 5
    assert same(whole[:count], blocks[: len(whole)])
    assert same(blocks, make_blocks(dataset, count=count, seed=s))


@settings(max_examples=60, deadline=None)
@given(labelled(grouped=False), st.integers(0, 3))
def test_folds_of_single_rows_are_stratified_within_one_row_a_class(dataset: Dataset, seed: int) -> None:
    blocks = make_blocks(dataset, count=None, seed=seed)
    smallest = min(Counter(dataset.labels.tolist()).values())
    assert len(blocks) == max(2, min(5, smallest))
    for label in range(len(dataset.classes)):
        counts = [int((dataset.labels[b.validation] == label).sum()) for b in blocks]
        assert max(counts) - min(counts) <= 1
        assert min(counts) >= 1
    sizes = [len(b.validation) for b in blocks]
    assert max(sizes) - min(sizes) <= 3  # 3 in one of 1,000 random draws, never more in 128,000


def test_repeats_are_shuffled_anew_and_seeds_differ() -> None:
    dataset = dataset_of([0, 1] * 20)
    blocks = make_blocks(dataset, count=7, seed=0)
    assert [(b.repeat, b.fold) for b in blocks] == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0), (1, 1)]
    assert not np.array_equal(blocks[0].validation, blocks[5].validation)
    assert not same(blocks, make_blocks(dataset, count=7, seed=1))


def test_cheap_strategies_get_three_repeats_unless_blocks_are_asked_for_or_rows_abound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset = dataset_of([0, 1] * 20)
    blocks = make_blocks(dataset, count=None, seed=0, cheap=True)
    assert [(b.repeat, b.fold) for b in blocks] == [(r, f) for r in range(3) for f in range(5)]
    assert same(blocks[:5], make_blocks(dataset, count=None, seed=0))  # the first repeat is the only one of the others
    assert same(blocks[:7], make_blocks(dataset, count=7, seed=0, cheap=True))
    given = dataset_of([0, 1] * 10, validation=6)
    assert len(make_blocks(given, count=None, seed=0, cheap=True)) == 1
    monkeypatch.setattr(split, "REPEATED", 39)
    assert len(make_blocks(dataset, count=None, seed=0, cheap=True)) == 5
    monkeypatch.setattr(split, "LARGE", 39)
    assert len(make_blocks(dataset, count=None, seed=0, cheap=True)) == 1


def test_a_given_validation_part_is_the_one_block() -> None:
    dataset = dataset_of([0, 1] * 10, validation=6)
    (block,) = make_blocks(dataset, count=None, seed=0)
    assert block.validation.tolist() == list(range(14, 20))
    assert block.train.tolist() == list(range(14))
    with pytest.raises(RecipeError, match="--blocks 3 doesn't apply") as error:
        make_blocks(dataset, count=3, seed=0)
    assert "--pool-validation" in error.value.hint


def test_large_data_get_one_hold_out_unless_blocks_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "LARGE", 99)
    dataset = dataset_of([0, 1, 1, 1] * 25)
    (block,) = make_blocks(dataset, count=None, seed=0)
    assert np.bincount(dataset.labels[block.validation]).tolist() == [5, 15]
    assert len(make_blocks(dataset, count=5, seed=0)) == 5


def test_data_that_is_all_one_group_is_refused() -> None:
    with pytest.raises(DataError, match="one group"):
        make_blocks(dataset_of([0, 1, 0, 1], ["g"] * 4), count=None, seed=0)


@settings(max_examples=60, deadline=None)
@given(labelled(), st.sampled_from([0.1, 0.2, 0.5]), st.integers(0, 3))
def test_inner_split_keeps_groups_whole_and_every_class_in_training(dataset: Dataset, share: float, s: int) -> None:
    rows = dataset.development[1:]
    train, held = inner_split(dataset, rows[::-1], fraction=share, seed=s, block=0)
    assert np.array_equal(np.sort(np.r_[train, held]), rows)
    assert not group_names(dataset, train) & group_names(dataset, held)
    assert set(dataset.labels[train]) == set(dataset.labels[rows])
    again = inner_split(dataset, rows, fraction=share, seed=s, block=0)
    assert np.array_equal(train, again[0])
    assert np.array_equal(held, again[1])


@settings(max_examples=40, deadline=None)
@given(labelled(grouped=False), st.integers(0, 3))
def test_inner_split_of_single_rows_takes_the_share_of_each_class(dataset: Dataset, seed: int) -> None:
    _, held = inner_split(dataset, dataset.development, fraction=0.2, seed=seed, block=1)
    total, taken = Counter(dataset.labels.tolist()), Counter(dataset.labels[held].tolist())
    if max(total.values()) > 2:
        assert all(taken[c] == (max(1, round(0.2 * n)) if n > 2 else 0) for c, n in total.items())
    else:
        assert all(taken[c] == 1 for c in total)


def test_inner_split_differs_by_block_and_large_groups_still_give_a_row() -> None:
    dataset = dataset_of([0, 1] * 20)
    a, b = (inner_split(dataset, dataset.development, fraction=0.2, seed=0, block=k)[1] for k in (0, 1))
    assert not np.array_equal(a, b)
    two = dataset_of([0] * 10 + [1] * 10, [f"g{i // 5}" for i in range(20)])
    assert np.bincount(two.labels[inner_split(two, two.development, fraction=0.2, seed=0, block=0)[1]]).tolist() == [
        5,
        5,
    ]


@settings(max_examples=40, deadline=None)
@given(labelled(), st.integers(2, 6), st.integers(0, 3))
def test_inner_folds_validate_each_row_once_and_keep_groups_whole(dataset: Dataset, folds: int, seed: int) -> None:
    pairs = inner_folds(dataset, dataset.development, folds=folds, seed=seed, block=0)
    assert 2 <= len(pairs) <= max(2, folds)
    assert np.array_equal(np.sort(np.concatenate([held for _, held in pairs])), dataset.development)
    for train, held in pairs:
        assert len(train)
        assert len(held)
        assert not group_names(dataset, train) & group_names(dataset, held)


def test_grouped_folds_stay_close_to_scikit_learns_balance() -> None:
    from sklearn.model_selection import StratifiedGroupKFold

    generator = np.random.default_rng(0)
    labels = generator.choice(4, 400, p=[0.5, 0.3, 0.15, 0.05])
    names = generator.integers(0, 80, 400)

    def spread(folds: np.ndarray) -> float:
        counts = np.array([[((labels == c) & (folds == f)).sum() for c in range(4)] for f in range(5)])
        return float((counts / counts.sum(axis=0)).std(axis=0).mean())

    theirs = np.zeros(400, dtype=int)
    for fold, (_, held) in enumerate(StratifiedGroupKFold(5).split(labels, labels, names)):
        theirs[held] = fold
    ours = assign_folds(labels, [str(n) for n in names], 5, generator=np.random.default_rng(1))
    assert spread(ours) <= 1.5 * spread(theirs)


def test_copies_are_drawn_as_often_as_single_rows() -> None:
    labels = np.array([0, 1] * 30)
    names = ["pair", "x", "pair", *(str(i) for i in range(57))]
    draws = [draw_fraction(labels, names, 0.2, keep=1, generator=np.random.default_rng(k)) for k in range(400)]
    assert 0.1 < np.mean([d[0] for d in draws]) < 0.3


def test_ten_thousand_rows_are_drawn_within_a_row_of_the_share() -> None:
    labels = np.random.default_rng(0).integers(0, 7, 10_000)
    drawn = draw_fraction(labels, [str(i) for i in range(10_000)], 0.2, keep=2, generator=np.random.default_rng(0))
    assert np.abs(np.bincount(labels[drawn]) - 0.2 * np.bincount(labels)).max() <= 0.5
