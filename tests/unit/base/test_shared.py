"""Hashes, seeds, files, errors and the compute rule that every layer leans on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from frostline.base import device
from frostline.base.device import choose_compute, find_device
from frostline.base.errors import FrostlineError, RecipeError, nearest
from frostline.base.files import cache_folder, json_text, write_atomic, write_json
from frostline.base.hashing import hash_tensor, hash_tensors, hash_texts, hash_values
from frostline.base.seeds import derive_seed, numpy_generator


def test_tensor_hash_sees_bits_type_and_shape_but_no_layout() -> None:
    x = torch.randn(2, 3, 4, 4)
    assert hash_tensor(x.to(memory_format=torch.channels_last)) == hash_tensor(x)
    assert hash_tensor(nn.Parameter(x)) == hash_tensor(x)
    others = [x.view(2, 3, 16), x.double(), -x, x.bfloat16(), torch.zeros(0), torch.tensor(1.0), torch.tensor(1)]
    assert len({hash_tensor(y) for y in [x, *others]}) == 1 + len(others)
    assert hash_tensor(torch.tensor(0.0)) != hash_tensor(torch.tensor(-0.0))


def test_hash_of_named_tensors_counts_names_not_order() -> None:
    a, b = torch.zeros(1), torch.ones(1)
    assert hash_tensors({"a": a, "b": b}) == hash_tensors({"b": b, "a": a}) != hash_tensors({"a": b, "b": a})


def test_value_hashes_tell_lists_from_their_joints() -> None:
    assert hash_texts(["ab", "c"]) != hash_texts(["a", "bc"]) != hash_texts(["abc"])
    assert hash_values({"a": 1, "b": 2}) == hash_values({"b": 2, "a": 1})
    assert hash_values(1, "1") != hash_values("1", 1)


def test_seeds_depend_on_each_part_and_fit_every_generator() -> None:
    seeds = {
        derive_seed(0, "order", 1, 2),
        derive_seed(1, "order", 1, 2),
        derive_seed(0, "step", 1, 2),
        derive_seed(0, "order", 12),
        derive_seed(0, "order", 2, 1),
    }
    assert len(seeds) == 5
    assert all(0 <= s < 2**63 for s in seeds)
    assert derive_seed(0, "order", 1, 2) == 3080155318942025930  # the same on every machine, from now on
    assert numpy_generator(3, "x").random() == numpy_generator(3, "x").random()


def test_an_atomic_write_replaces_whole_files_and_leaves_no_scraps(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file"
    for text in (b"old", b"new and longer"):
        write_atomic(target, text)
        assert target.read_bytes() == text
    with pytest.raises(ValueError, match="JSON"):
        write_json(target, {"x": float("nan")})
    assert target.read_bytes() == b"new and longer"
    assert [f.name for f in target.parent.iterdir()] == ["file"]
    assert json.loads(json_text({"ä": [1, None]})) == {"ä": [1, None]}


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("FROSTLINE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "frostline"


def test_errors_read_as_a_sentence_and_a_hint() -> None:
    error = FrostlineError("Stage 9 is missing.", "Give 1 to 8.")
    assert (str(error), error.message, error.hint) == (
        "Stage 9 is missing. Give 1 to 8.",
        "Stage 9 is missing.",
        "Give 1 to 8.",
    )
    assert nearest("finetun", ["probe", "finetune"]) == "Did you mean 'finetune'?"
    assert nearest("zzz", ["probe", "finetune"]) == "Known: probe, finetune."


def compute(model: nn.Module, *, precision: str = "auto", operations: float = 1e9) -> device.Compute:
    return choose_compute(device="cpu", precision=precision, threads=None, chunk=16, model=model, operations=operations)


def test_a_strided_pointwise_convolution_of_few_channels_is_not_laid_out_channels_last() -> None:
    def narrow(channels: int, stride: int = 2) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, channels, 3), nn.Conv2d(channels, 16, 1, stride))

    assert [compute(narrow(n)).channels_last for n in (8, 15, 16)] == [False, False, True]
    assert compute(narrow(8, stride=1)).channels_last


def test_precision_follows_hardware_and_size_unless_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Linear(2, 2)
    for flags, operations, expected in (
        ({"avx512_bf16"}, 1e9, "bf16"),
        ({"avx512_bf16"}, 1e6, "fp32"),
        ({"avx2"}, 1e9, "fp32"),
    ):
        monkeypatch.setattr(device, "cpu_flags", lambda flags=flags: frozenset(flags))
        assert compute(model, operations=operations).precision == expected
        assert compute(model, precision="bf16", operations=operations).precision == "bf16"
        assert "precision" in compute(model).reasons[0]


def test_layout_follows_the_convolutions() -> None:
    assert not compute(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Linear(3, 3))).channels_last
    assert compute(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))).channels_last


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(RecipeError, match="--device 'cuda:7' is not on this machine"):
        find_device("cuda:7")
    assert find_device("cpu") == "cpu"
