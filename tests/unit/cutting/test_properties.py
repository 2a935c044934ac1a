"""Stages by hand: any file is a list of stages or a ModelError."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.base.errors import ModelError
from frostline.cutting.named import NamedStage, read_named
from helpers.odd_values import FEW, JSON, as_json

WORD = st.from_regex(r"[a-z][a-z0-9.]{0,8}", fullmatch=True).filter(lambda word: word not in ("after", "before"))


@FEW
@given(stages=st.dictionaries(WORD, WORD, min_size=1, max_size=4), words=st.sampled_from(["", "after ", "before "]))
def test_stages_are_read_as_they_were_written(stages: dict[str, str], words: str, tmp_path: Path) -> None:
    path = tmp_path / "stages.txt"
    path.write_bytes(as_json({name: words + module for name, module in stages.items()}))
    found = read_named(path)
    assert [(stage.name, stage.module) for stage in found] == list(stages.items())
    path.write_text("\n".join(f"{name} {words}{module}  # said by hand" for name, module in stages.items()))
    assert read_named(path) == found


@FEW
@given(value=JSON, text=st.text(max_size=40))
def test_any_file_is_a_list_of_stages_or_a_model_error(value: Any, text: str, tmp_path: Path) -> None:
    path = tmp_path / "stages.txt"
    words = text.encode()
    for content in (as_json(value), words, b"{" + words):
        path.write_bytes(content)
        with contextlib.suppress(ModelError):
            assert all(isinstance(stage, NamedStage) for stage in read_named(path))


@pytest.mark.parametrize("text", ['{"a":' * 50_000, '{"a": ' + "1" * 5000 + "}"])
def test_what_json_cannot_hold_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "stages.txt").write_text(text)
    with pytest.raises(ModelError, match="isn't JSON"):
        read_named(tmp_path / "stages.txt")
