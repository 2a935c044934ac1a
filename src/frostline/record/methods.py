"""The methods paragraph: what was done, in English that can stand in a paper, from the record and the chosen recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from frostline.bundle import schema
from frostline.bundle.schema import RunResult
from frostline.recipe.recipe import Recipe
from frostline.recipe.terms import NamedTerm, literature
from frostline.record.facts import Facts, spoken
from frostline.record.method_sources import sources_of
from frostline.record.training_words import training_words

METRICS = {"balanced-accuracy": "balanced accuracy", "f1-macro": "macro F1", "log-loss": "log loss"}
MOST_WORDS = 220  # beyond, the sentence on where terms disagree is left to the record
SOURCE_PACKAGES = ("timm", "torchvision", "keras", "transformers")


def with_methods(result: RunResult, facts: Facts) -> RunResult:
    """The record with its `methods` filled."""
    named = literature(facts.recipe, random=facts.random)
    methods = schema.MethodsRecord(
        paragraph=paragraph(result, facts, named),
        term=named.words,
        also_called=list(named.term.also_called),
        disputed=named.term.disputed,
        sources=sources_of(result, facts.recipe, named),
    )
    return result.model_copy(update={"methods": methods})


def paragraph(result: RunResult, facts: Facts, named: NamedTerm) -> str:
    """About 120 to 220 words in the past tense; every clause holds for the run that `result` records.

    Where terms disagree is its last sentence, which a paragraph that is long already leaves to `methods.disputed`.
    """
    chosen = next(s for s in result.strategies if s.name == result.verdict.strategy)
    told = [
        _network(result, facts),
        _stages(result, facts),
        *training_words(result, facts, chosen),
        *_batchnorm(result, facts),
        *_views(facts),
        _data(result),
        _comparison(result, facts),
        _outcome(result, facts.recipe),
        _software(result),
        _term(facts, named),
    ]
    text = " ".join(told)
    longer = f"{text} {named.term.disputed}".strip()
    return longer if len(longer.split()) <= MOST_WORDS else text


def network_name(spec: str) -> str:
    """A model spec without machine paths: `resnet18 (timm)`, `factory (own code)`, `the network of the run NAME`."""
    source, colon, name = spec.partition(":")
    if not colon:
        return f"{spec} (frostline)"
    if source == "torch":
        return f"{name.rpartition(':')[2]} (own code)"
    if source == "run":
        return f"the network of the earlier run {name.rstrip('/').rpartition('/')[2]}"
    return f"{name.rpartition('/')[2]} ({source})"


def _network(result: RunResult, facts: Facts) -> str:
    model = result.model
    millions = model.parameters / 1e6
    size = f"{millions:.1f} million" if millions >= 1 else f"{model.parameters:,}"
    if facts.random:
        weights = "random weights"
    elif model.weights_sha256:
        weights = f"pre-trained weights (SHA-256 {model.weights_sha256[:12]})"
    else:
        weights = "the weights that its own code loads"
    return (
        f"The network was {network_name(model.spec)} ({size} parameters, {len(model.stages)} stages, "
        f"{facts.reads}), with {weights}."
    )


def _stages(result: RunResult, facts: Facts) -> str:
    recipe, classes = facts.recipe, len(result.data.classes)
    names = [s.name for s in result.model.stages]
    fates = [_fate(recipe, i) for i in range(len(names))]
    if len(set(fates)) == 1:
        told = [f"all stages were {fates[0]}"]
    else:
        told, start = [], 0
        for fate, group in groupby(fates):
            end = start + len(list(group))
            told.append(f"{stage_range(names, start, end)} {'was' if end - start == 1 else 'were'} {fate}")
            start = end
    if recipe.head_origin == "pretrained":
        trained = any(phase.head.trained for phase in recipe.phases)
        head = (
            f"its own head was {'trained' if trained else 'left as it was'}, its outputs mapped to the {classes} "
            "target classes"
        )
    elif recipe.head_kind == "mlp":
        head = f"a new head (hidden layer of {facts.hidden} units, ReLU) for {classes} classes was added"
    else:
        head = f"a new linear head for {classes} classes was added"
    text = spoken([*told, head])
    return text[0].upper() + text[1:] + "."


def stage_range(names: Sequence[str], start: int, end: int) -> str:
    """Stages start + 1 to end by name and number: `stages stem to s2 (1-3)`, `stage s4 (5)`."""
    if end - start == 1:
        return f"stage {names[start]} ({end})"
    return f"stages {names[start]} to {names[end - 1]} ({start + 1}-{end})"


_ALONE = {"norm": "trained in normalisation parameters only", "bias": "trained in biases only"}


def _moving(recipe: Recipe, what: str) -> str:
    """In what a trained stage moves."""
    adapter = getattr(recipe, "adapter", None)
    if what == "lora" and adapter is not None:
        return f"trained through low-rank adapters only (rank {adapter.rank}, alpha {adapter.alpha:g}, then merged)"
    return _ALONE.get(what, "trained")


def _fate(recipe: Recipe, index: int) -> str:
    if index >= recipe.keep:
        return "thrown away"
    parts = [phase.stages[index] for phase in recipe.phases]
    trained = [part for part in parts if part.trained]
    start = "re-initialised and " if recipe.origins[index] == "reinitialised" else ""
    if trained:
        return start + _moving(recipe, str(getattr(trained[-1], "what", "all")))
    policies = {part.batchnorm for part in parts}
    if policies & {"affine", "all"}:
        return f"{start}kept frozen but for BatchNorm's scale and shift"
    return f"{start}kept frozen"


def _batchnorm(result: RunResult, facts: Facts) -> list[str]:
    recipe = facts.recipe
    if not facts.batchnorm or recipe.trains_nothing:
        return []
    names = [s.name for s in result.model.stages]
    policies = [recipe.phases[-1].stages[i].batchnorm for i in range(recipe.keep)]
    words = {
        "frozen": "stayed unchanged (inference mode)",
        "statistics": "adapted its statistics only",
        "affine": "trained its scale and shift on fixed statistics",
        "all": "trained with batch statistics",
    }
    if len(set(policies)) == 1:
        return [f"BatchNorm {words[policies[0]]}."]
    told, start = [], 0
    for policy, group in groupby(policies):
        end = start + len(list(group))
        told.append(f"{words[policy]} in {stage_range(names, start, end)}")
        start = end
    return [f"BatchNorm {spoken(told)}."]


def _views(facts: Facts) -> list[str]:
    policy = facts.policy
    if facts.recipe.trains_nothing:
        return []
    if policy.still:
        return ["No augmentation was used."]
    done = ["crops"]
    done += ["mirroring"] if policy.flip else []
    done += ["rotation"] if policy.rotate else []
    done += ["colour" if policy.saturation else "brightness"] if policy.light or policy.saturation else []
    count = f"{facts.views} random view{'s' * (facts.views != 1)} per sample"
    return [f"Augmentation ({', '.join(done)}) gave {count}."]


def _data(result: RunResult) -> str:
    data = result.data
    total = data.n_development + data.n_test
    groups = f" ({data.groups:,} groups, never divided)" if data.groups < total else ""
    drawn = result.settings.get("labels_per_class")
    how = f" (drawn, {drawn} per class)" if drawn else ""
    return (
        f"Of {total:,} labelled samples{groups}, {data.n_development:,}{how} served development and "
        f"{data.n_test:,} ({data.sealed}) stayed sealed."
    )


def _comparison(result: RunResult, facts: Facts) -> str:
    blocks, settings = result.blocks, result.settings
    if not blocks:
        return "No other strategy was compared."
    metric = METRICS.get(settings.get("metric", ""), "accuracy")
    where = _blocks(blocks, given=facts.given_validation)
    ran = [s.name for s in result.strategies if s.status in ("raced", "eliminated")]
    networks = [name for name in ran if name != "baseline"]
    svm = "an SVM on raw pixels" if "baseline" in ran else ""
    budget = " within a time budget" if result.budget else ""
    if len(networks) < 2:
        with_what = f"compared with {svm} only" if svm else "with nothing to compare it with"
        return f"It was assessed by {metric} on {where}{budget}, {with_what}."
    who = f"{len(networks)} strategies{f' and {svm}' if svm else ''}"
    return f"{who} were compared by {metric} on {where}{budget}; {_rule(result)}."


def _blocks(blocks: Sequence[schema.BlockRecord], *, given: bool) -> str:
    if given:
        return f"the given validation part ({blocks[0].n_validation:,} samples)"
    if len(blocks) == 1:
        return f"one held-out block ({blocks[0].n_validation:,} samples)"
    repeats = max(b.repeat for b in blocks) + 1
    often = f", {repeats} repeats" if repeats > 1 else ""
    return f"{len(blocks)} paired blocks (folds of stratified cross-validation{often})"


def _rule(result: RunResult) -> str:
    verdict, settings = result.verdict, result.settings
    if settings.get("prefer") == "accuracy":
        return f"{verdict.strategy} had the best mean and was taken"
    margin = float(settings.get("margin", 0.01))
    log_loss = settings.get("metric") == "log-loss"
    room = f"{margin:g} nats" if log_loss else f"{100 * margin:g} point{'s' * (margin != 0.01)} (or one sample)"
    best = "" if verdict.best == verdict.strategy else f", {verdict.best}"
    return f"{verdict.strategy} was the cheapest within one standard error and {room} of the best{best}"


def _outcome(result: RunResult, recipe: Recipe) -> str:
    low, high = result.test.ci
    how = "Used as it was" if recipe.trains_nothing else "Refitted on all development samples"
    text = (
        f"{how}, it reached a sealed accuracy of {result.test.accuracy:.3f} (95 % Wilson interval {low:.3f} to "
        f"{high:.3f})"
    )
    if result.calibration and result.calibration.temperature is not None:
        text += f"; its probabilities were calibrated at temperature {result.calibration.temperature:.2f}"
    return text + "."


def _software(result: RunResult) -> str:
    machine, packages = result.machine, result.packages
    source = result.model.spec.partition(":")[0]
    used = [f"frostline {result.version}", f"PyTorch {packages.get('torch', '?').partition('+')[0]}"]
    used += [f"{source} {packages[source]}"] if source in SOURCE_PACKAGES and source in packages else []
    return f"Seed {result.seed}; {', '.join(used)}; {hardware(machine)}."


def hardware(machine: Mapping[str, Any]) -> str:
    """The class of hardware, such as `CPU (x86_64), fp32`."""
    device = str(machine.get("device", "cpu")).partition(":")[0]
    kinds = {"cuda": machine.get("gpu") or "CUDA GPU", "mps": "Apple GPU"}
    name = kinds.get(device, f"CPU ({machine.get('processor', 'unknown')})")
    return f"{name}, {machine.get('precision', 'fp32')}"


def _term(facts: Facts, named: NamedTerm) -> str:
    if facts.recipe.kind == "own":
        return f"This is a recipe of our own ({facts.recipe.name}); the nearest term is {named.words}."
    return f"The term for this is {named.words}."
