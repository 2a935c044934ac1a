"""Several finished runs side by side: the same data with different networks, or different data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from frostline.base.errors import BundleError
from frostline.report.answer import short_data_name, short_model_name
from frostline.report.plot import text_table
from frostline.report.stored import Stored, read_stored
from frostline.report.tables import filled
from frostline.stats.paired import holm, paired_samples

LEVEL = 0.05
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine:
    """One run: `measured` is the verdict's accuracy out of fold, `sealed` that of the final model, with intervals."""

    label: str
    model: str
    data: str
    verdict: str
    parameters: int
    measured: float | None
    measured_ci: Interval | None
    sealed: float
    sealed_ci: Interval
    samples: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedPair:
    """Two final models on the same sealed samples: `difference` is a - b, `p` the exact McNemar test after Holm."""

    a: str
    b: str
    n: int
    difference: float
    ci: Interval
    p: float

    @property
    def differs(self) -> bool:
        """True where luck doesn't explain the difference, at the 5 % level for all pairs together."""
        return self.p < LEVEL


@dataclass(frozen=True, kw_only=True)
class RunsCompared:
    """What `frostline compare` found. `pairs` holds those runs whose sealed samples are the same."""

    runs: tuple[RunLine, ...]
    pairs: tuple[SealedPair, ...]
    strategies: tuple[tuple[str, ...], ...]  # name, then its accuracy in each run (empty: not measured there)
    same_data: bool
    sentences: tuple[str, ...]


def compare_folders(folders: Sequence[Path]) -> tuple[list[Stored], RunsCompared]:
    """Read RUN folders and compare them. Raises BundleError for fewer than two, one given twice, or no RUN folder."""
    places = [folder.resolve() for folder in folders]
    if len(places) < 2:
        raise BundleError("compare needs two runs at least.", "Give their RUN folders: frostline compare RUN RUN.")
    twice = next((folder for folder, place in zip(folders, places, strict=True) if places.count(place) > 1), None)
    if twice:
        raise BundleError(f"{twice} is given twice.", "Give each RUN folder once.")
    stored = [read_stored(folder) for folder in folders]
    return stored, compare_stored(stored)


def compare_stored(stored: Sequence[Stored]) -> RunsCompared:
    """Compare finished runs: each verdict, and final models in pairs where their sealed samples are the same."""
    labels = labels_of([run.path for run in stored])
    pairs = _sealed_pairs(stored, labels)
    same_data = len({run.result["data"]["sha256"] for run in stored}) == 1
    runs = tuple(_line(run, label) for run, label in zip(stored, labels, strict=True))
    return RunsCompared(
        runs=runs,
        pairs=pairs,
        strategies=_by_strategy(stored),
        same_data=same_data,
        sentences=tuple(_findings(runs, pairs, same_data=same_data)),
    )


