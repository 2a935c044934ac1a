"""A small network from each source with its weights in a file, every strategy run on it, and what came of the tensors.

What is expected is told from the file that the source read and from gradients through the prefix, not from the stage
map, the promise or the audit that the run itself goes by.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from e2e_world import write_network, write_pictures
from hf_folders import write_picture_network, write_sentences, write_text_network
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from frostline.base.clock import Clock
from frostline.base.device import apply_threads, default_threads
from frostline.base.errors import RecipeError
from frostline.bundle.predict import Bundle
from frostline.bundle.saved import Loaded, save_model
from frostline.fit import prepare
from frostline.models.kinds import NORMS
from frostline.models.network import example_call
from frostline.models.split import run_to
from frostline.recipe.catalogue import CATALOGUE, Choices, make_recipe
from frostline.recipe.recipe import Recipe
from frostline.recipe.settings import Settings
from frostline.report.write import Journal
from frostline.train.choose import check_applicable
from frostline.train.prepare import want_features
from frostline.train.refit import Fitted, Found, refit
from frostline.train.study import Study

NO_HEAD = "the network has no classes of its own"
PICTURE_CLASSES, TEXT_CLASSES = ("greenish", "reddish"), ("question", "statement")
POLICIES = ("statistics", "affine", "all")  # BatchNorm policies besides the default
RATE = 1e-3
NETWORK = """
from torch import nn

MEAN, STD, INPUT_SIZE = 0.5, 0.25, (3, 16, 16)


def block(cin, cout):
    return nn.Sequential(nn.Conv2d(cin, cout, 3, 1, 1), nn.BatchNorm2d(cout), nn.ReLU())


def net():
    return nn.Sequential(block(3, 8), block(8, 8), block(8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
"""


@dataclass(frozen=True, kw_only=True)
class Given:
    """What is typed for a network, and the tensors of its file under the network's own names."""

    model: str
    tensors: Callable[[], Mapping[str, Tensor]]
    outputs: int  # classes of its own head
    options: Mapping[str, Any] = field(default_factory=dict)
    text: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """One strategy on one source: counts of tensors, and what is wrong (nothing, it is hoped)."""

    source: str
    strategy: str
    frozen: int
    moved: int
    wrong: tuple[str, ...]
    folder: Path


def by_torch_file(folder: Path) -> Given:
    spec, weights = write_network(folder, NETWORK)
    return Given(model=spec, options={"weights": weights}, tensors=lambda: load_file(weights), outputs=5)


def from_library(spec: str, folder: Path, *, size: int, **arguments: Any) -> Given:
    """A network of timm or torchvision with random weights, in which no BatchNorm is the identity, in a file."""
    library, _, name = spec.partition(":")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = _made(library, name, arguments)
        _shake(model)
    file = str(folder / "w.safetensors")
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, file)
    options = {"weights": file, "size": size, "model_args": arguments}
    outputs = list(model.parameters())[-1].shape[0]
    return Given(model=spec, options=options, tensors=lambda: load_file(file), outputs=outputs)


def _made(library: str, name: str, arguments: Mapping[str, Any]) -> nn.Module:
    if library == "timm":
        import timm

        return timm.create_model(name, pretrained=False, **arguments)
    from torchvision import models

    quiet = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return models.get_model(name, weights=None, **quiet, **arguments)


def _shake(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)


def hf_picture(folder: Path) -> Given:
    write_picture_network(folder)
    return Given(model=f"hf:{folder}", tensors=lambda: load_file(folder / "model.safetensors"), outputs=2)


def hf_text(folder: Path) -> Given:
    write_text_network(folder, labels=TEXT_CLASSES)
    return Given(model=f"hf:{folder}", tensors=lambda: load_file(folder / "model.safetensors"), outputs=2, text=True)


def hf_encoder(folder: Path) -> Given:
    """An encoder: it has no classes of its own, so as-is and continue don't apply."""
    write_text_network(folder)

    def tensors() -> Mapping[str, Tensor]:
        return {f"encoder.{k}": v for k, v in load_file(folder / "model.safetensors").items()}

    return Given(model=f"hf:{folder}", tensors=tensors, outputs=0, text=True)


def keras_name(folder: Path, name: str = "MobileNet", *, size: int = 32, **arguments: Any) -> Given:
    from frostline.models.sources.keras_library import building, import_keras

    keras = import_keras()
    with building(keras):
        model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), **arguments)
        shake_keras(model)
    file = folder / "w.weights.h5"
    model.save_weights(file)
    options = {"weights": str(file), "size": size, "model_args": arguments}
    return Given(model=f"keras:{name}", options=options, tensors=lambda: KerasTensors(model),
                 outputs=int(model.output_shape[-1]))  # fmt: skip


