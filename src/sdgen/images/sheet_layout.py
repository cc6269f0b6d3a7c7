"""Which image goes where on a contact sheet, and what its captions tell (contact_sheet.py draws it)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdgen import request
from sdgen.errors import InputError
from sdgen.images import ai_mark, records
from sdgen.request.upscale_methods import FILTERS

MOST_IMAGES = 4096
FIELDS = (*(name for name in request.FIELDS if name not in ("width", "height")), "size", "file")
"""What rows, columns and captions can tell."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """An image of a sheet.

    Attributes:
        path: of the image.
        values: what is known of it by the names of ``FIELDS``.
        drawn: whether a tool says that it drew it.
    """

    path: Path
    values: Mapping[str, Any]
    drawn: bool = False


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where images go.

    Attributes:
        cells: entries by (row, column); places may stay empty.
        rows, columns: labels; empty texts where a side has no field.
        row_field, column_field: the fields of the labels.
        title: what is the same in all images.
        captions: fields that differ and that no label tells.
    """

    cells: Mapping[tuple[int, int], Entry]
    rows: Sequence[str]
    columns: Sequence[str]
    row_field: str | None
    column_field: str | None
    title: str
    captions: Sequence[str]


def entry(path: Path) -> Entry:
    """An image with what it, or its sidecar, says of itself.

    Raises:
        InputError: it cannot be read.
    """
    values: dict[str, Any] = {"file": path.name}
    try:
        record = records.read(path)
    except InputError:
        # An image that says nothing still has its name; one that cannot be read fails when it is drawn.
        return Entry(path, values)
    values |= record.settings
    if record.size is not None:
        values["size"] = "{}x{}".format(*record.size)
    # What a filter enlarges is no model's work because of that.
    drawn = values.get("model") not in FILTERS or ai_mark.found(record.image or path) is not None
    return Entry(record.image or path, values, drawn)


def source_type(entries: Collection[Entry]) -> str | None:
    """How a sheet of images came to be, a term of ``origin``; None if no image says that it was drawn."""
    drawn = sum(entry.drawn for entry in entries)
    if not drawn:
        return None
    return ai_mark.GENERATED if drawn == len(entries) else ai_mark.COMPOSITE


def axes(entries: Sequence[Entry], swept: Sequence[str] = ()) -> tuple[str | None, str | None]:
    """Fields for rows and columns that suit images of one run.

    Swept fields come first, the first of them in the columns, then prompts and seeds. Where two fields do not
    tell all images apart, the columns alone have one; where nothing is swept and only prompts or only seeds
    differ, neither has.
    """
    fields = ["size" if name in ("width", "height") else name for name in swept]
    varying = [name for name in FIELDS if len({_key(entry, name) for entry in entries}) > 1]
    chosen = [name for name in dict.fromkeys(fields) if name in varying][:2]
    if not chosen and {"prompt", "seed"} <= set(varying):
        chosen = ["seed", "prompt"]
    elif len(chosen) == 1:
        chosen += [name for name in ("prompt", "seed") if name in varying][:1]
    first, second = (*chosen, None, None)[:2]
    if first is None or second is None:
        return None, first
    apart = {(_key(entry, first), _key(entry, second)) for entry in entries}
    return (second if len(apart) == len(entries) else None), first


def arrange(entries: Sequence[Entry], rows: str | None = None, columns: str | int | None = None) -> Layout:
    """Find the place of each image.

    Args:
        entries: the images, in order.
        rows: a field whose values are the rows.
        columns: a field whose values are the columns, or how many columns there are; by default as many as
            make the sheet about square, or with ``rows`` as many as a row needs.

    Raises:
        InputError: there are no images or too many, a field is unknown, or two images have one place.
    """
    if not 0 < len(entries) <= MOST_IMAGES:
        raise InputError(f"a sheet takes 1 to {MOST_IMAGES} images, and these are {len(entries)}")
    for field in (rows, columns):
        if isinstance(field, str) and field not in FIELDS:
            raise InputError(f"there is no field {field!r}; the fields are {', '.join(FIELDS)}")
    varying = [name for name in FIELDS if len({_key(entry, name) for entry in entries}) > 1]
    row_values = _axis(entries, rows) if rows else []
    column_field = columns if isinstance(columns, str) else None
    column_values = _axis(entries, column_field) if column_field else []
    count = columns if isinstance(columns, int) else math.ceil(math.sqrt(len(entries)))
    cells: dict[tuple[int, int], Entry] = {}
    used: dict[int, int] = {}
    for number, found in enumerate(entries):
        if rows and column_field:
            place = (
                row_values.index(value_of(found, rows)),
                column_values.index(value_of(found, column_field)),
            )
        elif rows:
            row = row_values.index(value_of(found, rows))
            place = row, used.get(row, 0)
            used[row] = place[1] + 1
        elif column_field:
            column = column_values.index(value_of(found, column_field))
            place = used.get(column, 0), column
            used[column] = place[0] + 1
        else:
            place = divmod(number, count)
        if place in cells:
            _refuse(cells[place], found, [name for name in (rows, column_field) if name], varying)
        cells[place] = found
    height = max(row for row, _ in cells) + 1
    width = max(column for _, column in cells) + 1
    captions = [name for name in varying if name not in (rows, column_field, "file")]
    if varying == ["file"] and not rows and not column_field:
        captions = ["file"]
    return Layout(
        cells,
        [text_of(value) for value in row_values] or [""] * height,
        [text_of(value) for value in column_values] or [""] * width,
        rows,
        column_field,
        _title(entries[0], varying),
        captions,
    )


def value_of(entry: Entry, field: str) -> Any:
    """A field of an image; None where it is unknown."""
    return entry.values.get(field)


def _key(entry: Entry, field: str) -> str:
    return repr(value_of(entry, field))


def _axis(entries: Sequence[Entry], field: str) -> list[Any]:
    """The values of a field: numbers by size, others in the order of the images, none at the end."""
    found: list[Any] = []
    for each in entries:
        if (value := value_of(each, field)) not in found:
            found.append(value)
    if all(value is None or isinstance(value, (int, float)) for value in found):
        return sorted(found, key=lambda value: (value is None, value or 0))
    return found


def _refuse(first: Entry, second: Entry, told: Sequence[str], varying: Sequence[str]) -> None:
    place = " and ".join(f"{name} {text_of(value_of(second, name))}" for name in told)
    others = [name for name in varying if name not in told and _key(first, name) != _key(second, name)]
    more = f"; they differ in {', '.join(others)}" if others else ""
    raise InputError(
        f"{first.path} and {second.path} both have {place}{more}; choose another field for rows or columns, "
        "or name fewer images"
    )


def text_of(value: Any) -> str:
    """A value as labels and captions show it."""
    if value is None or value == "":
        return "none"
    return request.fields.text_of(value)


def _title(first: Entry, varying: Sequence[str]) -> str:
    same = [name for name in ("model", "sampler", "steps", "guidance", "seed") if name not in varying]
    known = [f"{name} {text_of(value_of(first, name))}" for name in same if value_of(first, name) is not None]
    prompt = [str(first.values["prompt"])] if "prompt" in first.values and "prompt" not in varying else []
    return "\n".join([*prompt, ", ".join(known)]).strip()
