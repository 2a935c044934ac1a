"""README.md of a saved model: a short model card for whoever finds the folder."""

from __future__ import annotations

from frostline.bundle.record import RunResult

_CARD = """---
library_name: frostline
tags: [image-classification, transfer-learning, {kind}]
---
# {strategy} on {data}

{reason}

| what | value |
| --- | --- |
| classes | {classes} |
| trained on | {n_development} samples |
| tested once on | {n_test} sealed samples ({sealed}) |
| accuracy there | {accuracy:.3f} (95 % interval {low:.3f} to {high:.3f}) |
| what happened to the weights | {origins} |
| what people call it | {term} |
| source network | `{spec}` |

Use it: `frostline predict RUN PICTURES`, or in Python `frostline.load("RUN").predict(["picture.jpg"])`.

The weights are in `model.safetensors`, what was done to each tensor in `../ledger.json`, how a file becomes a tensor in
`preprocess.json`. The licence of the source weights and of the data applies to this model.
"""


def model_card(result: RunResult) -> str:
    """The card as Markdown."""
    chosen = next(s for s in result.strategies if s.name == result.verdict.strategy)
    return _CARD.format(
        kind=chosen.name.partition("@")[0],
        strategy=chosen.name,
        data=result.data.path.rstrip("/").rpartition("/")[2],
        reason=result.verdict.reason,
        classes=", ".join(result.data.classes),
        n_development=result.data.n_development,
        n_test=result.test.n,
        sealed=result.data.sealed,
        accuracy=result.test.accuracy,
        low=result.test.ci[0],
        high=result.test.ci[1],
        origins=chosen.origin_summary,
        term=chosen.term,
        spec=result.model.spec,
    )
