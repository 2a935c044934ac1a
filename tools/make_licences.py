"""Makes docs/licences.md: the licences of all dependencies, as the installed packages state them.

    python tools/make_licences.py            # every package of the core and the extras, and what those need
    python tools/make_licences.py --check    # says what has changed, and writes nothing

Needs all extras but `dev` installed. Licences come from the packages' own metadata: `License-Expression`, else the
classifiers, else the words under `License`, else the file that they bring.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licences.md"
EXTRAS = ("text", "keras", "quality", "figures", "track")
# Terms that would bind those who use frostline, or forbid some uses.
REFUSED = re.compile(
    r"\bAGPL|Affero|\bGPL|General Public|\bSSPL|non.?commercial|\bCC[- ]BY[- ]NC|Commons Clause|\bBUSL|Business Source"
    r"|Proprietary",
    re.IGNORECASE,
)
LESSER = re.compile(r"\bLGPL|Lesser", re.IGNORECASE)
WORDS = {  # what packages say in other words than the licence's short name
    "Apache 2.0 License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "Apache": "Apache-2.0",
    "Apache License": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "BSD License": "BSD",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
HEADER = """# Licences

frostline is under the [Apache License 2.0](../LICENSE). It needs the packages below: those of the core always, the
others with an extra such as `frostline[text]`. The licences are those that the packages state themselves, in the
versions of `constraints.txt`. None forbids commercial use, and none is a GPL or AGPL. Where pip takes torch for GPUs,
that also brings NVIDIA's libraries, which are under NVIDIA's own terms.

This page is made by `python tools/make_licences.py`; `tests/contract/test_licences.py` checks it.
"""


@dataclass(frozen=True)
class Package:
    """A dependency as it is installed, and the licence that it states."""

    name: str
    licence: str


def requirements() -> dict[str, list[str]]:
    """What the core (under an empty name) and each extra ask for, from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {"": project["dependencies"], **{name: project["optional-dependencies"][name] for name in EXTRAS}}


def closure(asked: Iterable[str]) -> dict[str, Package]:
    """The packages that these requirements lead to, with what they need in turn, by name; what isn't installed here
    (needed on other systems only) is left out."""
    found: dict[str, Package] = {}
    waiting = list(asked)
    while waiting:
        requirement = waiting.pop()
        if "extra ==" in requirement:
            continue
        name = canonical(re.match(r"[A-Za-z0-9._-]+", requirement)[0])  # type: ignore[index]  # always begins so
        if name in found or name.startswith(("nvidia-", "cuda-")):
            continue
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        found[name] = Package(name, licence_of(package))
        waiting += package.requires or []
    return found


def canonical(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence_of(package: Distribution) -> str:
    """Return the licence that a package states, in one line."""
    said = package.metadata
    if "License-Expression" in said:
        return str(said["License-Expression"])
    classifiers = [c.rpartition(" :: ")[2] for c in said.get_all("Classifier") or [] if c.startswith("License ::")]
    stated = [c for c in classifiers if c != "OSI Approved"]
    if not stated:
        stated = [_first_line((said.get_all("License") or [""])[0]) or _licence_file(package)]
    return " AND ".join(WORDS.get(name, name) for name in stated)


def _first_line(text: str) -> str:
    return text.strip().split("\n")[0]


def _licence_file(package: Distribution) -> str:
    """Return the licence that the file of a package is, as far as its first lines tell."""
    for file in package.files or []:
        if "LICENSE" in file.name.upper():
            start = file.read_text()[:400]
            return next(
                (known for known in ("Apache License", "MIT License", "BSD License") if known in start), "other"
            )
    return "not stated"


def page() -> str:
    """Return the page."""
    seen: set[str] = set()
    parts = [HEADER]
    for extra, asked in requirements().items():
        packages = closure(asked)
        new = [packages[name] for name in sorted(packages) if name not in seen]
        seen |= set(packages)
        parts.append(f"## {f'With the extra `{extra}`' if extra else 'Core'}\n")
        rows = [f"| {package.name} | {package.licence.replace('|', '/')} |" for package in new]
        parts.append("\n".join(["| package | licence |", "|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def refused(packages: Iterable[Package]) -> list[Package]:
    """Return those whose terms would bind users; the Lesser GPL, which libraries are used under, isn't one of them."""
    return [p for p in packages if REFUSED.search(LESSER.sub("", p.licence)) and not LESSER.search(p.licence)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    made = page()
    if not parser.parse_args().check:
        PAGE.write_text(made, encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") == made:
        return 0
    print("docs/licences.md isn't up to date: python tools/make_licences.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
