"""The network, its frozen stages and the tutorial's loaders, for the peers that are built on PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from common import BATCH, HEAD, WORKERS, Training, user_module
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

Transform = transforms.Compose


def build(model: str, weights: Path | None, classes: int) -> nn.Module:
    """The network with a fresh head for `classes`; without weights, all of it is fresh."""
    module, factory = user_module(model)
    network: nn.Module = getattr(module, factory)(num_classes=classes)
    if weights is None:
        return network
    own = network.state_dict()
    given = {k: v for k, v in load_file(weights).items() if k in own and v.shape == own[k].shape}
    left = set(own) - set(given) - {"classifier.weight", "classifier.bias"}
    assert not left, f"no weights for {sorted(left)[:3]}"
    network.load_state_dict(given, strict=False)
    return network


def begin(args: Any, training: Training, classes: int) -> nn.Module:
    """The network that a training starts from, its frozen stages frozen."""
    network = build(args.model, None if training.scratch else args.weights, classes)
    for stage in frozen_stages(network, training.frozen):
        stage.requires_grad_(False)
    return network.to(memory_format=torch.channels_last) if args.fast else network


def frozen_stages(network: nn.Module, frozen: int) -> list[nn.Module]:
    """The first `frozen` of stem, blocks.0, blocks.1, ... or all of them for HEAD."""
    stages: list[nn.Module] = [nn.ModuleList([network.conv_stem, network.bn1]), *network.blocks]  # type: ignore[list-item, misc]
    return stages if frozen == HEAD else stages[:frozen]


def transformations(model: str, *, augment: bool) -> dict[str, Transform]:
    """The tutorial's for train/ and val/; without `augment` both see the plain centre crop."""
    module, _ = user_module(model)
    size = module.INPUT_SIZE[-1]
    last = [transforms.ToTensor(), transforms.Normalize(module.MEAN, module.STD)]
    plain = Transform([transforms.Resize(size * 8 // 7), transforms.CenterCrop(size), *last])
    varied = Transform([transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(), *last])
    return {"train": varied if augment else plain, "val": plain}


def loaders(data: Path, model: str, *, augment: bool) -> dict[str, DataLoader[Any]]:
    """The tutorial's loaders of train/ and val/."""
    return {
        part: DataLoader(
            datasets.ImageFolder(str(data / part), way), BATCH, shuffle=augment and part == "train", num_workers=WORKERS
        )
        for part, way in transformations(model, augment=augment).items()
    }
