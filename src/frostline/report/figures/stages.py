"""What happened to each stage: the network as a column, and how far the verdict's training moved it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from frostline.report.figures.style import FATES, OTHER, new_figure, safe
from frostline.report.stored import verdict_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

ROW = 30  # pixels a stage
FATE_WORDS: Mapping[str, str] = {
    "frozen": "pre-trained, frozen",
    "trained": "pre-trained, trained",
    "part": "pre-trained, partly trained",
    "new": "new, trained",
    "random": "re-initialised, trained",
    "fixed": "re-initialised, frozen",
    "gone": "thrown away",
}

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageChange:
    """What the final model's training did to a stage (the head comes last).

    `moved` is the root mean square change of one of its numbers, None where nothing of it is in the ledger.
    """

    name: str
    fate: str
    parameters: int
    moved: float | None


def fate_kind(fate: str) -> str:
    """Return the key of FATES for the record's words, such as 'pretrained, frozen'."""
    origin, _, done = fate.partition(", ")
    if origin == "thrown away":
        return "gone"
    if origin == "reinitialised":
        return "fixed" if done == "frozen" else "random"
    if done == "frozen":
        return "frozen"
    if origin == "new":
        return "new"
    return "trained" if done == "trained" else "part"


def stage_changes(result: Values, ledger: Sequence[Values]) -> list[StageChange]:
    """Return the stages of the verdict's model from the input to the head; empty for one without a network."""
    verdict = verdict_of(result)
    stages = result["model"]["stages"]
    if not verdict["stages"]:
        return []
    keys: list[int | str] = [s["index"] for s in stages]
    names = [s["name"] for s in stages]
    changes = []
    for key, name, fate in zip([*keys, "head"], [*names, "head"], verdict["stages"], strict=True):
        tensors = [t for t in ledger if t["stage"] == key]
        count = sum(math.prod(t["shape"]) for t in tensors if t["dtype"].startswith(("float", "bfloat")))
        moved = None
        if count:
            moved = math.sqrt(sum(t["distance"] ** 2 for t in tensors) / count)
        changes.append(StageChange(name=name, fate=fate, parameters=count, moved=moved))
    return changes


def stages_figure(result: Values, ledger: Sequence[Values]) -> go.Figure:
    """Draw the verdict's network as a column of stages, the input at the bottom.

    The width of a bar is how far training moved the stage, the colour what was done to it.
    """
    changes = stage_changes(result, ledger)
    labels = [f"{safe(change.name, 24)} ({index})" for index, change in enumerate(changes, 1)]
    if labels:
        labels[-1] = "head"
    largest = max((c.moved or 0.0 for c in changes), default=0.0) or 1.0
    figure = new_figure(height=ROW * max(4, len(changes)) + 110, barmode="overlay", bargap=0.12)
    for kind, words in FATE_WORDS.items():
        own = [(label, c) for label, c in zip(labels, changes, strict=True) if fate_kind(c.fate) == kind]
        if not own:
            continue
        figure.add_bar(
            y=[label for label, _ in own],
            x=[0.16 * largest + (c.moved or 0.0) for _, c in own],
            orientation="h",
            marker={"color": FATES[kind]},
            text=[_moved_words(c) for _, c in own],
            textposition="outside",
            cliponaxis=False,
            name=words,
            customdata=[[c.parameters, _moved_words(c)] for _, c in own],
            hovertemplate=f"%{{y}}<br>{words}<br>%{{customdata[0]:,}} numbers, %{{customdata[1]}}<extra></extra>",
        )
    figure.update_xaxes(visible=False, range=[0, 2.3 * largest])
    figure.update_yaxes(categoryorder="array", categoryarray=labels, showgrid=False)
    return figure


def _moved_words(change: StageChange) -> str:
    if change.fate == "thrown away":
        return "not used"
    if change.moved is None:
        return "no parameters"
    if change.moved == 0.0:
        return "did not move"
    return f"moved by {change.moved:.2g}"


def treatments_figure(result: Values) -> go.Figure:
    """Draw what each strategy does to each stage: strategies across, stages up, the colour says what is done."""
    rows = [s for s in result["strategies"] if s["stages"] and s["status"] != "skipped"]
    names = [safe(s["name"], 18) for s in rows]
    places = list(range(len(names)))  # shortened names may be alike
    stages = [*(f"{safe(s['name'], 24)} ({s['index']})" for s in result["model"]["stages"]), "head"]
    kinds = list(FATES)
    cells = [[kinds.index(fate_kind(s["stages"][i])) for s in rows] for i in range(len(stages))]
    words = [[[safe(s["name"]), FATE_WORDS[fate_kind(s["stages"][i])]] for s in rows] for i in range(len(stages))]
    scale = [[place, FATES[kind]] for i, kind in enumerate(kinds) for place in (i / len(kinds), (i + 1) / len(kinds))]
    figure = new_figure(height=24 * len(stages) + 170)
    figure.add_heatmap(
        x=places,
        y=stages,
        z=cells,
        zmin=-0.5,
        zmax=len(kinds) - 0.5,
        colorscale=scale,
        showscale=False,
        xgap=3,
        ygap=2,
        customdata=words,
        hovertemplate="%{customdata[0]}<br>%{y}: %{customdata[1]}<extra></extra>",
    )
    for kind, legend in FATE_WORDS.items():  # a heatmap of categories has no legend of its own
        if kinds.index(kind) in {cell for row in cells for cell in row}:
            marker = {"symbol": "square", "size": 12, "color": FATES[kind]}
            figure.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=legend, hoverinfo="skip")
    figure.update_xaxes(showgrid=False, tickangle=-45, tickvals=places, ticktext=names)
    figure.update_yaxes(showgrid=False, categoryorder="array", categoryarray=stages)
    figure.update_layout(font={"color": OTHER})
    return figure