def labels_of(paths: Sequence[Path]) -> list[str]:
    """Return a short name for each folder: its own, with as many of those above it as it takes to tell them apart."""
    parts = [path.resolve().parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = [str(Path(*p[-depth:])) for p in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _line(run: Stored, label: str) -> RunLine:
    result = run.result
    verdict = run.verdict
    ci = verdict["accuracy_ci"]
    low, high = result["test"]["ci"]
    return RunLine(
        label=label,
        model=short_model_name(result),
        data=short_data_name(result),
        verdict=verdict["name"],
        parameters=result["model"]["parameters"],
        measured=verdict["accuracy"],
        measured_ci=(ci[0], ci[1]) if ci else None,
        sealed=result["test"]["accuracy"],
        sealed_ci=(low, high),
        samples=result["test"]["n"],
        seconds=result["cost"]["seconds"],
    )


def _sealed_pairs(stored: Sequence[Stored], labels: Sequence[str]) -> tuple[SealedPair, ...]:
    answers = [_right_by_sample(run) for run in stored]
    found: list[dict[str, Any]] = []
    for i, j in combinations(range(len(stored)), 2):
        if not answers[i] or answers[i].keys() != answers[j].keys():
            continue
        keys = sorted(answers[i])
        a = np.array([answers[i][key] for key in keys], dtype=np.float64)
        b = np.array([answers[j][key] for key in keys], dtype=np.float64)
        paired = paired_samples(a, b)
        found.append(
            {"a": labels[i], "b": labels[j], "n": len(keys), "difference": paired.mean, "ci": paired.ci, "p": paired.p}
        )
    corrected = holm([entry["p"] for entry in found]) if found else np.zeros(0)
    return tuple(SealedPair(**{**entry, "p": float(p)}) for entry, p in zip(found, corrected, strict=True))


def _right_by_sample(run: Stored) -> dict[tuple[str, str, str], bool]:
    """Return for each sealed sample, by id, bytes and label, whether it was predicted right."""
    bytes_of = {row["id"]: row["sha256"] for row in run.samples if row["part"] == "sealed"}
    return {
        (row["id"], bytes_of.get(row["id"], ""), row["label"]): row["label"] == row["predicted"]
        for row in run.predictions
    }


def _by_strategy(stored: Sequence[Stored]) -> tuple[tuple[str, ...], ...]:
    names = dict.fromkeys(s["name"] for run in stored for s in run.result["strategies"])
    rows = []
    for name in names:
        cells = [_accuracy_cell(run, name) for run in stored]
        if any(cells):
            rows.append((name, *cells))
    return tuple(rows)


def _accuracy_cell(run: Stored, name: str) -> str:
    entry = next((s for s in run.result["strategies"] if s["name"] == name), None)
    if entry is None:
        return ""
    if entry["status"] == "forecast":
        return f"{entry['forecast']['accuracy']:.3f} forecast"
    if entry["accuracy"] is None:
        return ""
    mark = " *" if name == run.result["verdict"]["strategy"] else ""
    return f"{entry['accuracy']:.3f}{mark}"


def _findings(runs: Sequence[RunLine], pairs: Sequence[SealedPair], *, same_data: bool) -> list[str]:
    found = []
    if same_data:
        every = "Both" if len(runs) == 2 else f"All {len(runs)}"
        found.append(f"{every} runs used the same data.")
    elif pairs:
        found.append("The runs differ in their data, but some share their sealed samples.")
    else:
        found.append(
            "These runs used different data, so their accuracies answer different questions; each is to be read on its "
            "own."
        )
    if not pairs:
        return found
    paired = {label for pair in pairs for label in (pair.a, pair.b)}
    best = max((run for run in runs if run.label in paired), key=lambda run: run.sealed)
    found.append(f"Most right on the same sealed samples: {best.label} ({best.sealed:.3f}). {_pairs_words(pairs)}")
    found.append(
        "Choosing the best of several runs by their sealed samples flatters it a little: choose by the accuracy out of "
        "fold where you can."
    )
    return found


def _pairs_words(pairs: Sequence[SealedPair]) -> str:
    real = sum(pair.differs for pair in pairs)
    if len(pairs) == 1:
        two = f"{pairs[0].a} and {pairs[0].b}"
        if real:
            return f"{two} differ by more than luck explains."
        return f"{two} can't be told apart with these samples."
    return f"Pairs on the same samples: {len(pairs)}; {real} of them differ by more than luck explains."


def compared_text(compared: RunsCompared, width: int = 100) -> str:
    """Write the comparison as plain lines."""
    parts = [text_table(RUN_HEADER, run_rows(compared.runs)), "", *filled(compared.sentences, width)]
    if compared.pairs:
        parts += ["", text_table(PAIR_HEADER, pair_rows(compared.pairs))]
    parts += ["", text_table(("strategy", *(run.label for run in compared.runs)), compared.strategies)]
    return "\n".join(parts) + "\n"


RUN_HEADER = ("run", "network", "data", "verdict", "out of fold", "sealed test", "95 % interval", "seconds")


def run_rows(runs: Sequence[RunLine]) -> list[tuple[str, ...]]:
    """Return the cells of runs under RUN_HEADER."""
    return [
        (
            run.label,
            run.model,
            run.data,
            run.verdict,
            f"{run.measured:.3f}" if run.measured is not None else "",
            f"{run.sealed:.3f}",
            f"{run.sealed_ci[0]:.3f} - {run.sealed_ci[1]:.3f}",
            f"{run.seconds:.0f}",
        )
        for run in runs
    ]


PAIR_HEADER = ("run", "against", "points", "95 % interval", "p (Holm)", "")


def pair_rows(pairs: Sequence[SealedPair]) -> list[tuple[str, ...]]:
    """Return the cells of pairs under PAIR_HEADER."""
    return [
        (
            pair.a,
            pair.b,
            f"{100 * pair.difference:+.1f}",
            f"{100 * pair.ci[0]:.1f} to {100 * pair.ci[1]:.1f}",
            f"{pair.p:.2g}",
            "differ" if pair.differs else "can't be told apart",
        )
        for pair in pairs
    ]
