"""Every strategy run on a network, and its tensors afterwards.

The expected changes follow from the file that the source read and from gradients through the prefix, not from the stage
map, the promise or the audit that the run itself uses.
"""

from __future__ import annotations

import contextlib
import copy
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cases.hf_folders import write_sentences
from cases.small_world import write_images
from cases.source_networks import IMAGE_CLASSES, TEXT_CLASSES, Given
from frostline.base.clock import Clock
from frostline.base.device import apply_threads, default_threads
from frostline.base.errors import FrostlineError, RecipeError, TrialError
from frostline.bundle.predict import Bundle
from frostline.bundle.saved import LoadedModel, save_model
from frostline.cutting.split import run_to
from frostline.models.kinds import NORMS
from frostline.models.network import example_call
from frostline.pipeline import prepare
from frostline.planning.choose import check_applicable
from frostline.planning.plan_race import want_features
from frostline.recipe.catalogue import CATALOGUE, Choices
from frostline.recipe.recipe import BatchNorm, Recipe
from frostline.recipe.selection import make_recipe
from frostline.recipe.settings import Settings
from frostline.record.journal import Journal
from frostline.train.refit import RefitResult, TunedValues, refit
from frostline.train.study import Study

NO_HEAD = "the network has no classes of its own"
POLICIES: tuple[BatchNorm, ...] = ("statistics", "affine", "all")  # BatchNorm policies besides the default


