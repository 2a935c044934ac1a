"""Texts: the contract by which they become numbers, and a list of them with their numbers.

Shapes: N texts, L places for tokens. A text's view is one row of token ids; PADDING marks the places that stay empty,
so that ids and mask are told from one array. The network reads a view cut to the length of the text's bucket, which
depends on this text alone: a long text costs the short ones nothing, and no answer depends on the others.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from frostline.base.errors import DataError, ModelError
from frostline.base.hashing import hash_bytes
from frostline.base.records import IntArray
from frostline.data.duplicates import Duplicates, merge_groups

if TYPE_CHECKING:
    import torch

Ids = NDArray[np.int32]
Side = Literal["right", "left"]

PADDING = -1  # in a view; the network itself is given the tokenizer's own padding id and a mask
MULTIPLE = 8  # lengths are rounded up to it
# Lengths of buckets, each about 1.4 times the one before: a text of 20 tokens or more leaves a fifth empty on average.
LADDER = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072)
TOKENIZER = "tokenizer.json"  # the file beside preprocess.json
KIND = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPreprocess:
    """How a text becomes a network's input: the tokenizer (lower case, splitting, vocabulary, marks), then padding.

    `length` is L. The last place always stays empty: code of some networks drops a mask of ones, and then a text's
    numbers would depend on which others are in its batch. `limit` is the largest L that the network can take, `pad`
    the id in empty places, `cut` the end at which a text that is too long is cut. `lengths` are those of the buckets,
    rising to L; none: the network reads every text at L. Raises DataError for values that can't be used.
    """

    tokenizer: str = field(repr=False)  # contents of tokenizer.json, as the package `tokenizers` writes it
    length: int
    limit: int
    pad: int
    vocabulary: int
    cut: Side = "right"
    lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 2 <= self.length <= self.limit:
            raise DataError(
                f"{self.length} tokens are no usable length: the network reads 2 to {self.limit}.",
                f"Give --size from 2 to {self.limit}.",
            )
        rise_to_length = self.lengths == tuple(sorted({*self.lengths, self.length}))
        if self.lengths and not (rise_to_length and self.lengths[0] > 1 and self.lengths[-1] == self.length):
            raise DataError(
                f"The lengths {list(self.lengths)} don't rise to {self.length}.", "Run frostline fit again."
            )
        if self.cut not in get_args(Side) or not 0 <= self.pad < self.vocabulary:
            raise DataError(
                "The preprocessing record of texts holds a value that can't be used.",
                "It was written by another version of frostline.",
            )

    def to_json(self) -> dict[str, Any]:
        """The record without the tokenizer, of which it holds the hash."""
        record = {k: v for k, v in asdict(self).items() if k != "tokenizer"}
        record["lengths"] = list(self.lengths)
        return {"kind": KIND, **record, "tokenizer_sha256": hash_bytes(self.tokenizer.encode())}

    @classmethod
    def from_json(cls, record: Mapping[str, Any], tokenizer: str) -> TextPreprocess:
        """The record that :meth:`to_json` wrote. Raises DataError for other keys, values or another tokenizer.

        One without `lengths` is from before there were buckets: its model goes on reading every text at L.
        """
        names = ("length", "limit", "pad", "vocabulary", "cut")
        if set(record) | {"lengths"} != {"kind", "tokenizer_sha256", "lengths", *names}:
            raise DataError(
                "The preprocessing record of texts has other keys than this version knows.",
                "It was written by another version of frostline.",
            )
        if record["tokenizer_sha256"] != hash_bytes(tokenizer.encode()):
            raise DataError(f"{TOKENIZER} isn't the one that was saved.", "Run frostline fit again.")
        numbers = {name: record[name] for name in names[:-1]}
        lengths = record.get("lengths", [])
        if not isinstance(lengths, list) or not all(type(v) is int for v in (*numbers.values(), *lengths)):
            raise DataError("The preprocessing record holds a value of another type.", "Run frostline fit again.")
        return cls(tokenizer=tokenizer, cut=record["cut"], lengths=tuple(lengths), **numbers)


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts with their token ids: `words[i]` belongs to `ids[i]` (int32 (N, L), PADDING in empty places)."""

    words: tuple[str, ...]
    ids: Ids

    def __len__(self) -> int:
        return len(self.words)

    def select(self, indices: Sequence[int] | IntArray) -> Texts:
        """The texts of these rows, in this order."""
        rows = np.asarray(indices, dtype=np.int64)
        return Texts(tuple(self.words[i] for i in rows.tolist()), self.ids[rows])


@lru_cache(maxsize=4)  # a large vocabulary takes a second to read
def _read_tokenizer(contents: str, most: int | None, cut: Side) -> Any:
    """The tokenizer without padding, cutting after `most` tokens."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(contents)
    tokenizer.no_padding()
    if most is None:
        tokenizer.no_truncation()
    elif most <= tokenizer.num_special_tokens_to_add(False):
        raise DataError(
            f"{most + 1} tokens leave no room for words beside the tokenizer's special ones.", "Give a larger --size."
        )
    else:
        tokenizer.enable_truncation(most, direction=cut)
    return tokenizer


def encode(words: Sequence[str], preprocess: TextPreprocess, *, most: int | None = None) -> list[list[int]]:
    """Token ids of each text with the tokenizer's own marks, at most `most` of them (None: all)."""
    tokenizer = _read_tokenizer(preprocess.tokenizer, most, preprocess.cut)
    return [list(e.ids) for e in tokenizer.encode_batch(list(words))]


