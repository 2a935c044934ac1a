"""The methods paragraph: what was done, in words fit for a paper, from the record and the chosen recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from frostline.bundle import schema
from frostline.bundle.schema import RunResult
from frostline.recipe.recipe import Recipe
from frostline.recipe.terms import NamedTerm, literature
from frostline.record.facts import Facts, spoken
from frostline.record.method_sources import FORECAST_FROM, sources_of
from frostline.record.training_words import training_words

METRIC_NAMES = {"balanced-accuracy": "balanced accuracy", "f1-macro": "macro F1", "log-loss": "log loss"}
MOST_WORDS = 220  # beyond, the sentence on where terms disagree stays in the record only
SOURCE_PACKAGES = ("timm", "torchvision", "keras", "transformers")


def with_methods(result: RunResult, facts: Facts) -> RunResult:
    """Return the record with its `methods` filled."""
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
    """Write about 120 to 220 words in the past tense; every clause holds for the run that `result` records.

    The last sentence says where terms disagree, unless that makes the paragraph too long; `methods.disputed` has it.
    """
    chosen = next(s for s in result.strategies if s.name == result.verdict.strategy)
    sentences = [
        _network_sentence(result, facts),
        _stages_sentence(result, facts),
        *training_words(result, facts, chosen),
        *_batchnorm_sentences(result, facts),
        *_augmentation_sentences(facts),
        _data_sentence(result),
        _comparison_sentence(result, facts),
        _outcome_sentence(result, facts.recipe),
        _software_sentence(result),
        _term_sentence(facts, named),
    ]
    text = " ".join(sentences)
    longer = f"{text} {named.term.disputed}".strip()
    if len(longer.split()) > MOST_WORDS:
        return text
    return longer


def network_name(spec: str) -> str:
    """Name a model spec without machine paths: `resnet18 (timm)`, `factory (own code)`."""
    source, colon, name = spec.partition(":")
    if not colon:
        return f"{spec} (frostline)"
    if source == "torch":
        return f"{name.rpartition(':')[2]} (own code)"
    if source == "run":
        return f"the network of the earlier run {name.rstrip('/').rpartition('/')[2]}"
    return f"{name.rpartition('/')[2]} ({source})"


def _network_sentence(result: RunResult, facts: Facts) -> str:
    model = result.model
    size = f"{model.parameters:,}"
    if model.parameters >= 1_000_000:
        size = f"{model.parameters / 1e6:.1f} million"
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


def _stages_sentence(result: RunResult, facts: Facts) -> str:
    names = [s.name for s in result.model.stages]
    treatments = [_treatment(facts.recipe, i) for i in range(len(names))]
    if len(set(treatments)) == 1:
        clauses = [f"all stages were {treatments[0]}"]
    else:
        clauses = [_stages_clause(names, start, end, words) for words, start, end in _runs(treatments)]
    text = spoken([*clauses, _head_clause(facts, classes=len(result.data.classes))])
    return text[0].upper() + text[1:] + "."


def _stages_clause(names: Sequence[str], start: int, end: int, treatment: str) -> str:
    verb = "was" if end - start == 1 else "were"
    return f"{stage_range(names, start, end)} {verb} {treatment}"


def _head_clause(facts: Facts, *, classes: int) -> str:
    recipe = facts.recipe
    if recipe.head_origin == "pretrained":
        mapped = f"its outputs mapped to the {classes} target classes"
        if any(phase.head.trained for phase in recipe.phases):
            return f"its own head was trained, {mapped}"
        return f"its own head was left as it was, {mapped}"
    if recipe.head_kind == "mlp":
        return f"a new head (hidden layer of {facts.hidden} units, ReLU) for {classes} classes was added"
    return f"a new linear head for {classes} classes was added"


def _runs(values: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Yield each run of equal values with its start and end."""
    start = 0
    for value, group in groupby(values):
        end = start + len(list(group))
        yield value, start, end
        start = end


