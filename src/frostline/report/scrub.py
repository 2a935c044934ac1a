"""Takes names out of what a support bundle holds: classes, files, folders, users, hosts, and whatever isn't our word.

What is known to be a name gets a placeholder that is the same throughout a bundle (`class-1`, `file-17`). Of the rest a
word stays only if frostline's own source has it, so a name that nobody thought of goes too (`word-3`).
"""

from __future__ import annotations

import contextlib
import getpass
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from frostline.base.errors import PACKAGE

SHORTEST = 3  # letters of a name that is looked for within sentences; shorter ones go where they stand alone
MOST_NUMBERS = 200  # of a list that are kept
ENDINGS = (
    "png|jpe?g|gif|bmp|tiff?|webp|heic|avif|npy|npz|csv|tsv|jsonl?|parquet|txt|md|pth?|bin|h5|keras|safetensors|"
    "zip|tar|gz|py|pdf|xml|ya?ml|xlsx?|html"
)
# What may stand in a sentence as it is: our own lines of code, pages and files, times, versions, parts, fractions.
OWN_LINE = r"frostline/[\w/]+\.py:\d+ in [\w<>]+|\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)?"
OWN_PATH = (
    r"(?<![\w/\\.-])(?:(?:result|pretrain|curve|rank|adapt|shift|ledger|examples|recipe|preprocess)\.json|"
    r"(?:log|trials)\.jsonl|(?:report|curve|rank|adapt|shift)\.html|(?:predictions|samples|doubts)\.csv|"
    r"(?:model|moments)\.safetensors|oof\.parquet)(?!\w)|"
    r"docs/errors\.md(?:\#[\w-]+)?|(?:train|val|test|model)/(?!\S)|\d+/\d+|"
    r"(?<![\w.])\d+\.\d+(?:\.\d+)*(?:(?:a|b|rc|\.dev|\.post)\d+)?(?:\+(?:cpu|cu\d+|rocm[\d.]+))?(?![\w.]*\w)"
)
QUOTED = r"(?<!\w)'[^'\n]*'(?!\w)|(?<!\w)\"[^\"\n]*\"(?!\w)"
PATH = rf"(?i:[^\s'\"(),;]*[/\\][^\s'\"(),;]*|[^\s'\"(),;:/]+\.(?:{ENDINGS})\b)"
NUMBER = r"\d[\d_]*(?:e|x\d+(?:x\d+)*|s|ms)?"
PERSONAL = ("class", "user", "host")  # kinds of names that go even where they are words of ours
FIXED_KEYS = ("kind", "purpose", "state", "strategy")  # whose values are words of ours, if the source has them
MACHINE_KEYS = ("gpu", "system", "processor", "cpu_capability")  # whose values torch and Python give
MACHINE_VALUE = r"[\w .()/+-]{1,60}"


@dataclass
class Names:
    """What is known to be a name, and what kind of thing it names."""

    kinds: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, names: Iterable[str]) -> None:
        """Add names of one kind; the first kind that a name is known by stays."""
        for name in names:
            if name.strip():
                self.kinds.setdefault(name, kind)

    def add_path(self, path: str) -> None:
        """Add a path, and every folder on it."""
        parts = PurePath(path).parts
        self.add("file" if PurePath(path).suffix else "folder", [path])
        self.add("folder", parts[:-1])
        if parts:
            self.add("file" if PurePath(path).suffix else "folder", [parts[-1], PurePath(path).stem])

    def add_machine(self) -> None:
        """Add the names of user and host, and the paths of home and working folder."""
        with contextlib.suppress(OSError, KeyError, ImportError):
            self.add("user", [getpass.getuser()])
        with contextlib.suppress(OSError, KeyError, ImportError):
            import os
            import pwd

            entry = pwd.getpwuid(os.getuid())
            self.add("user", [entry.pw_name, *re.findall(r"[^\W\d_]{3,}", entry.pw_gecos)])
        node = platform.node()
        self.add("host", [node, *node.split(".")])
        for find in (Path.home, Path.cwd):
            with contextlib.suppress(OSError, RuntimeError):
                self.add_path(str(find()))


