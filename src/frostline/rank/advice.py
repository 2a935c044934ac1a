"""What the ranking says: the best probe, the candidates that it can't be told apart from, the best forecast."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from frostline.base.records import Block, IntArray
from frostline.race.compare import compare
from frostline.race.standing import Standing
from frostline.rank.record import (
    BestForecastRecord,
    CandidateRecord,
    ComparedRecord,
    RankedSourceRecord,
    RecommendationRecord,
)
from frostline.rank.source import RankedSource, mean_sizes, measure_of, probe_standing
from frostline.stats.paired import holm

LEVEL = 0.05
MOST_NAMED = 4


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    source: RankedSourceRecord
    stage: int
    standing: Standing

    @property
    def order(self) -> tuple[float, float, int]:
        """The best first: by accuracy, then by log loss, then the shallower one, which computes less."""
        return (-self.standing.score, self.standing.log_loss, self.stage)


def recommend(
    ranked: Sequence[RankedSource], labels: IntArray, blocks: Sequence[Block], data: Sequence[str]
) -> RecommendationRecord:
    """Compare the best probe with the best of every other source, and with the other depths of its own.

    Paired differences on the same blocks with the corrected resampled t test (Nadeau & Bengio 2003), their p-values
    corrected by Holm within each of the two families. `labels` (N,) are those of the whole data set; `data` are the
    words that name it on a command line.
    """
    candidates = sorted(_candidates(ranked, labels), key=lambda c: c.order)
    best = candidates[0]
    first_of = {c.source.label: c for c in reversed(candidates)}
    rivals = [c for c in candidates if c is first_of[c.source.label] and c is not best]
    depths = [c for c in candidates if c.source is best.source and c is not best]
    others = [*_compared(best, rivals, blocks), *_compared(best, depths, blocks)]
    close = [other for other in others if other.p >= LEVEL]
    foreseen = _best_forecast([one.record for one in ranked])
    measured = measure_of(best.standing, blocks)
    chosen = CandidateRecord(label=best.source.label, stage=best.stage, accuracy=measured.accuracy, ci=measured.ci)
    return RecommendationRecord(
        best=chosen,
        close=close,
        behind=[other for other in others if other.p < LEVEL],
        forecast=foreseen,
        sentence=_advice_text(chosen, best.source, close, foreseen, {one.record.label: one.record for one in ranked}),
        command=_command(ranked, data, foreseen.label if foreseen else chosen.label),
    )


def _candidates(ranked: Sequence[RankedSource], labels: IntArray) -> list[_Candidate]:
    return [
        _Candidate(source=one.record, stage=stage, standing=probe_standing(outcomes, labels))
        for one in ranked
        for stage, outcomes in one.probes.items()
    ]


def _compared(best: _Candidate, others: Sequence[_Candidate], blocks: Sequence[Block]) -> list[ComparedRecord]:
    n_train, n_test = mean_sizes(blocks)
    results = [compare(best.standing, other.standing, n_train=n_train, n_test=n_test) for other in others]
    corrected = holm([result.p for result in results])
    records = []
    for other, result, p in zip(others, results, corrected.tolist(), strict=True):
        measured = measure_of(other.standing, blocks)
        records.append(
            ComparedRecord(
                label=other.source.label,
                stage=other.stage,
                accuracy=measured.accuracy,
                ci=measured.ci,
                difference=result.mean,
                difference_ci=result.ci,
                p=p,
            )
        )
    return records


def _best_forecast(records: Sequence[RankedSourceRecord]) -> BestForecastRecord | None:
    """Return the source and strategy with the highest forecast; of equal ones the one that trains less."""
    found: list[BestForecastRecord] = []
    for record in records:
        for depth in reversed(record.depths):
            if depth.forecast is not None:
                found.append(BestForecastRecord(label=record.label, **depth.forecast.model_dump()))
        if record.finetune is not None:
            whole = record.finetune
            found.append(
                BestForecastRecord(label=record.label, strategy="finetune", accuracy=whole.accuracy, ci=whole.ci)
            )
    if not found:
        return None
    return max(found, key=lambda one: one.accuracy)


def _advice_text(
    best: CandidateRecord,
    source: RankedSourceRecord,
    close: Sequence[ComparedRecord],
    foreseen: BestForecastRecord | None,
    records: Mapping[str, RankedSourceRecord],
) -> str:
    """Return the recommendation in plain words."""
    where = f"after stage {best.stage} of {source.stages}"
    if best.stage == source.stages:
        where = "after its last stage"
    parts = [f"Frozen, {best.label} is the best source: a probe {where} reaches {best.accuracy:.3f}."]
    rivals = list(dict.fromkeys(one.label for one in close if one.label != best.label))
    depths = [one for one in close if one.label == best.label]
    if rivals:
        parts.append(f"On these samples it can't be told apart from {_in_words(rivals)}.")
    elif len(records) > 1:
        parts.append("Every other source is behind it by more than luck explains.")
    if depths:
        numbers = [str(stage) for stage in sorted(one.stage for one in depths)]
        word = "stages" if len(numbers) > 1 else "stage"
        start = "Nor can that depth" if rivals else "That depth can't"
        parts.append(f"{start} be told apart from {word} {_in_words(numbers)} of the same source.")
    if foreseen is not None:
        trained = f"training it with {foreseen.strategy}"
        if foreseen.strategy == "probe":
            trained = "training no more than a new head on it"
        parts.append(f"The best forecast is that of {foreseen.label}: {trained} would reach {foreseen.accuracy:.3f}.")
    return " ".join(parts)


def _in_words(names: Sequence[str]) -> str:
    shown = list(names[:MOST_NAMED])
    if len(names) > MOST_NAMED:
        shown.append(f"{len(names) - MOST_NAMED} more")
    if len(shown) == 1:
        return shown[0]
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def _command(ranked: Sequence[RankedSource], data: Sequence[str], label: str) -> str:
    """Return the command that goes on with a source."""
    record = next(one.record for one in ranked if one.record.label == label)
    words = ["frostline", "fit", data[0], "--model", record.spec]
    if record.weights is not None:
        words += ["--weights", record.weights]
    return shlex.join([*words, *data[1:]])
