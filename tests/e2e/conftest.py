"""What the end-to-end tests share."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from cases.small_world import write_images, write_network
from frostline.cli.main import main

Fit = Callable[..., SimpleNamespace]


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return write_network(tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("squares"), {"reddish": 12, "greenish": 12})


@pytest.fixture(scope="session")
def fit(network: tuple[str, str]) -> Fit:
    """`frostline fit DATA --model .. --weights ..` in this process; `weights=None` leaves that option out."""

    def run(data: Path, *words: object, model: str = network[0], weights: str | None = network[1]) -> SimpleNamespace:
        given = ["fit", data, "--model", model, *(["--weights", weights] if weights else []), "--plain", *words]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(word) for word in given])
        return SimpleNamespace(code=code, out=out.getvalue(), err=err.getvalue())

    return run
