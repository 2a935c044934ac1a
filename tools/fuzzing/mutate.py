"""Odd bytes, texts and JSON values: made from valid ones by small edits, or drawn from what readers trip over."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any

TEXTS = (
    "",
    " ",
    "a",
    "label",
    "0",
    "-1",
    "1e999",
    "nan",
    "None",
    "null",
    "true",
    "\ufeff",
    "\u202eexe.gnp",
    "\x00",
    "\x1b[2J",
    "\x85",
    "\u2028",
    "a\u0301",
    "\u00e1",
    "\U0001f98a",
    "\u00df",
    "\u0130",
    "..",
    "../../etc/passwd",
    "/",
    "/dev/zero",
    "a/b",
    "a\\b",
    "CON",
    "=1+1",
    "@SUM(A1)",
    "<script>",
    '"',
    "'",
    ",",
    ";",
    "\t",
    "\n",
    "\r\n",
    "{{7*7}}",
    "%s",
    "{0}",
    "x" * 300,
    "x" * 70_000,
    "\ud800",
    "\uffff",
)
NUMBERS = (0, -0.0, 1, -1, 2, 255, 256, 65536, 2**31, 2**53, 2**63, 2**64, 10**30, -(2**63), 0.5, 1e-300, 1e300)
ODD_NUMBERS = (float("nan"), float("inf"), float("-inf"))
BYTES = (b"\x00", b"\xff", b"\n", b'"', b"{", b"[", b"\xef\xbb\xbf", b"\xff\xfe", b"PK\x03\x04", b"\x80\x02", b"\xd8")
DEEP = 100_000


def odd_bytes(random: Random, data: bytes) -> bytes:
    """The bytes with one to four small edits, or cut short, or others of the same length."""
    edits = (_flip, _flip, _flip, _overwrite, _insert, _remove, _repeat, _cut, _number)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        data = random.choice(edits)(random, data)
    if random.random() < 0.01:
        return random.randbytes(len(data))
    if random.random() < 0.005:
        return b""
    return data


def _flip(random: Random, data: bytes) -> bytes:
    if not data:
        return data
    place = _place(random, data)
    return data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :]


def _overwrite(random: Random, data: bytes) -> bytes:
    place = _place(random, data)
    new = random.choice((random.choice(BYTES), random.randbytes(random.randint(1, 8))))
    return data[:place] + new + data[place + len(new) :]


def _insert(random: Random, data: bytes) -> bytes:
    place = _place(random, data)
    new = random.choice((random.choice(BYTES), random.randbytes(random.randint(1, 8)), bytes(random.randint(1, 2000))))
    return data[:place] + new + data[place:]


def _remove(random: Random, data: bytes) -> bytes:
    place = _place(random, data)
    return data[:place] + data[place + random.choice((1, 1, 2, 8, 100)) :]


def _repeat(random: Random, data: bytes) -> bytes:
    place = _place(random, data)
    part = data[place : place + random.randint(1, 64)]
    return data[:place] + part * random.choice((2, 3, 50)) + data[place:]


def _cut(random: Random, data: bytes) -> bytes:
    return data[: random.choice((_place(random, data), max(0, len(data) - random.randint(1, 40))))]


def _number(random: Random, data: bytes) -> bytes:
    """A number where one may stand: lengths and sizes in headers."""
    form, most = random.choice((("<H", 2**16), (">H", 2**16), ("<I", 2**32), (">I", 2**32), ("<Q", 2**64)))
    value = random.choice((0, 1, most - 1, most // 2, most // 2 - 1, random.randrange(most)))
    new = struct.pack(form, value)
    place = _place(random, data)
    return data[:place] + new + data[place + len(new) :]


def _place(random: Random, data: bytes) -> int:
    """A place in the bytes: half of the time near the start, where headers are."""
    if not data:
        return 0
    if random.random() < 0.5:
        return random.randrange(min(len(data), 64))
    return random.randrange(len(data))


def odd_text(random: Random) -> str:
    """A text of a kind that readers trip over."""
    if random.random() < 0.7:
        return random.choice(TEXTS)
    letters = [
        chr(random.choice((random.randrange(32, 127), random.randrange(0xD7FF)))) for _ in range(random.randint(1, 12))
    ]
    return "".join(letters)


def odd_value(random: Random, depth: int = 0) -> Any:
    """Any JSON value (numbers that JSON doesn't have included)."""
    kind = random.randrange(8 if depth < 3 else 5)
    if kind == 0:
        return random.choice((None, True, False))
    if kind == 1:
        return random.choice(NUMBERS)
    if kind == 2:
        return random.choice((*ODD_NUMBERS, random.uniform(-2, 2)))
    if kind in (3, 4):
        return odd_text(random)
    if kind in (5, 6):
        return [odd_value(random, depth + 1) for _ in range(random.randint(0, 3))]
    return {odd_text(random): odd_value(random, depth + 1) for _ in range(random.randint(0, 3))}


def odd_json(random: Random, value: Any) -> Any:
    """The value with one to three places changed, removed, doubled or added; nothing of the original is shared."""
    value = json.loads(json.dumps(value))
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        value = _edited(random, value)
    return value


def _edited(random: Random, value: Any) -> Any:
    """The value with one place in it changed; each level is as likely to be gone down into as not."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        action = random.randrange(12)
        if action == 0:
            return {k: v for k, v in value.items() if k != key}
        if action == 1:
            return {**value, odd_text(random): odd_value(random)}
        if action == 2:
            return {k if k != key else odd_text(random): v for k, v in value.items()}
        return {**value, key: _edited(random, value[key])}
    if isinstance(value, list) and value and random.random() < 0.85:
        place = random.randrange(len(value))
        action = random.randrange(8)
        if action == 0:
            return value[:place] + value[place + 1 :]
        if action == 1:
            return [*value, value[place]]
        if action == 2:
            return []
        return [*value[:place], _edited(random, value[place]), *value[place + 1 :]]
    return _other(random, value)


def _other(random: Random, value: Any) -> Any:
    """Another value of the same kind, or of any."""
    if random.random() < 0.4:
        return odd_value(random)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return random.choice((value + 1, value - 1, -value, 0, value * 1000, *NUMBERS))
    if isinstance(value, float):
        return random.choice((value + 1, -value, 0.0, value * 1e6, *ODD_NUMBERS, 1e308))
    if isinstance(value, str):
        return random.choice((value + odd_text(random), value[:-1], odd_text(random), value.upper(), value * 2))
    return None


def deep_json(random: Random) -> bytes:
    """JSON that is nested too deeply, or whose numbers are too long, or whose names repeat."""
    shapes: tuple[Callable[[], bytes], ...] = (
        lambda: b"[" * DEEP,
        lambda: b"[" * DEEP + b"]" * DEEP,
        lambda: b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        lambda: b'[{"image": ' + b"[" * DEEP + b"]" * DEEP + b', "label": "a"}]',
        lambda: b"1" * 10_000,
        lambda: b'{"a": 1, "a": 2}',
        lambda: b"1e999999",
        lambda: b'"\\ud800"',
        lambda: b"NaN",
    )
    return random.choice(shapes)()


def json_bytes(random: Random, value: Any) -> bytes:
    """A JSON text of the value, most often plain; sometimes with its bytes changed."""
    text = json.dumps(value, indent=random.choice((None, 1)), ensure_ascii=random.random() < 0.5)
    data = text.encode("utf-8", "surrogatepass")
    roll = random.random()
    if roll < 0.15:
        return odd_bytes(random, data)
    if roll < 0.17:
        return deep_json(random)
    if roll < 0.19:
        return b"\xef\xbb\xbf" + data
    if roll < 0.2:
        return text.encode("utf-16", "surrogatepass")
    return data
