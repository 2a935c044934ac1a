"""Features: one pass fills every tap, a rule on bytes says what is kept, and keys hold all that changes a value."""

from __future__ import annotations

import importlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from frostline.base.device import Compute
from frostline.base.events import Event, listening
from frostline.cutting.guard import forked_seed
from frostline.cutting.stages import StageMap, stage_map
from frostline.data.preprocess import Preprocess
from frostline.data.views import augment_policy
from frostline.features import extract
from frostline.features.extract import Features, Trunk
from frostline.features.inference import padded_chunks
from frostline.features.source import ViewSource
from frostline.features.store import Store, StoreError
from frostline.features.upkeep import entries
from helpers.data_makers import images_of

ROWS, CHUNK = 10, 4
PREPROCESS = Preprocess.default(16, (0.5,), (0.25,), 3)
FP32 = Compute(device="cpu", precision="fp32", channels_last=True, threads=1, chunk=CHUNK)


class Counted(nn.Module):
    """Stages a, b, c of falling size; counts its runs and the rows of each."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.norm, self.pool, self.fc = nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Linear(8, 2)
        self.runs: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.runs.append(len(x))
        x = self.norm(self.c(self.b(self.a(x).relu()).relu())).relu()
        scores: Tensor = self.fc(self.pool(x).flatten(1))
        return scores


def network() -> tuple[Counted, StageMap]:
    with forked_seed(1):
        model = Counted().eval()
    return model, stage_map(model, torch.zeros(2, 3, 16, 16))


MODEL, STAGES = network()


def source(**changed: Any) -> ViewSource:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (18, 18, 3), dtype=np.uint8) for _ in range(ROWS)]
    names, policy = [f"{i:064d}" for i in range(ROWS)], augment_policy("standard", PREPROCESS)
    made = ViewSource(images=images_of(images), samples=names, preprocess=PREPROCESS, policy=policy, seed=0, threads=1)
    return replace(made, **changed)


def features(store: Path | None = None, compute: Compute = FP32, **changed: Any) -> Features:
    MODEL.runs.clear()
    trunk = Trunk(
        model=MODEL.to(memory_format=torch.channels_last), stages=STAGES, fingerprint="f", compute=compute, hashes={}
    )
    return Features(source=source(**changed), trunk=trunk, store=Store(store) if store else None)


def test_one_pass_fills_every_tap_of_a_view(tmp_path: Path) -> None:
    made = features(tmp_path)
    made.want(raw=[1, 2], pooled=[1, 2, 3], views=1, pooled_views=range(11))
    made.prepare(0)
    assert MODEL.runs == [4, 4, 4]  # 10 rows in chunks of 4, the last padded; once for five taps
    for stage in (1, 2, 3):
        assert made.pooled(stage, 0).shape[0] == ROWS
    for stage in (1, 2):
        made.activations(stage, torch.tensor([9, 0]), 0)
    assert len(MODEL.runs) == 3
    assert made.prefix_images == ROWS
    made.pooled(1, 3)
    assert len(MODEL.runs) == 6  # another view is another pass


def test_what_one_study_computed_the_next_one_finds(tmp_path: Path) -> None:
    first, second = features(tmp_path), features(tmp_path)
    for made in (first, second):
        made.want(raw=[2], pooled=[3], views=1, pooled_views=range(11))
        made.prepare(1)
    assert len(MODEL.runs) == 3
    assert torch.equal(first.pooled(3, 1), second.pooled(3, 1))
    assert second.prefix_images == 0


def test_a_further_tap_alone_is_computed(tmp_path: Path) -> None:
    made = features(tmp_path)
    made.want(raw=[], pooled=[1], views=1, pooled_views=range(11))
    made.prepare(0)
    before = made.pooled(1, 0).clone()
    made.want(raw=[1], pooled=[1, 2], views=1, pooled_views=range(11))
    made.prepare(0)
    assert len(MODEL.runs) == 6
    assert torch.equal(made.pooled(1, 0), before)


def test_taps_are_what_the_network_computes_in_chunks(tmp_path: Path) -> None:
    made = features(tmp_path)
    made.want(raw=[1, 2], pooled=[2], views=1, pooled_views=range(11))
    rows = torch.tensor([7, 2, 2])
    with torch.no_grad():
        one = MODEL.a(made.inputs(next(padded_chunks(rows, CHUNK))[1], 1))[:3].relu()
        two = MODEL.b(one).relu()
    assert torch.allclose(made.activations(1, rows, 1), one, atol=1e-6)
    stored = made.activations(2, rows, 1)
    assert torch.allclose(stored, two, atol=1e-6)
    assert torch.allclose(made.pooled(2, 1)[rows], stored.mean((2, 3)), atol=1e-6)
    assert stored.is_contiguous(memory_format=torch.channels_last)


def test_store_and_no_store_give_equal_bits(tmp_path: Path) -> None:
    stored, off = features(tmp_path), features()
    for made in (stored, off):
        made.want(raw=[2], pooled=[1, 3], views=2, pooled_views=range(11))
    rows = torch.tensor([3, 9, 0])
    for view in (0, 2):
        first, second = stored.inputs(rows, view), off.inputs(rows, view)
        assert isinstance(first, Tensor)
        assert isinstance(second, Tensor)
        assert torch.equal(first, second)
        assert first.stride() == second.stride()
        for stage in (1, 3):
            assert torch.equal(stored.pooled(stage, view), off.pooled(stage, view))
    assert stored.stored(2)
    assert not off.stored(2)  # nothing raw is kept without a store


def test_a_sample_does_not_depend_on_who_came_with_it(tmp_path: Path) -> None:
    whole, few = features(tmp_path / "a"), features(tmp_path / "b")
    subset = np.array([8, 3, 5])
    few.source = replace(
        whole.source, images=whole.source.images.select(subset), samples=[whole.source.samples[i] for i in subset]
    )
    for made in (whole, few):
        made.want(raw=[2], pooled=[3], views=1, pooled_views=range(11))
    rows = torch.from_numpy(subset)
    assert torch.equal(few.pooled(3, 1), whole.pooled(3, 1)[rows])
    assert torch.equal(few.activations(2, torch.arange(3), 1), whole.activations(2, rows, 1))


def bytes_of(stage: int) -> int:
    return STAGES.stages[stage - 1].stored_bytes


def test_an_activation_beyond_four_views_is_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = 3 * 16 * 16
    assert [bytes_of(stage) for stage in (1, 2)] == [6 * 8 * 8 * 4, 8 * 4 * 4 * 4]
    assert bytes_of(2) < view < bytes_of(1) < 4 * view
    made = features(tmp_path)
    made.want(raw=[1, 2], pooled=[], views=1, pooled_views=range(11))
    assert (made.stored(1), made.stored(2)) == (True, True)
    monkeypatch.setattr(extract, "RAW_VIEWS", 1)
    made.want(raw=[1, 2], pooled=[], views=1, pooled_views=range(11))
    assert (made.stored(1), made.stored(2)) == (False, True)
    low = features(tmp_path, replace(FP32, precision="bf16"))
    low.want(raw=[1], pooled=[], views=1, pooled_views=range(11))  # half the bytes: just small enough
    assert low.stored(1) == (bytes_of(1) // 2 <= view)


def test_the_cap_counts_samples_views_and_all_depths_deepest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = features(tmp_path)
    both = ROWS * 3 * (bytes_of(1) + bytes_of(2))  # two training views and the evaluation view
    monkeypatch.setattr(extract, "RAW_CAP", both)
    made.want(raw=[1, 2, 2], pooled=[], views=2, pooled_views=[])
    assert made.raw == {1, 2}
    monkeypatch.setattr(extract, "RAW_CAP", both - 1)
    made.want(raw=[1, 2], pooled=[], views=2, pooled_views=[])
    assert made.raw == {2}


def test_what_nobody_asked_for_is_said_to_be_missing(tmp_path: Path) -> None:
    made = features(tmp_path)
    with pytest.raises(KeyError, match="stage 2 was not asked for as pooled"):
        made.pooled(2, 0)


def test_view_keys_hold_all_that_changes_a_view_and_nothing_else() -> None:
    made = source()
    changed = [
        replace(made, seed=1),
        replace(made, samples=[*made.samples[:-1], "x"]),
        replace(made, samples=made.samples[::-1]),
        replace(made, policy=augment_policy("light", PREPROCESS)),
        replace(made, preprocess=replace(PREPROCESS, interpolation="bicubic")),
        replace(made, preprocess=replace(PREPROCESS, resize=20)),
    ]
    assert len({made.key(1), made.key(2), *(c.key(1) for c in changed)}) == 2 + len(changed)
    assert replace(made, threads=2).key(1) == made.key(1)
    # the evaluation view draws nothing
    assert (
        made.key(0) == replace(made, seed=1).key(0) == replace(made, policy=augment_policy("none", PREPROCESS)).key(0)
    )


def test_views_are_shared_by_networks_that_scale_pixels_otherwise() -> None:
    made = source()
    assert made.key(1) == replace(made, preprocess=replace(PREPROCESS, mean=(0.1, 0.2, 0.3))).key(1)


@pytest.mark.parametrize("changed", [{"precision": "bf16"}, {"channels_last": False}, {"chunk": 8}, {"device": "cuda"}])
def test_trunk_keys_hold_how_it_is_computed(changed: dict[str, Any]) -> None:
    trunk = features().trunk
    assert trunk.key(1) != trunk.key(2)
    assert replace(trunk, fingerprint="g").key(1) != trunk.key(1)
    assert replace(trunk, compute=replace(FP32, **changed)).key(1) != trunk.key(1)


def test_keys_hold_the_version_of_what_computed_the_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = features().trunk
    before = trunk.key(1)
    monkeypatch.setattr(torch, "__version__", "0.0")
    assert trunk.key(1) != before


@pytest.mark.parametrize("module", ["PIL", "frostline.base.version"])
def test_view_keys_hold_the_versions_of_what_draws_them(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = source()
    before = made.key(1)
    name = "__version__" if module == "PIL" else "VERSION"
    monkeypatch.setattr(importlib.import_module(module), name, "0.0")
    assert replace(made).key(1) != before


def test_rows_are_padded_by_their_last() -> None:
    found = [(count, chunk.tolist()) for count, chunk in padded_chunks(torch.tensor([4, 7, 9, 2, 5]), 3)]
    assert found == [(3, [4, 7, 9]), (2, [2, 5, 5])]
    assert [count for count, _ in padded_chunks(torch.tensor([4, 7]), 2)] == [2]


def test_damaged_activations_are_computed_again(tmp_path: Path) -> None:
    made = features(tmp_path)
    made.want(raw=[2], pooled=[], views=1, pooled_views=range(11))
    rows = torch.arange(ROWS)
    expected = made.activations(2, rows, 1).clone()
    for file in tmp_path.rglob("*.bin"):
        raw = bytearray(file.read_bytes())
        raw[len(raw) // 2] ^= 4
        file.write_bytes(raw)
    again = features(tmp_path)
    again.want(raw=[2], pooled=[], views=1, pooled_views=range(11))
    assert torch.equal(again.activations(2, rows, 1), expected)


def test_what_a_killed_writer_left_goes_before_good_entries(tmp_path: Path) -> None:
    store = Store(tmp_path, cap=1000)
    key = "aa" + "1" * 62
    with store.writer(key) as append:
        append(torch.zeros(100))
    for name in ("bb" + "2" * 62 + ".bin", ".bb222222.abcdefgh"):  # renamed without a note; not even renamed
        (tmp_path / "bb").mkdir(exist_ok=True)
        (tmp_path / "bb" / name).write_bytes(b"0" * 5000)
        os.utime(tmp_path / "bb" / name, (0, 0))
    store.prune()
    assert Store(tmp_path).get(key) is not None
    assert not list((tmp_path / "bb").iterdir())


def test_a_view_that_would_break_the_cap_is_made_again_with_the_same_bits(tmp_path: Path) -> None:
    rows = torch.arange(ROWS)
    found = []
    for cap in (1 << 20, 2000):
        made = features(tmp_path / str(cap))
        assert made.store is not None
        made.store.cap = cap
        made.want(raw=[2], pooled=[3], views=1, pooled_views=range(11))
        made.prepare(1)
        kinds = {entry.kind for entry in entries(made.store.root)}
        assert kinds == ({"activations"} if cap == 2000 else {"views", "activations"})
        assert made.stored(2) == (cap > 2000)
        found.append((made.images(rows, 1), made.pooled(3, 1)))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_store_that_is_taken_away_is_done_without_and_the_bits_stay(tmp_path: Path) -> None:
    heard: list[Event] = []
    root = tmp_path / "store"
    made, off = features(root), features()
    for one in (made, off):
        one.want(raw=[2], pooled=[3], views=1, pooled_views=range(11))
    rows = torch.arange(ROWS)
    with listening(heard.append):
        first = made.pooled(3, 0)
        shutil.rmtree(root)
        root.write_text("no folder any more", encoding="utf-8")
        assert torch.equal(made.images(rows, 1), off.images(rows, 1))
        assert torch.equal(made.pooled(3, 1), off.pooled(3, 1))
        with pytest.raises(StoreError):
            made.activations(2, rows, 1)
    assert torch.equal(made.pooled(3, 0), first)
    assert not made.stored(2)
    assert [event.kind for event in heard] == ["warning"]
    assert "the run goes on without storing" in heard[0].text
