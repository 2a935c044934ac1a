"""The recommendation on planted outcomes: what is far behind is said to be so, what is close isn't."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from frostline.base.records import Block, Outcome
from frostline.rank.advice import recommend
from frostline.rank.compose import agreement_records, over_sources
from frostline.rank.record import ForeseenRecord, MeasureRecord, RankedDepthRecord, RankedSourceRecord
from frostline.rank.source import RankedSource

LABELS = np.arange(60) % 2
FOLDS = np.arange(60) // 20
BLOCKS = tuple(
    Block(index=k, repeat=0, fold=k, train=np.flatnonzero(k != FOLDS), validation=np.flatnonzero(k == FOLDS))
    for k in range(3)
)


def outcomes(stage: int, wrong: Sequence[int]) -> list[Outcome]:
    """A probe that gets these samples wrong, and all others right."""
    made = []
    for block in BLOCKS:
        rows = [int(row) for row in block.validation]
        said = [int(LABELS[row]) ^ int(row in wrong) for row in rows]
        right = float(np.mean([row not in wrong for row in rows]))
        made.append(
            Outcome(
                key=f"{stage}-{block.index}",
                strategy="probe",
                purpose="block",
                block=block.index,
                rate=None,
                rows=tuple(rows),
                probabilities=tuple((0.9, 0.1) if answer == 0 else (0.1, 0.9) for answer in said),
                accuracy=right,
                log_loss=1.0 - right,
                steps=0,
                epochs=0.0,
                undertrained=False,
                l2=1.0,
                seconds=0.0,
                operations=0.0,
            )
        )
    return made


def source(label: str, wrong: Sequence[Sequence[int]], forecast: float | None = None) -> RankedSource:
    """A source with so many depths; its forecast of fine-tuning."""
    depths = [
        RankedDepthRecord(
            stage=stage,
            name=f"s{stage}",
            features=4,
            probe=MeasureRecord(accuracy=1 - len(missed) / 60, ci=(0.0, 1.0)),
            knn=1 - len(missed) / 60,
            logme=float(stage),
            h_score=1.0,
            h_score_shrunk=1.0,
            nleep=-1.0,
            gbc=-1.0,
            transrate=1.0,
            forecast=ForeseenRecord(strategy=f"freeze@{stage}", accuracy=0.5, ci=(0.4, 0.6)) if forecast else None,
        )
        for stage, missed in enumerate(wrong, 1)
    ]
    record = RankedSourceRecord(
        label=label,
        spec=f"torch:{label}.py:net",
        weights="w.pt",
        weights_sha256=None,
        fingerprint=label,
        parameters=10,
        stages=len(depths),
        depths=depths,
        leep=None,
        finetune=MeasureRecord(accuracy=forecast, ci=(forecast - 0.1, forecast + 0.1)) if forecast else None,
        no_forecast={},
        seconds=1.0,
    )
    return RankedSource(record=record, probes={s: outcomes(s, missed) for s, missed in enumerate(wrong, 1)})


def test_who_is_close_and_who_is_behind() -> None:
    ranked = [
        source("weak", [range(0, 60, 2), range(1, 60, 2)], forecast=0.6),
        source("good", [range(0, 60, 2), [3, 30]], forecast=0.97),
        source("rival", [[5, 7, 50], range(40)], forecast=0.98),
    ]
    found = recommend(ranked, LABELS, BLOCKS, ["my images", "--blocks", "3"])
    assert (found.best.label, found.best.stage) == ("good", 2)
    assert [(one.label, one.stage) for one in found.close] == [("rival", 1)]
    assert {(one.label, one.stage) for one in found.behind} == {("weak", 1), ("good", 1)}
    assert all(one.difference > 0 and one.p < 0.05 for one in found.behind)
    assert found.forecast is not None
    assert (found.forecast.label, found.forecast.strategy) == ("rival", "finetune")
    assert "can't be told apart from rival." in found.sentence
    assert found.command == "frostline fit 'my images' --model torch:rival.py:net --weights w.pt --blocks 3"


def test_without_a_forecast_the_best_probe_is_where_to_go_on() -> None:
    ranked = [source("a", [range(0, 60, 2)]), source("b", [[1]])]
    found = recommend(ranked, LABELS, BLOCKS, ["images"])
    assert found.forecast is None
    assert "Every other source is behind it by more than luck explains." in found.sentence
    assert "after its last stage" in found.sentence
    assert "--model torch:b.py:net" in found.command


def test_of_equal_depths_the_shallower_one_is_taken() -> None:
    found = recommend([source("a", [[1], [1], [1, 2]])], LABELS, BLOCKS, ["images"])
    assert found.best.stage == 1


def test_scores_at_the_last_and_at_the_best_depth() -> None:
    sources = [
        one.record
        for one in (
            source("a", [[1], range(9)], 0.8),
            source("b", [range(5), range(7)], 0.7),
            source("c", [range(20), range(3)]),
        )
    ]
    tables = over_sources(sources)
    assert tables["last depth"]["probe"] == pytest.approx([51 / 60, 53 / 60, 57 / 60])
    assert tables["best depth"]["probe"] == pytest.approx([59 / 60, 55 / 60, 57 / 60])
    assert tables["last depth"]["forecast"] == [0.8, 0.7, None]
    assert tables["last depth"]["leep"] == [None, None, None]
    records = agreement_records(sources, seed=0)
    pair = next(one for one in records if (one.a, one.b, one.over) == ("probe", "knn", "last depth"))
    assert (pair.n, pair.kendall.value) == (3, 1.0)
    assert not any("forecast" in (one.a, one.b) for one in records)  # two candidates: nothing can be said
