"""docs/licences.md: up to date for the core, complete, and without terms that would bind those who use frostline."""

from __future__ import annotations

import re

import pytest

from tools import make_licences as licences

LISTED = dict(re.findall(r"^\| ([a-z0-9.-]+) \| (.+) \|$", licences.PAGE.read_text(encoding="utf-8"), re.MULTILINE))


def test_the_page_lists_every_dependency_of_the_core_with_its_licence() -> None:
    core = licences.closure(licences.requirements()[""])
    here = {name: package.licence for name, package in core.items()}
    assert {"torch", "pillow", "pydantic"} <= set(here)
    assert here == {name: LISTED.get(name) for name in here}, "python tools/make_licences.py"


@pytest.mark.parametrize("extra", licences.EXTRAS)
def test_the_page_lists_what_every_extra_asks_for(extra: str) -> None:
    asked = {licences.canonical(re.split(r"[<>=! ]", name)[0]) for name in licences.requirements()[extra]}
    assert asked <= set(LISTED)


def test_no_dependency_binds_its_users_or_forbids_commerce() -> None:
    assert not licences.refused(licences.Package(name, licence) for name, licence in LISTED.items())
    assert not [name for name, licence in LISTED.items() if licence in ("not stated", "other")]


@pytest.mark.parametrize(
    ("licence", "is_refused"),
    [
        ("AGPL-3.0-or-later", True),
        ("GNU Affero General Public License v3", True),
        ("GPL-2.0", True),
        ("CC-BY-NC-4.0", True),
        ("free for non-commercial use", True),
        ("Proprietary", True),
        ("LGPL-3.0", False),
        ("MIT AND BSD-3-Clause", False),
    ],
)
def test_such_terms_are_recognised(licence: str, is_refused: bool) -> None:
    assert bool(licences.refused([licences.Package("x", licence)])) is is_refused
