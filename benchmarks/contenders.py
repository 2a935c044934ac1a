"""Who is compared with whom: the command lines of every task, at equal steps, and the targets (DESIGN section 7)."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
STEPPED = ("--lr", "3e-4", "--batch-size", "32")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Data, network and a scratch folder of one comparison."""

    data: Path  # train/ and val/
    halved: Path  # the same pictures with val/ halved into val/ and test/
    model: Path
    factory: str
    weights: Path
    scratch: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One command of a task. `frostline` marks our own, the others are what it is compared with."""

    task: str
    name: str
    command: tuple[str, ...]
    frostline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A ratio of two contenders that should stay at or below a limit."""

    row: int  # of the table in DESIGN section 7
    what: str
    task: str
    of: str
    against: str
    field: str  # 'wall' or 'anonymous_mb'
    limit: float | None  # None: told, not judged


TARGETS = (
    Target(row=1, what="head only", task="head", of="frostline", against="plain", field="wall", limit=1 / 5),
    Target(row=1, what="head only", task="head", of="frostline", against="plain fast", field="wall", limit=None),
    Target(row=1, what="head only, without views and tuning", task="head", of="frostline", against="timm+sklearn",
           field="wall", limit=None),
    Target(row=2, what="full fine-tuning", task="full", of="frostline", against="plain", field="wall", limit=1 / 3),
    Target(row=2, what="full fine-tuning", task="full", of="frostline", against="plain fast", field="wall", limit=None),
    Target(row=3, what="freeze sweep", task="sweep", of="frostline", against="plain", field="wall", limit=1 / 3),
    Target(row=3, what="freeze sweep", task="sweep", of="frostline", against="plain fast", field="wall", limit=None),
    Target(row=5, what="whole runs, stored and not", task="twin", of="frostline", against="store off", field="wall",
           limit=None),
    Target(row=7, what="anonymous memory, head", task="head", of="frostline", against="plain", field="anonymous_mb",
           limit=1.5),
    Target(row=7, what="anonymous memory, full", task="full", of="frostline", against="plain", field="anonymous_mb",
           limit=1.5),
    Target(row=7, what="anonymous memory, sweep", task="sweep", of="frostline", against="plain", field="anonymous_mb",
           limit=1.5),
)  # fmt: skip


def contenders(case: Case, task: str) -> list[Contender]:
    """The commands of one task, ours first."""
    ours = {
        "head": (case.data, ("--strategies", "probe")),
        "full": (case.data, ("--strategies", "finetune", "--epochs", "5", *STEPPED)),
        "sweep": (
            case.halved,
            ("--strategies", "probe,freeze@2,freeze@4,freeze@5,finetune", "--epochs", "3", *STEPPED),
        ),
        "twin": (case.halved, ("--strategies", "freeze@4,freeze@5", "--epochs", "10", *STEPPED)),
    }
    data, options = ours[task]
    stored = ("--store", str(case.scratch / "store"))
    made = [_frostline(case, task, "frostline", data, (*options, *stored))]
    if task == "twin":
        return [*made, _frostline(case, task, "store off", data, (*options, "--store", "off"))]
    peer_data = case.halved if task == "sweep" else case.data
    made += [_peer(case, task, "plain", peer_data, ("plain_loop.py", "--task", task)),
             _peer(case, task, "plain fast", peer_data, ("plain_loop.py", "--task", task, "--fast"))]  # fmt: skip
    if task == "head":
        made.append(_peer(case, task, "timm+sklearn", peer_data, ("timm_sklearn.py",)))
    return made


def _frostline(case: Case, task: str, name: str, data: Path, options: tuple[str, ...]) -> Contender:
    network = ("--model", f"torch:{case.model}:{case.factory}", "--weights", str(case.weights))
    command = (sys.executable, "-m", "frostline", "fit", str(data), *network, *options,
               "--out", str(case.scratch / "run"), "--plain")  # fmt: skip
    return Contender(task=task, name=name, command=command, frostline=True)


def _peer(case: Case, task: str, name: str, data: Path, script: tuple[str, ...]) -> Contender:
    command = (sys.executable, str(HERE / "peers" / script[0]), *script[1:], "--data", str(data),
               "--model", f"{case.model}:{case.factory}", "--weights", str(case.weights))  # fmt: skip
    return Contender(task=task, name=name, command=command)


def halve_validation(data: Path, target: Path) -> None:
    """Copy train/ as it is and deal the pictures of val/ in turn to val/ and test/."""
    shutil.copytree(data / "train", target / "train")
    for folder in sorted(p for p in (data / "val").iterdir() if p.is_dir()):
        for index, picture in enumerate(sorted(folder.iterdir())):
            place = target / ("val", "test")[index % 2] / folder.name
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, place)
