"""What tests share: the folder of real data (skipped with a reason where absent) and a cache of their own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported anywhere
os.environ["HF_HUB_OFFLINE"] = "1"
if WORKER := os.environ.get("PYTEST_XDIST_WORKER", ""):
    # Two threads of each of several workers would wait for each other most of the time: a worker, and all that it
    # starts, has one core.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(WORKER.removeprefix("gw")) % len(cores)]})

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No test reads or fills the user's store and list of trusted code."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["FROSTLINE_CACHE"] = str(folder)
    return folder


@pytest.fixture(autouse=True)
def one_thread_a_worker() -> None:
    """A test before may have set more threads."""
    if WORKER:
        import torch

        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images, texts and weights."""
    if not SHARED.is_dir():
        pytest.skip("the folder of shared data is not beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def mobilenet(shared: Path) -> tuple[str, str]:
    """Spec and weights of the real MobileNet."""
    folder = shared / "mobilenetv1_075_imagenet"
    return f"torch:{folder / 'model.py'}:mobilenetv1_075", str(folder / "mobilenetv1_075.safetensors")


@pytest.fixture(scope="session")
def few_images(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """A folder with N real ants and N bees, drawn from the front of each class."""

    def make(count: int) -> Path:
        root = tmp_path_factory.mktemp(f"few{count}")
        for name in ("ants", "bees"):
            (root / name).mkdir()
            for file in sorted((shared / "ants_bees" / "train" / name).iterdir())[:count]:
                shutil.copy(file, root / name)
        return root

    return make


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Folders that take seconds to make: each is made once for all the processes that tests run in, and only read."""
    root = tmp_path_factory.getbasetemp()
    if WORKER:
        root = root.parent

    def folder(name: str, make: Callable[[Path], object]) -> Path:
        made = root / "once" / name
        made.parent.mkdir(exist_ok=True)
        with FileLock(f"{made}.lock"):
            if not Path(f"{made}.done").exists():
                make(made)
                Path(f"{made}.done").touch()
        return made

    return folder


@pytest.fixture(scope="session")
def demo_run(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """RUN folder of a small demo: seven strategies with a forecast, a learning curve and mistakes."""
    from helpers.report_runs import write_demo

    return made_once("demo", write_demo)


@pytest.fixture(scope="session")
def trained_run(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """RUN folder of the demo with one strategy that trains some stages: the same sealed scans, another answer."""
    from helpers.report_runs import write_demo

    return made_once("trained", lambda out: write_demo(out, "freeze@2"))
