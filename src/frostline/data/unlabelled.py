"""Images and texts that need no labels: found, decoded, counted; labels that are there come along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from frostline.base.errors import DataError
from frostline.base.events import Emit, Event
from frostline.base.hashing import hash_bytes, hash_values
from frostline.base.records import DataWarning, IntArray
from frostline.data.checks import EXAMPLES
from frostline.data.class_names import in_order
from frostline.data.contract import Contract, Samples
from frostline.data.decode import decode_all, hash_files
from frostline.data.preprocess import Preprocess
from frostline.data.read import warning_in_words
from frostline.data.scan import Listing
from frostline.data.texts import TextPreprocess, check_texts, encode, fill, fitting_length
from frostline.data.unlabelled_listing import UnlabelledListing

FORM = "Give a folder of images, a table, an .npy file of images, or for texts a table or a .txt file."


@dataclass(frozen=True, kw_only=True)
class Unlabelled:
    """Samples whose labels aren't needed, though there may be some.

    `hashes` name the samples by content; `labels` (N,) are numbers of `classes`, -1 where a sample has none; None where
    too few classes are named. `contract` has the length found for texts.
    """

    path: Path
    kind: str
    samples: Samples
    ids: tuple[str, ...]
    hashes: tuple[str, ...]
    contract: Contract
    labels: IntArray | None
    classes: tuple[str, ...] = ()  # that `labels` count
    groups: tuple[str, ...] = ()  # of each sample, empty where it has none
    left_out: int = 0  # samples of a sealed part

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def sha256(self) -> str:
        """Hash of every sample's id and content, in order."""
        return hash_values(list(self.ids), list(self.hashes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """What samples are read for: how it is called in a message, the fewest samples and classes that serve it, and what
    is said where labels were found and nothing was sealed.

    `without` are hashes of samples that must not be learnt from, such as those of a sealed part.
    """

    name: str
    fewest: int
    fewest_classes: int = 2
    nothing_sealed: str = ""
    without: frozenset[str] = frozenset()


def read_unlabelled(
    listing: UnlabelledListing,
    contract: Contract,
    purpose: Purpose,
    *,
    threads: int,
    emit: Emit,
    chosen_length: bool = False,
) -> Unlabelled:
    """Decode or tokenise everything once; what can't be read is named, counted and left out.

    `chosen_length`: the length of texts is the contract's own. Raises DataError where images meet a network for texts,
    or the other way round, and where fewer samples are left than `purpose` needs.
    """
    found = listing.listing
    if isinstance(contract, TextPreprocess):
        read = _tokenised(found, contract, chosen_length=chosen_length)
    else:
        read = _decoded(found, contract, threads)
    for warning in (*found.warnings, *read.warnings):
        emit(Event(kind="warning", text=warning_in_words(warning)))
    for sentence in listing.notes:
        emit(Event(kind="note", text=sentence))
    barred = purpose.without
    keep = [i for i in range(len(found.rows)) if i not in read.bad and read.hashes[i] not in barred]
    sealed = sum(1 for i in range(len(found.rows)) if i not in read.bad and read.hashes[i] in barred)
    if sealed:
        emit(Event(kind="note", text=f"{sealed} {found.noun} of the sealed part were left out."))
    _check_enough(found, purpose, len(keep), read.bad)
    classes, labels = _labels([listing.labels[i] for i in keep], purpose.fewest_classes)
    if labels is not None and purpose.nothing_sealed and not (listing.sealed or sealed):
        emit(Event(kind="note", text=purpose.nothing_sealed))
    return Unlabelled(
        path=found.root,
        kind=found.kind,
        samples=read.samples.select(np.array(keep, dtype=np.int64)),
        ids=tuple(found.rows[i].id for i in keep),
        hashes=tuple(read.hashes[i] for i in keep),
        contract=read.contract,
        labels=labels,
        classes=classes,
        groups=tuple(found.rows[i].group or "" for i in keep),
        left_out=listing.sealed + sealed,
    )


@dataclass(frozen=True, kw_only=True)
class _Read:
    samples: Samples
    hashes: Sequence[str]
    bad: Mapping[int, str]
    contract: Contract
    warnings: Sequence[DataWarning]


def _decoded(listing: Listing, contract: Preprocess, threads: int) -> _Read:
    if listing.noun == "texts":
        raise DataError(
            f"{listing.root} holds texts, but the network reads images.",
            "Give images, or a network for texts: --model hf:FOLDER.",
        )
    sources = listing.sources(contract)
    images, bad = decode_all(sources, contract, threads=threads, spill_dir=None, progress=None)
    warnings = [_unreadable(listing, bad)] if bad else []
    return _Read(samples=images, hashes=hash_files(sources, threads), bad=bad, contract=contract, warnings=warnings)


def _tokenised(listing: Listing, contract: TextPreprocess, *, chosen_length: bool) -> _Read:
    if listing.texts is None:
        raise DataError(
            f"{listing.root} holds images, but the network reads texts.",
            "Give a table with a column text or a .txt file, or a network for images.",
        )
    bad = check_texts(listing.texts)
    words = ["" if i in bad else text for i, text in enumerate(listing.texts)]
    encoded = encode(words, contract)
    if not chosen_length:
        counts = [len(ids) for ids in encoded]
        contract = replace(contract, length=fitting_length(counts, contract.limit), lengths=())
    texts, cut = fill(words, encoded, contract)
    warnings = [_unreadable(listing, bad)] if bad else []
    if cut:
        names = tuple(listing.rows[i].id for i in cut[:EXAMPLES])
        handled = f"only {contract.length - 1} tokens of each are read (--size N; at most {contract.limit})"
        warnings.append(DataWarning(kind="truncated", count=len(cut), examples=names, handled=handled))
    hashes = [hash_bytes(text.encode(errors="surrogatepass")) for text in words]
    return _Read(samples=texts, hashes=hashes, bad=bad, contract=contract, warnings=warnings)


def _unreadable(listing: Listing, bad: Mapping[int, str]) -> DataWarning:
    names = tuple(f"{listing.rows[i].id}: {bad[i]}" for i in sorted(bad)[:EXAMPLES])
    return DataWarning(kind="unreadable", count=len(bad), examples=names, handled="left out")


def _check_enough(listing: Listing, purpose: Purpose, count: int, bad: Mapping[int, str]) -> None:
    if count >= purpose.fewest:
        return
    why = ""
    if bad:
        first = min(bad)
        why = f", and {len(bad)} can't be read ({listing.rows[first].id}: {bad[first]})"
    found = f"{listing.root} holds {count} {listing.noun} to learn from{why}"
    raise DataError(f"{found}; {purpose.name} needs at least {purpose.fewest}.", FORM)


def _labels(names: Sequence[str | None], fewest: int) -> tuple[tuple[str, ...], IntArray | None]:
    """Return the classes, and those of the samples by number, -1 for none; nothing where there are fewer classes."""
    classes = in_order({name for name in names if name is not None})
    if len(classes) < fewest:
        return (), None
    numbers = {name: k for k, name in enumerate(classes)}
    return tuple(classes), np.array([-1 if name is None else numbers[name] for name in names], dtype=np.int64)
