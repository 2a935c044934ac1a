"""Agreement in the record: of the scores with one another, and with what training reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from frostline.rank.agreement import LEAST, Rank, Scores, agreements, correlate
from frostline.rank.record import (
    DEPTH_SCORES,
    AgreementRecord,
    CorrelationRecord,
    MeasuredAgreementRecord,
    MeasuredSourceRecord,
    Over,
    RankedDepthRecord,
    RankedSourceRecord,
)

ALL_SCORES = ("probe", *DEPTH_SCORES, "leep", "forecast")
Values = dict[str, float | None]


def agreement_records(sources: Sequence[RankedSourceRecord], *, seed: int) -> list[AgreementRecord]:
    """Every pair of scores: over the sources at their last and at their best depth, and over the depths of each.

    Left out are pairs with fewer than three candidates, of which nothing can be said.
    """
    found = []
    for over, table in over_sources(sources).items():
        found += _pair_records(table, over, None, seed)
    for source in sources:
        found += _pair_records(over_depths(source), "depths", source.label, seed)
    return found


def measured_agreement_records(
    sources: Sequence[RankedSourceRecord], measured: Sequence[MeasuredSourceRecord], *, seed: int
) -> list[MeasuredAgreementRecord]:
    """Every score over the sources against the measured accuracy of every strategy."""
    strategies = list(dict.fromkeys(name for source in measured for name in source.strategies))
    found = []
    for strategy in strategies:
        reached = [_reached(source, strategy) for source in measured]
        for over, table in over_sources(sources).items():
            for score, values in table.items():
                ranks = {
                    name: correlate(values, reached, name, seed=seed)
                    for name in ("weighted_kendall", "kendall", "spearman")
                }
                n = ranks["kendall"].n
                if n >= LEAST:
                    found.append(
                        MeasuredAgreementRecord(
                            score=score,
                            strategy=strategy,
                            over=over,
                            n=n,
                            weighted_kendall=_correlation(ranks["weighted_kendall"]),
                            kendall=_correlation(ranks["kendall"]),
                            spearman=_correlation(ranks["spearman"]),
                        )
                    )
    return found


def over_sources(sources: Sequence[RankedSourceRecord]) -> dict[Over, Scores]:
    """Return each score of every source: at its last depth, and at the depth where that very score is highest."""
    tables: dict[Over, Sequence[Values]] = {
        "last depth": [_at_last_depth(source) for source in sources],
        "best depth": [_at_best_depth(source) for source in sources],
    }
    return {over: {name: [row[name] for row in rows] for name in ALL_SCORES} for over, rows in tables.items()}


def over_depths(source: RankedSourceRecord) -> Scores:
    """Return each score at every depth of one source; LEEP has no depths."""
    rows = [_of_depth(depth) for depth in source.depths]
    return {name: [row[name] for row in rows] for name in ALL_SCORES if name != "leep"}


def _of_depth(depth: RankedDepthRecord) -> Values:
    values: Values = {name: getattr(depth, name) for name in DEPTH_SCORES}
    values["probe"] = depth.probe.accuracy
    values["forecast"] = depth.forecast.accuracy if depth.forecast else None
    return values


def _at_last_depth(source: RankedSourceRecord) -> Values:
    """The forecast is that of training everything."""
    whole = source.finetune.accuracy if source.finetune else None
    return {**_of_depth(source.depths[-1]), "leep": source.leep, "forecast": whole}


def _at_best_depth(source: RankedSourceRecord) -> Values:
    rows = [_of_depth(depth) for depth in source.depths]
    rows.append({**dict.fromkeys(ALL_SCORES), "forecast": source.finetune.accuracy if source.finetune else None})
    best: Values = {}
    for name in ALL_SCORES:
        known = [value for row in rows if (value := row.get(name)) is not None]
        best[name] = max(known, default=None)
    return {**best, "leep": source.leep}


def _pair_records(table: Scores, over: Over, source: str | None, seed: int) -> list[AgreementRecord]:
    return [
        AgreementRecord(
            a=a,
            b=b,
            over=over,
            source=source,
            n=ranks["kendall"].n,
            kendall=_correlation(ranks["kendall"]),
            spearman=_correlation(ranks["spearman"]),
        )
        for (a, b), ranks in agreements(table, seed=seed).items()
        if ranks["kendall"].n >= LEAST
    ]


def _correlation(rank: Rank) -> CorrelationRecord:
    return CorrelationRecord(value=rank.value, ci=rank.ci, p=rank.p)


def _reached(source: MeasuredSourceRecord, strategy: str) -> float | None:
    found: Mapping[str, float] = {name: measure.accuracy for name, measure in source.strategies.items()}
    return found.get(strategy)
