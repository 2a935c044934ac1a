"""What is pre-training on one's own unlabelled pictures worth? Against no pre-training and against supervised sources.

    python benchmarks/pretraining.py [--tasks flowers,digits] [--quick] [--threads 1] [--json FILE]

Two tasks, with settings that were fixed before anything was run (below):

- flowers: the 350 development photos of flowers5 (the folder ../shared/data), a small network at 48 pixels;
- digits: the 797 scans of scikit-learn's digits that the demo doesn't seal, the architecture of `glyphs`.

Each method trains the network once on all development pictures, without their labels. Then 5 and 10 labels a class are
drawn, several times, and `probe` and `finetune` start from it; the sealed part (250 photos; 1,000 scans) tests each
once. Beside them: `scratch`, `probe` of the same network with random weights, which stay as they are, and `probe` and
`finetune` of a network that was trained on labels of other data. Prints a Markdown table: mean accuracy and its
standard deviation over the draws.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from frostline.base.device import prepare_process

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
NETWORK = f"torch:{Path(__file__).with_name('small_colour_net.py')}:small_colour_net"

# Fixed before the first run. Rates aren't tuned: each strategy has one for all starts, and no start has another.
LABELS = (5, 10)  # a class
DRAWS = 4
EPOCHS_UNLABELLED = {"flowers": 60, "digits": 40}
METHODS = {
    "flowers": ("simclr", "vicreg", "rotation", "denoise"),
    "digits": ("simclr", "vicreg", "denoise"),  # a digit that is turned may be another one
}
STEPPED: dict[str, dict[str, Any]] = {
    "finetune": {"epochs": 20, "lr": 1e-3, "batch_size": 16},
    "scratch": {"epochs": 40, "lr": 3e-3, "batch_size": 16},
}


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where a training starts: a model with its options, and the strategies that are run from it."""

    name: str
    model: str
    strategies: tuple[str, ...] = ("probe", "finetune")
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Task:
    """Labelled data with a sealed part, the unlabelled data, and the starts that need no pre-training here."""

    name: str
    data: Any
    unlabelled: Any
    model: str
    starts: tuple[Start, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Sealed accuracies over the draws, of one strategy from one start with so many labels a class."""

    task: str
    start: str
    strategy: str
    labels: int
    accuracies: tuple[float, ...]


def flowers() -> Task:
    """Return the photos; the sources of the supervised transfer read them in their own sizes."""
    resnet = SHARED / "cifar10_resnet20"
    mobilenet = SHARED / "mobilenetv1_075_imagenet"
    folder = SHARED / "flowers5"
    return Task(
        name="flowers",
        data=folder,
        unlabelled=folder,  # its test part is left out by pretrain itself
        model=NETWORK,
        starts=(
            Start(name="no pre-training", model=NETWORK, strategies=("scratch",), options={"weights": "random"}),
            Start(name="random weights", model=NETWORK, strategies=("probe",), options={"weights": "random"}),
            Start(
                name="supervised, CIFAR-10 (ResNet-20)",
                model=f"torch:{resnet / 'model.py'}:cifar10_resnet20",
                options={"weights": str(resnet / "cifar10_resnet20.safetensors")},
            ),
            Start(
                name="supervised, ImageNet (MobileNet at 128 pixels)",
                model=f"torch:{mobilenet / 'model.py'}:mobilenetv1_075",
                strategies=("probe",),
                options={"weights": str(mobilenet / "mobilenetv1_075.safetensors"), "size": 128},
            ),
        ),
        options={"pool_validation": True},
    )


def digits() -> Task:
    """Return the scans."""
    from frostline.demo import digits as scans

    data = scans()
    development = [i for i, part in enumerate(data["split"]) if part == "train"]
    return Task(
        name="digits",
        data=data,
        unlabelled=(data["image"][development], [data["label"][i] for i in development]),  # labels: the monitor's
        model="glyphs",
        starts=(
            Start(name="no pre-training", model="glyphs", strategies=("scratch",), options={"weights": "random"}),
            Start(name="random weights", model="glyphs", strategies=("probe",), options={"weights": "random"}),
            Start(name="supervised, rendered letters (glyphs)", model="glyphs"),
        ),
    )


TASKS = {"flowers": flowers, "digits": digits}


@dataclass(frozen=True, kw_only=True)
class Bench:
    """How all is run; `quick` only tries that everything runs."""

    folder: Path
    threads: int
    quick: bool

    def pretrained(self, task: Task, method: str) -> Start:
        """Train the task's network on its unlabelled pictures."""
        from frostline.pretrain.run import pretrain_network

        began = time.perf_counter()
        epochs = 1 if self.quick else EPOCHS_UNLABELLED[task.name]
        out = self.folder / f"{task.name}-{method}"
        run = pretrain_network(task.unlabelled, task.model, method=method, epochs=epochs, out=out, threads=self.threads)
        last = run.record.curve[-1]
        print(
            f"{task.name} {method}: {epochs} epochs in {time.perf_counter() - began:.0f} s, "
            f"effective rank {last.effective_rank:.3g}, k-NN accuracy {last.knn_accuracy or 0:.3f} "
            f"({run.record.curve[0].knn_accuracy or 0:.3f} at the start), collapsed: {run.record.collapsed}",
            flush=True,
        )
        return Start(name=f"{method}, own pictures", model=run.spec)

    def cells(self, task: Task, start: Start) -> list[Cell]:
        """Test every strategy from a start, for each number of labels."""
        cells = []
        for strategy in start.strategies:
            for labels in LABELS[:1] if self.quick else LABELS:
                draws = range(1 if self.quick else DRAWS)
                accuracies = tuple(self.accuracy(task, start, strategy, labels, seed) for seed in draws)
                cells.append(
                    Cell(task=task.name, start=start.name, strategy=strategy, labels=labels, accuracies=accuracies)
                )
                print(f"{task.name} {start.name} {strategy} {labels}: {shown(accuracies)}", flush=True)
        return cells

    def accuracy(self, task: Task, start: Start, strategy: str, labels: int, seed: int) -> float:
        """Fit one strategy to one draw of labels, and return its accuracy on the sealed part."""
        from frostline.pipeline import fit

        stepped = dict(STEPPED.get(strategy, {}))
        if self.quick and stepped:
            stepped["epochs"] = 1
        out = self.folder / "-".join(["fit", task.name, str(len(list(self.folder.iterdir())))])
        run = fit(
            task.data,
            start.model,
            strategies=strategy,
            labels_per_class=labels,
            seed=seed,
            out=out,
            threads=self.threads,
            store=str(self.folder / "store"),
            **task.options,
            **start.options,
            **stepped,
        )
        return float(run.result.test.accuracy)


def shown(accuracies: Sequence[float]) -> str:
    """Return `0.812 (0.021)`: the mean and the standard deviation over the draws."""
    deviation = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
    return f"{statistics.mean(accuracies):.3f} ({deviation:.3f})"


def table(cells: Sequence[Cell]) -> str:
    """Return the Markdown table, one row a start and strategy."""
    counts = sorted({cell.labels for cell in cells})
    header = ["task", "starts from", "strategy", *(f"{n} labels a class" for n in counts)]
    rows: dict[tuple[str, str, str], dict[int, str]] = {}
    for cell in cells:
        rows.setdefault((cell.task, cell.start, cell.strategy), {})[cell.labels] = shown(cell.accuracies)
    lines = [header, ["---"] * len(header)]
    lines += [
        [task, start, f"`{name}`", *(row.get(n, "") for n in counts)] for (task, start, name), row in rows.items()
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Run the tasks and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="flowers,digits")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    prepare_process(given.threads)
    began = time.perf_counter()
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(folder=Path(folder), threads=given.threads, quick=given.quick)
        for name in given.tasks.split(","):
            task = TASKS[name]()
            starts = [*task.starts, *(bench.pretrained(task, method) for method in METHODS[name])]
            for start in starts:
                cells += bench.cells(task, start)
    if given.json:
        given.json.write_text(json.dumps([asdict(cell) for cell in cells], indent=1) + "\n", encoding="utf-8")
    print(f"\n{table(cells)}\n\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
