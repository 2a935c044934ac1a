"""The result as text: readable without colour, in a pipe and on a narrow terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from frostline.bundle.schema import MethodsRecord
from frostline.report.lines import (
    curve_cells,
    curve_sentence,
    doubt_lines,
    meaning_lines,
    probability_lines,
    sealed_meaning,
)

COLUMNS = ("strategy", "accuracy", "95 % interval", "against the best", "trained", "cost (x verdict)", "note")
WORDS = {"balanced-accuracy": "balanced accuracy", "f1-macro": "macro F1", "log-loss": "log loss (nats)"}


def result_text(result: Mapping[str, Any], width: int = 100) -> str:
    """The verdict, the table of strategies, the sealed test and the proof, as plain lines."""
    verdict, test = result["verdict"], result["test"]
    low, high = test["ci"]
    data, metric = result["data"], result["settings"].get("metric", "accuracy")
    unit = next(s["operations"] for s in result["strategies"] if s["name"] == verdict["strategy"])
    parts = [
        _wrap(f"VERDICT  {verdict['reason']}", width),
        "",
        table(_columns(metric), [_row(s, verdict, unit, metric) for s in _ordered(result["strategies"], metric)]),
        *[_wrap(text, width) for text in meaning_lines(result)],
        "",
        _wrap(
            f"Sealed test ({data['sealed']}, {test['n']} samples, opened once): {verdict['strategy']} "
            f"{_accuracy(test, metric)}, 95 % interval {low:.3f} to {high:.3f}{_other(test, metric)}. "
            f"{sealed_meaning()}",
            width,
        ),
        _wrap(_proof(result["audit"]), width),
    ]
    if verdict["samples_needed"]:
        parts.append(
            _wrap(
                f"About {verdict['samples_needed']:,} labelled samples would settle {verdict['strategy']} against "
                f"{verdict['runner_up']}, if they differ as much as they did here.",
                width,
            )
        )
    parts += _curve(result.get("learning_curve"), width)
    parts += [_wrap(text, width) for text in probability_lines(result)]
    parts.append(_wrap(_time(result["cost"]), width))
    if result.get("budget"):
        parts.append(_wrap(_budget(result["budget"]), width))
    parts += [
        _wrap(f"Note: {w['count']} {w['kind']} ({', '.join(w['examples'][:3])}): {w['handled']}.", width)
        for w in data["warnings"]
    ]
    parts += [_wrap(line, width) for line in doubt_lines(result.get("doubts"))]
    return "\n".join(parts) + "\n"


def _curve(record: Mapping[str, Any] | None, width: int) -> list[str]:
    """Accuracy against labels, with empty lines around the table, and the sentence."""
    cells = curve_cells(record) if record else None
    drawn = ["", table(*cells), ""] if cells else []
    return [*drawn, _wrap(curve_sentence(record), width)] if record else []


def _columns(metric: str) -> tuple[str, ...]:
    return (COLUMNS[0], WORDS.get(metric, COLUMNS[1]), *COLUMNS[2:])


def _ordered(strategies: Sequence[Mapping[str, Any]], metric: str) -> list[Mapping[str, Any]]:
    """Best first; those without a score last."""
    sign = 1 if metric == "log-loss" else -1
    return sorted(strategies, key=lambda s: (s["score"] is None, sign * (s["score"] or 0.0)))


def _row(s: Mapping[str, Any], verdict: Mapping[str, Any], unit: float, metric: str) -> tuple[str, ...]:
    """Cells of one strategy; `unit` are the verdict's operations, which costs are told in."""
    cost = f"{s['operations'] / unit:.2g}" if unit else ""
    if s["accuracy"] is None:
        accuracy = f"{s['test']['accuracy']:.3f} (test)" if s["test"] else "-"
        why = s["reason"] or _note(s)
        return (_name(s, verdict), accuracy, "", "", f"{s['trained_parameters']:,}", cost, why)
    low, high = s["score_ci"]
    versus = "the best" if s["name"] == verdict["best"] else _versus(s["versus_best"], metric)
    parameters = f"{s['trained_parameters']:,}"
    return (_name(s, verdict), f"{s['score']:.3f}", f"{low:.3f} - {high:.3f}", versus, parameters, cost, _note(s))


