"""What each number means, in one plain sentence; shown beside it."""

from __future__ import annotations

from collections.abc import Mapping

# Longer ones in docs/methods.md; how far they hold was simulated, docs/evidence.md.
MEANINGS: Mapping[str, str] = {
    "accuracy": "The share of samples that models which had not seen them predicted right, as a mean over the blocks.",
    "score": "The mean over the blocks of the metric that is compared, on samples the models had not seen.",
    "score-interval": (
        "If the study were repeated on new samples, at least 95 of 100 such intervals would contain the strategy's "
        "expected score."
    ),
    "score-interval-one-block": (
        "About 95 of 100 such intervals contain this one model's score on new samples; the luck of its training "
        "samples is not covered."
    ),
    "difference": (
        "The score of the one less the score of the other, averaged over the blocks; both were trained and judged on "
        "the same samples."
    ),
    "interval": (
        "If the study were repeated on new samples, at least 95 of 100 such intervals would contain the expected "
        "difference of this one pair, if no other pair were looked at."
    ),
    "interval-one-block": (
        "About 95 of 100 such intervals contain the difference of these two models on new samples; the luck of "
        "their training samples is not covered."
    ),
    "interval-samples": (
        "How far the difference of the models trained here would vary on other samples; narrower, since the luck of "
        "their training samples is left out."
    ),
    "p": (
        "At most how often luck alone would show a difference as large between two equally good strategies, "
        "allowing for all pairs that were compared (Holm)."
    ),
    "worse": "It scores below the other by more than luck explains, at the 5 % level for all pairs together.",
    "better": "It scores above the other by more than luck explains, at the 5 % level for all pairs together.",
    "worse-one-block": (
        "This one model scores below the other on new samples by more than the luck of the validation samples "
        "explains; the luck of training is not covered."
    ),
    "better-one-block": (
        "This one model scores above the other on new samples by more than the luck of the validation samples "
        "explains; the luck of training is not covered."
    ),
    "as-good": "The two are shown to lie within the margin of each other, at the 5 % level for this pair.",
    "undecided": "These samples show neither a difference nor that the two lie within the margin of each other.",
    "samples-needed": (
        "With about this many labelled samples the verdict and its runner-up could be told apart, or shown to be alike "
        "within the margin, if they differ as much as they did here."
    ),
    "sealed-accuracy": (
        "The share of the sealed samples that the final model gets right; they played no part in any choice."
    ),
    "sealed-interval": (
        "About 95 of 100 such intervals contain the final model's accuracy on new samples like the sealed ones "
        "(Wilson)."
    ),
    "one-standard-error": (
        "The verdict is the cheapest strategy that lies behind the best by at most one standard error of their "
        "difference, and by at most the margin, also in calibrated log loss where accuracy can't show that."
    ),
}


def meaning(number: str, *, blocks: int = 5) -> str:
    """The sentence for a key of MEANINGS; with a single block some mean less. KeyError on others."""
    alone = f"{number}-one-block"
    return MEANINGS[alone if blocks == 1 and alone in MEANINGS else number]
