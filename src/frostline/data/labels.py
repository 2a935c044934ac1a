"""Labels, parts and groups as columns: what a table or Python gives beside the images, checked row by row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import numpy as np

from frostline.base.errors import DataError
from frostline.data.decode import Source
from frostline.data.part_names import WORDS, GivenPart, part_of
from frostline.data.raw import as_numpy, is_array
from frostline.data.scan import Row

Where = Callable[[int], str]  # a row's place in words, such as "row 3 of labels.csv"


def as_column(values: Any, name: str, count: int) -> list[Any]:
    """One plain Python value a row, from a list, an array, a tensor or a series; DataError for another length."""
    if isinstance(values, (str, bytes, Mapping, Set)) or not (is_array(values) or hasattr(values, "__iter__")):
        raise DataError(
            f"{name} is a {type(values).__name__}, but one value per image was expected.",
            f"Give a list or an array of {count}.",
        )
    listed = None
    if isinstance(values, list | tuple):
        listed = values
    if listed is None:
        array = None
        if is_array(values):
            array = as_numpy(values)
        if array is not None and array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array is not None and array.ndim != 1:
            raise DataError(
                f"{name} has shape {array.shape}, but one value per image was expected.",
                f"Give {count} values; from one column for each class, as {name}.argmax(1).",
            )
        if array is None:
            listed = list(values)
        else:
            listed = array.tolist()
    if len(listed) != count:
        raise DataError(f"{name} has {len(listed)} values for {count} images.", "Give one for each image.")
    widths = {len(v) if isinstance(v, list | tuple) or (is_array(v) and v.ndim == 1) else 0 for v in listed}
    if widths == {1}:
        listed = [v[0] for v in listed]
    elif len(widths) == 1 and min(widths) > 1:
        raise DataError(
            f"{name} has {min(widths)} values for each image, but one was expected.",
            f"From one column for each class: np.argmax({name}, axis=1).",
        )
    return [v.item() if isinstance(v, np.generic) or hasattr(v, "detach") else v for v in listed]


def class_names(values: Sequence[Any], name: str, where: Where) -> list[str]:
    """Names of classes as text, empty where a row has none.

    Raises DataError where no row has one, for floats, and for text mixed with numbers.
    """
    without = [is_missing(v) or (isinstance(v, str) and not v.strip()) for v in values]
    if all(without):
        raise DataError(f"{name} is empty in every row, {where(0)} the first.", "Give the samples labels.")
    kinds = {isinstance(v, str) for v, empty in zip(values, without, strict=True) if not empty}
    if len(kinds) > 1:
        raise DataError(f"{name} mixes text with numbers.", "Give one or the other.")
    return ["" if without[i] else _class_name(v, name, where(i)) for i, v in enumerate(values)]


def _class_name(value: Any, name: str, where: str) -> str:
    if isinstance(value, bytes):
        raise DataError(f"{name} is {value!r} in {where}, but labels are text.", f"Give {name}.astype(str).")
    if not isinstance(value, (str, int)):
        raise DataError(
            f"{name} is {value!r} in {where}, but labels are text or whole numbers.",
            "Give names, or class numbers as integers.",
        )
    text = str(value)
    if any("\ud800" <= c <= "\udfff" or c < " " for c in text):
        raise DataError(f"{name} is {text!r} in {where}, which can't be written into a record.", "Rename the class.")
    return text


def parts(values: Sequence[Any], name: str, where: Where) -> list[GivenPart]:
    """The part of every row. Raises DataError for unknown and missing words."""
    found: list[GivenPart] = []
    for i, value in enumerate(values):
        part = None
        if isinstance(value, str):
            part = part_of(value)
        if part is None:
            if is_missing(value) or value == "":
                shown = "empty"
            else:
                shown = repr(value)
            raise DataError(f"{name} is {shown} in {where(i)}.", f"Known parts: {WORDS}.")
        found.append(part)
    return found


def groups(values: Sequence[Any], name: str, where: Where) -> list[str | None]:
    """The group of every row as text; rows without one stand alone."""
    for i, value in enumerate(values):
        if not (is_missing(value) or isinstance(value, (str, int))):
            raise DataError(
                f"{name} is {value!r} in {where(i)}, but groups are text or whole numbers.", "Name groups by text."
            )
    return [None if is_missing(v) or v == "" else str(v) for v in values]


def is_missing(value: Any) -> bool:
    """None, NaN and the empty values of pandas: how a table says that a cell is empty."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and math.isnan(value)


def read_rows(
    columns: Mapping[str, Sequence[Any]], sources: Sequence[Source | None], where: Where, *, first: int
) -> tuple[Row, ...]:
    """Rows of a listing from columns of one value a row; ids are numbers that count from `first`."""
    count = len(sources)
    names = class_names(columns["label"], "label", where)
    of_part: Sequence[GivenPart | None] = [None] * count
    of_group: Sequence[str | None] = [None] * count
    if columns.get("split") is not None:
        of_part = parts(columns["split"], "split", where)
    if columns.get("group") is not None:
        of_group = groups(columns["group"], "group", where)
    return tuple(
        Row(id=str(first + i), source=sources[i], class_name=names[i], part=of_part[i], group=of_group[i])
        for i in range(count)
    )
