"""The result as text: readable without colour, in a pipe and on a narrow terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from frostline.bundle.schema import MethodsRecord
from frostline.report.depth import depth_text
from frostline.report.elsewhere import elsewhere_lines, elsewhere_sentences
from frostline.report.lines import (
    curve_cells,
    curve_text,
    doubt_lines,
    history_lines,
    meaning_lines,
    probability_lines,
    sealed_meaning,
)
from frostline.report.networks import networks_lines
from frostline.report.plot import text_table

OTHER_METRICS = {"balanced-accuracy": "balanced accuracy", "f1-macro": "macro F1", "log-loss": "log loss (nats)"}


def result_text(result: Mapping[str, Any], width: int = 100) -> str:
    """Write the verdict, the table of strategies, accuracy by depth, the sealed test and the proof as plain lines."""
    verdict = result["verdict"]
    sealed = [_sealed_line(result), _proof_line(result["audit"]), *_settling_lines(verdict)]
    notes = [
        *probability_lines(result),
        *history_lines(result["model"].get("history", ())),
        _time_line(result["cost"]),
        *_budget_lines(result.get("budget")),
        *_concluded_lines(result.get("concluded")),
        *_warning_lines(result["data"]["warnings"]),
        *doubt_lines(result.get("doubts")),
    ]
    parts = [
        *filled([f"VERDICT  {verdict['reason']}"], width),
        "",
        _strategies_table(result),
        *filled(meaning_lines(result), width),
        "",
        *networks_lines(result),
        *elsewhere_lines(result),
        *_elsewhere_parts(result, width),
        *_depth_parts(result, width),
        *filled(sealed, width),
        *_curve_parts(result.get("learning_curve"), width),
        *filled(notes, width),
    ]
    return "\n".join(parts) + "\n"


def _metric(result: Mapping[str, Any]) -> str:
    return str(result["settings"].get("metric", "accuracy"))


def _strategies_table(result: Mapping[str, Any]) -> str:
    return text_table(*strategy_cells(result))


def strategy_cells(result: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return header and rows of the table of strategies, the best first; `*` marks the verdict."""
    metric = _metric(result)
    verdict = result["verdict"]
    unit = next(s["operations"] for s in result["strategies"] if s["name"] == verdict["strategy"])
    score = OTHER_METRICS.get(metric, "accuracy")
    header = ("strategy", score, "95 % interval", "against the best", "trained", "cost (x verdict)", "note")
    return header, [_strategy_row(s, verdict, unit, metric) for s in _best_first(result["strategies"], metric)]


def _best_first(strategies: Sequence[Mapping[str, Any]], metric: str) -> list[Mapping[str, Any]]:
    """Sort by score, the best first; then those that didn't run all blocks; those without a score come last."""
    sign = 1 if metric == "log-loss" else -1
    return sorted(
        strategies, key=lambda s: (s["score"] is None, s["status"] == "eliminated", sign * (s["score"] or 0.0))
    )


def _strategy_row(s: Mapping[str, Any], verdict: Mapping[str, Any], unit: float, metric: str) -> tuple[str, ...]:
    """Return the cells of one strategy; `unit` are the verdict's operations, in which costs are given."""
    name = str(s["name"])
    if name == verdict["strategy"]:
        name += " *"
    parameters = f"{s['trained_parameters']:,}"
    cost = f"{s['operations'] / unit:.2g}" if unit else ""
    if s["status"] == "forecast":
        low, high = s["forecast"]["accuracy_ci"]
        interval = f"{low:.3f} - {high:.3f}"
        what = "forecast" if metric == "accuracy" else "forecast accuracy"
        return (name, f"{s['forecast']['accuracy']:.3f} {what}", interval, "", parameters, cost, "not trained")
    if s["accuracy"] is None:
        accuracy = "-"
        if s["test"]:
            accuracy = f"{s['test']['accuracy']:.3f} (test)"
        reason = s["reason"] or _note(s)
        if s["status"] == "eliminated" and "early reading" in (s["reason"] or ""):
            reason = "dropped on an early reading"
        return (name, accuracy, "", "", parameters, cost, reason)
    low, high = s["score_ci"]
    versus = "the best" if s["name"] == verdict["best"] else _difference_words(s["versus_best"], metric)
    return (name, f"{s['score']:.3f}", f"{low:.3f} - {high:.3f}", versus, parameters, cost, _note(s))


def _difference_words(versus: Mapping[str, Any] | None, metric: str) -> str:
    if versus is None:
        return ""
    if metric == "log-loss":  # in the record a positive difference is the better one
        return f"{0.0 - versus['difference']:+.3f} nats, {versus['outcome']}"
    points = round(100 * versus["difference"], 1) + 0.0  # no minus before a zero
    return f"{points:+.1f} points, {versus['outcome']}"


