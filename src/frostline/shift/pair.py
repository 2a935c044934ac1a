"""From two studies over one network to the two sides of a diagnosis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from frostline.base.records import FloatArray, IntArray
from frostline.base.seeds import numpy_generator
from frostline.data.texts import TextPreprocess
from frostline.shift.sides import Side
from frostline.train import baseline
from frostline.train.study import Study

MOST_DEPTHS = 4
MOST_ROWS = 1000  # samples of a side; of more, a draw, so that a diagnosis takes seconds
INPUTS = 0  # stands for the plain inputs among the depths


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """Development samples of a study (N,), ascending, with what is known of them: class probabilities (N, C), and
    labels (N,), -1 where there is none; None: not known."""

    study: Study
    rows: IntArray
    probabilities: FloatArray | None
    labels: IntArray | None

    def drawn(self, purpose: str) -> Known:
        """Return all, or a seeded draw of MOST_ROWS."""
        count = len(self.rows)
        if count <= MOST_ROWS:
            return self
        rng = numpy_generator(self.study.seed, "shift-rows", purpose)
        kept = np.sort(rng.choice(count, MOST_ROWS, replace=False))
        return Known(
            study=self.study,
            rows=self.rows[kept],
            probabilities=None if self.probabilities is None else self.probabilities[kept],
            labels=None if self.labels is None else self.labels[kept],
        )


def compared_stages(study: Study) -> tuple[int, ...]:
    """Return the stages at which the sides are compared: up to four that can be cut, evenly spread, the last of them
    included."""
    cuttable = [stage.index for stage in study.stages.stages if stage.cuttable]
    if len(cuttable) <= MOST_DEPTHS:
        return tuple(cuttable)
    places = np.linspace(0, len(cuttable) - 1, MOST_DEPTHS).round().astype(int)
    return tuple(cuttable[place] for place in places)


def side_features(study: Study, rows: IntArray) -> dict[int, FloatArray]:
    """Return pooled features (N, D) of these development samples at each depth, without augmentation; of images also
    the 32 x 32 grey pixels, as depth 0."""
    positions = study.positions(rows)
    found: dict[int, FloatArray] = {}
    if not isinstance(study.network.preprocess, TextPreprocess):
        found[INPUTS] = np.asarray(baseline.read_plain(study.features, positions))
    for stage in compared_stages(study):
        found[stage] = study.features.plain(stage).numpy()[positions.numpy()].astype(np.float64)
    return found


def side_of(known: Known, purpose: str) -> Side:
    """Return one side of a diagnosis."""
    drawn = known.drawn(purpose)
    return Side(
        features=side_features(drawn.study, drawn.rows),
        groups=_group_numbers(drawn.study, drawn.rows),
        probabilities=drawn.probabilities,
        labels=drawn.labels,
    )


def _group_numbers(study: Study, rows: IntArray) -> IntArray:
    names = np.array([study.dataset.samples[i].group or f"\0{i}" for i in rows.tolist()])
    numbers: IntArray = np.unique(names, return_inverse=True)[1].astype(np.int64)
    return numbers
