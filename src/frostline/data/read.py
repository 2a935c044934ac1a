"""From a listing to the data set and its decoded pictures."""

from __future__ import annotations

from frostline.base.device import default_threads
from frostline.base.events import Emit, Event
from frostline.base.records import Dataset
from frostline.data.assemble import assemble
from frostline.data.checks import AssembleOptions
from frostline.data.decode import Pictures, decode_all, hash_files
from frostline.data.preprocess import Preprocess
from frostline.data.scan import Listing
from frostline.recipe.settings import Settings


def read_data(settings: Settings, listing: Listing, preprocess: Preprocess, emit: Emit) -> tuple[Dataset, Pictures]:
    """Decode every picture once; what can't be read is named, counted, left out and recorded."""
    sources = listing.sources(preprocess)
    threads = settings.threads or default_threads()
    pictures, bad = decode_all(sources, preprocess, threads=threads, spill_dir=None, progress=None)
    hashes = hash_files(sources, threads)
    options = AssembleOptions(
        min_per_class=settings.min_per_class,
        labels_per_class=settings.labels_per_class,
        pool_validation=settings.pool_validation,
        seed=settings.seed,
        threads=threads,
    )
    dataset, rows = assemble(listing, pictures, bad, hashes, options=options)
    for warning in dataset.warnings:
        examples = ", ".join(warning.examples[:3])
        emit(Event(kind="warning", text=f"{warning.count} {warning.kind} ({examples}): {warning.handled}"))
    return dataset, pictures.select(rows)
