"""Files of weights: which tensors are taken where a file holds several sets, and what is said of it."""

from __future__ import annotations

import argparse
import datetime
import os
from collections import defaultdict, deque
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from frostline.base.errors import ModelError
from frostline.models.weight_files import read_weights

ONE, TWO = {"fc.weight": torch.ones(2, 2)}, {"fc.weight": torch.full((2, 2), 2.0)}


def written(folder: Path, value: Any) -> str:
    torch.save(value, folder / "w.pth")
    return str(folder / "w.pth")


@pytest.mark.parametrize(
    "key",
    [
        "state_dict",
        "model",
        "model_state_dict",
        "net",
        "network",
        "module",
        "weights",
        "params",
        "ema",
        "state_dict_ema",
        "model_ema",
        "ema_state_dict",
        "teacher",
        "student",
        "my_network",
    ],
)
def test_a_single_set_is_found_under_any_name_one_or_two_levels_deep(tmp_path: Path, key: str) -> None:
    others = {"epoch": 3, "best_acc": torch.tensor(0.5), "optimizer": {"state": {0: {"step": torch.ones(3)}}}}
    for value in (ONE, {"state_dict": ONE, "updates": 4}):
        weights = read_weights(written(tmp_path, {**others, key: value}))
        assert torch.equal(weights["fc.weight"], ONE["fc.weight"])
        assert weights.notes == ()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("state_dict", "state_dict_ema"),
        ("model", "model_ema"),
        ("params", "params_ema"),
        ("model", "ema"),
        ("teacher", "student"),
        ("online_network", "target_network"),
    ],
)
def test_of_two_sets_a_rule_takes_one_says_so_and_the_key_takes_the_other(
    tmp_path: Path, first: str, second: str
) -> None:
    for value in ({second: TWO, first: ONE}, {first: ONE, second: TWO}):
        file = written(tmp_path, value)
        weights = read_weights(file)
        assert torch.equal(weights["fc.weight"], ONE["fc.weight"])
        assert weights.notes == (
            f"{file} holds 2 sets of weights, {first} and {second}; {first} was loaded. "
            f"--weights {file}:{second} takes the other.",
        )
        other = read_weights(f"{file}:{second}")
        assert torch.equal(other["fc.weight"], TWO["fc.weight"])
        assert other.notes == ()


def test_sets_whose_names_tell_nothing_are_the_users_choice(tmp_path: Path) -> None:
    file = written(tmp_path, {"generator": ONE, "discriminator": TWO})
    with pytest.raises(ModelError, match="2 sets of weights, generator and discriminator") as caught:
        read_weights(file)
    assert caught.value.hint == f"Say which one: --weights {file}:generator."
    assert torch.equal(read_weights(f"{file}:discriminator")["fc.weight"], TWO["fc.weight"])


def test_a_key_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    file = written(tmp_path, {"state_dict": ONE, "state_dict_ema": TWO})
    with pytest.raises(ModelError, match="no weights under 'ema'") as caught:
        read_weights(f"{file}:ema")
    assert caught.value.hint == "It holds state_dict and state_dict_ema."
    flat = written(tmp_path, {"conv.weight": torch.ones(1), "fc.weight": torch.ones(1)})
    with pytest.raises(ModelError, match="no weights under 'ema'") as caught:
        read_weights(f"{flat}:ema")
    assert caught.value.hint == "It holds conv and fc."


def test_a_key_may_begin_the_names_of_a_flat_file_and_follow_the_name_of_a_set(tmp_path: Path) -> None:
    def flat(start: float) -> dict[str, Tensor]:
        return {"module.encoder_q.fc": torch.full((2,), start), "module.encoder_k.fc": torch.full((2,), start + 1)}

    save_file(flat(0.0), tmp_path / "w.safetensors")
    assert read_weights(f"{tmp_path / 'w.safetensors'}:encoder_k")["fc"][0] == 1
    file = written(tmp_path, {"state_dict": flat(2.0), "state_dict_ema": flat(4.0)})
    assert read_weights(f"{file}:encoder_k")["fc"][0] == 3
    assert read_weights(f"{file}:state_dict_ema.encoder_k")["fc"][0] == 5


def test_a_file_whose_own_name_has_a_colon_is_a_file(tmp_path: Path) -> None:
    torch.save(ONE, tmp_path / "w.pth:ema")
    torch.save({"ema": TWO}, tmp_path / "w.pth")
    assert torch.equal(read_weights(tmp_path / "w.pth:ema")["fc.weight"], ONE["fc.weight"])


