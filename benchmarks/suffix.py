"""Training on the store against the bare suffix: what the machinery around forward and backward costs.

`stored` is frostline's own loop for freeze@4 (gather from the store, replay of the network with its prefix left out,
autocast, loss, backward, AdamW, schedule). `bare` is forward and backward of the remaining blocks, taken by hand from
the timm network, on activations that already lie in memory. Prints RESULT {"ratio": ...}; the aim is at most 1.15.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from frostline.base.device import prepare_process

prepare_process()

import torch  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from frostline.base.device import autocast  # noqa: E402
from frostline.base.events import silent  # noqa: E402
from frostline.data.read import read_data  # noqa: E402
from frostline.data.scan import scan  # noqa: E402
from frostline.features.store import Store  # noqa: E402
from frostline.models.depthwise import StridedDepthwise  # noqa: E402
from frostline.pipeline import read_network  # noqa: E402
from frostline.planning.plan_race import want_features  # noqa: E402
from frostline.planning.prepare import make_study, make_trunk, map_network  # noqa: E402
from frostline.recipe.schedule import Length  # noqa: E402
from frostline.recipe.selection import make_recipe  # noqa: E402
from frostline.recipe.settings import Settings  # noqa: E402
from frostline.train.feed import reader  # noqa: E402
from frostline.train.loop import Job, run_phase  # noqa: E402
from frostline.train.start import start_network  # noqa: E402
from frostline.train.study import Study  # noqa: E402

FROZEN, BATCH, EPOCHS = 4, 32, 3


def make(data: Path, weights: Path, store: Path) -> Study:
    """The study of ants_bees that `frostline fit` would make."""
    spec = f"torch:{weights / 'model.py'}:mobilenetv1_075"
    settings = Settings(
        data=data, model=spec, weights=str(weights / "mobilenetv1_075.safetensors"), epochs=EPOCHS, batch_size=BATCH
    )
    network = read_network(settings)
    read = read_data(settings, scan(data), network.preprocess, silent)
    model, stages = map_network(network)
    trunk = make_trunk(settings, network, model, stages, len(read.dataset.development))
    return make_study(settings, read.dataset, read.samples, network, trunk, Store(store))


def prepare(study: Study) -> None:
    """Fill the store, warm both ways up."""
    want_features(study, [make_recipe(f"freeze@{FROZEN}", study.trunk.stages.stages)])
    stored_seconds(study)
    bare_seconds(study)


def stored_seconds(study: Study) -> float:
    """One training run on the store, activations already there."""
    recipe = make_recipe(f"freeze@{FROZEN}", study.trunk.stages.stages)
    model = start_network(study, recipe, 0)
    steps = EPOCHS * study.steps_per_epoch(len(study.development))
    job = Job(
        phase=recipe.phases[0],
        rate=1e-4,
        rows=study.development,
        length=Length(steps),
        block=0,
    )
    read = reader(study, model, recipe.frozen_stages)
    begun = time.perf_counter()
    run_phase(study, model, read, job)
    return time.perf_counter() - begun


def bare_seconds(study: Study) -> float:
    """Forward and backward of the same blocks by hand, as many batches of the same sizes."""
    model: Any = copy.deepcopy(study.trunk.model)
    model.reset_classifier(study.classes)
    tail = torch.nn.Sequential(*model.blocks[FROZEN - 1 :])
    tail.train()
    for module in tail.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval().requires_grad_(False)
    rows, labels = torch.arange(len(study.development)), torch.from_numpy(study.dataset.labels[study.development])
    batches = [(study.features.activations(FROZEN, part, 1), labels[part]) for part in torch.split(rows, BATCH)]
    begun = time.perf_counter()
    for _ in range(EPOCHS):
        for x, y in batches:
            with autocast(study.compute), StridedDepthwise():
                scores = model.forward_head(tail(x))
            torch.autograd.backward(F.cross_entropy(scores.float(), y))
            tail.zero_grad()
    return time.perf_counter() - begun


def main() -> None:
    """Alternate the two, take the medians."""
    shared = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=shared / "ants_bees")
    parser.add_argument("--weights", type=Path, default=shared / "mobilenetv1_075_imagenet")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as store:
        study = make(args.data, args.weights, Path(store))
        prepare(study)
        pairs = [(stored_seconds(study), bare_seconds(study)) for _ in range(args.rounds)]
    stored, bare = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(s / b for s, b in pairs)
    print(f"stored {stored:.2f} s, bare suffix {bare:.2f} s, ratio {ratio:.2f}")
    print("RESULT " + json.dumps({"ratio": round(ratio, 3), "stored_s": round(stored, 3), "bare_s": round(bare, 3)}))


if __name__ == "__main__":
    main()
