"""README.md of a saved model: a model card in the form of the Hugging Face hub (Mitchell et al. 2019, Model Cards)."""

from __future__ import annotations

from collections.abc import Sequence

from frostline.bundle.front_matter import data_name, escaped, front_matter, title
from frostline.bundle.schema import RunResult, StrategyRecord

CLASSES_NAMED = 50
WORDS = {"balanced-accuracy": "balanced accuracy", "f1-macro": "macro F1", "log-loss": "log loss (nats)"}


def model_card(result: RunResult) -> str:
    """The card as Markdown: front matter, then what the model is, its limits, training, evaluation and use."""
    sections = [
        ("", [escaped(result.verdict.reason), _summary_table(result)]),
        ("Intended use and limits", _limits(result)),
        ("How it was trained", _training_text(result)),
        ("Evaluation", _evaluation(result)),
        ("How to use it", [_use(result)]),
        ("How to reproduce it", [_REPRODUCE]),
        ("Licence", [_LICENCE]),
        ("Sources", [_source_list(result)]),
    ]
    body = [f"# {escaped(title(result))}"]
    for heading, paragraphs in sections:
        body += [f"## {heading}"] * bool(heading) + [text for text in paragraphs if text]
    return front_matter(result) + "\n" + "\n\n".join(body) + "\n"


_USE = """```
frostline predict RUN {files}
```

```python
import frostline

bundle = frostline.load("RUN")  # the folder that holds model/
bundle.predict([{sample}])
bundle.predict_proba([{sample}])
```

`model.safetensors` holds the weights, `preprocess.json` says how a file becomes a tensor, `recipe.json` how the network
is built."""


def _use(result: RunResult) -> str:
    text = result.data.modality == "text"
    return _USE.format(files="texts.csv" if text else "IMAGES", sample='"a text"' if text else '"image.jpg"')


_REPRODUCE = """```
frostline replay RUN
```

`../result.json` holds the settings, versions and hashes of the run, `../ledger.json` what was done to each tensor,
`../samples.csv` which sample took which part."""

_LICENCE = """The metadata says `other`: choose one before you publish. The licences of the source weights and of the
data apply to this model."""


def _summary_table(result: RunResult) -> str:
    test = result.test
    data = result.data
    chosen = _chosen_strategy(result)
    rows = [
        ("task", f"image classification, {len(data.classes)} classes"),
        ("what happened to the weights", chosen.origin_summary),
        ("what people call it", result.methods.term if result.methods else chosen.term),
        ("trained on", f"{data.n_development:,} samples"),
        ("tested once on", f"{test.n:,} sealed samples ({data.sealed})"),
        ("accuracy there", f"{test.accuracy:.3f} (95 % interval {test.ci[0]:.3f} to {test.ci[1]:.3f})"),
    ]
    return markdown_table(("what", "value"), rows)


def _chosen_strategy(result: RunResult) -> StrategyRecord:
    return next(s for s in result.strategies if s.name == result.verdict.strategy)


def _limits(result: RunResult) -> list[str]:
    data = result.data
    named = ", ".join(escaped(name) for name in data.classes[:CLASSES_NAMED])
    more = ""
    if len(data.classes) > CLASSES_NAMED:
        more = f" and {len(data.classes) - CLASSES_NAMED} more"
    text = [
        f"It tells these classes apart: {named}{more}. Whatever else an image shows, it answers with one of them.",
        f"It was measured on samples of {escaped(data_name(result))} only; how it does on images from elsewhere is "
        "not known.",
    ]
    if len(result.blocks) < 2:
        text.append("It was not measured how much its accuracy owes to the luck of this very training set.")
    if _chosen_strategy(result).undertrained:
        text.append("Training still improved when it ended.")
    text += [f"About the data: {w.count:,} {escaped(w.kind)}, {escaped(w.handled)}." for w in data.warnings]
    if result.doubts and sum(result.doubts.counts.values()):
        counts = ", ".join(f"{n:,} {escaped(kind)}" for kind, n in result.doubts.counts.items() if n)
        text.append(f"Doubts about the data, none acted on: {counts}.")
    return text