def test_a_folder_is_refused_with_the_file_in_it(tmp_path: Path) -> None:
    file = written(tmp_path, ONE)
    with pytest.raises(ModelError, match="is a folder") as caught:
        read_weights(tmp_path)
    assert caught.value.hint == f"Give the file in it: --weights {file}."


def test_what_a_module_saves_beside_its_tensors_is_left_out(tmp_path: Path) -> None:
    assert set(read_weights(written(tmp_path, {**ONE, "fc._extra_state": None}))) == {"fc.weight"}


def beside() -> dict[str, Any]:
    """What trainers keep beside the weights."""
    counts: defaultdict[str, int] = defaultdict(int, {"steps": 3})
    return {
        "best_acc1": np.float64(0.9),
        "epoch": np.int64(3),
        "args": argparse.Namespace(lr=0.1, data=Path("images")),
        "hyper_parameters": {"folder": PurePosixPath("a/b"), "losses": deque([1.0], maxlen=5)},
        "random": ("MT19937", np.arange(4, dtype=np.uint32), 4, 0, 0.0),
        "kind": np.dtype("float32"),
        "counts": counts,
        "when": datetime.timedelta(seconds=3),
    }


@pytest.mark.parametrize("name", sorted(beside()))
@pytest.mark.parametrize("zipped", [True, False])
def test_harmless_objects_beside_the_weights_are_passed_over(tmp_path: Path, name: str, zipped: bool) -> None:
    value = {"state_dict": ONE, name: beside()[name]}
    torch.save(value, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    allowed = set(torch.serialization.get_safe_globals())
    weights = read_weights(tmp_path / "w.pth")
    assert torch.equal(weights["fc.weight"], ONE["fc.weight"])
    assert set(weights) == {"fc.weight"}
    assert set(torch.serialization.get_safe_globals()) == allowed


def test_nothing_of_the_objects_beside_the_weights_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path, {"state_dict": ONE, **beside()})

    def built(*_arguments: Any, **_named: Any) -> None:
        raise AssertionError("something was built")

    monkeypatch.setattr(argparse.Namespace, "__init__", built)
    monkeypatch.setattr(argparse.Namespace, "__setattr__", built)
    monkeypatch.setattr(type(Path()), "__new__", built)
    assert set(read_weights(file)) == {"fc.weight"}


class Calls:
    """Pickled as the call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    ("odd", "named"),
    [
        (torch.nn.Linear(2, 2), r"torch\.nn\.modules\.linear\.Linear"),
        (Fraction(1, 2), r"fractions\.Fraction"),
        (Calls(os.mkdir, "made"), r"posix\.mkdir|nt\.mkdir"),
        (Calls(eval, "open('made', 'w')"), r"builtins\.eval"),
        (Calls(Path.touch, Path("made")), r"builtins\.getattr|pathlib"),
        (argparse.Namespace(inner=Fraction(1, 2)), r"fractions\.Fraction"),
    ],
)
def test_any_other_object_is_refused_by_its_name_and_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: Any, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = written(tmp_path, {"state_dict": ONE, "odd": odd})
    with pytest.raises(ModelError, match=rf"holds pickled Python objects \(({named}).*\)"):
        read_weights(file)
    assert not Path("made").exists()


def test_a_default_dictionary_of_weights_is_read(tmp_path: Path) -> None:
    assert torch.equal(read_weights(written(tmp_path, defaultdict(list, ONE)))["fc.weight"], ONE["fc.weight"])


def test_arrays_in_the_place_of_tensors_are_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'fc\.weight', which is a numpy array, not a tensor") as caught:
        read_weights(written(tmp_path, {"fc.weight": np.ones((2, 2))}))
    assert "torch.from_numpy" in caught.value.hint


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize(
    ("content", "words", "hint"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a pointer of Git LFS", "git lfs pull"),
        (b"/annex/objects/SHA256E-s1--0\n", "a pointer of git-annex", "git annex get"),
        (b"<!DOCTYPE html><html>", "a web page", "fetch it again"),
        (b"", "is empty", "fetch it again"),
    ],
)
def test_what_lies_in_the_place_of_weights_is_named(
    tmp_path: Path, name: str, content: bytes, words: str, hint: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=words) as caught:
        read_weights(tmp_path / name)
    assert hint in caught.value.hint


def test_cut_safetensors_are_never_taken_for_something_else(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b'<\x10\0\0\0\0\0\0{"a":')  # a header's length that begins like HTML
    with pytest.raises(ModelError, match="can't be read as safetensors"):
        read_weights(tmp_path / "w.safetensors")
