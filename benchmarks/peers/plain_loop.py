"""Transfer learning as the well-known PyTorch tutorial does it: train an epoch, look at val, keep the best weights.

As people run it: two loader workers, batch 32, SGD, fp32. `--fast` switches channels_last and bf16 autocast on by hand.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from common import Clock, Training, classes, options, run
from network import begin, loaders
from torch import nn

Parts = dict[str, Iterable[tuple[torch.Tensor, torch.Tensor]]]


class Loop:
    """One data set and one way of computing, used for several trainings."""

    def __init__(self, parts: Parts, *, fast: bool) -> None:
        self.parts = parts
        self.fast = fast

    def train(self, model: nn.Module, epochs: int, clock: Clock) -> float:
        """Train for some epochs, put the best weights back; returns the best accuracy on val."""
        optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01, momentum=0.9)
        schedule = torch.optim.lr_scheduler.StepLR(optimiser, step_size=7, gamma=0.1)
        best, best_accuracy = copy.deepcopy(model.state_dict()), 0.0
        clock.start()
        for _ in range(epochs):
            model.train()
            self._epoch(model, "train", optimiser, clock)
            schedule.step()
            model.eval()
            with torch.no_grad():
                accuracy = self._epoch(model, "val", None, clock)
            if accuracy > best_accuracy:
                best, best_accuracy = copy.deepcopy(model.state_dict()), accuracy
            clock.mark()
        model.load_state_dict(best)
        return best_accuracy

    def _epoch(self, model: nn.Module, part: str, optimiser: torch.optim.Optimizer | None, clock: Clock) -> float:
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
                clock.steps += 1
            loss.item()
            right += int((outputs.argmax(1) == labels).sum())
            seen += len(labels)
        return right / seen


def main() -> None:
    """Run one task."""
    args = options(__doc__).parse_args()
    torch.manual_seed(args.seed)
    loop = Loop(loaders(args.data, args.model, augment=True), fast=args.fast)
    count = len(classes(args.data))

    def train(training: Training, clock: Clock) -> float:
        return loop.train(begin(args, training, count), training.epochs, clock)

    run(args, train)


if __name__ == "__main__":
    main()