def stage_range(names: Sequence[str], start: int, end: int) -> str:
    """Name stages start + 1 to end with their numbers: `stages stem to s2 (1-3)`, `stage s4 (5)`."""
    if end - start == 1:
        return f"stage {names[start]} ({end})"
    return f"stages {names[start]} to {names[end - 1]} ({start + 1}-{end})"


_ONLY = {"norm": "trained in normalisation parameters only", "bias": "trained in biases only"}


def _trained_in(recipe: Recipe, what: str) -> str:
    """Say which parameters of a trained stage are trained."""
    adapter = getattr(recipe, "adapter", None)
    if what == "lora" and adapter is not None:
        return f"trained through low-rank adapters only (rank {adapter.rank}, alpha {adapter.alpha:g}, then merged)"
    return _ONLY.get(what, "trained")


def _treatment(recipe: Recipe, index: int) -> str:
    """Say what happened to the weights of stage index + 1."""
    if index >= recipe.keep:
        return "thrown away"
    parts = [phase.stages[index] for phase in recipe.phases]
    trained = [part for part in parts if part.trained]
    start = ""
    if recipe.origins[index] == "reinitialised":
        start = "re-initialised and "
    if trained:
        return start + _trained_in(recipe, str(getattr(trained[-1], "what", "all")))
    policies = {part.batchnorm for part in parts}
    if policies & {"affine", "all"}:
        return f"{start}kept frozen except for BatchNorm's scale and shift"
    return f"{start}kept frozen"


BATCHNORM_WORDS = {
    "frozen": "stayed unchanged (inference mode)",
    "statistics": "adapted its statistics only",
    "affine": "trained its scale and shift on fixed statistics",
    "all": "trained with batch statistics",
}


def _batchnorm_sentences(result: RunResult, facts: Facts) -> list[str]:
    recipe = facts.recipe
    if not facts.batchnorm or recipe.trains_nothing:
        return []
    names = [s.name for s in result.model.stages]
    words = [BATCHNORM_WORDS[part.batchnorm] for part in recipe.phases[-1].stages[: recipe.keep]]
    if len(set(words)) == 1:
        return [f"BatchNorm {words[0]}."]
    clauses = [f"{policy} in {stage_range(names, start, end)}" for policy, start, end in _runs(words)]
    return [f"BatchNorm {spoken(clauses)}."]


def _augmentation_sentences(facts: Facts) -> list[str]:
    policy = facts.policy
    if facts.recipe.trains_nothing:
        return []
    if policy.still:
        return ["No augmentation was used."]
    kinds = ["crops"]
    if policy.flip:
        kinds.append("mirroring")
    if policy.rotate:
        kinds.append("rotation")
    if policy.saturation:
        kinds.append("colour")
    elif policy.light:
        kinds.append("brightness")
    count = f"{facts.views} random view{'s' * (facts.views != 1)} per sample"
    return [f"Augmentation ({', '.join(kinds)}) gave {count}."]


def _data_sentence(result: RunResult) -> str:
    data = result.data
    total = data.n_development + data.n_test
    text = f"Of {total:,} labelled samples"
    if data.groups < total:
        text += f" ({data.groups:,} groups, never divided)"
    text += f", {data.n_development:,}"
    drawn = result.settings.get("labels_per_class")
    if drawn:
        text += f" (drawn, {drawn} per class)"
    return f"{text} served development and {data.n_test:,} ({data.sealed}) stayed sealed."


def _comparison_sentence(result: RunResult, facts: Facts) -> str:
    if not result.blocks:
        return "No other strategy was compared."
    metric = METRIC_NAMES.get(result.settings.get("metric", ""), "accuracy")
    how = f"by {metric} on {_block_words(result.blocks, given=facts.given_validation)}"
    if result.budget:
        how += " within a time budget"
    if result.concluded:
        how += ", ended before all of it was run"
    ran = [s.name for s in result.strategies if s.status in ("raced", "eliminated")]
    strategies = [name for name in ran if name != "baseline"]
    svm = "an SVM on raw pixels" if "baseline" in ran else ""
    if len(strategies) >= 2:
        counted = f"{len(strategies)} strategies{_sources_words(result)}"
        compared = " and ".join(filter(None, (counted, svm)))
        return f"{compared} were compared {how}{_spared_words(result)}; {_rule(result)}."
    if svm:
        return f"It was assessed {how}, compared with {svm} only."
    return f"It was assessed {how}, with nothing to compare it with."


