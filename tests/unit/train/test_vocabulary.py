"""Every strategy of the catalogue on three kinds of network: what trains, what stays frozen, and what reloads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from frostline.base.errors import RecipeError
from frostline.base.records import ClassMap
from frostline.base.seeds import derive_seed
from frostline.bundle.predict import predict_samples
from frostline.bundle.saved import LoadedModel, save_model
from frostline.data.decode import Images
from frostline.models.kinds import NORMS
from frostline.models.network import NetworkOptions
from frostline.models.sources import load_network
from frostline.planning.choose import check_applicable
from frostline.planning.plan_race import want_features
from frostline.planning.prepare import make_study, make_trunk, map_network
from frostline.recipe.catalogue import CATALOGUE
from frostline.recipe.recipe import Recipe
from frostline.recipe.selection import make_recipe
from frostline.train.audit import ALL_FROZEN, promise
from frostline.train.refit import REFIT, RefitResult, TunedValues, refit
from frostline.train.start import start_network
from frostline.train.study import Study
from helpers.data_makers import images_of
from helpers.train_studies import SETTINGS, dataset

Networks = dict[str, tuple[str, NetworkOptions]]
NETWORKS: Networks = {
    "BatchNorm": ("glyphs", NetworkOptions()),
    "depthwise": ("torchvision:shufflenet_v2_x0_5", NetworkOptions(weights="random", size=32)),
    "transformer": (
        "timm:vit_tiny_patch16_224",
        NetworkOptions(
            weights="random",
            size=32,
            model_args={"img_size": 32, "depth": 3, "embed_dim": 48, "num_heads": 3, "proj_drop_rate": 0.1},
        ),
    ),
}
NO_BIAS = ("BatchNorm", "depthwise")  # their only biases are BatchNorm's shifts
RELOAD = """
import sys
from pathlib import Path

import numpy as np
import torch
from frostline.bundle.predict import predict_samples
from frostline.bundle.saved import load_model
from frostline.data.images import Writer

torch.set_num_threads(1)
for root in map(Path, sys.argv[1:]):
    arrays = np.load(root / "images.npy")
    writer = Writer(arrays.size, None)
    for array in arrays:
        writer.add(array)
    images = writer.finish()
    for folder in sorted(root.glob("*@*")):
        probabilities = predict_samples(load_model(folder, device="cpu"), images)
        print(folder, np.array_equal(probabilities, np.load(folder / "expected.npy")))
