"""Valid runs, saved models and files of weights to begin with: made once, of networks that train in a second."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from cases.small_world import write_images, write_network
from frostline.base.events import Emit, Event
from frostline.cli.main import main

CLASSES = {"red": 14, "green": 14, "blue": 14}


class _StopError(Exception):
    """Ends a run half-way, as a crash would."""


def command(*words: object) -> None:
    """Run a command line in this process; RuntimeError where it fails."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*(str(word) for word in words), "--threads", "1"])
    if code:
        raise RuntimeError(err.getvalue())


def images(folder: Path, counts: dict[str, int] = CLASSES, seed: int = 0) -> Path:
    """A folder of small images."""
    return write_images(folder, counts, seed)


def small_network(folder: Path) -> tuple[str, ...]:
    """A network of five thin stages, as options of a command."""
    spec, weights = write_network(folder)
    return ("--model", spec, "--weights", weights)


def finished_run(folder: Path, model: Sequence[str] = ("--model", "glyphs")) -> Path:
    """The RUN folder of a comparison of four strategies, by default on the built-in network."""
    data = images(folder.with_name(f"{folder.name}-data"))
    strategies = "baseline,probe,freeze@2,finetune"
    command(
        *("fit", data, *model, "--strategies", strategies, "--epochs", 2, "--batch-size", 8),
        *("--out", folder, "--store", "off", "--abstain", 0.9),
    )
    return folder


def studies(folder: Path, run: Path) -> None:
    """A RUN folder of each other kind: curve, rank, shift, adapt and pretrain."""
    data = images(folder.with_name(f"{folder.name}-data"))
    other = images(folder.with_name(f"{folder.name}-other"), dict.fromkeys(CLASSES, 9), seed=3)
    command("curve", data, "--model", "glyphs", "--epochs", 1, "--out", folder / "curve", "--store", "off")
    command("rank", data, "--models", "glyphs,glyphs=random", "--out", folder / "rank", "--store", "off")
    command("shift", data, other, "--model", "glyphs", "--out", folder / "shift")
    command("adapt", other, "--model", f"run:{run}", "--out", folder / "adapt")
    command("pretrain", data, "--model", "glyphs", "--epochs", 1, "--out", folder / "pretrain")


@contextlib.contextmanager
def interrupted() -> Iterator[None]:
    """Within it a run that :func:`after` stops ends as a crash would end it."""
    with contextlib.suppress(_StopError):
        yield


def after(kind: str, count: int) -> Emit:
    """A listener that stops a run at the event of that kind and number."""
    seen = 0

    def emit(event: Event) -> None:
        nonlocal seen
        seen += event.kind == kind
        if seen >= count:
            raise _StopError

    return emit


def without_pages(folder: Path) -> None:
    """Leave out what takes room and is never read."""
    for page in (*folder.rglob("*.html"), *folder.rglob("*.log")):
        page.unlink()
    for data in folder.glob("*-data"):
        shutil.rmtree(data)
