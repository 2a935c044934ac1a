"""Killed, starved, told to stop: the installed command loses nothing that was finished, and ends with the same bits."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from cases.small_world import FROSTLINE, NETWORK, frostline, write_images, write_network
from frostline.bundle.runfolder import hashes

pytestmark = pytest.mark.slow

WORDS = (
    "--strategies",
    "probe,freeze@2,freeze@1,finetune",
    "--epochs",
    "2",
    "--blocks",
    "2",
    "--lr",
    "1e-3",
    "--threads",
    "1",
)
# Training every layer on a whole batch asks for more memory than there is; training all but the first ends the process,
# as the system would.
GREEDY = """
    def forward(self, x):
        if self.training and torch.is_grad_enabled() and len(x) > 8:
            if self[0].weight.requires_grad:
                torch.empty(1 << 50)
            elif self[2].weight.requires_grad:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)


def net(width=8):
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Images, a network, and a run that nothing interrupted."""
    root = tmp_path_factory.mktemp("crash")
    data = write_images(root / "data", {"red": 20, "green": 20, "blue": 20})
    spec, weights = write_network(root / "plain")
    made = SimpleNamespace(root=root, data=data, words=("fit", data, *WORDS))
    made.plain = ("--model", spec, "--weights", weights)
    done = frostline(*made.words, *made.plain, "--out", "whole", cwd=root, cache=root / "cache")
    assert done.returncode == 0, done.stderr
    made.whole = root / "whole"
    return made


@contextmanager
def started(world: SimpleNamespace, name: str) -> Iterator[subprocess.Popen[str]]:
    command = [FROSTLINE, *map(str, (*world.words, *world.plain)), "--out", name]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FROSTLINE_CACHE": str(world.root / "cache")}
    with subprocess.Popen(command, cwd=world.root, env=environment, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    assert process.poll() is None, "the command has ended"
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def test_what_interrupts_a_run_changes_nothing(world: SimpleNamespace) -> None:
    """Its worker is killed; another process wants the folder; SIGTERM stops it; the printed command takes it up."""
    out = world.root / "stopped"
    with started(world, "stopped") as process:
        wait_for(lambda: len(list(out.glob(".work/outcomes/*.json"))) >= 2 and bool(workers_of(process)))
        (first,) = workers_of(process)
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: workers_of(process) not in ([], [first]))
        (worker,) = workers_of(process)
        wait_for(lambda: (out / ".work" / "lock").read_text() == f"{worker}\n")
        os.kill(worker, signal.SIGSTOP)
        other = frostline(*world.words, *world.plain, "--out", "stopped", "--resume", cwd=world.root)
        assert other.returncode == 2
        assert f"Another frostline process (process {worker}) is writing in stopped." in other.stderr
        os.kill(worker, signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "signal 9 (SIGKILL)" in told
    assert not Path(f"/proc/{worker}").exists()
    assert told.count("interrupted; to continue:") == 1
    words = shlex.split(told.partition("to continue:")[2].strip().splitlines()[0])
    assert words[0] == "frostline"
    assert words[-1] == "--resume"
    done = frostline(*words[1:], cwd=world.root, cache=world.root / "cache")
    assert done.returncode == 0, done.stderr
    assert hashes(out) == hashes(world.whole)


def test_the_worker_ends_with_the_command(world: SimpleNamespace) -> None:
    with started(world, "ended") as process:
        wait_for(lambda: bool(workers_of(process)))
        (worker,) = workers_of(process)
        process.kill()
        process.wait()
        wait_for(lambda: not Path(f"/proc/{worker}").exists() or not Path(f"/proc/{worker}/cmdline").read_bytes())


def test_trials_without_memory_fail_with_their_reason_and_the_race_goes_on(world: SimpleNamespace) -> None:
    text = "import os, signal, torch\n" + NETWORK.replace("\n\ndef net(width=8):\n", GREEDY)
    spec, weights = write_network(world.root / "greedy", text)
    network = ("--model", spec, "--weights", weights)
    done = frostline(*world.words, *network, "--out", "greedy-run", cwd=world.root, cache=world.root / "cache")
    assert done.returncode == 0, done.stderr
    result = json.loads((world.root / "greedy-run" / "result.json").read_text())
    rows = {row["name"]: row for row in result["strategies"]}
    reasons = {
        "finetune": "finetune needs more memory than there is",
        "freeze@1": "freeze@1 ended the process that ran it, by signal 9 (SIGKILL)",
    }
    for name, reason in reasons.items():
        assert rows[name]["status"] == "failed"
        assert reason in rows[name]["reason"]
        assert "--batch-size" in rows[name]["reason"]
    whole = {row["name"]: row for row in json.loads((world.whole / "result.json").read_text())["strategies"]}
    for name in ("probe", "freeze@2"):
        assert rows[name]["blocks"] == whole[name]["blocks"]
    assert result["verdict"]["strategy"] in ("probe", "freeze@2")
