"""The published curve: Yosinski, Clune, Bengio & Lipson 2014, "How transferable are features in deep neural networks?".

AlexNet's shape (CaffeNet, eight layers) on random halves of ImageNet, 500 classes each. Top-1 accuracy in per cent,
recomputed from the logs that the authors published (github.com/yosinski/convnet_transfer) as means of the last ten
tests of each training; the paper's own figure takes the ten highest, which are a little higher. The frozen arms are
means over several networks, the arms marked + over one or two at each layer. Eight base networks reach 62.45 with a
standard deviation of 0.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CITATION = (
    "Yosinski, Clune, Bengio & Lipson 2014, How transferable are features in deep neural networks?, NeurIPS 27; "
    "recomputed from the authors' logs, means of the last ten tests"
)
BASE = 62.45  # per cent, mean of eight base networks
BASE_DEVIATION = 0.5  # of those eight, in points
LAYERS: Sequence[int] = (1, 2, 3, 4, 5, 6, 7)  # of eight; the network is cut after each

# Arm -> top-1 accuracy in per cent after cutting at each of LAYERS: random halves of the classes.
RANDOM_HALVES: Mapping[str, Sequence[float]] = {
    "BnB": (62.6, 62.3, 62.0, 60.4, 59.3, 61.8, 62.3),
    "BnB+": (61.7, 62.1, 63.0, 62.8, 62.9, 62.7, 62.6),
    "AnB": (62.7, 62.3, 61.8, 59.9, 57.8, 58.0, 54.2),
    "AnB+": (63.7, 63.5, 64.2, 63.9, 64.4, 64.6, 64.6),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlikeHalves:
    """Frozen transfer between natural and man-made things, with the base that it is compared with."""

    words: str
    base: float
    accuracies: Sequence[float]


# The same for halves that were chosen to differ, and for random weights that were never trained.
UNLIKE: Sequence[UnlikeHalves] = (
    UnlikeHalves(words="natural to man-made, frozen", base=53.6, accuracies=(53.8, 52.0, 49.9, 46.1, 40.8, 37.3, 29.0)),
    UnlikeHalves(words="man-made to natural, frozen", base=65.2, accuracies=(65.6, 64.9, 62.4, 58.1, 52.0, 48.4, 39.7)),
)


def published_rows() -> list[tuple[str, ...]]:
    """Return the published accuracies as a table, one row a layer."""
    rows: list[tuple[str, ...]] = [("base", f"{BASE:.1f}", "", "", "", "")]
    for place, layer in enumerate(LAYERS):
        rows.append((str(layer), "", *(f"{values[place]:.1f}" for values in RANDOM_HALVES.values())))
    return rows


PUBLISHED_HEADER = ("cut after layer", "base", *RANDOM_HALVES)