def mostly_unknown(encoded: Sequence[Sequence[int]], preprocess: TextPreprocess) -> list[int]:
    """The texts of which at least half of the words are none that the tokenizer knows, as in another language."""
    tokenizer = _read_tokenizer(preprocess.tokenizer, None, preprocess.cut)
    unknown = tokenizer.token_to_id(str(getattr(tokenizer.model, "unk_token", None)))
    if unknown is None:
        return []
    marks = tokenizer.num_special_tokens_to_add(False)
    return [i for i, ids in enumerate(encoded) if 2 * sum(t == unknown for t in ids) >= max(1, len(ids) - marks)]


def fitting_length(counts: Sequence[int], limit: int) -> int:
    """L for texts of so many tokens: the largest and one empty place, rounded up to a multiple of 8, at most
    `limit`."""
    wanted = max(counts, default=1) + 1
    return min(-(-wanted // MULTIPLE) * MULTIPLE, limit)


def ladder(length: int) -> tuple[int, ...]:
    """The lengths of the buckets where the longest text has L = `length` places: the ladder's below L, and L."""
    return (*(step for step in LADDER if step < length), length)


def bucket_lengths(ids: Ids, lengths: Sequence[int]) -> IntArray:
    """Length of each text's bucket (N,): the smallest of `lengths` with room for its tokens and one empty place.

    `ids` (N, L) are views. What is returned of a text depends on its own number of tokens alone.
    """
    places = np.count_nonzero(ids != PADDING, axis=1) + 1
    found: IntArray = np.asarray(lengths, dtype=np.int64)[np.searchsorted(lengths, places)]
    return found


def fill(words: Sequence[str], encoded: Sequence[Sequence[int]], preprocess: TextPreprocess) -> tuple[Texts, list[int]]:
    """The texts with their ids in L places, and the rows that had to be cut."""
    most = preprocess.length - 1
    long = [i for i, ids in enumerate(encoded) if len(ids) > most]
    shorter = {}
    if long:
        shorter = dict(zip(long, encode([words[i] for i in long], preprocess, most=most), strict=True))
    ids = np.full((len(words), preprocess.length), PADDING, dtype=np.int32)
    for i, found in enumerate(encoded):
        row = shorter.get(i, found)
        ids[i, : len(row)] = row
    return Texts(tuple(words), ids), long


def read_texts(words: Sequence[str], preprocess: TextPreprocess) -> tuple[Texts, list[int]]:
    """Tokenised texts, and the rows that were cut because they are too long."""
    return fill(words, encode(words, preprocess), preprocess)


def example_ids(preprocess: TextPreprocess, rows: int) -> Ids:
    """Views (rows, L), always the same: words at random between the tokenizer's own marks, without which some networks
    don't run; row i is shorter than the one before."""
    tokenizer = _read_tokenizer(preprocess.tokenizer, None, preprocess.cut)
    word = tokenizer.encode("a")
    plain = [i for i, mark in enumerate(word.special_tokens_mask) if not mark] or [len(word.ids)]
    first = word.ids[: plain[0]]
    last = word.ids[plain[-1] + 1 :]
    special = [i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special]
    known = np.setdiff1d(np.arange(preprocess.vocabulary), [preprocess.pad, *special])
    if not len(known):
        known = np.arange(preprocess.vocabulary)
    generator = np.random.default_rng(0)
    most = preprocess.length - 1
    ids = np.full((rows, preprocess.length), PADDING, dtype=np.int32)
    for i in range(rows):
        count = max(1, most * (rows - i) // rows - len(first) - len(last))
        row = [*first, *generator.choice(known, count), *last][:most]
        ids[i, : len(row)] = row
    return ids


def ids_and_mask(views: torch.Tensor, pad: int, device: torch.device | str) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask`, int64 (N, L), from a view."""
    views = views.to(device).long()
    there = views != PADDING
    return {"attention_mask": there.long(), "input_ids": views.masked_fill(~there, pad)}


def folded(text: str) -> str:
    """A text without what doesn't make it another one: Unicode form (NFKC), case, white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def find_equal_texts(words: Sequence[str]) -> Duplicates:
    """Texts that are there more than once, after :func:`folded`."""
    rows: dict[str, list[int]] = {}
    for i, text in enumerate(words):
        rows.setdefault(folded(text), []).append(i)
    found = tuple(tuple(g) for g in merge_groups(len(words), list(rows.values())) if len(g) > 1)
    return Duplicates(exact=found, all=found)


def check_texts(values: Sequence[Any]) -> dict[int, str]:
    """Rows that can't be read, with the reason: no text, or an empty one. Numbers among texts raise DataError."""
    bad: dict[int, str] = {}
    for i, value in enumerate(values):
        if value is None or (isinstance(value, float) and value != value):
            bad[i] = "no text"
        elif not isinstance(value, str):
            raise DataError(f"A text is {value!r}, a {type(value).__name__}.", "Give texts as text.")
        elif not value.strip():
            bad[i] = "an empty text"
        elif any("\ud800" <= c <= "\udfff" for c in value):
            bad[i] = "not valid text (lone surrogates)"
    return bad


def wrong_length(size: int, limit: int, spec: str) -> ModelError:
    """For a --size that the network can't take."""
    return ModelError(
        f"--size {size}: {spec} reads at most {limit} tokens of a text, and at least 2.",
        f"Give --size up to {limit}, or leave it out.",
    )
