"""The two data sets of a diagnosis, as a network sees them: arrays only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from frostline.base.records import FloatArray, IntArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """One data set of N samples.

    Attributes:
        features: (N, D) of each stage, by its number from 1 at the input, ascending; 0 are the plain inputs (grey
            thumbnails of images), where they were read.
        groups: (N,) numbers of groups; samples of one group (a patient, copies of one image) stay together.
        probabilities: (N, C) of the source's classes, calibrated; out of fold on the source's own samples. None where
            the source has no labels.
        labels: (N,) class of each sample, 0 to C - 1 for the source's classes, C and above for classes that only the
            target has, -1 where it isn't known. None where no sample has one.
    """

    features: Mapping[int, FloatArray]
    groups: IntArray
    probabilities: FloatArray | None = None
    labels: IntArray | None = None

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def last(self) -> FloatArray:
        """The features of the last stage."""
        return self.features[max(self.features)]


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """What a run keeps of its source's features after a stage: mean (D,) and covariance (D, D) of n samples."""

    mean: FloatArray
    covariance: FloatArray
    n: int
