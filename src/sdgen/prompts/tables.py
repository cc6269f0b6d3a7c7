"""CSV and TSV: a header of field names, then a request a row."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator

from sdgen.prompts import fields
from sdgen.prompts.entries import Entry, Fault


def entries(lines: Iterable[tuple[int, str] | Fault], delimiter: str) -> Iterator[Entry | Fault]:
    """An entry for each row that is not blank; an empty cell is a field left out.

    What is wrong with the header is said once, and its column is left aside.
    """
    columns: list[str | None] | None = None  # None for one to leave aside, "" for one without a name
    for row in _rows(lines, delimiter):
        if isinstance(row, Fault):
            yield row
            continue
        number, cells = row
        if columns is None:
            columns = []
            for name in cells:
                fault = _header_fault(number, name, columns)
                columns.append(None if fault else name.strip())
                if fault:
                    yield fault
            if "prompt" not in map(_field, columns):
                yield Fault(number, "the header has no column 'prompt'", "prompt")
                return
        elif (extra := len(cells) - len(columns)) > 0 and any(cells[-extra:]):
            yield Fault(
                number,
                f"the row has {len(cells)} cells, the header {len(columns)}; quote cells with {delimiter!r}",
            )
        elif any(cells):
            named = {name: cell for name, cell in zip(columns, cells, strict=False) if cell}
            if "" in named:
                yield Fault(number, f"the column of the cell {named['']!r} has no name in the header")
            else:
                yield Entry(number, {name: cell for name, cell in named.items() if name is not None})


def _field(column: str | None) -> str | None:
    return None if column is None else fields.canonical(column)


def _header_fault(number: int, name: str, before: list[str | None]) -> Fault | None:
    if not name.strip():  # Spreadsheets leave such columns at the end.
        return None
    field = fields.canonical(name)
    if field is None:
        return Fault(number, fields.unknown(name, "column"), name)
    if field in map(_field, before):
        return Fault(number, f"two columns set the field {field!r}", name)
    return None


def _rows(
    lines: Iterable[tuple[int, str] | Fault], delimiter: str
) -> Iterator[tuple[int, list[str]] | Fault]:
    """Rows with the numbers of their first lines; a quoted cell may go over several lines."""
    faults: list[Fault] = []
    fed: list[int] = []

    def feed() -> Iterator[str]:
        for item in lines:
            if isinstance(item, Fault):
                faults.append(item)
            else:
                fed.append(item[0])
                yield item[1] + "\n"

    reader = csv.reader(feed(), delimiter=delimiter, strict=True)
    while True:
        fed.clear()
        faults.clear()
        row: tuple[int, list[str]] | Fault | None
        try:
            cells = next(reader)
            row = (fed[0], cells)
        except StopIteration:
            row = None
        except csv.Error as error:
            row = Fault(fed[0] if fed else 1, f"the row cannot be read: {error}")
        yield from faults
        if row is None:
            return
        yield row