def keras_file(folder: Path) -> Given:
    from frostline.models.sources.keras_library import building, import_keras

    keras = import_keras()
    layers = keras.layers
    with building(keras):
        i = keras.Input((16, 16, 3))
        x = layers.Rescaling(1 / 127.5, offset=-1)(i)
        for k in range(1, 4):
            y = layers.Conv2D(8, 3, padding="same", name=f"block{k}_conv")(x)
            y = layers.ReLU(name=f"block{k}_relu")(layers.BatchNormalization(name=f"block{k}_bn")(y))
            x = y if k == 1 else layers.Add(name=f"block{k}_add")([x, y])
        x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
        model = keras.Model(i, layers.Dense(4, activation="softmax", name="predictions")(x))
        shake_keras(model)
    model.save(folder / "own.keras")
    return Given(model=f"keras:{folder / 'own.keras'}", tensors=lambda: KerasTensors(model), outputs=4)


def shake_keras(model: Any) -> None:
    """Moving statistics that tell something."""
    generator = torch.Generator().manual_seed(0)
    for v in model.weights:
        if v.name == "moving_variance":
            v.assign(torch.rand(v.shape, generator=generator) * 0.4 + 0.8)
        elif v.name in ("moving_mean", "beta"):
            v.assign(torch.randn(v.shape, generator=generator) * 0.1)


class KerasTensors(dict[str, Tensor]):
    """A Keras model's variables under the names and in the shapes that torch has for them: asked for by name."""

    NAMES = {"weight": ("kernel", "gamma"), "bias": ("bias", "beta"), "running_mean": ("moving_mean",),
             "running_var": ("moving_variance",)}  # fmt: skip

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.layers = {layer.name: {v.name: v.value for v in layer.weights} for layer in model.layers}

    def __missing__(self, name: str) -> Tensor:
        *_, layer, own = name.split(".")
        found = self.layers[layer]
        key = next(k for k in self.NAMES[own] if k in found)
        value = found[key].detach().cpu()
        if value.ndim == 2:
            return value.t()
        if value.ndim < 4:
            return value
        depthwise = value.shape[3] == 1 and value.shape[2] > 1 and ("_dw" in layer or "depthwise" in layer)
        return value.permute(2, 3, 0, 1).reshape(-1, 1, *value.shape[:2]) if depthwise else value.permute(3, 2, 0, 1)


SOURCES: dict[str, Callable[[Path], Given]] = {
    "torch: a file": by_torch_file,
    "timm: resnet": lambda f: from_library("timm:test_resnet", f, size=32, num_classes=6),
    "timm: vit": lambda f: from_library("timm:test_vit", f, size=32, num_classes=6, img_size=32),
    "torchvision: shufflenet": lambda f: from_library("torchvision:shufflenet_v2_x0_5", f, size=32, num_classes=6),
    "hf: pictures": hf_picture,
    "hf: texts": hf_text,
    "hf: an encoder": hf_encoder,
    "keras: a name": lambda f: keras_name(f, alpha=0.25, classes=6),
    "keras: a file": keras_file,
}


LARGE: dict[str, Callable[[Path], Given]] = {  # by the benchmark only
    "keras: ResNet50": lambda f: keras_name(f, "ResNet50", size=64),
    "keras: MobileNetV2": lambda f: keras_name(f, "MobileNetV2", size=64, classes=6),
}


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A source ready to run: its study as `frostline fit` makes it, the recipes (K in the middle) by what they are
    called here, and what can't run with the reason."""

    given: Given
    study: Study
    inputs: list[str]  # what is predicted to compare outputs: files or texts
    recipes: dict[str, Recipe]
    skipped: dict[str, str]


