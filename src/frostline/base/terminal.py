"""Texts for a terminal: names of files and classes are anyone's, and a terminal obeys what stands in them.

Escape sequences can clear the screen, set its title, write the clipboard and hide a link; a carriage return or an
override of direction makes a name look like another.
"""

from __future__ import annotations

import re
from typing import Any

# What steers a terminal or turns the order of letters: control characters, marks and overrides of direction, line and
# paragraph separators, what can't be encoded, tags. Joiners stay: scripts and emoji need them.
STEERING = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
LONGEST_SENTENCE = 2000  # characters of what is told at once: names in it may be megabytes


def harmless(text: str, *, lines: bool = False) -> str:
    """Return a text that a terminal shows and doesn't obey: what would steer it is written as Python writes it
    (`\\x1b`, `\\u202e`). `lines` keeps line ends; elsewhere a name could forge a line of its own."""

    def as_python_writes(found: re.Match[str]) -> str:
        if lines and found[0] == "\n":
            return found[0]
        return found[0].encode("unicode_escape").decode("ascii")

    return STEERING.sub(as_python_writes, text)


def bounded_line(text: str) -> str:
    """Return a text on one line, harmless and of bounded length."""
    if len(text) > LONGEST_SENTENCE:
        text = f"{text[:LONGEST_SENTENCE]} ... ({len(text) - LONGEST_SENTENCE:,} more characters)"
    return harmless(text)


def harmless_values(value: Any) -> Any:
    """Return a record, whose words may be anyone's, with every text in it harmless and on one line."""
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, dict):
        return {harmless_values(key): harmless_values(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [harmless_values(entry) for entry in value]
    return value
