"""The network's map takes most of a small fit and is always the same: it is made once."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.estimator_data import spec_and_weights
from helpers.in_process import rehearsals


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return spec_and_weights(tmp_path_factory.mktemp("network"))


@pytest.fixture(autouse=True)
def one_map(monkeypatch: pytest.MonkeyPatch, maps: dict[str, Any]) -> None:
    module = sys.modules["frostline.pipeline"]
    real = module.map_network

    def once(network: Any, stages: Any = None) -> Any:
        if network.fingerprint not in maps:
            maps[network.fingerprint] = real(network, stages)
        return copy.deepcopy(maps[network.fingerprint])

    monkeypatch.setattr(module, "map_network", once)


@pytest.fixture(scope="module", autouse=True)
def quick_rehearsals() -> Iterator[None]:
    with rehearsals():
        yield


@pytest.fixture(scope="session")
def maps() -> dict[str, Any]:
    return {}


@pytest.fixture(scope="session", autouse=True)
def few_threads() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def options(network: tuple[str, str], tmp_path: Path) -> dict[str, Any]:
    """A fit that takes a tenth of a second."""
    return {
        "model": network[0],
        "weights": network[1],
        "strategies": "probe",
        "augment": "none",
        "threads": 1,
        "store": "off",
        "device": "cpu",
    }