def _sources_words(result: RunResult) -> str:
    """Name the networks that strategies started from, where there were several."""
    sources = result.sources
    if not sources:
        return ""
    if result.settings.get("pretrain"):
        method = result.settings.get("pretrain_method") or "self-supervised training"
        return f" that started from the network as it was, or from it after {method} on own unlabelled data,"
    return f" that started from {len(sources)} networks ({spoken([s.label for s in sources])})"


def _spared_words(result: RunResult) -> str:
    """Name what was forecast and not trained."""
    spared = [s.name for s in result.strategies if s.status == "forecast"]
    if not spared:
        return ""
    return f", and {spoken(spared)} {FORECAST_FROM[result.data.modality]} and not trained"


def _block_words(blocks: Sequence[schema.BlockRecord], *, given: bool) -> str:
    if given:
        return f"the given validation part ({blocks[0].n_validation:,} samples)"
    if len(blocks) == 1:
        return f"one held-out block ({blocks[0].n_validation:,} samples)"
    how = "folds of stratified cross-validation"
    repeats = max(b.repeat for b in blocks) + 1
    if repeats > 1:
        how += f", {repeats} repeats"
    return f"{len(blocks)} paired blocks ({how})"


def _rule(result: RunResult) -> str:
    """Say how the verdict was chosen."""
    verdict = result.verdict
    if result.settings.get("prefer") == "accuracy":
        return f"{verdict.strategy} had the best mean and was taken"
    margin = float(result.settings.get("margin", 0.01))
    tolerance = f"{100 * margin:g} point{'s' * (margin != 0.01)} (or one sample)"
    if result.settings.get("metric") == "log-loss":
        tolerance = f"{margin:g} nats"
    text = f"{verdict.strategy} was the cheapest within one standard error and {tolerance} of the best"
    if verdict.best != verdict.strategy:
        text += f", {verdict.best}"
    if result.settings.get("metric", "accuracy") == "accuracy":
        text += ", log loss included"
    return text


def _outcome_sentence(result: RunResult, recipe: Recipe) -> str:
    low, high = result.test.ci
    how = "Used as it was" if recipe.trains_nothing else "Refitted on all development samples"
    text = (
        f"{how}, it reached a sealed accuracy of {result.test.accuracy:.3f} (95 % Wilson interval {low:.3f} to "
        f"{high:.3f})"
    )
    if result.calibration and result.calibration.temperature is not None:
        text += f"; its probabilities were calibrated at temperature {result.calibration.temperature:.2f}"
    return text + "."


def _software_sentence(result: RunResult) -> str:
    packages = result.packages
    versions = [f"frostline {result.version}", f"PyTorch {packages.get('torch', '?').partition('+')[0]}"]
    source = result.model.spec.partition(":")[0]
    if source in SOURCE_PACKAGES and source in packages:
        versions.append(f"{source} {packages[source]}")
    return f"Seed {result.seed}; {', '.join(versions)}; {hardware_class(result.machine)}."


def hardware_class(machine: Mapping[str, Any]) -> str:
    """Name the class of hardware, such as `CPU (x86_64), fp32`."""
    device = str(machine.get("device", "cpu")).partition(":")[0]
    kinds = {"cuda": machine.get("gpu") or "CUDA GPU", "mps": "Apple GPU"}
    name = kinds.get(device, f"CPU ({machine.get('processor', 'unknown')})")
    return f"{name}, {machine.get('precision', 'fp32')}"


def _term_sentence(facts: Facts, named: NamedTerm) -> str:
    if facts.recipe.kind == "own":
        return f"This is a recipe of our own ({facts.recipe.name}); the nearest term is {named.words}."
    return f"The term for this is {named.words}."
