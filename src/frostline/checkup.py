"""What `frostline check` says: what was understood of the data, and what the network gets of it. Nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from frostline.base.device import default_threads
from frostline.base.errors import DataError
from frostline.base.events import Emit, silent
from frostline.base.files import write_atomic
from frostline.base.records import Dataset, DataWarning
from frostline.bundle.runfolder import next_out
from frostline.data.class_counts import class_counts
from frostline.data.contract import Contract, Samples, evaluation_views, to_inputs
from frostline.data.given import list_given
from frostline.data.images import Images
from frostline.data.overview import ImageFacts, TextFacts, image_facts, text_facts
from frostline.data.preprocess import Preprocess
from frostline.data.read import read_data, read_words
from frostline.data.scan import Listing
from frostline.data.sheet import draw_sheet, example_rows
from frostline.data.tables import find
from frostline.data.texts import PADDING, Texts
from frostline.pipeline import read_network
from frostline.recipe.settings import Settings, settings_from

# What a sheet is drawn with where no network says how it prepares images.
PLAIN = Preprocess.default(224, (0.0,), (1.0,), 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputValues:
    """The numbers that the network gets, over some images and all channels: about 0 and 1 are usual for a mean and a
    standard deviation."""

    low: float
    mean: float
    std: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """What was understood. `classes` are samples by class and part; `images` or `texts` is set, as the data are.

    `preprocess` and `inputs` are set where a network was named, with `notes` on how it was read, `sheet` where a sheet
    was drawn.
    """

    data: str
    kind: str
    sealed_from: str
    classes: Mapping[str, Mapping[str, int]]
    warnings: Sequence[DataWarning]
    images: ImageFacts | None = None
    texts: TextFacts | None = None
    model: str | None = None
    preprocess: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()
    inputs: InputValues | None = None
    sheet: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values by name."""
        return asdict(self)


def check_data(
    data: Any, model: str = "", *, sheet: str | Path | None = None, emit: Emit = silent, **options: Any
) -> Checkup:
    """Read `data` as :func:`frostline.fit` would, and say what was understood.

    Args:
        data: as in :func:`frostline.fit`.
        model: a network's spec; without one, images are drawn at 224 pixels and texts are counted in words.
        sheet: a PNG file for examples as the network gets them; none is drawn where it isn't given.
        emit: called with every event.
        options: the fields of :class:`frostline.recipe.settings.Settings` that concern data and network.

    Raises:
        FrostlineError: as `fit` does.
    """
    listing = None
    if not isinstance(data, (str, Path)):
        listing = list_given(data)
        data = listing.root
    settings = settings_from(data, model, options)
    return run_check(settings, Path(sheet) if sheet else None, emit, listing)


def run_check(settings: Settings, sheet: Path | None, emit: Emit = silent, listing: Listing | None = None) -> Checkup:
    """Do the work of :func:`check_data`."""
    listing = listing or find(settings.data)
    if not settings.model and listing.noun == "texts":
        dataset, words = read_words(settings, listing, emit)
        return _checkup(settings, listing, dataset, texts=text_facts(words, None))
    contract: Contract = PLAIN
    notes: tuple[str, ...] = ()
    if settings.model:
        network = read_network(settings)
        contract = network.preprocess
        notes = network.notes
    read = read_data(settings, listing, contract, emit)
    dataset = read.dataset
    known: dict[str, Any] = {}
    if settings.model:
        known = {"model": settings.model, "preprocess": read.contract.to_json(), "notes": notes}
    if isinstance(read.samples, Texts):
        tokens = (read.samples.ids != PADDING).sum(axis=1).tolist()
        return _checkup(settings, listing, dataset, texts=text_facts(read.samples.words, tokens), **known)
    assert isinstance(contract, Preprocess)
    facts = image_facts(listing.sources(contract), settings.threads or default_threads())
    if settings.model:
        known["inputs"] = _input_values(read.samples, example_rows(dataset), read.contract)
    if sheet is not None:
        known["sheet"] = str(_write_sheet(sheet, dataset, read.samples, read.contract))
    return _checkup(settings, listing, dataset, images=facts, **known)


def sheet_path(settings: Settings) -> Path:
    """Where the command writes the sheet unless told otherwise: `runs/NAME-check.png`, over an earlier one."""
    first = next_out(settings.data)
    return first.with_name(f"{first.name.rpartition('-')[0]}-check.png")


def _checkup(settings: Settings, listing: Listing, dataset: Dataset, **known: Any) -> Checkup:
    return Checkup(
        data=str(settings.data),
        kind=listing.kind,
        sealed_from=dataset.sealed_from,
        classes=class_counts(dataset),
        warnings=dataset.warnings,
        **known,
    )


def _input_values(samples: Samples, rows: Sequence[int], contract: Contract) -> InputValues:
    views = evaluation_views(samples.select(rows), contract, 1)
    values = to_inputs(views, contract, device="cpu", channels_last=False)
    assert not isinstance(values, dict)
    return InputValues(
        low=float(values.min()), mean=float(values.mean()), std=float(values.std()), high=float(values.max())
    )


def _write_sheet(path: Path, dataset: Dataset, images: Samples, preprocess: Contract) -> Path:
    assert isinstance(images, Images)
    assert isinstance(preprocess, Preprocess)
    try:
        drawn = BytesIO()
        draw_sheet(dataset, images, preprocess).save(drawn, "PNG")
        write_atomic(path, drawn.getvalue())
    except OSError as error:
        raise DataError(f"The sheet {path} can't be written: {error.strerror}.", "Give --sheet FILE.png.") from error
    return path
