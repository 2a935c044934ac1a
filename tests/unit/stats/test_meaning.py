from __future__ import annotations

from typing import get_args, get_type_hints

import pytest

from frostline.base.records import Comparison
from frostline.stats.meaning import MEANINGS, meaning

OUTCOMES = get_args(get_type_hints(Comparison)["outcome"])
# What a sentence has to say, so that nobody takes the number for something else.
TELLS = {
    "accuracy": ("share", "not seen"),
    "score": ("mean over the blocks", "not seen"),
    "score-interval": ("95 of 100", "new samples", "expected score"),
    "score-interval-one-block": ("not covered",),
    "difference": ("same samples",),
    "interval": ("95 of 100", "this one pair"),
    "interval-one-block": ("not covered",),
    "interval-samples": ("models trained here", "left out"),
    "p": ("luck", "all pairs", "Holm"),
    "worse": ("below", "5 %", "all pairs"),
    "better": ("above", "5 %", "all pairs"),
    "worse-one-block": ("below", "not covered"),
    "better-one-block": ("above", "not covered"),
    "as-good": ("margin", "this pair"),
    "undecided": ("neither", "margin"),
    "samples-needed": ("labelled", "verdict", "if they differ"),
    "sealed-accuracy": ("sealed", "no part in any choice"),
    "sealed-interval": ("final model", "Wilson"),
    "one-standard-error": ("cheapest", "standard error", "margin"),
}


def test_every_number_has_a_meaning_and_none_is_left_untested():
    assert MEANINGS.keys() == TELLS.keys()
    assert set(OUTCOMES) <= MEANINGS.keys()


@pytest.mark.parametrize("number", TELLS)
def test_a_meaning_is_one_plain_sentence_that_says_what_is_and_is_not_covered(number):
    sentence = MEANINGS[number]
    assert sentence[0].isupper()
    assert sentence.endswith(".")
    assert ". " not in sentence
    assert len(sentence.split()) <= 40
    for words in TELLS[number]:
        assert words in sentence


def test_with_one_block_intervals_and_outcomes_mean_less():
    assert "not covered" in meaning("interval", blocks=1)
    assert "not covered" in meaning("score-interval", blocks=1)
    assert "not covered" not in meaning("interval", blocks=5)
    assert "not covered" in meaning("worse", blocks=1)
    assert meaning("as-good", blocks=1) == MEANINGS["as-good"]
    with pytest.raises(KeyError):
        meaning("luck")