def _note(s: Mapping[str, Any]) -> str:
    notes = []
    if s["status"] == "eliminated":
        count = len(s["blocks"])
        notes.append(f"stopped after {count} block{'s' * (count != 1)}")
    elif s["status"] != "raced":
        notes.append(s["status"])
    if s["rate"]:
        notes.append(f"rate {s['rate']:g}")
    if s["mix"] is not None:
        notes.append(f"mix {s['mix']:g}")
    if s["undertrained"]:
        notes.append("undertrained")
    if s.get("below_forecast"):
        notes.append(f"below its forecast of {s['forecast']['accuracy']:.3f}")
    if s["test"]:
        notes.append(f"sealed test {s['test']['accuracy']:.3f}")
    return ", ".join(notes)


def _sealed_line(result: Mapping[str, Any]) -> str:
    test = result["test"]
    metric = _metric(result)
    low, high = test["ci"]
    accuracy = f"{test['accuracy']:.3f}"
    other = ""
    if metric != "accuracy":
        accuracy = f"accuracy {accuracy}"
        other = f"; {OTHER_METRICS[metric]} {test[metric.replace('-', '_')]:.3f}"
    return (
        f"Sealed test ({result['data']['sealed']}, {test['n']} samples, opened once): {result['verdict']['strategy']} "
        f"{accuracy}, 95 % interval {low:.3f} to {high:.3f}{other}. {sealed_meaning()}"
    )


def _proof_line(audit: Mapping[str, Any]) -> str:
    text = (
        f"Proof: {audit['frozen_unchanged']:,} of {audit['frozen_tensors']:,} frozen tensors are bit-identical after "
        f"all runs; {audit['trained_changed']:,} of {audit['trained_tensors']:,} trained tensors changed"
    )
    if audit["no_gradient"]:
        text += f"; without gradient: {', '.join(audit['no_gradient'][:3])}"
    return text + "."


def _settling_lines(verdict: Mapping[str, Any]) -> list[str]:
    if not verdict["samples_needed"]:
        return []
    return [
        f"About {verdict['samples_needed']:,} labelled samples would settle {verdict['strategy']} against "
        f"{verdict['runner_up']}, if they differ as much as they did here."
    ]


def _elsewhere_parts(result: Mapping[str, Any], width: int) -> list[str]:
    """Return the sentences on other data, with an empty line below them, where there are some."""
    lines = filled(elsewhere_sentences(result), width)
    if not lines:
        return []
    return [*lines, ""]


def _depth_parts(result: Mapping[str, Any], width: int) -> list[str]:
    """Return the plot of accuracy against depth, with an empty line below it, where there is one."""
    text = depth_text(result, width)
    if not text:
        return []
    return [text, ""]


def _curve_parts(record: Mapping[str, Any] | None, width: int) -> list[str]:
    """Return accuracy by number of labels, with empty lines around the table, and the sentences on it."""
    if record is None:
        return []
    lines = filled([curve_text(record)], width)
    cells = curve_cells(record)
    if cells is None:
        return lines
    return ["", text_table(*cells), "", *lines]


def _time_line(cost: Mapping[str, Any]) -> str:
    phases = ", ".join(f"{p['name']} {p['seconds']:.1f}" for p in cost["phases"] if p["seconds"] >= 0.05)
    return f"Time: {cost['seconds']:.1f} s ({phases})."


def _concluded_lines(concluded: Sequence[str] | None) -> list[str]:
    if concluded is None:
        return []
    left_out = "; ".join(concluded) or "nothing"
    return [f"Concluded before its end; not run: {left_out}."]


def _budget_lines(budget: Mapping[str, Any] | None) -> list[str]:
    if not budget:
        return []
    left_out = "nothing was left out"
    if budget["left_out"]:
        left_out = f"left out: {'; '.join(budget['left_out'])}"
    return [f"Budget of {budget['seconds']:.0f} s (forecast {budget['forecast_seconds']:.0f} s): {left_out}."]


def _warning_lines(warnings: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"Note: {w['count']} {w['kind']} ({', '.join(w['examples'][:3])}): {w['handled']}." for w in warnings]


def filled(texts: Sequence[str], width: int) -> list[str]:
    """Wrap each text at `width` columns, later lines of it indented."""
    return [textwrap.fill(text, max(40, width), subsequent_indent="  ", break_on_hyphens=False) for text in texts]


def methods_text(methods: MethodsRecord, width: int = 100) -> str:
    """Write the methods paragraph, terms and sources as plain lines, ready to be copied into a paper."""

    def wrap(text: str, indent: str = "") -> str:
        return textwrap.fill(
            text, max(40, width), subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
        )

    lines = [wrap(methods.paragraph), "", wrap(f"Term: {methods.term}.", "  ")]
    if methods.also_called:
        lines.append(wrap(f"Also called: {', '.join(methods.also_called)}.", "  "))
    if methods.disputed:
        lines.append(wrap(f"Where terms disagree: {methods.disputed}", "  "))
    lines += ["", "Sources"] + [wrap(f"- {s.what}: {s.source}", "  ") for s in methods.sources]
    return "\n".join(lines) + "\n"