@dataclass
class Scrubber:
    """Replaces names; `allowed` are further words that may stay, such as the name of a public network.

    `texts`: all that will be scrubbed, so that of many names only those that occur are looked for.
    """

    names: Names
    texts: str
    allowed: frozenset[str] = frozenset()
    vocabulary: frozenset[str] = field(default_factory=lambda: own_words())
    _placeholders: dict[str, str] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kind in self.names.kinds.items():
            if kind == "class":  # by their order in the record
                self._placeholder(name, kind)
        words = set(re.findall(r"\w+", self.texts))
        self._known = [n for n in self.names.kinds if self._is_looked_for(n) and _may_occur(n, words, self.texts)]
        self._known.sort(key=len, reverse=True)
        found = "|".join(_bounded(name) for name in self._known) or r"(?!)"
        self._pattern = re.compile(
            rf"(?P<line>{OWN_LINE})|(?P<known>{found})|(?P<own>{OWN_PATH})|(?P<quoted>{QUOTED})|(?P<path>{PATH})"
            r"|(?P<word>\w+)|(?P<strange>[^\x00-\x7f]+)"
        )

    def text(self, text: str) -> str:
        """Return a sentence without names."""
        if text in self.names.kinds:
            return self._placeholder(text, self.names.kinds[text])
        return self._pattern.sub(self._replace, text)

    def value(self, value: Any, key: str = "") -> Any:
        """Return a value of JSON without names; long lists of numbers by their length alone."""
        if isinstance(value, str):
            if key in FIXED_KEYS and value in self.vocabulary:
                return value
            if key in MACHINE_KEYS and re.fullmatch(MACHINE_VALUE, value):
                return self._without_known(value)
            if key == "key":  # of a trial
                return "/".join(self.text(part) for part in value.split("/"))
            return self.text(value)
        if isinstance(value, Mapping):
            return {self._field(str(k)): self.value(v, str(k)) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            if len(value) > MOST_NUMBERS:
                return {"length": len(value)}
            return [self.value(one, key) for one in value]
        return value

    def _field(self, name: str) -> str:
        """Return the name of a field; one that is a word of ours stays, though a file or folder is called so."""
        if name in self.vocabulary and self.names.kinds.get(name) not in PERSONAL:
            return name
        return self.text(name)

    def guarded(self, text: str) -> str:
        """Return what is about to be written once more without the names that no sentence of ours has."""
        return self._without_known(text, outside=self.vocabulary)

    def _without_known(self, text: str, outside: frozenset[str] = frozenset()) -> str:
        for name in self._known:
            if name not in outside and name.isascii():
                text = re.sub(_bounded(name), self._placeholder(name, "name"), text)
        return text

    def _is_looked_for(self, name: str) -> bool:
        kind = self.names.kinds[name]
        if len(name) < SHORTEST or re.fullmatch(NUMBER, name):
            return False
        return kind in PERSONAL or name not in self.vocabulary

    def _replace(self, found: re.Match[str]) -> str:
        text = found[0]
        kind = found.lastgroup
        if kind == "own" or (kind == "line" and _is_of_ours(text)):
            return text
        if kind == "known":
            return self._placeholder(text, self.names.kinds[text])
        if kind == "quoted":
            return text[0] + self._quoted(text[1:-1]) + text[-1]
        if kind == "path":
            return self._placeholder(text.rstrip(".:"), "path") + text[len(text.rstrip(".:")) :]
        if kind == "word" and self._is_ours(text):
            return text
        return self._placeholder(text, "word")

    def _quoted(self, content: str) -> str:
        if content in self.names.kinds:
            return self._placeholder(content, self.names.kinds[content])
        words = re.findall(r"\w+", content)
        ours = re.fullmatch(r"[a-z@_ ,.-]*", content) and all(word in self.vocabulary for word in words)
        if ours and self._pattern.sub(self._replace, content) == content:
            return content
        return self._placeholder(content, "name")

    def _is_ours(self, word: str) -> bool:
        if re.fullmatch(NUMBER, word):
            return True
        return bool({word, word[:1].lower() + word[1:]} & (self.vocabulary | self.allowed))

    def _placeholder(self, name: str, kind: str) -> str:
        kind = self.names.kinds.get(name, kind)
        if name not in self._placeholders:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._placeholders[name] = f"{kind}-{self._counts[kind]}"
        return self._placeholders[name]


def own_words() -> frozenset[str]:
    """Return every word of frostline's source in plain letters."""
    words: set[str] = set()
    for file in sorted(PACKAGE.rglob("*.py")):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            words.update(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", file.read_text(encoding="utf-8")))
    return frozenset(words)


def _is_of_ours(line: str) -> bool:
    """True for a line of a file that the package has, and for a time."""
    file = line.partition(":")[0]
    return not file.startswith("frostline/") or (PACKAGE.parent / file).is_file()


def _may_occur(name: str, words: set[str], texts: str) -> bool:
    """True where a text holds the name; its first word is looked up first, which is faster."""
    first = re.search(r"\w+", name)
    if first is not None and first[0] not in words:
        return False
    return name in texts


def _bounded(name: str) -> str:
    """Return the pattern of a name that isn't part of a longer word."""
    before = r"(?<!\w)" if name[0].isalnum() else ""
    after = r"(?!\w)" if name[-1].isalnum() else ""
    return before + re.escape(name) + after
