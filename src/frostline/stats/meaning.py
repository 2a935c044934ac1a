"""What each number means, in one plain sentence; shown beside it."""

from __future__ import annotations

from collections.abc import Mapping

# Longer ones in docs/methods.md; how far they hold was simulated, docs/evidence.md.
MEANINGS: Mapping[str, str] = {
    "accuracy": "The share of rows predicted rightly by models that had not seen them, as a mean over the blocks.",
    "score": "The mean over the blocks of what strategies are compared by, each on rows its model had not seen.",
    "score-interval": (
        "Were rows drawn and models trained anew, at least 95 of 100 such intervals would hold the strategy's "
        "expected score."
    ),
    "score-interval-one-block": (
        "Of 100 such intervals about 95 hold this one model's score on new rows; the luck of its training "
        "rows is not covered."
    ),
    "difference": (
        "The mean over the blocks of the one's score less the other's, both trained and judged on the same rows."
    ),
    "interval": (
        "Were rows drawn and models trained anew, at least 95 of 100 such intervals would hold the expected "
        "difference of this one pair, were it the only one looked at."
    ),
    "interval-one-block": (
        "Of 100 such intervals about 95 hold the difference of these two models on new rows; the luck of "
        "their training rows is not covered."
    ),
    "interval-samples": (
        "How far the difference of the models trained here would go up or down on other rows: narrower, since "
        "the luck of their training rows is left out."
    ),
    "p": (
        "At most how often luck alone would show a difference as large between two equally good strategies, "
        "with all pairs that were looked at allowed for (Holm)."
    ),
    "worse": "It scores below the other by more than luck explains, at the 5 % level for all pairs together.",
    "better": "It scores above the other by more than luck explains, at the 5 % level for all pairs together.",
    "worse-one-block": (
        "This one model scores below the other on new rows by more than the luck of the validation rows explains; "
        "the luck of training is not covered."
    ),
    "better-one-block": (
        "This one model scores above the other on new rows by more than the luck of the validation rows explains; "
        "the luck of training is not covered."
    ),
    "as-good": "The two are shown to lie within the margin of each other, at the 5 % level for this pair.",
    "undecided": "These rows show neither a difference nor that the two lie within the margin of each other.",
    "samples-needed": (
        "About so many labelled rows would show the verdict and its runner-up to be apart, or alike within "
        "the margin, if they differ as much as they did here."
    ),
    "sealed-accuracy": (
        "The share of the sealed rows that the final model gets right; no choice was made by these rows."
    ),
    "sealed-interval": (
        "Of 100 such intervals about 95 hold the final model's accuracy on new rows like the sealed ones (Wilson)."
    ),
    "one-standard-error": (
        "The verdict is the cheapest strategy that lies behind the best by no more than one standard error of "
        "their difference, nor by more than the margin."
    ),
}


def meaning(number: str, *, blocks: int = 5) -> str:
    """The sentence for a key of MEANINGS; with a single block some mean less. KeyError on others."""
    alone = f"{number}-one-block"
    return MEANINGS[alone if blocks == 1 and alone in MEANINGS else number]
