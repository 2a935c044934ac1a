"""The parts of the page that are figures: what each shows, how to read it, and the same as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from frostline.report import figures
from frostline.report.figures.cost import costs
from frostline.report.figures.depth import depth_of, forecast_points, measured_points
from frostline.report.figures.differences import MIRROR, WORDS, compared
from frostline.report.figures.mistakes import drawn_classes, most_confused
from frostline.report.figures.stages import stage_changes
from frostline.report.figures.training import loss_curves, tuned
from frostline.report.lines import curve_cells, curve_text, probability_lines
from frostline.report.networks import BEST_HEADER, best_rows, pretrained_rows
from frostline.report.stored import Stored

if TYPE_CHECKING:
    import plotly.graph_objects as go

Values = Mapping[str, Any]
Rows = Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A figure with its caption, what it shows for those who don't see it, and its numbers as a table."""

    key: str
    figure: go.Figure
    caption: str
    alt: str
    header: Sequence[str]
    rows: Rows


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A section of the page: its anchor, title, sentences and figures."""

    id: str
    title: str
    lead: Sequence[str]
    shown: Sequence[Shown]


def panels(stored: Stored) -> list[Panel]:
    """Return the sections that this run has something to say in, in the order of the page."""
    builders: tuple[Callable[[Stored], Panel | None], ...] = (
        depth_panel,
        networks_panel,
        cost_panel,
        stages_panel,
        differences_panel,
        training_panel,
        labels_panel,
        reliability_panel,
        confusion_panel,
    )
    built = [build(stored) for build in builders]
    return [panel for panel in built if panel]


def depth_panel(stored: Stored) -> Panel:
    """The founding picture: accuracy against frozen depth."""
    result = stored.result
    measured = {p.name: p for p in measured_points(result)}
    forecast = {p.name: p for p in forecast_points(result)}
    rows = []
    for s in sorted(result["strategies"], key=_depth_order):
        if s["name"] not in measured and s["name"] not in forecast:
            continue
        depth = depth_of(s)
        frozen = "" if depth is None else str(depth)
        rows.append((s["name"], frozen, *_figures(forecast.get(s["name"])), *_figures(measured.get(s["name"]))))
    header = ("strategy", "frozen stages", "forecast", "its 95 % interval", "measured", "its 95 % interval")
    caption = (
        "Left to right: more of the network is frozen, counted from the input; none is finetune, all is probe. Dots "
        "were measured on samples that the models had not seen; the lines through them are 95 % intervals. Dotted "
        "levels are strategies that aren't a depth."
    )
    if forecast:
        caption += " The dashed line with its band is the forecast, made before anything was trained."
    if result["settings"].get("metric", "accuracy") != "accuracy":
        caption += f" Strategies were compared by {result['settings']['metric']}; the figure shows accuracy."
    shown = Shown(
        key="depth",
        figure=figures.depth_figure(result),
        caption=caption,
        alt=f"Accuracy against the number of frozen stages. {result['verdict']['reason']}",
        header=header,
        rows=rows,
    )
    lead = (result["verdict"]["reason"],)
    title = "Accuracy against frozen depth"
    if not rows:  # a strategy ran alone, on no block
        return Panel(id="depth", title=title, lead=lead, shown=())
    return Panel(id="depth", title=title, lead=lead, shown=(shown,))


def _depth_order(s: Values) -> tuple[bool, float]:
    depth = depth_of(s)
    if depth is None:
        return True, -(s["accuracy"] or 0.0)
    return False, float(depth)


def _figures(point: Any) -> tuple[str, str]:
    if point is None:
        return "", ""
    return f"{point.accuracy:.3f}", f"{point.ci[0]:.3f} to {point.ci[1]:.3f}"


def networks_panel(stored: Stored) -> Panel | None:
    """Several networks beside each other, and what training on own unlabelled data first was worth."""
    result = stored.result
    if not result.get("sources"):
        return None
    rows = pretrained_rows(result)
    lead = ["All networks met the same samples and blocks, so their strategies are compared in pairs like any others."]
    lead += [f"{row[0]}: {row[3]} points with own data first ({row[4]}; {row[5]})." for row in rows]
    shown = Shown(
        key="networks",
        figure=figures.networks_figure(result),
        caption="The best strategy that starts from each network. The best of many is a little lucky: the pairs say "
        "what is shown.",
        alt="Accuracy of the best strategy of each network.",
        header=BEST_HEADER,
        rows=best_rows(result),
    )
    return Panel(id="networks", title="Network against network", lead=lead, shown=(shown,))


def cost_panel(stored: Stored) -> Panel | None:
    """Strategies against what they cost."""
    result = stored.result
    cost = costs(result)
    if len(cost) < 2:
        return None
    by_name = {s["name"]: s for s in result["strategies"]}
    rows = []
    for name in sorted(cost, key=lambda n: cost[n]):
        s = by_name[name]
        reached = s["accuracy"] if s["status"] != "forecast" else s["forecast"]["accuracy"]
        kind = "forecast" if s["status"] == "forecast" else "measured"
        if reached is not None:
            rows.append((name, f"{cost[name]:.2g}", f"{reached:.3f}", kind, f"{s['trained_parameters']:,}"))
    shown = Shown(
        key="cost",
        figure=figures.cost_figure(result),
        caption="Up is better, left is cheaper.",
        alt="Accuracy of each strategy against its cost in counted operations.",
        header=("strategy", "cost (x verdict)", "accuracy", "how known", "numbers trained"),
        rows=rows,
    )
    lead = "Cost is counted, not timed: floating-point operations to train the strategy and to predict with it."
    return Panel(id="cost", title="Accuracy against cost", lead=(lead,), shown=(shown,))


def stages_panel(stored: Stored) -> Panel | None:
    """What exactly happened to each stage."""
    result = stored.result
    changes = stage_changes(result, stored.ledger)
    shown = []
    if changes:
        rows = [
            (
                str(i) if i <= len(result["model"]["stages"]) else "",
                c.name,
                c.fate,
                f"{c.parameters:,}",
                _moved(c.moved),
            )
            for i, c in enumerate(changes, 1)
        ]
        shown.append(
            Shown(
                key="stages",
                figure=figures.stages_figure(result, stored.ledger),
                caption="The final model as a column of stages, the input at the bottom. The longer a bar, the further "
                "training moved the stage: the root mean square change of one of its numbers.",
                alt=f"What happened to each stage: {stored.verdict['origin_summary']}.",
                header=("stage", "name", "what happened", "numbers", "moved by"),
                rows=rows,
            )
        )
    treated = [s for s in result["strategies"] if s["stages"] and s["status"] != "skipped"]
    if treated:
        names = [*(s["name"] for s in result["model"]["stages"]), "head"]
        shown.append(
            Shown(
                key="treatments",
                figure=figures.treatments_figure(result),
                caption="What every strategy of this comparison does to every stage.",
                alt="A grid of strategies and stages; the colour says what is done.",
                header=("strategy", *names),
                rows=[(s["name"], *s["stages"]) for s in treated],
            )
        )
    if not shown:
        return None
    audit = result["audit"]
    proof = (
        f"Proof: {audit['frozen_unchanged']:,} of {audit['frozen_tensors']:,} frozen tensors are bit-identical after "
        f"all runs, and {audit['trained_changed']:,} of {audit['trained_tensors']:,} trained tensors changed."
    )
    return Panel(id="stages", title="What happened to each stage", lead=(proof,), shown=shown)


def _moved(value: float | None) -> str:
    if value is None:
        return "no parameters"
    return f"{value:.3g}"


def differences_panel(stored: Stored) -> Panel | None:
    """Which differences are real."""
    result = stored.result
    names = compared(result)
    if len(names) < 2:
        return None
    rows = []
    for pair in result["pairs"]:
        low, high = pair["ci"]
        rows.append(
            (
                pair["a"],
                pair["b"],
                f"{100 * pair['difference']:+.1f}",
                f"{100 * low:.1f} to {100 * high:.1f}",
                f"{pair['p']:.2g}",
                WORDS[pair["outcome"]],
            )
        )
    decided = sum(pair["outcome"] in MIRROR for pair in result["pairs"])
    equal = sum(pair["outcome"] == "as-good" for pair in result["pairs"])
    count = len(result["pairs"])
    undecided = count - decided - equal
    lead = (
        f"Of {count} pair{'s' * (count != 1)}, {_count_word(decided)} differ{'s' * (decided == 1)} by more than luck "
        f"explains, {_count_word(equal)} {'is' if equal == 1 else 'are'} shown to be as good as each other, and "
        f"{_count_word(undecided)} can't be told apart with these data."
    )
    sentences = [lead]
    needed = result["verdict"]["samples_needed"]
    if needed:
        sentences.append(
            f"About {needed:,} labelled samples would settle {result['verdict']['strategy']} against "
            f"{result['verdict']['runner_up']}, if they differ as much as they did here."
        )
    shown = Shown(
        key="differences",
        figure=figures.differences_figure(result),
        caption="Read a row: how the strategy at its left does against the one below each column.",
        alt=lead,
        header=("strategy", "against", "points", "95 % interval", "p (Holm)", "outcome"),
        rows=rows,
    )
    return Panel(id="differences", title="Which differences are real", lead=sentences, shown=(shown,))


def _count_word(count: int) -> str:
    return str(count) if count else "none"


def training_panel(stored: Stored) -> Panel | None:
    """Rates tried and loss curves."""
    result = stored.result
    rows_tuned = tuned(result)
    shown = []
    if rows_tuned:
        tried = [
            (s["name"], f"{t['rate']:g}", f"{t.get('steps') or 0:.0f}", f"{t['log_loss']:.3f}", f"{t['accuracy']:.3f}")
            for s in rows_tuned
            for t in s["rates_tried"]
        ]
        shown.append(
            Shown(
                key="rates",
                figure=figures.rates_figure(result),
                caption="Lower is better. Each line is a strategy, each dot a learning rate that was tried on samples "
                "held out of training; the ring is the rate that was then used. Lower rates win near-ties.",
                alt="Held-out log loss of every learning rate tried, by strategy.",
                header=("strategy", "rate", "steps", "log loss", "accuracy"),
                rows=tried,
            )
        )
    curves = loss_curves(result, stored.trials)
    if curves:
        rows = [
            (s["name"], str(points[-1]["step"]), f"{points[0]['train_loss']:.3f}", f"{points[-1]['train_loss']:.3f}",
             "yes" if s["undertrained"] else "no")
            for s, points in curves
        ]  # fmt: skip
        shown.append(
            Shown(
                key="losses",
                figure=figures.losses_figure(result, stored.trials),
                caption="Training loss on the first block. Dashed: the strategy was still improving when training "
                "ended, so it may be better than it looks here.",
                alt="Training loss against training steps, by strategy.",
                header=("strategy", "steps", "loss at first", "loss at the end", "undertrained"),
                rows=rows,
            )
        )
    if not shown:
        return None
    under = [s["name"] for s in rows_tuned if s["undertrained"]]
    lead = ["Every strategy that is trained in steps got its own learning rate and length."]
    if under:
        lead.append(f"Undertrained: {', '.join(under)}.")
    below = [s["name"] for s in result["strategies"] if s["below_forecast"]]
    if below:
        lead.append(f"Well below what was forecast: {', '.join(below)}.")
    return Panel(id="training", title="Rates and training", lead=lead, shown=shown)


def labels_panel(stored: Stored) -> Panel | None:
    """Would more labels help?"""
    curve = stored.result["learning_curve"]
    if curve is None or not curve["curves"]:
        return None
    cells = curve_cells(curve)
    if cells is None:
        return None
    shown = Shown(
        key="labels",
        figure=figures.labels_figure(curve),
        caption="Accuracy of strategies that learnt from fewer labels, on the same held-out samples.",
        alt=curve_text(curve),
        header=cells[0],
        rows=cells[1],
    )
    return Panel(id="labels", title="Would more labels help?", lead=(curve_text(curve),), shown=(shown,))


def reliability_panel(stored: Stored) -> Panel | None:
    """How far the probabilities can be trusted."""
    result = stored.result
    calibration = result["calibration"]
    if calibration is None:
        return None
    rows = [
        (f"{b['low']:.0%} to {b['high']:.0%}", str(b["n"]), f"{b['confidence']:.3f}", f"{b['accuracy']:.3f}")
        for b in calibration["sealed_after"]["reliability"]
        if b["n"]
    ]
    shown = Shown(
        key="reliability",
        figure=figures.reliability_figure(calibration),
        caption="On the dotted line a model that says 80 % is right in 80 of 100 cases. Below it the model is too "
        "sure, above it not sure enough. Larger marks hold more samples.",
        alt="Share of right predictions against the confidence of the model.",
        header=("confidence", "sealed samples", "mean confidence", "share right"),
        rows=rows,
    )
    lines = probability_lines(result)
    return Panel(id="probabilities", title="Can the probabilities be trusted?", lead=lines, shown=(shown,))


def confusion_panel(stored: Stored) -> Panel:
    """Which classes are taken for which."""
    result = stored.result
    rows = [(a, b, str(count), str(total)) for a, b, count, total in most_confused(result)]
    wrong = result["test"]["n"] - sum(row[i] for i, row in enumerate(result["test"]["confusion"]))
    lead = f"{wrong:,} of {result['test']['n']:,} sealed samples were predicted wrong."
    if rows:
        a, b, count, total = rows[0]
        lead += f" Most often {a} was taken for {b}: {count} of {total}."
    caption = "Rows are the true classes, columns what the final model predicted, on the sealed samples."
    drawn = len(drawn_classes(result["test"]["confusion"]))
    if drawn < len(result["data"]["classes"]):
        caption += f" Drawn are the {drawn} classes that are confused most often."
    shown = Shown(
        key="confusion",
        figure=figures.confusion_figure(result),
        caption=caption,
        alt=lead,
        header=("true class", "predicted", "samples", "of"),
        rows=rows or [("none was taken for another", "", "0", f"{result['test']['n']:,}")],
    )
    return Panel(id="mistakes", title="What it gets wrong", lead=(lead,), shown=(shown,))
