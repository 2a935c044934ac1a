"""What would fail at the end fails at the start: the saved form is tried in another process before anything is run."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cases.small_world import FROSTLINE, frostline
from frostline.base.errors import ModelError
from frostline.models.network import NetworkOptions
from frostline.models.sources import load_network
from frostline.planning import rehearse
from frostline.planning.prepare import map_network
from frostline.planning.understudy import spawn
from frostline.recipe.settings import Settings

Fit = Callable[..., SimpleNamespace]
START = "from pathlib import Path\nimport torch\nfrom torch import nn\nMEAN = STD = 0.5\nINPUT_SIZE = (3, 16, 16)\n"
NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(self.body(x))
"""
MAKE = """
def make():
    m, w = Net(), {0}
    {1}m.load_state_dict(torch.load(w, weights_only=True))
    return m
"""
HERE = "Path(__file__).with_name({0!r})"
HALVED = "return self.fc(self.body(x)) / (1 + Path(__file__).with_name('half').exists())"

# name: the network's file, --weights, what is said, and the hint; {cwd} is the folder that it lies in
REFUSED: dict[str, tuple[str, str | None, str, str]] = {
    "weights beside": (
        START + NET + MAKE.format(HERE.format("w.pth"), ""),
        None,
        "net.py reads {cwd}/w.pth by itself",
        "give --weights {cwd}/w.pth",
    ),
    "weights in the current folder": (
        START + NET + MAKE.format("'w.pth'", ""),
        None,
        "net.py reads w.pth by itself",
        "give --weights w.pth",
    ),
    "weights if they are there": (
        START + NET + MAKE.format(HERE.format("w.pth"), "if w.exists(): "),
        None,
        "net.py loads weights by itself, but finds none",
        "give --weights FILE",
    ),
    "a list of classes": (
        f"{START}CLASSES = {HERE.format('classes.txt')}.read_text().split()\n{NET}make = Net\n",
        "random",
        "net.py reads {cwd}/classes.txt by itself",
        "or into a .py file beside it",
    ),
    "a check of its own": (
        f"{START}assert {HERE.format('half')}.exists(), 'no half'\n{NET}make = Net\n",
        "random",
        "(AssertionError: no half)",
        "from its own Python files alone",
    ),
    "another answer": (
        f"{START}{NET.replace('return self.fc(self.body(x))', HALVED)}make = Net\n",
        "random",
        "answers differently once it is saved and loaded elsewhere",
        "reads something that isn't saved with it",
    ),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, in which the network's own files lie."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    body = nn.Sequential(nn.Conv2d(3, 4, 3))
    state = {f"body.{k}": v for k, v in body.state_dict().items()}
    state |= {f"fc.{k}": v for k, v in nn.Linear(4, 3).state_dict().items()}
    torch.save(state, folder / "w.pth")
    (folder / "classes.txt").write_text("a b c")
    (folder / "half").write_text("")
    return folder


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_saved_with_the_model_is_refused_before_anything_is_written(
    case: str, fit: Fit, squares: Path, here: Path
) -> None:
    text, weights, says, hint = REFUSED[case]
    (here / "net.py").write_text(text)
    words = ["--strategies", "probe,finetune", "--out", here / "run"]
    done = fit(squares, *words, model="torch:net.py:make", weights=weights)
    assert done.code == 2, done.err
    sentence, advice = done.err[done.err.index("error: ") :].splitlines()
    assert says.format(cwd=here) in sentence
    assert hint.format(cwd=here) in advice
    assert "frostline-" not in sentence + advice  # the folder that it was tried in
    assert "race" not in done.err
    assert not (here / "run").exists()


def test_a_module_from_elsewhere_is_refused_by_the_command(here: Path, squares: Path, tmp_path: Path) -> None:
    (here / "helper.py").write_text("WIDTH = 4\n")
    (here / "code").mkdir()
    (here / "code" / "net.py").write_text(f"{START}from helper import WIDTH\n{NET}make = Net\n")
    words = ["fit", squares, "--model", "torch:code/net.py:make", "--weights", "random", "--strategies", "probe"]
    done = subprocess.run(
        [os.path.join(os.path.dirname(FROSTLINE), "python"), "-m", "frostline", *map(str, words)],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "net.py imports helper, which isn't found where the saved model is loaded" in done.stderr
    assert "Put it into that folder, so that it is saved with the model" in done.stderr
    assert not (here / "runs").exists()


def write_parts(folder: Path, kind: str = "ReLU") -> str:
    """Write a network of two files, and return its spec."""
    folder.mkdir(parents=True)
    (folder / "parts.py").write_text(
        f"from torch import nn\ndef body():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.{kind}(), "
        "nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    (folder / "net.py").write_text(
        f"{START}from parts import body\ndef make():\n    return nn.Sequential(body(), nn.Linear(4, 3))\n"
    )
    return f"torch:{folder / 'net.py'}:make"


@pytest.mark.slow
def test_a_network_of_two_files_is_fitted_predicts_and_is_started_from(squares: Path, tmp_path: Path) -> None:
    spec, cache = write_parts(tmp_path / "code"), tmp_path / "cache"
    words = ("--weights", "random", "--strategies", "probe", "--blocks", 2)
    done = frostline("fit", squares, "--model", spec, *words, "--out", "run", cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    image = next(squares.rglob("*.png"))
    (tmp_path / "code").rename(tmp_path / "gone")
    done = frostline("predict", "run", image, "--json", cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 1
    onward = ("fit", squares, "--model", "run:run", "--strategies", "probe", "--blocks", 2, "--out", "next")
    done = frostline(*onward, cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "next" / "model" / "parts.py").is_file()


def test_an_interrupted_run_goes_on_only_with_the_same_files(
    fit: Fit, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = write_parts(tmp_path / "code")
    tried = []
    save = rehearse._save

    def counted(*words: Any) -> None:
        tried.append(1)
        save(*words)

    monkeypatch.setattr(rehearse, "_save", counted)
    words = ["--strategies", "probe", "--blocks", "2", "--out", tmp_path / "run"]

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("frostline.pipeline.run_race", interrupt)
        assert fit(squares, *words, model=spec, weights="random").code == 130
    assert tried == [1]
    rehearse._passed.clear()
    parts = (tmp_path / "code" / "parts.py").read_text()
    (tmp_path / "code" / "parts.py").write_text(parts.replace("ReLU", "GELU"))
    refused = fit(squares, *words, "--resume", model=spec, weights="random")
    assert refused.code == 2
    assert "the network's code" in refused.err
    (tmp_path / "code" / "parts.py").write_text(parts)
    done = fit(squares, *words, "--resume", model=spec, weights="random")
    assert done.code == 0, done.err
    assert tried == [1]  # a run that was begun has passed it


def test_a_process_without_an_answer_is_a_warning(
    fit: Fit, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearse, "spawn", lambda _program: spawn("raise SystemExit(3)"))
    done = fit(squares, "--strategies", "probe", "--blocks", 2, "--out", tmp_path / "run",
               model=write_parts(tmp_path / "code"), weights="random")  # fmt: skip
    assert done.code == 0, done.err
    assert "couldn't be tried" in done.err


def test_a_network_that_repeats_nothing_is_refused() -> None:
    with pytest.raises(Exception, match="other answers each time"):
        rehearse._compare(torch.zeros(3, 2), {"scores": [[0.0, 0.0]] * 3, "repeats": False})
    rehearse._compare(torch.ones(3, 2), {"scores": [[1.0, 1.0 + 1e-7]] * 3, "repeats": True})
    with pytest.raises(Exception, match="answers differently"):
        rehearse._compare(torch.ones(3, 2), {"scores": [[1.0, 1.001]] * 3, "repeats": True})


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_process_never_outlives_the_command(how: signal.Signals, here: Path, squares: Path, tmp_path: Path) -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("this system has no /proc")
    pids = tmp_path / "pids"
    wait = f"import os, time\nopen({str(pids)!r}, 'a').write(f'{{os.getpid()}} ')\n"
    wait += f"while not {HERE.format('half')}.exists():\n    time.sleep(0.1)\n"
    (here / "net.py").write_text(f"{START}{wait}{NET}make = Net\n")
    words = ["fit", squares, "--model", "torch:net.py:make", "--weights", "random", "--strategies", "probe"]
    (tmp_path / "temporary").mkdir()
    command = subprocess.Popen(
        [FROSTLINE, *map(str, words)],
        cwd=here,
        env={
            **os.environ,
            "TMPDIR": str(tmp_path / "temporary"),
            "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "torch"),  # torch makes one in TMPDIR, and leaves it there
        },
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        until = time.monotonic() + 60
        while (not pids.exists() or len(pids.read_text().split()) < 2) and time.monotonic() < until:
            time.sleep(0.1)
        (own, other) = map(int, pids.read_text().split())
        assert Path(f"/proc/{own}/stat").read_text().rpartition(")")[2].split()[1] == str(command.pid)  # its worker
        assert alive(other)
        if how == signal.SIGINT:
            os.killpg(command.pid, how)  # as a terminal does
        else:
            os.kill(command.pid, how)
        command.communicate(timeout=30)
        assert command.returncode == (-how if how == signal.SIGKILL else 130)
    finally:
        command.kill()  # where something above failed
        command.communicate()
    until = time.monotonic() + 10
    while (alive(other) or alive(own)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(other)
    assert not alive(own)
    assert not (here / "runs").exists()
    assert not list((tmp_path / "temporary").iterdir())


def test_an_answer_is_waited_for_no_longer_than_said() -> None:
    sleeper = spawn("import time; time.sleep(60)")
    assert sleeper.wait(0.2) is None
    sleeper.end()
    assert sleeper.process is not None
    assert sleeper.process.returncode == -signal.SIGKILL
    sleeper.end()  # again does no harm


def test_the_mapped_network_is_left_as_it_was_where_no_process_can_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_program: str) -> None:
        raise OSError

    monkeypatch.setattr(rehearse, "spawn", refuse)
    spec = write_parts(tmp_path / "code", "Tanh")
    network = load_network(spec, NetworkOptions(weights="random"))
    model, stages = map_network(network)
    head = model.get_submodule(stages.head.path)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    events: list[str] = []
    with rehearse.Rehearsal(Settings(data=tmp_path, model=spec)) as rehearsal:
        rehearsal.begin(network, model, stages, ["a", "b", "c", "d"])
        rehearsal.finish(lambda event: events.append(event.text))
    assert model.get_submodule(stages.head.path) is head
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert len(events) == 1


def told(raising: Callable[[], object]) -> dict[str, Any]:
    try:
        raising()
    except Exception as error:
        return rehearse._told(error)
    raise AssertionError


def missing_module() -> None:
    try:
        importlib.import_module("nowhere_at_all.x")
    except ImportError as error:
        raise ModelError("code.py fails.") from error


def cannot_read() -> None:
    raise RuntimeError("read_file, read_write_file.cpp:78, [Errno 2] No such file or directory: 'gone.png'")


MISSING: dict[str, tuple[Callable[[], object], tuple[str, str]]] = {
    "torch": (lambda: torch.load("gone.pth"), ("file", "gone.pth")),
    "safetensors": (lambda: load_file("gone.safetensors"), ("file", "gone.safetensors")),
    "numpy": (lambda: np.loadtxt("gone.txt"), ("file", "gone.txt")),
    "h5py": (lambda: h5py.File("gone.h5"), ("file", "gone.h5")),
    "torchvision": (cannot_read, ("file", "gone.png")),
    "a folder": (lambda: os.listdir("gone"), ("file", "gone")),
    "a module": (missing_module, ("module", "nowhere_at_all")),
    "a value": (lambda: [][1], ("error", "IndexError")),
}


@pytest.mark.parametrize("case", MISSING)
def test_what_is_missing_is_told_whichever_library_reads_it(case: str, here: Path) -> None:
    raising, (key, value) = MISSING[case]
    assert told(raising)[key] == value
    assert here == Path.cwd()


@pytest.mark.parametrize(
    ("note", "says", "hint"),
    [
        ({"file": "parts.py"}, "net.py reads parts.py by itself", "`from parts import ...`"),
        ({"file": "w.npz"}, "net.py reads w.npz by itself", "save them as a state_dict"),
        ({"file": "a.json"}, "net.py reads a.json by itself", "Write what it holds into net.py"),
        ({"again": True}, "net.py can't be run a second time in one process (ValueError: no)", "only where"),
        ({}, "net.py fails where the saved model is loaded, in another process and folder (ValueError: no)", "alone"),
    ],
)
def test_each_cause_has_its_sentence(note: dict[str, Any], says: str, hint: str, tmp_path: Path) -> None:
    network = load_network(write_parts(tmp_path / "code"), NetworkOptions(weights="random"))
    found = {"error": "ValueError", "text": "no", "again": False, **note}
    refusal = rehearse._refusal(found, network, tmp_path / "model")
    assert says in refusal.message
    assert hint in refusal.hint


def test_code_that_can_be_run_only_once_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearse, "load_model", lambda *_, **__: SimpleNamespace(model=None, preprocess=None))
    monkeypatch.setattr(rehearse, "_scores", lambda *_: torch.zeros(3, 2))
    (tmp_path / "code.py").write_text("import sys\nassert not hasattr(sys, 'mine')\nsys.mine = 1\n")
    monkeypatch.delattr(sys, "mine", raising=False)
    assert rehearse.answer(tmp_path)["repeats"]
    found = rehearse.answer(tmp_path)
    assert (found["error"], found["again"]) == ("AssertionError", True)
    delattr(sys, "mine")
