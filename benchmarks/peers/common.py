"""What both peers share: options, the network with its weights, and the closing RESULT line that compare.py reads."""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

BATCH = 32
WORKERS = 2


def parser(about: str | None) -> argparse.ArgumentParser:
    """The options that every peer takes."""
    made = argparse.ArgumentParser(description=about)
    made.add_argument("--data", type=Path, required=True, help="folder with train/ and val/")
    made.add_argument("--model", required=True, help="FILE.py:factory")
    made.add_argument("--weights", type=Path, required=True, help="safetensors file")
    made.add_argument("--seed", type=int, default=0)
    return made


def user_module(model: str) -> tuple[Any, str]:
    """The user's file as a module, and the factory's name."""
    path, _, factory = model.rpartition(":")
    spec = importlib.util.spec_from_file_location("user_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, factory


def build(model: str, weights: Path, classes: int) -> nn.Module:
    """The pre-trained network with a fresh head for `classes`."""
    module, factory = user_module(model)
    network: nn.Module = getattr(module, factory)(num_classes=classes)
    own = network.state_dict()
    given = {k: v for k, v in load_file(weights).items() if k in own and v.shape == own[k].shape}
    left = set(own) - set(given) - {"classifier.weight", "classifier.bias"}
    assert not left, f"no weights for {sorted(left)[:3]}"
    network.load_state_dict(given, strict=False)
    return network


def loaders(data: Path, model: str, *, augment: bool) -> dict[str, DataLoader[Any]]:
    """The tutorial's loaders of train/ and val/; without `augment` both see the plain centre crop."""
    module, _ = user_module(model)
    size = module.INPUT_SIZE[-1]
    last = [transforms.ToTensor(), transforms.Normalize(module.MEAN, module.STD)]
    plain = transforms.Compose([transforms.Resize(size * 8 // 7), transforms.CenterCrop(size), *last])
    varied = transforms.Compose([transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(), *last])
    ways = {"train": varied if augment else plain, "val": plain}
    return {
        part: DataLoader(datasets.ImageFolder(str(data / part), way), BATCH, shuffle=augment and part == "train",
                         num_workers=WORKERS)
        for part, way in ways.items()
    }  # fmt: skip


def result(**values: Any) -> None:
    """Print the line that compare.py reads."""
    print("RESULT " + json.dumps({**values, "threads": torch.get_num_threads()}), flush=True)