@dataclass(frozen=True, kw_only=True)
class Row:
    """One strategy on one source: counts of tensors, and errors (none, it is hoped)."""

    source: str
    strategy: str
    frozen: int
    changed: int
    wrong: tuple[str, ...]
    folder: Path | None  # of the run; None where there is none


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
    """Prepare every strategy of the catalogue, and fine-tuning under each BatchNorm policy."""
    options, inputs = _options(given, folder)
    names = ("finetune", "as-is") if given.outputs else ("finetune",)
    settings = Settings(**options, strategies=names)
    study = prepare(settings, None, Clock(), Journal(lambda _event: None)).study
    stages, model = study.stages, study.trunk.model
    cuts = [s.index for s in stages.stages if s.cuttable]
    k = cuts[(len(cuts) - 1) // 2]
    recipes, skipped = {}, {}
    for name in (n.replace("@K", f"@{k}") for n in CATALOGUE if n != "baseline"):
        recipes[name] = make_recipe(name, stages.stages)
    if given.policies:
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
    classes = TEXT_CLASSES if given.text else IMAGE_CLASSES
    if given.text:
        data = write_sentences(folder / "sentences.csv", 24)
        inputs = ["who is the dog ?", "the red house", "a cat", "what is green ?"]
    else:
        data = write_images(folder / "images", dict.fromkeys(classes, 10))
        inputs = [str(file) for file in sorted(data.rglob("*.png"))[::4]]
    options = {
        "data": data,
        "model": given.model,
        "epochs": 3,
        "batch_size": 8,
        "precision": "fp32",
        "device": "cpu",
        "store": "off",
        **given.options,
    }
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
        try:
            fitted = converged(study, recipe)
        except FrostlineError as error:
            rows.append(Row(source=name, strategy=strategy, frozen=0, changed=0, wrong=(error.message,), folder=None))
            continue
        run = folder / strategy.replace("@", "-").replace(", ", "-")
        save_model(run / "model", fitted.saved)
        (run / "expected.json").write_text(json.dumps(answers(fitted, made.inputs)), encoding="utf-8")
        frozen, changed, wrong = compare(made, recipe, strategy, run / "model", tensors)
        audit = fitted.audit
        if audit.frozen_tensors != audit.frozen_unchanged or audit.no_gradient:
            wrong = [*wrong, f"audit: {audit}"]
        rows.append(Row(source=name, strategy=strategy, frozen=frozen, changed=changed, wrong=tuple(wrong), folder=run))
    return rows


def converged(study: Study, recipe: Recipe) -> RefitResult:
    """Refit at the recipe's lowest rate, or a tenth and a hundredth of it: 16 samples and six steps diverge easily."""
    for tenths in range(2):
        with contextlib.suppress(TrialError):
            return refit(study, recipe, TunedValues(rate=_rate(recipe, tenths), mix=0.5))
    return refit(study, recipe, TunedValues(rate=_rate(recipe, 2), mix=0.5))


def _rate(recipe: Recipe, tenths: int) -> float | None:
    return recipe.rates[0] / 10**tenths if recipe.rates else None


def answers(fitted: RefitResult, inputs: list[str]) -> list[list[float]]:
    """Return the probabilities of the network in memory."""
    done = fitted.saved
    loaded = LoadedModel(
        model=done.model,
        preprocess=done.network.preprocess,
        classes=tuple(done.classes),
        compute=replace(done.compute, threads=default_threads()),
        recipe={},
    )
    apply_threads(loaded.compute)
    probabilities: list[list[float]] = Bundle(loaded).predict_proba(inputs).tolist()
    return probabilities


def compare(
    made: Prepared, recipe: Recipe, strategy: str, model: Path, tensors: Mapping[str, Tensor]
) -> tuple[int, int, list[str]]:
    """Count the tensors of the saved file that are the source's bit for bit and those that aren't, and list the wrong
    ones. The head counts apart: only `as-is` keeps it."""
    own = {**dict(made.study.trunk.model.named_parameters()), **dict(made.study.trunk.model.named_buffers())}
    head = made.study.stages.head.path + "."
    expected = expected_changes(made, recipe, strategy)
    changed = 0
    same = 0
    wrong = []
    for saved, tensor in load_file(model / "model.safetensors").items():
        name = saved.removeprefix("base.") if recipe.cut_short else saved
        try:
            source = tensors[name] if name not in own or not (recipe.cut_short and saved.startswith("head.")) else None
        except KeyError:  # not in the file: made by the network's own code
            source = own.get(name)
        equal = source is not None and torch.equal(source, tensor)
        at_head = name.startswith(head) or (recipe.cut_short and saved.startswith("head."))
        should_change = recipe.kind != "as-is" if at_head else name in expected
        if equal is should_change:
            wrong.append(f"{name} {'has not changed' if equal else 'has changed'}")
        same += equal
        changed += not equal
    return same, changed, wrong


def expected_changes(made: Prepared, recipe: Recipe, strategy: str) -> set[str]:
    """Return the tensors that the strategy says it changes, the head's aside."""
    model = made.study.trunk.model
    kind = recipe.kind
    groups = groups_of(model)
    parameters = set(dict(model.named_parameters()))
    affine = groups["affine"]
    statistics = groups["statistics"]
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
    changes = parameters - affine - kept
    if policy in ("affine", "all"):
        changes |= affine
    if policy in ("statistics", "all"):
        changes |= statistics
    return changes


def groups_of(model: nn.Module) -> dict[str, set[str]]:
    """Return the names of tensors by kind, judged by the modules' types."""
    groups: dict[str, set[str]] = {k: set() for k in ("affine", "statistics", "norm", "bias", "lora")}
    for prefix, module in model.named_modules():
        normal = isinstance(module, _BatchNorm)
        for own, parameter in module.named_parameters(recurse=False):
            name = f"{prefix}.{own}"
            if normal:
                groups["affine"].add(name)
            if isinstance(module, NORMS):
                groups["norm"].add(name)
            if own == "bias" and not normal:
                groups["bias"].add(name)
            if parameter.ndim > 1 and isinstance(module, (nn.Linear, nn.Conv2d)):
                groups["lora"].add(name)
        if normal:
            groups["statistics"] |= {f"{prefix}.{own}" for own, _ in module.named_buffers(recurse=False)}
    return groups


def upstream(made: Prepared, k: int) -> set[str]:
    """Return the parameters that a gradient from the activation at the cut reaches, and the statistics beside them."""
    study = made.study
    model = copy.deepcopy(study.trunk.model).eval().requires_grad_(True)
    call = example_call(study.network.preprocess)
    with torch.enable_grad():
        run_to(model, [study.stages.cuts[k - 1]], call)[0].float().square().sum().backward()  # type: ignore[list-item]
    reached = {name for name, p in model.named_parameters() if p.grad is not None}
    beside = {name.rpartition(".")[0] for name in reached}
    return reached | {name for name in groups_of(model)["statistics"] if name.rpartition(".")[0] in beside}


RELOAD = """
import json, sys
from pathlib import Path
import frostline

for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
    folder, inputs = json.loads(line)
    answers = frostline.load(folder, trust_code=True, device="cpu").predict_proba(inputs).tolist()
    print(folder, answers == json.loads((Path(folder) / "expected.json").read_text(encoding="utf-8")), flush=True)
"""


def reloaded(rows: list[Row], inputs: Mapping[str, list[str]], folder: Path) -> dict[Path | None, bool]:
    """Return whether each saved model gives the same probabilities in another process, to the last bit."""
    asked = folder / "asked.jsonl"
    lines = [json.dumps([str(row.folder), inputs[row.source]]) for row in rows if row.folder]
    asked.write_text("\n".join(lines), encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", RELOAD, str(asked)], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    words = (line.rpartition(" ") for line in done.stdout.splitlines())
    return {Path(where): same == "True" for where, _, same in words}
