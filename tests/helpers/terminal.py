"""A terminal for tests: a command runs in a real pseudo terminal, and what it writes is read as a screen would show it.

Only what rich writes is known: text, CR, LF, cursor up, erasing, colours, the cursor hidden and shown. Lines that leave
the screen at its top are kept, so `text` is all that a reader can scroll back to.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ESCAPE = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])|\x1b\]8;[^\x1b]*\x1b\\|([\r\n])|([^\x1b\r\n]+)|(\x1b)")


@dataclass
class Terminal:
    """A screen of `columns` x `rows`; it grows downwards as text is written."""

    columns: int = 80
    rows: int = 24
    lines: list[list[str]] = field(default_factory=lambda: [[]])
    row: int = 0
    column: int = 0
    hidden: bool = False  # the cursor
    unknown: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Everything that is seen, with what was scrolled away above it."""
        return "\n".join("".join(line).rstrip() for line in self.lines).rstrip("\n")

    def write(self, text: str) -> None:
        """Take over what a program wrote."""
        for match in ESCAPE.finditer(text):
            private, numbers, letter, control, plain, other = match.groups()
            if letter:
                self._control(private, numbers, letter)
            elif control:
                self._move(control)
            elif plain:
                self._print(plain)
            elif other:
                self.unknown.append(other)

    def _move(self, control: str) -> None:
        if control == "\r":
            self.column = 0
            return
        self.row += 1
        while len(self.lines) <= self.row:
            self.lines.append([])

    def _print(self, text: str) -> None:
        for character in text:
            if self.column == self.columns:
                self._move("\n")
                self.column = 0
            line = self.lines[self.row]
            line += [" "] * (self.column + 1 - len(line))
            line[self.column] = character
            self.column += 1

    def _control(self, private: str, numbers: str, letter: str) -> None:
        count = int(numbers or 1) if numbers.isdigit() or not numbers else 0
        if letter == "A":  # a cursor doesn't leave the screen
            self.row = max(self.row - count, len(self.lines) - self.rows, 0)
        elif letter == "K":
            self.lines[self.row] = []
        elif private and numbers == "25":
            self.hidden = letter == "l"
        elif letter != "m":
            self.unknown.append(f"{private}{numbers}{letter}")


def run_in_terminal(
    command: Sequence[str], *, cwd: Path, columns: int = 80, rows: int = 24, **environment: str
) -> tuple[int, list[str]]:
    """Run a command whose three streams are one pseudo terminal; return its exit code and what it wrote, parted where
    it begins to draw a live display again. Variables that would tell another size are taken away."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        command,
        cwd=cwd,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**kept, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1", **environment},
    )
    os.close(theirs)
    written = bytearray()
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:  # Linux says so at the end
            break
        if not piece:
            break
        written += piece
    os.close(ours)
    text = written.decode("utf-8")
    return process.wait(), re.split(r"(?=\r\x1b\[2K)", text)
