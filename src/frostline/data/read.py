"""From a listing to the data set and its contents: decoded images, or texts as token ids."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from frostline.base.device import default_threads
from frostline.base.errors import DataError
from frostline.base.events import Emit, Event
from frostline.base.hashing import hash_bytes
from frostline.base.memory import allowed_memory, decoders
from frostline.base.records import Dataset, DataWarning
from frostline.data.assemble import assemble
from frostline.data.checks import EXAMPLES, AssembleOptions
from frostline.data.class_counts import class_counts, classes_in_words
from frostline.data.class_names import with_plain_classes
from frostline.data.contract import Contract, Samples
from frostline.data.decode import Images, decode_all, hash_files
from frostline.data.overview import frames_warning, range_warnings
from frostline.data.preprocess import Preprocess
from frostline.data.scan import Listing
from frostline.data.texts import TextPreprocess, Texts, check_texts, encode, fill, fitting_length, mostly_unknown
from frostline.data.traits import Trait, trait_warnings
from frostline.recipe.settings import Settings


@dataclass(frozen=True, slots=True)
class ReadData:
    """The data set, what its samples hold, in their order, and the contract (of texts with the length found)."""

    dataset: Dataset
    samples: Samples
    contract: Contract


def read_words(settings: Settings, listing: Listing, emit: Emit) -> tuple[Dataset, tuple[str, ...]]:
    """The data set of texts, and its texts, where no network says how they become numbers."""
    dataset, words = _assembled(with_plain_classes(listing), _options(settings))
    _tell(dataset, listing.noun, emit)
    return dataset, words


def read_data(settings: Settings, listing: Listing, contract: Contract, emit: Emit) -> ReadData:
    """Decode or tokenise everything once; what can't be read is named, counted, left out and recorded.

    Raises DataError for texts where the network reads images, and the other way round, and as `assemble` says.
    """
    options = _options(settings)
    listing = with_plain_classes(listing)
    if isinstance(contract, TextPreprocess):
        found = _read_texts(listing, contract, options, chosen_length=settings.size is not None)
    else:
        found = _read_images(listing, contract, options)
    _tell(found.dataset, listing.noun, emit)
    return found


def _options(settings: Settings) -> AssembleOptions:
    return AssembleOptions(
        min_per_class=settings.min_per_class,
        labels_per_class=settings.labels_per_class,
        pool_validation=settings.pool_validation,
        seed=settings.seed,
        threads=decoders(settings.threads or default_threads(), allowed_memory(settings.max_memory)),
    )


def _tell(dataset: Dataset, noun: str, emit: Emit) -> None:
    """Emit what was noticed of the data, and the classes that were found."""
    for warning in dataset.warnings:
        emit(Event(kind="warning", text=warning_in_words(warning)))
    emit(Event(kind="classes", text=classes_in_words(dataset, noun), data=class_counts(dataset)))


def warning_in_words(warning: DataWarning) -> str:
    """`2 unreadable (a/x.png: an empty file, b/y.png: ...): left out`."""
    return f"{warning.count} {warning.kind} ({', '.join(warning.examples[:EXAMPLES])}): {warning.handled}"


def _read_images(listing: Listing, preprocess: Preprocess, options: AssembleOptions) -> ReadData:
    if listing.noun == "texts":
        raise DataError(
            f"{listing.root} holds texts, but the network reads images.",
            "Give images, or a network for texts: --model hf:FOLDER.",
        )
    sources = listing.sources(preprocess)
    traits: list[Trait] = []
    images, bad = decode_all(sources, preprocess, threads=options.threads, spill_dir=None, progress=None, traits=traits)
    hashes = hash_files(sources, options.threads)
    readable = [i for i in range(len(images)) if i not in bad]
    names = [row.id for row in listing.rows]
    noticed = (
        *trait_warnings([traits[i] for i in readable], [names[i] for i in readable]),
        *range_warnings(images, names, readable),
        *frames_warning(sources, names, traits, options.threads),
    )
    listing = replace(listing, texts=None, warnings=(*listing.warnings, *noticed))
    dataset, rows = assemble(listing, images, bad, hashes, options=options)
    chosen: Images = images.select(rows)
    return ReadData(dataset, chosen, preprocess)


def _read_texts(
    listing: Listing, preprocess: TextPreprocess, options: AssembleOptions, *, chosen_length: bool
) -> ReadData:
    """The length is that of the longest text to learn from, unless --size says it: the sealed part decides nothing."""
    if listing.texts is None:
        raise DataError(
            f"{listing.root} holds images, but the network reads texts.",
            "Give a table with the columns text and label, or a network for images.",
        )
    dataset, kept = _assembled(listing, options)
    encoded = encode(kept, preprocess)
    unknown = mostly_unknown(encoded, preprocess)
    if unknown:
        handled = "kept, but at least half of their words are unknown to this network: is it one for another language?"
        ids = tuple(dataset.samples[i].id for i in unknown[:EXAMPLES])
        warning = DataWarning(kind="unknown-words", count=len(unknown), examples=ids, handled=handled)
        dataset = replace(dataset, warnings=(*dataset.warnings, warning))
    if not chosen_length:
        counts = [len(encoded[i]) for i in dataset.development.tolist()]
        preprocess = replace(preprocess, length=fitting_length(counts, preprocess.limit), lengths=())
    texts, cut = fill(kept, encoded, preprocess)
    if cut:
        ids = tuple(dataset.samples[i].id for i in cut[:EXAMPLES])
        end = "last"
        if preprocess.cut == "right":
            end = "first"
        handled = f"only the {end} {preprocess.length - 1} tokens are read (--size N; at most {preprocess.limit})"
        warning = DataWarning(kind="truncated", count=len(cut), examples=ids, handled=handled)
        dataset = replace(dataset, warnings=(*dataset.warnings, warning))
    return ReadData(dataset, texts, preprocess)


def _assembled(listing: Listing, options: AssembleOptions) -> tuple[Dataset, tuple[str, ...]]:
    """The data set of a listing of texts, and the texts of its samples."""
    words = listing.texts or ()
    listing = replace(listing, arrays=None)
    bad = check_texts(words)
    hashes = [hash_bytes(text.encode(errors="surrogatepass")) for text in words]
    whole = Texts(words, np.zeros((len(words), 0), dtype=np.int32))
    dataset, rows = assemble(listing, whole, bad, hashes, options=options)
    return dataset, tuple(words[i] for i in rows.tolist())