def prepared(given: Given, folder: Path) -> Prepared:
    """Every strategy of the catalogue, and fine-tuning under each BatchNorm policy."""
    options, inputs = _options(given, folder)
    names = ("finetune", "as-is") if given.outputs else ("finetune",)
    settings = Settings(**options, strategies=names)
    study = prepare(settings, None, Clock(), Journal(lambda _event: None)).study
    stages, model = study.trunk.stages, study.trunk.model
    cuts = [s.index for s in stages.stages if s.cuttable]
    k = cuts[(len(cuts) - 1) // 2]
    recipes, skipped = {}, {}
    for name in (n.replace("@K", f"@{k}") for n in CATALOGUE if n != "baseline"):
        recipes[name] = make_recipe(name, stages.stages)
    if any(isinstance(m, _BatchNorm) for m in model.modules()):
        more = {f"finetune, {p}": make_recipe("finetune", stages.stages, Choices(batchnorm=p)) for p in POLICIES}
        recipes |= more
    for name, recipe in list(recipes.items()):
        try:
            check_applicable(replace(settings, source_classes=None), [recipe], model, stages)
        except RecipeError as error:
            skipped[name] = error.message
        if recipe.head_kind == "mapped" and not given.outputs:
            skipped[name] = NO_HEAD
    kept = {n: r for n, r in recipes.items() if n not in skipped}
    return Prepared(given=given, study=study, inputs=inputs, recipes=kept, skipped=skipped)


def _options(given: Given, folder: Path) -> tuple[dict[str, Any], list[str]]:
    folder.mkdir(parents=True, exist_ok=True)
    classes = TEXT_CLASSES if given.text else PICTURE_CLASSES
    if given.text:
        data = write_sentences(folder / "sentences.csv", 24)
        inputs = ["who is the dog ?", "the red house", "a cat", "what is green ?"]
    else:
        data = write_pictures(folder / "pictures", dict.fromkeys(classes, 10))
        inputs = [str(file) for file in sorted(data.rglob("*.png"))[::4]]
    options = {"data": data, "model": given.model, "epochs": 2, "batch_size": 4, "precision": "fp32", "device": "cpu",
               "store": "off", **given.options}  # fmt: skip
    if given.outputs:
        options["source_classes"] = folder / "classes.txt"
        names = [*classes[::-1], *(f"other {i}" for i in range(given.outputs - len(classes)))]
        options["source_classes"].write_text("\n".join(names), encoding="utf-8")
    return options, inputs


def run_all(name: str, made: Prepared, folder: Path) -> list[Row]:
    """Refit every recipe on all development rows, save it, and compare tensor by tensor with the source's file."""
    study, rows = made.study, []
    want_features(study, list(made.recipes.values()))
    tensors = made.given.tensors()
    for strategy, recipe in made.recipes.items():
        fitted = refit(study, recipe, Found(rate=RATE, mix=0.5))
        run = folder / strategy.replace("@", "-").replace(", ", "-")
        save_model(run / "model", fitted.finished)
        (run / "expected.json").write_text(json.dumps(answers(fitted, made.inputs)), encoding="utf-8")
        frozen, moved, wrong = compared(made, recipe, strategy, run / "model", tensors)
        audit = fitted.audit
        if audit.frozen_tensors != audit.frozen_unchanged or audit.no_gradient:
            wrong = [*wrong, f"audit: {audit}"]
        rows.append(Row(source=name, strategy=strategy, frozen=frozen, moved=moved, wrong=tuple(wrong), folder=run))
    return rows


def answers(fitted: Fitted, inputs: list[str]) -> list[list[float]]:
    """Probabilities by the network in memory."""
    done = fitted.finished
    loaded = Loaded(model=done.model, preprocess=done.network.preprocess, classes=tuple(done.classes),
                    compute=replace(done.compute, threads=default_threads()), recipe={})  # fmt: skip
    apply_threads(loaded.compute)
    found: list[list[float]] = Bundle(loaded).predict_proba(inputs).tolist()
    return found


def compared(
    made: Prepared, recipe: Recipe, strategy: str, model: Path, tensors: Mapping[str, Tensor]
) -> tuple[int, int, list[str]]:
    """How many tensors of the saved file are the source's bit for bit, how many aren't, and which of these are wrong.
    The head counts apart: only `as-is` keeps it."""
    own = {**dict(made.study.trunk.model.named_parameters()), **dict(made.study.trunk.model.named_buffers())}
    head = made.study.trunk.stages.head.path + "."
    should, moved, same, wrong = expected_to_move(made, recipe, strategy), 0, 0, []
    for saved, tensor in load_file(model / "model.safetensors").items():
        name = saved.removeprefix("base.") if recipe.cut_short else saved
        try:
            source = tensors[name] if name not in own or not (recipe.cut_short and saved.startswith("head.")) else None
        except KeyError:  # not in the file: made by the network's own code
            source = own.get(name)
        equal = source is not None and torch.equal(source, tensor)
        at_head = name.startswith(head) or (recipe.cut_short and saved.startswith("head."))
        moves = recipe.kind != "as-is" if at_head else name in should
        if equal is moves:
            wrong.append(f"{name} {'has not moved' if equal else 'moved'}")
        same, moved = same + equal, moved + (not equal)
    return same, moved, wrong


def expected_to_move(made: Prepared, recipe: Recipe, strategy: str) -> set[str]:
    """By what the strategy says, of all tensors but the head's."""
    model, kind = made.study.trunk.model, recipe.kind
    groups = groups_of(model)
    parameters, affine, statistics = set(dict(model.named_parameters())), groups["affine"], groups["statistics"]
    k = int(strategy.partition("@")[2]) if "@" in strategy else 0
    kept = upstream(made, k) if k else set()
    if kind in ("as-is", "probe"):
        return set()
    if kind in ("norm", "bias", "lora"):
        return groups[kind]
    if kind in ("scratch", "reinit", "reinit-freeze"):
        tuned = kept - affine - statistics if kind == "reinit" else set()
        return ((parameters | statistics) - kept) | tuned
    policy = strategy.partition(", ")[2]
    moving = parameters - affine - kept
    return moving | (affine if policy in ("affine", "all") else set()) | (
        statistics if policy in ("statistics", "all") else set())  # fmt: skip


def groups_of(model: nn.Module) -> dict[str, set[str]]:
    """Names of tensors by what they are, told from the modules' types."""
    found: dict[str, set[str]] = {k: set() for k in ("affine", "statistics", "norm", "bias", "lora")}
    for prefix, module in model.named_modules():
        normal = isinstance(module, _BatchNorm)
        for own, parameter in module.named_parameters(recurse=False):
            name = f"{prefix}.{own}"
            found["affine"] |= {name} if normal else set()
            found["norm"] |= {name} if isinstance(module, NORMS) else set()
            found["bias"] |= {name} if own == "bias" and not normal else set()
            found["lora"] |= {name} if parameter.ndim > 1 and isinstance(module, (nn.Linear, nn.Conv2d)) else set()
        if normal:
            found["statistics"] |= {f"{prefix}.{own}" for own, _ in module.named_buffers(recurse=False)}
    return found


def upstream(made: Prepared, k: int) -> set[str]:
    """Parameters that a gradient from the activation at the cut reaches, and the statistics beside them."""
    study = made.study
    model = copy.deepcopy(study.trunk.model).eval().requires_grad_(True)
    call = example_call(study.network.preprocess)
    with torch.enable_grad():
        run_to(model, [study.trunk.stages.cuts[k - 1]], call)[0].float().square().sum().backward()  # type: ignore[list-item]
    reached = {name for name, p in model.named_parameters() if p.grad is not None}
    beside = {name.rpartition(".")[0] for name in reached}
    return reached | {name for name in groups_of(model)["statistics"] if name.rpartition(".")[0] in beside}


RELOAD = """
import json, sys
from pathlib import Path
import frostline

for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
    folder, inputs = json.loads(line)
    found = frostline.load(folder, trust_code=True, device="cpu").predict_proba(inputs).tolist()
    print(folder, found == json.loads((Path(folder) / "expected.json").read_text(encoding="utf-8")), flush=True)
"""


def reloaded(rows: list[Row], inputs: Mapping[str, list[str]], folder: Path) -> dict[Path, bool]:
    """Whether each saved model gives the same probabilities in another process, to the last bit."""
    asked = folder / "asked.jsonl"
    asked.write_text("\n".join(json.dumps([str(r.folder), inputs[r.source]]) for r in rows), encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", RELOAD, str(asked)], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    words = (line.rpartition(" ") for line in done.stdout.splitlines())
    return {Path(where): same == "True" for where, _, same in words}
