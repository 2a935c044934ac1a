"""README.md of a saved model: a model card in the form of the Hugging Face hub (Mitchell et al. 2019, Model Cards)."""

from __future__ import annotations

from collections.abc import Sequence

from frostline.bundle.front_matter import data_name, escaped, front_matter, title
from frostline.bundle.schema import RunResult, StrategyRecord

CLASSES_NAMED = 50
METRIC_WORDS = {"balanced-accuracy": "balanced accuracy", "f1-macro": "macro F1", "log-loss": "log loss (nats)"}


def model_card(result: RunResult) -> str:
    """Write the card as Markdown: front matter, then what the model is, its limits, training, evaluation and use."""
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
        if heading:
            body.append(f"## {heading}")
        body += [text for text in paragraphs if text]
    return front_matter(result) + "\n" + "\n\n".join(body) + "\n"


_ONE = {"image": "an image", "text": "a text"}
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
    if result.data.modality == "text":
        return _USE.format(files="texts.csv", sample='"a text"')
    return _USE.format(files="IMAGES", sample='"image.jpg"')


_REPRODUCE = """```
frostline replay RUN
```

`../result.json` holds the settings, versions and hashes of the run, `../ledger.json` what was done to each tensor,
`../samples.csv` which part each sample belonged to."""

_LICENCE = """The metadata says `other`: choose one before you publish. The licences of the source weights and of the
data apply to this model."""


def _summary_table(result: RunResult) -> str:
    test = result.test
    data = result.data
    chosen = _chosen_strategy(result)
    term = chosen.term
    if result.methods:
        term = result.methods.term
    rows = [
        ("task", f"{data.modality} classification, {len(data.classes)} classes"),
        ("what happened to the weights", chosen.origin_summary),
        ("what people call it", term),
        ("trained on", f"{data.n_development:,} samples"),
        ("tested once on", f"{test.n:,} sealed samples ({data.sealed})"),
        ("accuracy on them", f"{test.accuracy:.3f} (95 % interval {test.ci[0]:.3f} to {test.ci[1]:.3f})"),
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
        f"It distinguishes these classes: {named}{more}. Whatever else {_ONE[data.modality]} contains, the answer is "
        "one of them.",
        f"It was measured on samples of {escaped(data_name(result))} only; its accuracy on {data.modality}s from other "
        "sources is not known.",
    ]
    if len(result.blocks) < 2:
        text.append("How much of its accuracy is due to the luck of this very training set was not measured.")
    if _chosen_strategy(result).undertrained:
        text.append("It was still improving when training ended.")
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
    text = _comparison(result)
    text.append(
        f"On the {test.n:,} sealed samples: accuracy {test.accuracy:.3f}, balanced accuracy "
        f"{test.balanced_accuracy:.3f}, macro F1 {test.f1_macro:.3f}, log loss {test.log_loss:.3f} nats, expected "
        f"calibration error {test.ece:.3f}."
    )
    if test.per_class:
        rows = [(c.name, f"{c.n:,}", f"{c.precision:.3f}", f"{c.recall:.3f}", f"{c.f1:.3f}") for c in test.per_class]
        text.append(markdown_table(("class", "samples", "precision", "recall", "F1"), rows))
    text += [_calibration_text(result), _abstaining(result)]
    if result.learning_curve:
        text.append(escaped(result.learning_curve.sentence))
    return text


def _comparison(result: RunResult) -> list[str]:
    """Return the table of strategies with its first line, or one line where there was no other strategy."""
    if not result.blocks:
        return ["No other strategy was compared."]
    blocks = f"{len(result.blocks)} paired block{'s' * (len(result.blocks) != 1)}"
    metric = str(result.settings.get("metric", "accuracy"))
    header = ("strategy", METRIC_WORDS.get(metric, "accuracy"), "95 % interval", "against the best", "note")
    rows = [_strategy_cells(s, result.verdict.best, metric) for s in _best_first(result.strategies, metric)]
    return [f"On {blocks} of the development data:", markdown_table(header, rows)]


def _best_first(strategies: Sequence[StrategyRecord], metric: str) -> list[StrategyRecord]:
    """Sort by score, those without one last."""
    sign = -1
    if metric == "log-loss":
        sign = 1
    return sorted(strategies, key=lambda s: (s.score is None, sign * (s.score or 0.0)))


def _strategy_cells(s: StrategyRecord, best: str, metric: str) -> tuple[str, ...]:
    notes: list[str] = []
    if s.status != "raced":
        notes.append(s.status)
    if s.test:
        notes.append(f"sealed accuracy {s.test.accuracy:.3f}")
    note = ", ".join(notes)
    if s.score is None or s.score_ci is None:
        return (s.name, "-", "", "", note)
    interval = f"{s.score_ci[0]:.3f} to {s.score_ci[1]:.3f}"
    return (s.name, f"{s.score:.3f}", interval, _against_best(s, best, metric), note)


def _against_best(s: StrategyRecord, best: str, metric: str) -> str:
    if s.name == best:
        return "the best"
    if s.versus_best is None:
        return ""
    if metric == "log-loss":
        amount = f"{0.0 - s.versus_best.difference:+.3f} nats"
    else:
        amount = f"{100 * s.versus_best.difference:+.1f} points"
    return f"{amount}, {s.versus_best.outcome}"


def _calibration_text(result: RunResult) -> str:
    calibration = result.calibration
    if calibration is None:
        return ""
    if calibration.temperature is None:
        return f"Probabilities were not calibrated: {escaped(calibration.reason).rstrip('.')}."
    before = calibration.sealed_before
    after = calibration.sealed_after
    return (
        f"Probabilities are calibrated at temperature {calibration.temperature:.2f}: on the sealed samples log loss "
        f"went from {before.log_loss:.3f} to {after.log_loss:.3f} nats, calibration error from {before.ece:.3f} to "
        f"{after.ece:.3f}."
    )


def _abstaining(result: RunResult) -> str:
    abstain = result.abstain
    if abstain is None or abstain.threshold is None or abstain.sealed is None:
        return ""
    sealed = abstain.sealed
    correct = ""
    if sealed.accuracy is not None:
        correct = f", {sealed.accuracy:.3f} of them correctly"
    return (
        f"Answers with a confidence below {abstain.threshold:.3f} are marked as unsure; {sealed.answered:,} of the "
        f"{sealed.n:,} sealed samples were answered{correct}."
    )


def _source_list(result: RunResult) -> str:
    if result.methods is None:
        return ""
    return "\n".join(f"- {escaped(s.what)}: {escaped(s.source)}" for s in result.methods.sources)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table that shows the text of its cells as it is."""
    lines = [header, ["---"] * len(header), *[[escaped(cell) for cell in row] for row in rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