def _name(s: Mapping[str, Any], verdict: Mapping[str, Any]) -> str:
    return f"{s['name']} *" if s["name"] == verdict["strategy"] else str(s["name"])


def _versus(versus: Mapping[str, Any] | None, metric: str) -> str:
    if versus is None:
        return ""
    if metric == "log-loss":  # the difference counts what is better as more
        return f"{0.0 - versus['difference']:+.3f} nats, {versus['outcome']}"
    points = round(100 * versus["difference"], 1) + 0.0  # no minus before a zero
    return f"{points:+.1f} points, {versus['outcome']}"


def _note(s: Mapping[str, Any]) -> str:
    notes = [s["status"]] if s["status"] != "raced" else []
    notes += [f"rate {s['rate']:g}"] if s["rate"] else []
    notes += [f"mix {s['mix']:g}"] if s["mix"] is not None else []
    notes += ["undertrained"] if s["undertrained"] else []
    notes += [f"sealed test {s['test']['accuracy']:.3f}"] if s["test"] else []
    return ", ".join(notes)


def _accuracy(test: Mapping[str, Any], metric: str) -> str:
    return f"{'accuracy ' if metric != 'accuracy' else ''}{test['accuracy']:.3f}"


def _other(test: Mapping[str, Any], metric: str) -> str:
    """The sealed figure of another metric than accuracy."""
    key = metric.replace("-", "_")
    return f"; {WORDS[metric]} {test[key]:.3f}" if metric in WORDS else ""


def _time(cost: Mapping[str, Any]) -> str:
    spent = ", ".join(f"{p['name']} {p['seconds']:.1f}" for p in cost["phases"] if p["seconds"] >= 0.05)
    return f"Time: {cost['seconds']:.1f} s ({spent})."


def _budget(budget: Mapping[str, Any]) -> str:
    out = f"left out: {'; '.join(budget['left_out'])}" if budget["left_out"] else "nothing was left out"
    return f"Budget of {budget['seconds']:.0f} s (forecast {budget['forecast_seconds']:.0f} s): {out}."


def _proof(audit: Mapping[str, Any]) -> str:
    same, frozen = f"{audit['frozen_unchanged']:,}", f"{audit['frozen_tensors']:,}"
    moved, trained = f"{audit['trained_changed']:,}", f"{audit['trained_tensors']:,}"
    text = (
        f"Proof: {same} of {frozen} frozen tensors are bit-identical after all runs; {moved} of {trained} trained moved"
    )
    if audit["no_gradient"]:
        text += f"; without gradient: {', '.join(audit['no_gradient'][:3])}"
    return text + "."


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their content; empty columns are left out."""
    used = [i for i in range(len(header)) if any(row[i] for row in rows)]
    widths = {i: max(len(header[i]), *(len(row[i]) for row in rows)) for i in used}
    lines = [[header[i] for i in used], ["-" * widths[i] for i in used], *[[row[i] for i in used] for row in rows]]
    return "\n".join(
        "  ".join(cell.ljust(widths[i]) for i, cell in zip(used, line, strict=True)).rstrip() for line in lines
    )


def _wrap(text: str, width: int) -> str:
    return textwrap.fill(text, max(40, width), subsequent_indent="  ", break_on_hyphens=False)


def methods_text(methods: MethodsRecord, width: int = 100) -> str:
    """Plain lines, ready to be copied into a paper."""

    def wrap(text: str, indent: str = "") -> str:
        return textwrap.fill(
            text, max(40, width), subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
        )

    told = [wrap(methods.paragraph), "", wrap(f"Term: {methods.term}.", "  ")]
    if methods.also_called:
        told.append(wrap(f"Also called: {', '.join(methods.also_called)}.", "  "))
    if methods.disputed:
        told.append(wrap(f"Where terms disagree: {methods.disputed}", "  "))
    told += ["", "Sources"] + [wrap(f"- {s.what}: {s.source}", "  ") for s in methods.sources]
    return "\n".join(told) + "\n"
