"""A row of the table of fields: all that there is to say of one, for whoever reads, shows or writes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from sdgen.request.kinds import Kind

_T = TypeVar("_T")
_ROW = "row"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
    """One field of a request.

    Attributes:
        kind: its type and range.
        about: a sentence about it in a record of an image.
        name, default: as the request declares them; ``dataclasses.MISSING`` where it has to be given.
        leads: it is what one looks for first: it is written before the other fields, and shown where it has
            its default, too.
        filled: it has a value in every request that was drawn, though its default is None.
        sparse: it is left out of records, and of what stands for a request, where it has its default: so
            those of pictures that do without it stay what they were.
        needs: the field without which this one means nothing, or those of which it needs one.
        option: names of its option, as click takes them; none where it has no option of drawing.
        section: heading of the help under which the option is listed.
        after: field in the section that the option follows; None where fields have their own order.
        metavar: what stands for a value in the help.
        help: what the help says.
        aliases: names that prompts files may have for it, and other tools' records.
        elsewhere: further names in other tools' records, without case, spaces, dashes and underlines.
        title: name in AUTOMATIC1111's ``parameters``; None where it has none.
    """

    kind: Kind
    about: str
    name: str = ""
    default: Any = None
    leads: bool = False
    filled: bool = False
    sparse: bool = False
    needs: str | tuple[str, ...] = ()
    option: tuple[str, ...] = ()
    section: str = ""
    after: str | None = None
    metavar: str | None = None
    help: str = ""
    aliases: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    title: str | None = None

    @property
    def flag(self) -> str:
        """The option's long name: ``--guidance-rescale``; empty where it has none."""
        return self.option[-1].partition("/")[0] if self.option else ""

    @property
    def parameter(self) -> str:
        """What click calls the option's value: ``guidance_rescale``; the field's name where it has none."""
        return self.flag.removeprefix("--").replace("-", "_") or self.name

    @property
    def needed(self) -> tuple[str, ...]:
        """The fields of which one must be set for this one."""
        return (self.needs,) if isinstance(self.needs, str) else self.needs

    def lacks(self, value: Callable[[str], Any]) -> bool:
        """Whether none of the fields that this one needs is set: the ``value`` of each is None or False."""
        needed = self.needed
        return bool(needed) and all(value(name) is None or value(name) is False for name in needed)

    def is_usual(self, value: Any) -> bool:
        """Whether a value need not be written, being the default or None."""
        return value is None or (value == self.default and not self.leads)


def text_of(value: Any) -> str:
    """A field's value, in JSON's types, as it is shown: a number without zeros, a picture as its file."""
    if isinstance(value, Mapping):
        return str(value.get("file") or f"a picture of sha256 {value.get('sha256')}")
    return f"{value:g}" if isinstance(value, float) else str(value)


def row(kind: Kind, **attributes: Any) -> Mapping[str, Field]:
    """The metadata of a dataclass's field: a ``Field`` with these attributes."""
    return {_ROW: Field(kind=kind, **attributes)}


def entry(default: _T, kind: Kind, **attributes: Any) -> _T:
    """A dataclass's field with a default, and the attributes of a ``Field``."""
    made: _T = dataclasses.field(default=default, metadata=row(kind, **attributes))
    return made


def table(request: type) -> Mapping[str, Field]:
    """The fields of a dataclass whose attributes are declared by ``entry`` or ``row``, by name.

    They are in the order of their declaration, the sparse ones last.
    """
    rows = [
        dataclasses.replace(each.metadata[_ROW], name=each.name, default=each.default)
        for each in dataclasses.fields(request)
    ]
    return MappingProxyType({each.name: each for each in sorted(rows, key=lambda each: each.sparse)})
