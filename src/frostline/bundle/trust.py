"""Which user code may run: only files that this user named on a command line before, or with --trust-code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frostline.base.errors import BundleError
from frostline.base.files import cache_folder, parse_json, write_json
from frostline.base.hashing import hash_file


def _list_path() -> Path:
    return cache_folder() / "trusted-code.json"


def _trusted() -> list[str]:
    try:
        return list(parse_json(_list_path().read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return []


def remember(sha256: str) -> None:
    """The user named this file: its content is trusted from now on. Where the cache can't be written, it isn't."""
    known = _trusted()
    if sha256 in known:
        return
    try:
        write_json(_list_path(), [*known, sha256])
    except OSError:
        return


@contextmanager
def once(sha256: str) -> Iterator[None]:
    """Whatever remembers this content meanwhile: afterwards it is trusted only if it was before."""
    known = sha256 in _trusted()
    try:
        yield
    finally:
        if not known and sha256 in (now := _trusted()):
            write_json(_list_path(), [digest for digest in now if digest != sha256])


def require(code: Path, *, trust_code: bool, sha256: str | None = None) -> None:
    """Raise BundleError unless the file as it is now is trusted; `sha256` is its hash with the files beside it."""
    if not trust_code and (sha256 or hash_file(code)) not in _trusted():
        raise BundleError(
            f"{code} is network code that you have not named yourself before.",
            "Read it; then say --trust-code to let it run.",
        )