"""


def study_of(name: str) -> tuple[Study, Images]:
    """14 development rows in batches of 4 for two epochs, and the images of all samples."""
    torch.set_num_threads(1)
    network = load_network(*NETWORKS[name])
    model, stages = map_network(network)
    rng, data, side = np.random.default_rng(0), dataset(14), network.preprocess.resize
    shape = (side, side + 3, network.preprocess.channels)
    images = images_of(
        [np.clip(rng.normal(90 + 70 * s.label, 40, shape), 0, 255).astype(np.uint8) for s in data.samples]
    )
    trunk = make_trunk(SETTINGS, network, model, stages, 14)
    made = make_study(SETTINGS, data, images, network, trunk, None)
    outputs = stages.head.out_features
    classes = ClassMap(source=tuple(map(str, range(outputs))), groups=((0, 3), (1,)))
    return replace(made, class_map=classes), images


def recipes(made: Study) -> dict[str, Recipe]:
    """Each strategy, K in the middle."""
    stages = made.stages.stages
    cuttable = [s.index for s in stages if s.cuttable]
    names = [name.replace("@K", f"@{cuttable[len(cuttable) // 2 - 1]}") for name in CATALOGUE if name != "baseline"]
    return {name: make_recipe(name, stages) for name in names}


def tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def changed_tensors(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


def own(model: nn.Module, wanted: Callable[[nn.Module, str], bool]) -> set[str]:
    """Parameters for which `wanted(module, own name)`."""
    return {
        f"{prefix}.{name}"
        for prefix, module in model.named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if wanted(module, name)
    }


BY_HAND: dict[str, Callable[[nn.Module, str], bool]] = {  # what a partial strategy trains before the head
    "norm": lambda m, _: isinstance(m, NORMS),
    "bias": lambda m, n: n == "bias" and not isinstance(m, nn.BatchNorm2d),
    "lora": lambda m, n: n == "weight" and isinstance(m, (nn.Linear, nn.Conv2d)),
}


def check_changes(made: Study, recipe: Recipe, fitted: RefitResult) -> None:
    """Independent of the audit: tensors compared one by one with the pre-trained network and with the start."""
    start, final = start_network(made, recipe, REFIT), fitted.saved.model
    before, after, trunk = tensors(start), tensors(final), tensors(made.trunk.model)
    if recipe.solver == "stepped":
        changed = changed_tensors(before, after)
        promised = promise(start, made.stages, recipe)
        assert changed == promised.trained | promised.updated, recipe.name
        assert fitted.audit.trained_tensors == fitted.audit.trained_changed > 0
        head = {n for n in after if made.stages.head.owns(n)}
        if recipe.partial:
            assert changed - head == own(made.trunk.model, BY_HAND[recipe.kind]) - head, recipe.name
    else:
        assert promise(start, made.stages, recipe) == ALL_FROZEN
    place = made.stages.parameter_stages
    fresh = tensors(made.network.build(derive_seed(made.seed, "initialise", REFIT)))
    for name, tensor in before.items():
        stage = max(place.get(name, (0,)), default=0)
        if not 1 <= stage <= recipe.keep or name not in trunk:
            continue
        source = trunk if recipe.origins[stage - 1] == "pretrained" else fresh
        assert torch.equal(tensor, source[name]), (recipe.name, name)
        if not any(phase.stages[stage - 1].trained for phase in recipe.phases):
            assert torch.equal(after[name], trunk[name]), (recipe.name, name)
    assert fitted.audit.frozen_tensors == fitted.audit.frozen_unchanged


def save(folder: Path, fitted: RefitResult, images: Images) -> None:
    done = fitted.saved
    save_model(folder, done)
    loaded = LoadedModel(
        model=done.model,
        preprocess=done.network.preprocess,
        classes=tuple(done.classes),
        compute=done.compute,
        recipe={},
    )
    np.save(folder / "expected.npy", predict_samples(loaded, images))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Fit, check and save every strategy of a network; returns the folder of the saved models."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            root = tmp_path_factory.mktemp(name)
            fit_and_check(name, root)
            made[name] = root
        return made[name]

    return folder


def fit_and_check(name: str, root: Path) -> None:
    made, images = study_of(name)
    every = recipes(made)
    want_features(made, list(every.values()))
    if name in NO_BIAS:
        with pytest.raises(RecipeError, match="bias can't run: the network has no bias") as refused:
            check_applicable(SETTINGS, [every["bias"]], made.trunk.model, made.stages)
        assert "Use norm" in refused.value.hint
        del every["bias"]
    check_applicable(SETTINGS, list(every.values()), made.trunk.model, made.stages)
    trunk = {n: t.clone() for n, t in tensors(made.trunk.model).items()}
    for strategy, recipe in every.items():
        fitted = refit(made, recipe, TunedValues(rate=1e-4, mix=0.5))
        if not recipe.interpolated:  # which has no start of its own to compare with
            check_changes(made, recipe, fitted)
        save(root / f"{strategy.replace('@', '-')}@", fitted, images)
    assert not changed_tensors(trunk, tensors(made.trunk.model))
    np.save(root / "images.npy", np.stack([images[i] for i in range(len(images))]))
    assert len(list(root.glob("*@*"))) == len(every)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_strategy_changes_what_it_says(name: str, saved: Callable[[str], Path]) -> None:
    saved(name)


@pytest.mark.slow
def test_every_saved_model_answers_alike_in_another_process(saved: Callable[[str], Path]) -> None:
    roots = [saved(name) for name in NETWORKS]
    done = subprocess.run([sys.executable, "-c", RELOAD, *map(str, roots)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{path} True" for root in roots for path in sorted(root.glob("*@*"))]
