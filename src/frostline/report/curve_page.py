"""curve.html: a transferability curve beside the published one, its gaps, and what they support."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from frostline.report.curve import basis, counted, gap_header, gap_rows, interval_words, stage_words
from frostline.report.figures.curve import gaps_figure, published_figure, transfer_figure
from frostline.report.page import render
from frostline.report.panels import Panel, Shown
from frostline.report.published import CITATION, PUBLISHED_HEADER, published_rows

Values = Mapping[str, Any]
ROW_HEADER = ("stage", "arm", "accuracy", "95 % interval")

ARMS: Mapping[str, Sequence[tuple[str, str]]] = {
    "full": (
        ("base", "A network trained from random weights on one half of the classes, B."),
        ("BnB", "Stages up to n copied from a network of the same half, frozen; the rest drawn anew and trained."),
        ("BnB+", "The same, and the copied stages are trained on too."),
        ("AnB", "Stages up to n copied from a network of the other half, A, frozen; the rest drawn anew and trained."),
        ("AnB+", "The same, and the copied stages are trained on too."),
    ),
    "applied": (
        ("base", "The network trained on these data from random weights."),
        ("AnB", "Stages up to n of the given network, frozen; the rest drawn anew and trained."),
        ("AnB+", "The same, and the copied stages are trained on too."),
    ),
}
GAP_WORDS: Mapping[str, str] = {
    "co-adaptation": "base less BnB: what is lost by freezing a network's own stages, since later ones had grown "
    "together with them.",
    "specificity": "BnB less AnB: what is lost since the frozen features were learnt on other classes.",
    "loss": "base less AnB: what frozen features lose against random weights that are all trained; below 0 they win.",
    "gain": "AnB+ less base: what starting from copied stages brings when all of them are trained on.",
    "transfer": "AnB+ less BnB+: what is owed to the other classes, and not to a longer training.",
    "freezing": "AnB+ less AnB: what freezing the copied stages costs, from the same start.",
}


DRAWN: Mapping[str, Sequence[str]] = {
    "full": ("co-adaptation", "specificity", "gain"),
    "applied": ("gain", "freezing"),
}


def curve_page(record: Values) -> str:
    """Return the page as HTML, from curve.json as plain values."""
    shown = [_curve_panel(record), _published_panel(), _gap_panel(record)]
    contents = [
        ("answer", "What it shows"),
        *((panel.id, panel.title) for panel in shown),
        ("arms", "The arms"),
        ("made", "How this was made"),
    ]
    return render(
        "curve.html.j2",
        shown,
        contents,
        title=_title(record),
        record=record,
        names={"model": _short(record["model"]["spec"]), "data": _short(record["data"]["path"])},
        arms=ARMS[record["kind"]],
        gap_words=[(name, GAP_WORDS[name]) for name in gap_header(record)[1:]],
        basis=basis(record),
        made=_made(record),
        splits={"header": ("split", "A", "B", "kind"), "rows": _split_rows(record)},
    )


def _title(record: Values) -> str:
    if record["kind"] == "full":
        return "How well do features transfer between classes, stage by stage?"
    return "What is each stage of this network worth here?"


def _short(path: str) -> str:
    return PurePath(path).name or path


def _curve_panel(record: Values) -> Panel:
    rows = [
        (stage_words(row["stage"], row["name"]), row["arm"], _percent(row["mean"]), interval_words(row["ci"]))
        for row in record["rows"]
    ]
    caption = (
        "Left: the base, with every stage from random weights; its level is the dotted line. To the right more stages "
        "are copied, counted from the input; those after them begin anew. Lines through the marks are 95 % intervals."
    )
    if record["kind"] == "full":
        caption += (
            " Where blue falls below the dotted line, stages had grown together; where red falls below blue, features "
            "belong to the classes they were learnt on."
        )
    shown = Shown(
        key="transfer",
        figure=transfer_figure(record),
        caption=caption,
        alt="Accuracy against the stage at which the network is cut. " + " ".join(record["sentences"]),
        header=ROW_HEADER,
        rows=rows,
    )
    return Panel(id="transfer", title="Accuracy against the stage that is cut", lead=(), shown=(shown,))


def _percent(value: float | None) -> str:
    if value is None:
        return "failed"
    return f"{value:.3f}"


def _gap_panel(record: Values) -> Panel:
    names = gap_header(record)[1:]
    drawn = [name for name in DRAWN[record["kind"]] if name in names]
    shown = Shown(
        key="gaps",
        figure=gaps_figure(record, drawn),
        caption="Each mark is a paired difference of two arms that met the same images, batches and random values; "
        "the line through it is its 95 % interval. An interval that crosses 0 decides nothing.",
        alt="Gaps by stage, in points: " + "; ".join(f"{row[0]}: {', '.join(row[1:])}" for row in gap_rows(record)),
        header=gap_header(record),
        rows=gap_rows(record),
    )
    lead = (record["intervals"]["method"] + ".", record["intervals"]["note"])
    return Panel(id="gaps", title="The gaps, in points", lead=lead, shown=(shown,))


def _published_panel() -> Panel:
    shown = Shown(
        key="published",
        figure=published_figure(),
        caption=f"Source: {CITATION}. A network of eight layers on random halves of ImageNet, 500 classes each.",
        alt="The published curve: frozen features of other classes lose little up to layer 3, and 8 points at layer 7; "
        "trained on, copied features win about 2 points at every layer.",
        header=PUBLISHED_HEADER,
        rows=published_rows(),
    )
    lead = (
        "What the authors measured with 450,000 steps on 1.3 million images. Only the forms of the two curves can be "
        "compared: networks, classes and lengths differ.",
    )
    return Panel(id="published", title="The published curve", lead=lead, shown=(shown,))


def _made(record: Values) -> list[tuple[str, str]]:
    settings = record["settings"]
    last = settings["last_k"]
    return [
        ("length of every training", f"{counted(settings['steps'], 'step')}, batches of {settings['batch_size']}"),
        ("rate of every training", f"{settings['rate']:g}, {settings['rate_rule']}"),
        ("optimiser", f"{settings['optimiser']}; {settings['schedule']}"),
        ("weight decay", f"{settings['weight_decay']:g} on what trains; frozen stages are in no optimiser"),
        ("BatchNorm", settings["batchnorm"]),
        ("augmentation", settings["augment"]),
        (
            "an accuracy is",
            f"the mean of the last {counted(last['count'], 'reading')}, {counted(last['spacing'], 'step')} apart",
        ),
        ("held-out samples", record["held_out"]),
        ("trainings", f"{record['cost']['trainings']}, with {counted(settings['seeds'], 'seed')}"),
        ("failed trainings", str(len(record["failed"]))),
        ("frozen tensors checked", f"{record['audit']['frozen_unchanged']:,} unchanged"),
        ("command", record["command"]),
    ]


def _split_rows(record: Values) -> list[tuple[str, str, str, str]]:
    return [
        (str(number), ", ".join(split["A"]), ", ".join(split["B"]), split["kind"])
        for number, split in enumerate(record["splits"], 1)
    ]
