"""CSV and TSV: a header of field names, then a request a row."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Callable, Iterable, Iterator

from sdgen.prompts import fields
from sdgen.prompts.entries import Entry, Fault

MAX_COLUMNS = 1000
"""Columns with a name."""

MAX_ROW_LINES = 10_000
"""Lines that the quoted cells of one row may go over."""

DELIMITERS = ",;\t"
"""Spreadsheets write semicolons where the comma is the sign for decimals."""

_DECIMAL_COMMA = re.compile(r"\s*[+-]?[0-9]{1,30},[0-9]{1,30}\s*")


def entries(lines: Iterable[tuple[int, str] | Fault], usual: str) -> Iterator[Entry | Fault]:
    """An entry for each row that is not blank; an empty cell is a field left out.

    The header alone decides how cells are separated: by the one of ``DELIMITERS`` that makes most fields of
    it, ``usual`` where others make no more, or by what a line ``sep=;`` before it says. What is wrong with
    the header is said once, and its column is left aside.
    """
    lines = iter(lines)
    for item in lines:
        if isinstance(item, Fault):
            yield item
        elif match := re.fullmatch(r"sep=([,;:|\t])", item[1].strip("\r\n\"'")):
            usual = match[1]
        elif item[1].strip():
            break
    else:
        return
    delimiter = _delimiter(item[1], usual)
    columns: list[str | None] | None = None  # None for one to leave aside, "" for one without a name
    for row in _rows(item, lines, delimiter):
        if isinstance(row, Fault):
            yield row
        elif columns is None:
            columns, faults = _header(*row)
            yield from faults
            if "prompt" not in map(_field, columns):
                yield Fault(row[0], "the header has no column 'prompt'", "prompt")
                return
        elif entry := _entry(*row, columns, delimiter):
            yield entry


def _delimiter(header: str, usual: str) -> str:
    counts: dict[str, int] = {}
    for delimiter in (usual, *DELIMITERS):
        try:
            names = next(csv.reader([header], delimiter=delimiter), [])
        except csv.Error:
            names = []
        counts[delimiter] = len({fields.canonical(name) for name in names[:MAX_COLUMNS]} - {None})
    return max(counts, key=lambda delimiter: counts[delimiter])


def _header(number: int, names: list[str]) -> tuple[list[str | None], list[Fault]]:
    """The columns, and what is wrong with them."""
    if (named := sum(map(bool, names))) > MAX_COLUMNS:
        return [], [Fault(number, f"the header has {named:,} columns; the most is {MAX_COLUMNS:,}")]
    columns: list[str | None] = []
    faults: list[Fault] = []
    seen: set[str] = set()
    spelling = fields.Spelling()
    for name in names:
        field = fields.canonical(name)
        if not name.strip():  # Spreadsheets leave such columns at the end.
            columns.append("")
            continue
        if field is None:
            faults.append(Fault(number, fields.unknown(name, "column", spelling), name))
        elif field in seen:
            faults.append(Fault(number, f"two columns set the field {field!r}", name))
        else:
            seen.add(field)
            columns.append(name.strip())
            continue
        columns.append(None)
    return columns, faults


def _entry(number: int, cells: list[str], columns: list[str | None], delimiter: str) -> Entry | Fault | None:
    if (extra := len(cells) - len(columns)) > 0 and any(cells[-extra:]):
        return Fault(
            number,
            f"the row has {len(cells)} cells, the header {len(columns)}; quote cells with {delimiter!r}",
        )
    if not any(cells):
        return None
    named = {name: cell for name, cell in zip(columns, cells, strict=False) if cell}
    if "" in named:
        return Fault(number, f"the column of the cell {named['']!r} has no name in the header")
    values = {name: cell for name, cell in named.items() if name is not None}
    if delimiter == ";":
        values = {
            name: cell.replace(",", ".")
            if fields.canonical(name) in fields.REAL and _DECIMAL_COMMA.fullmatch(cell)
            else cell
            for name, cell in values.items()
        }
    return Entry(number, values)


def _field(column: str | None) -> str | None:
    return None if column is None else fields.canonical(column)


def _numbered(
    first: tuple[int, str], lines: Iterable[tuple[int, str] | Fault], in_row: Callable[[], bool]
) -> Iterator[tuple[int, str | Fault]]:
    """The lines, with the empty ones inside a row: they are part of a quoted cell."""
    expected = first[0]
    for item in itertools.chain([first], lines):
        number = item.line if isinstance(item, Fault) else item[0]
        yield from ((empty, "") for empty in itertools.takewhile(lambda _: in_row(), range(expected, number)))
        expected = number + 1
        yield number, item if isinstance(item, Fault) else item[1]


def _rows(
    first: tuple[int, str], lines: Iterable[tuple[int, str] | Fault], delimiter: str
) -> Iterator[tuple[int, list[str]] | Fault]:
    """Rows with the numbers of their first lines; a quoted cell may go over several lines."""
    faults: list[Fault] = []
    fed: list[int] = []

    def feed() -> Iterator[str]:
        for number, item in _numbered(first, lines, lambda: bool(fed)):
            if isinstance(item, Fault):
                faults.append(item)
            else:
                fed.append(number)
                yield item + "\n"
            if len(fed) + len(faults) > MAX_ROW_LINES:
                raise csv.Error(
                    f"it goes over more than {MAX_ROW_LINES:,} lines; is a quotation mark not closed?"
                )

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