def _training_text(result: RunResult) -> list[str]:
    if result.methods:
        return [escaped(result.methods.paragraph)]
    return [escaped(_chosen_strategy(result).origin_summary)]


def _evaluation(result: RunResult) -> list[str]:
    test = result.test
    metric = str(result.settings.get("metric", "accuracy"))
    rows = [_strategy_cells(s, result.verdict.best, metric) for s in _by_score(result.strategies, metric)]
    compared = markdown_table(
        ("strategy", WORDS.get(metric, "accuracy"), "95 % interval", "against the best", "note"), rows
    )
    classes = [(c.name, f"{c.n:,}", f"{c.precision:.3f}", f"{c.recall:.3f}", f"{c.f1:.3f}") for c in test.per_class]
    blocks = f"On {len(result.blocks)} paired block{'s' * (len(result.blocks) != 1)} of the development data:"
    return [
        *([blocks, compared] if result.blocks else ["No other strategy was compared."]),
        f"On the {test.n:,} sealed samples: accuracy {test.accuracy:.3f}, balanced accuracy "
        f"{test.balanced_accuracy:.3f}, macro F1 {test.f1_macro:.3f}, log loss {test.log_loss:.3f} nats, expected "
        f"calibration error {test.ece:.3f}.",
        markdown_table(("class", "samples", "precision", "recall", "F1"), classes) if classes else "",
        _calibration_text(result),
        _abstaining(result),
        escaped(result.learning_curve.sentence) if result.learning_curve else "",
    ]


def _by_score(strategies: Sequence[StrategyRecord], metric: str) -> list[StrategyRecord]:
    if metric == "log-loss":
        sign = 1
    else:
        sign = -1
    return sorted(strategies, key=lambda s: (s.score is None, sign * (s.score or 0.0)))


def _strategy_cells(s: StrategyRecord, best: str, metric: str) -> tuple[str, ...]:
    notes = []
    if s.status != "raced":
        notes = [str(s.status)]
    notes += [f"sealed accuracy {s.test.accuracy:.3f}"] if s.test else []
    if s.score is None or s.score_ci is None:
        return (s.name, "-", "", "", ", ".join(notes))
    interval = f"{s.score_ci[0]:.3f} to {s.score_ci[1]:.3f}"
    versus = ""
    if s.name == best:
        versus = "the best"
    if s.versus_best and s.name != best:
        amount = s.versus_best.difference
        if metric == "log-loss":
            unit = f"{0.0 - amount:+.3f} nats"
        else:
            unit = f"{100 * amount:+.1f} points"
        versus = f"{unit}, {s.versus_best.outcome}"
    return (s.name, f"{s.score:.3f}", interval, versus, ", ".join(notes))


def _calibration_text(result: RunResult) -> str:
    found = result.calibration
    if found is None:
        return ""
    if found.temperature is None:
        return f"Probabilities were not calibrated: {escaped(found.reason).rstrip('.')}."
    before = found.sealed_before
    after = found.sealed_after
    return (
        f"Probabilities are calibrated at temperature {found.temperature:.2f}: on the sealed samples log loss went "
        f"from {before.log_loss:.3f} to {after.log_loss:.3f} nats, calibration error from {before.ece:.3f} to "
        f"{after.ece:.3f}."
    )


def _abstaining(result: RunResult) -> str:
    found = result.abstain
    if found is None or found.threshold is None or found.sealed is None:
        return ""
    if found.sealed.accuracy is None:
        right = ""
    else:
        right = f", {found.sealed.accuracy:.3f} of them rightly"
    return (
        f"Below a confidence of {found.threshold:.3f} an answer is marked as unsure; of the sealed samples "
        f"{found.sealed.answered:,} of {found.sealed.n:,} were answered{right}."
    )


def _source_list(result: RunResult) -> str:
    sources = []
    if result.methods:
        sources = result.methods.sources
    return "\n".join(f"- {escaped(s.what)}: {escaped(s.source)}" for s in sources)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; what stands in the cells is shown as it is."""
    lines = [header, ["---"] * len(header), *[[escaped(cell) for cell in row] for row in rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
