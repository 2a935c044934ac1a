"""The tables of the study, as markdown: means over studies, each with its Monte Carlo standard error."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Results = dict[str, dict[str, list[float]]]

TARGET_COVERAGE, TARGET_FALSE, TARGET_REGRET = 0.93, 0.05, 1.0
DESIGNS, COUNTS = ("hold-out", "1 repeat", "3 repeats"), ("3", "6", "12")
BINS = ("0-1", "1-2", "2-5", "5-10", "10-20", "20-100")
RIVALS = ("Holm", "max-t", "Hsu")
ERRORS = 2.0  # Monte Carlo standard errors within which a figure is not held to miss its target


@dataclass(frozen=True, slots=True)
class Estimate:
    """Mean over `count` studies and its standard error."""

    mean: float
    se: float
    count: int


def estimate(values: Sequence[float]) -> Estimate:
    """nan where there are no studies; a rate of 0 or 1 has the error of one study more (Laplace)."""
    n = len(values)
    if n < 2:
        return Estimate(float(np.mean(values)) if n else math.nan, math.nan, n)
    spread = float(np.std(values, ddof=1))
    if spread == 0 and values[0] in (0.0, 1.0):
        spread = math.sqrt((n + 1) / (n + 2) ** 2)
    return Estimate(float(np.mean(values)), spread / math.sqrt(n), n)


@dataclass(frozen=True, slots=True)
class Figures:
    """All values, and how they are asked for."""

    results: Results

    def populations(self) -> list[str]:
        return list(dict.fromkeys(cell.rpartition("|")[0] for cell in self.results))

    def sizes(self) -> list[int]:
        return sorted({int(cell.rpartition("|")[2]) for cell in self.results})

    def get(
        self,
        design: str,
        count: str,
        figure: str,
        *,
        rows: int | None = None,
        among: Callable[[str], bool] = lambda _: True,
    ) -> Estimate:
        """Pooled over the populations that `among` takes, and over all sizes where `rows` is None."""
        values: list[float] = []
        for cell, found in self.results.items():
            name, _, n = cell.rpartition("|")
            if among(name) and rows in (None, int(n)):
                values += found.get(f"{design}|{count}|{figure}", [])
        return estimate(values)


def equal(name: str) -> bool:
    """Populations in which all strategies are equal."""
    return name.startswith("equal")


def percent(e: Estimate, places: int = 1) -> str:
    return "" if math.isnan(e.mean) else f"{100 * e.mean:.{places}f} ± {100 * e.se:.{places}f}"


def points(e: Estimate) -> str:
    return "" if math.isnan(e.mean) else f"{e.mean:.2f} ± {e.se:.2f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def report(results: Results) -> str:
    """All sections."""
    f = Figures(results)
    studies = sum(len(cell.get("1 repeat|12|score covers", [])) for cell in results.values())
    head = (
        f"{studies:,} studies: {len(f.populations())} populations, rows {', '.join(map(str, f.sizes()))}. Figures "
        "after ± are Monte Carlo standard errors."
    )
    sections = {
        "Coverage by population": _by_population,
        "Coverage by design": _by_design,
        "False `worse` in a study": _false,
        "What is shown": _power,
        "Regret": _regret,
        "Dropping early": _dropping,
        "Bias": _bias,
        "Holm and its rivals": _rivals,
        "Targets": _targets,
    }
    return "\n\n".join([head, *(f"### {title}\n\n{make(f)}" for title, make in sections.items())]) + "\n"


def _by_population(f: Figures) -> str:
    rows = [
        [
            name,
            *(
                f"{percent(f.get('1 repeat', '12', 'score covers', rows=n, among=name.__eq__))}; "
                f"{percent(f.get('1 repeat', '12', 'pair covers', rows=n, among=name.__eq__))}"
                for n in f.sizes()
            ),
        ]
        for name in f.populations()
    ]
    return "Share, in %, of 95 % intervals that hold the truth, 5 folds once: of the score; of a pair.\n\n" + table(
        ["population", *(f"{n} rows" for n in f.sizes())], rows
    )


def _by_design(f: Figures) -> str:
    columns = (
        ("score covers", percent),
        ("score width", percent),
        ("pair covers", percent),
        ("pair width", percent),
        ("score covers whole", percent),
        ("pair covers whole", percent),
        ("samples cover", percent),
    )
    rows = [
        [design, str(n), *(show(f.get(design, "12", key, rows=n)) for key, show in columns)]
        for design in DESIGNS
        for n in f.sizes()
    ]
    header = [
        "design",
        "rows",
        "score",
        "its width, points",
        "pair",
        "its width, points",
        "score, truth at all rows",
        "pair, truth at all rows",
        "these models, new samples",
    ]
    return "Share of intervals that hold the truth, in %, over all populations.\n\n" + table(header, rows)


def _false(f: Figures) -> str:
    rows = []
    for design in DESIGNS:
        for n in f.sizes():
            cells = []
            for count in COUNTS:
                own = {w: f.get(design, count, "false worse", rows=n, among=w.__eq__) for w in f.populations()}
                name, worst = max(own.items(), key=lambda item: item[1].mean)
                cells += [
                    percent(f.get(design, count, "false worse", rows=n, among=equal)),
                    f"{100 * worst.mean:.0f} ({name})" if worst.mean else "0",
                ]
            rows.append([design, str(n), *cells])
    header = ["design", "rows", *(h for c in COUNTS for h in (f"{c} strategies, all equal", "worst population"))]
    return (
        "Share of studies, in %, in which any pair is called worse or better the wrong way, or is so called though "
        "equal.\n\n" + table(header, rows)
    )


def _power(f: Figures) -> str:
    keys = [*(f"power {b}" for b in BINS), "as-good", "undecided", "false as-good"]
    rows = [
        [design, str(n), *(percent(f.get(design, "12", key, rows=n), 0) for key in keys)]
        for design in DESIGNS
        for n in f.sizes()
    ]
    header = [
        "design",
        "rows",
        *(f"worse by {b.replace('20-100', '20 and more')}" for b in BINS),
        "as-good",
        "undecided",
        "false as-good",
    ]
    return (
        "12 strategies. How often (%) one whose true deficit to the truly best lies in these bounds (points) is "
        "called worse; shares of outcomes against the best mean; studies with any false as-good.\n\n"
        + table(header, rows)
    )


def _regret(f: Figures) -> str:
    rows = []
    for design in DESIGNS:
        for n in f.sizes():
            for count in COUNTS:
                verdict, best = (f.get(design, count, f"regret, {k}", rows=n) for k in ("verdict", "best mean"))
                hard = f.get(design, count, "regret, verdict, poorest cheapest", rows=n)
                rows.append(
                    [
                        design,
                        str(n),
                        count,
                        points(verdict),
                        points(best),
                        f"{verdict.mean - best.mean:+.2f}",
                        points(hard),
                    ]
                )
    header = ["design", "rows", "strategies", "verdict", "best mean", "difference", "verdict, the poorest cheapest"]
    return "Mean true accuracy lost to the truly best strategy, in points.\n\n" + table(header, rows)


def _dropping(f: Figures) -> str:
    rows = [
        [
            design,
            str(n),
            count,
            *(
                percent(f.get(design, count, key, rows=n))
                for key in ("dropped a near one", "dropped the best", "blocks saved")
            ),
        ]
        for design in DESIGNS[1:]
        for n in f.sizes()
        for count in COUNTS
        if f.get(design, count, "blocks saved", rows=n).count
    ]
    header = [
        "design",
        "rows",
        "strategies",
        "a strategy within 2 points of the best dropped",
        "the best dropped",
        "trainings saved",
    ]
    return "Share of studies, in %.\n\n" + table(header, rows)


def _bias(f: Figures) -> str:
    rows = [
        [
            str(n),
            points(f.get("1 repeat", "12", "tuning bias", rows=n)),
            *(points(f.get("1 repeat", count, "winner's bias", rows=n)) for count in COUNTS),
        ]
        for n in f.sizes()
    ]
    header = ["rows", "tuned: mean reported - truth", *(f"best mean of {c} - its truth" for c in COUNTS)]
    return "5 folds once, in points.\n\n" + table(header, rows)


def _rivals(f: Figures) -> str:
    rows = []
    for n in f.sizes():
        for count in COUNTS:
            cells = []
            for rival in RIVALS:
                cells.append(percent(f.get("1 repeat", count, f"{rival}: false", rows=n, among=equal)))
                cells += [percent(f.get("1 repeat", count, f"{rival}: {b}", rows=n), 0) for b in BINS[2:5]]
            rows.append([str(n), count, *cells])
    header = ["rows", "strategies", *(h for r in RIVALS for h in (f"{r}: false", *(f"{r}: {b}" for b in BINS[2:5])))]
    return (
        "`Worse than the best mean`, 5 folds once: false calls in a study of equal strategies, and power by true "
        "deficit in points, in %.\n\n" + table(header, rows)
    )


def _targets(f: Figures) -> str:
    """Each target: met, or which cells miss it, and whether by more than luck."""
    rows = []
    for design in DESIGNS[1:]:
        for key, what in (("score covers", "score"), ("pair covers", "pair")):
            cells = {
                f"{name}, {n}": f.get(design, "12", key, rows=n, among=name.__eq__)
                for name in f.populations()
                for n in f.sizes()
            }
            whole = f.get(design, "12", key)
            rows.append([f"{what} interval covers 93 %, {design}", percent(whole), _missing(cells)])
        false = {
            f"{c} strategies, {n} rows": f.get(design, c, "false worse", rows=n, among=equal)
            for c in COUNTS
            for n in f.sizes()
        }
        rows.append([f"false `worse` not shown above 5 %, {design}", f"at most {percent(_most(false))}", _above(false)])
        single = {
            f"{w}, {k}": f.get(design, c, "false worse", rows=n, among=w.__eq__)
            for w in f.populations()
            for c in COUNTS
            for n in f.sizes()
            for k in [f"{c} strategies, {n} rows"]
        }
        rows.append([f"the same in each population, {design}", f"at most {percent(_most(single))}", _above(single)])
    gaps = {f"{n} rows": _gap(f, n) for n in f.sizes()}
    rows.append(
        [
            "regret at most 1 point above the best mean's",
            f"at most {max(gaps.values()):+.2f} points",
            _listed([k for k, gap in gaps.items() if gap > TARGET_REGRET]),
        ]
    )
    return table(["target", "found", "misses"], rows)


def _most(cells: dict[str, Estimate]) -> Estimate:
    return max(cells.values(), key=lambda e: e.mean)


def _above(cells: dict[str, Estimate]) -> str:
    return _listed([k for k, e in cells.items() if e.mean - ERRORS * e.se > TARGET_FALSE])


def _gap(f: Figures, n: int) -> float:
    return max(
        f.get(d, c, "regret, verdict", rows=n).mean - f.get(d, c, "regret, best mean", rows=n).mean
        for d in DESIGNS
        for c in COUNTS
    )


def _missing(cells: dict[str, Estimate]) -> str:
    low = {k: e for k, e in cells.items() if e.mean < TARGET_COVERAGE}
    sure = [f"{k} ({percent(e)})" for k, e in low.items() if e.mean + ERRORS * e.se < TARGET_COVERAGE]
    luck = [f"{k} ({percent(e)})" for k, e in low.items() if e.mean + ERRORS * e.se >= TARGET_COVERAGE]
    return "; ".join([_listed(sure)] + ([f"within error: {', '.join(luck)}"] if luck else []))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
