"""Transfer learning as the well-known PyTorch tutorial does it: train an epoch, look at val, keep the best weights.

    plain_loop.py --task head|full|sweep --data DIR --model FILE.py:factory --weights FILE [--fast]

`head` trains the classifier only (10 epochs), `full` everything (5), `sweep` five depths in turn (3 epochs each).
As people run it: two loader workers, batch 32, SGD, fp32. `--fast` switches channels_last and bf16 autocast on by hand.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from common import build, loaders, parser, result
from torch import nn

EPOCHS = {"head": 10, "full": 5, "sweep": 3}
HEAD = -1  # freeze everything but the classifier
SWEEP = (HEAD, 2, 4, 5, 0)  # number of leading stages that are frozen, as in freeze@K


def freeze(model: nn.Module, depth: int) -> None:
    """Freeze the first `depth` of stem, blocks.0, blocks.1, ... (parameters only, as the tutorial does)."""
    stages = [nn.ModuleList([model.conv_stem, model.bn1]), *model.blocks]  # type: ignore[list-item, misc]
    for stage in stages if depth == HEAD else stages[:depth]:
        for parameter in stage.parameters():
            parameter.requires_grad = False


class Loop:
    """One data set and one way of computing, used for several trainings."""

    def __init__(self, parts: dict[str, Iterable[tuple[torch.Tensor, torch.Tensor]]], *, fast: bool) -> None:
        self.parts = parts
        self.fast = fast
        self.steps = 0

    def train(self, model: nn.Module, epochs: int) -> float:
        """Train for some epochs, put the best weights back; returns the best accuracy on val."""
        if self.fast:
            model.to(memory_format=torch.channels_last)
        optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01, momentum=0.9)
        schedule = torch.optim.lr_scheduler.StepLR(optimiser, step_size=7, gamma=0.1)
        best, best_accuracy = copy.deepcopy(model.state_dict()), 0.0
        for _ in range(epochs):
            model.train()
            self._epoch(model, "train", optimiser)
            schedule.step()
            model.eval()
            with torch.no_grad():
                accuracy = self._epoch(model, "val", None)
            if accuracy > best_accuracy:
                best, best_accuracy = copy.deepcopy(model.state_dict()), accuracy
        model.load_state_dict(best)
        return best_accuracy

    def _epoch(self, model: nn.Module, part: str, optimiser: torch.optim.Optimizer | None) -> float:
        right = seen = 0
        for inputs, labels in self.parts[part]:
            if self.fast:
                inputs = inputs.to(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.fast):
                outputs = model(inputs)
            loss = nn.functional.cross_entropy(outputs.float(), labels)
            if optimiser is not None:
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                self.steps += 1
            loss.item()
            right += int((outputs.argmax(1) == labels).sum())
            seen += len(labels)
        return right / seen


def main() -> None:
    """Run one task."""
    options = parser(__doc__)
    options.add_argument("--task", choices=sorted(EPOCHS), required=True)
    options.add_argument("--fast", action="store_true", help="channels_last and bf16 autocast by hand")
    args = options.parse_args()
    torch.manual_seed(args.seed)
    parts = loaders(args.data, args.model, augment=True)
    loop = Loop(parts, fast=args.fast)
    accuracies = {}
    for depth in {"head": (HEAD,), "full": (0,), "sweep": SWEEP}[args.task]:
        model = build(args.model, args.weights, len(parts["train"].dataset.classes))  # type: ignore[attr-defined]
        freeze(model, depth)
        accuracies[depth] = loop.train(model, EPOCHS[args.task])
    result(accuracy=max(accuracies.values()), steps=loop.steps, by_depth=accuracies)


if __name__ == "__main__":
    main()
