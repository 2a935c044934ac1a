"""JSON of anyone's: what was written is read back, and no text does more than raise JSONDecodeError."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.base.errors import BundleError, DataError, ModelError, described_by, shown_from
from frostline.base.files import json_text, parse_json
from helpers.odd_values import FEW, JSON, as_json


@FEW
@given(value=JSON)
def test_values_come_back_as_they_were_written(value: Any) -> None:
    again = parse_json(as_json(value))
    assert repr(again) == repr(value)  # NaN isn't equal to itself


@FEW
@given(text=st.text(), data=st.binary())
def test_any_other_text_is_refused_as_such(text: str, data: bytes) -> None:
    for content in (text, data):
        try:
            value = parse_json(content)
        except (json.JSONDecodeError, UnicodeDecodeError):
            continue
        assert json.dumps(value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 50_000, "too deeply"),
        ('{"a":' * 50_000, "too deeply"),
        ("1" * 5000, "too many digits"),
        ("", "Expecting value"),
    ],
)
def test_what_python_cannot_hold_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(json.JSONDecodeError, match=reason):
        parse_json(text)


def test_errors_of_the_callers_own_pass_through() -> None:
    def refuse(_pairs: list[tuple[str, Any]]) -> Any:
        raise DataError("A name stands twice.")

    with pytest.raises(DataError, match="twice"):
        parse_json("{}", refuse)


def test_what_a_file_describes_wrongly_is_said_in_a_sentence() -> None:
    said = r"net\.json describes nothing that can be built \('width'\)"
    with pytest.raises(ModelError, match=said), described_by(Path("net.json"), ModelError, "Save it again."):
        json.loads("{}")["width"]
    said = r"runs/a holds something that can't be shown \(StopIteration: \)"
    with pytest.raises(BundleError, match=said), shown_from("runs/a"):
        next(iter(()))
    with pytest.raises(DataError, match="as it is"), shown_from("runs/a"):
        raise DataError("Passed on as it is.")


@FEW
@given(value=JSON)
def test_what_is_written_for_people_is_json_or_refused(value: Any) -> None:
    try:
        text = json_text(value)
    except ValueError:  # numbers that JSON lacks
        assert any(word in json.dumps(value) for word in ("NaN", "Infinity"))
        return
    assert parse_json(text) == value
