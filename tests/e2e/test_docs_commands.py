"""Every command and every Python example in the README and the docs runs as it stands there, in their order."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cases.small_world import frostline, write_images

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").glob("*.md") if p.name != "options.md")]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Comparisons that take minutes on a real machine run for one epoch on two blocks here; nothing else is changed.
QUICK = ("--epochs", "1", "--blocks", "2")
ELSEWHERE = {"demo"}  # runs in tests/e2e/test_demo.py


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
    return [*words, *QUICK] if long and not probing else words


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_run(page: Path, world: Path) -> None:
    for words in commands(page):
        if words[0] in ELSEWHERE:
            continue
        command, target = _split(words)
        done = frostline(*quickened(command), cwd=world, cache=world / "cache")
        assert done.returncode == 0, (shlex.join(words), done.stderr[-400:])
        if target:
            (world / target[0]).write_text(done.stdout, encoding="utf-8")


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """A command, and the file that its output goes to (`> FILE`)."""
    place = words.index(">") if ">" in words else len(words)
    return words[:place], words[place + 1 :]


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if examples(p)], ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page: Path, world: Path) -> None:
    code = "\n".join(examples(page)).replace('"resnet18.safetensors")', f'"resnet18.safetensors", {_PYTHON_QUICK})')
    done = subprocess.run([sys.executable, "-c", code], cwd=world, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-600:]


_PYTHON_QUICK = "epochs=1, blocks=2"
