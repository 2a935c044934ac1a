"""Every command and every Python example in the README and the docs runs as it stands there, in their order.

A page's shortest command, and its Python, run in a process of their own; the other commands run in this one.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cases.small_world import frostline as installed
from cases.small_world import write_images
from helpers.in_process import frostline

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").glob("*.md") if p.name != "options.md")]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Comparisons that take minutes on a real machine run for one epoch on two blocks here, large networks on small images,
# and arms of an adaptation for a few steps; nothing else is changed.
QUICK = ("--epochs", "1", "--blocks", "2")
SMALL = ("--size", "32")
STEPS = {"companions": 5, "entropy": 5, "self_train": 5, "surgical": 5}
ELSEWHERE = {"demo"}  # runs in tests/e2e/test_demo.py
AFTER = {"replay.md": "index.md"}  # a page that speaks of another one's run


def commands(page: Path) -> list[list[str]]:
    found = []
    for kind, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if kind in ("", "sh", "bash"):
            joined = text.replace("\\\n", " ")
            found += [shlex.split(line, comments=True) for line in joined.splitlines() if "frostline " in line]
    return [words[1:] for words in found if words and words[0].endswith("frostline")]


def examples(page: Path) -> list[str]:
    return [text for kind, text in FENCE.findall(page.read_text(encoding="utf-8")) if kind == "python"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages speak of: a folder of images, the weights of a network, new and unlabelled images, a label
    map."""
    import torch
    from safetensors.torch import save_file
    from torchvision.models import resnet18

    folder = tmp_path_factory.mktemp("docs")
    for name in ("my-images", "IMAGES"):
        write_images(folder / name, {"ants": 10, "bees": 10})
    write_images(folder / "ANIMALS", {"ants": 6, "bees": 6, "cats": 6, "dogs": 6})
    write_images(folder / "new-images", {".": 2}, seed=3)
    write_images(folder / "UNLABELLED", {".": 20}, seed=4)
    (folder / "new.jpg").write_bytes((folder / "new-images" / "0.png").read_bytes())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(resnet18(weights=None).state_dict(), folder / "resnet18.safetensors")
    (folder / "map.json").write_text('{"ants": ["ant"], "bees": ["bee"]}')
    return folder


def quickened(words: list[str]) -> list[str]:
    """A whole comparison is shortened; what names its own length is left as it stands."""
    long = words[0] == "fit" and not {"--epochs", "--budget"} & set(words)
    probing = "--strategies" in words and words[words.index("--strategies") + 1] == "probe"
    large = "--model" in words and words[words.index("--model") + 1].endswith(":resnet18")
    return [*words, *(QUICK if long and not probing else ()), *(SMALL if large else ())]


@pytest.fixture(scope="module")
def read(world: Path) -> Callable[[Path], None]:
    """Follow a page, and before it the one whose run it speaks of; none is followed twice."""
    done: set[str] = set()

    def follow(page: Path) -> None:
        if page.name in done:
            return
        if page.name in AFTER:
            follow(page.with_name(AFTER[page.name]))
        wanted = [words for words in commands(page) if words[0] not in ELSEWHERE]
        shortest = min(wanted, key=len)
        for words in wanted:
            command, target = _split(words)
            run = installed if words is shortest else frostline
            said = run(*quickened(command), cwd=world, cache=world / "cache")
            assert said.returncode == 0, (shlex.join(words), said.stderr[-400:])
            if target:
                (world / target[0]).write_text(said.stdout, encoding="utf-8")
        done.add(page.name)

    return follow


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=lambda page: page.name)
def test_the_commands_of_a_page_run(page: Path, read: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    for module, steps in STEPS.items():
        monkeypatch.setattr(f"frostline.adapt.{module}.STEPS", steps)
    read(page)


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """A command, and the file that its output goes to (`> FILE`)."""
    place = words.index(">") if ">" in words else len(words)
    return words[:place], words[place + 1 :]


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if examples(p)], ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page: Path, world: Path) -> None:
    code = "\n".join(examples(page))
    for written, run in _PYTHON_QUICK.items():
        code = code.replace(written, run)
    done = subprocess.run([sys.executable, "-c", code], cwd=world, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-600:]


_PYTHON_QUICK = {
    '"resnet18.safetensors"': '"resnet18.safetensors", size=32',
    "size=32)": "size=32, epochs=1, blocks=2)",
    "seed=1)": "seed=1, blocks=2)",
}
