"""``Fields``: what a client sent, read by name; what nobody reads is named to it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sdgen.request import FIELDS
from sdgen.request.pictures import PictureKind
from sdgen.serve.refusals import Refusal
from sdgen.text import numerals
from sdgen.text.printable import printable

WARNING = "X-Sdgen-Warning"
"""The header that says which fields were not honoured."""

_MOST_NAMED = 20
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")


class Fields:
    """The fields of a body, JSON's or a form's; null is the same as nothing.

    Args:
        values: by name.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = {name: value for name, value in values.items() if value is not None}
        self._read: set[str] = set()
        self._unheeded: list[str] = []

    def get(self, name: str) -> Any:
        """The value as it came; None where there is none."""
        self._read.add(name)
        return self._values.get(name)

    def text(self, name: str, default: str = "") -> str:
        """Some text."""
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise _wrong(name, "text", value)
        return value

    def whole(self, name: str, low: int, high: int, default: int) -> int:
        """A whole number of ``low`` to ``high``, or a text of one."""
        value = self.get(name)
        if value is None or value == "":
            return default
        number = numerals.whole(value) if isinstance(value, str) else value
        if isinstance(number, float) and number.is_integer():
            number = int(number)
        if isinstance(number, bool) or not isinstance(number, int):
            raise _wrong(name, "a whole number", value)
        if not low <= number <= high:
            raise Refusal(422, f"{name} must be {low} to {high}, not {number}", name, "invalid_value")
        return number

    def real(self, name: str, low: float, high: float, default: float | None = None) -> float | None:
        """A number of ``low`` to ``high``."""
        value = self.get(name)
        if value is None or value == "":
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise _wrong(name, "a number", value)
        if not low <= value <= high:
            raise Refusal(422, f"{name} must be {low:g} to {high:g}, not {value:g}", name, "invalid_value")
        return float(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false, also as text or number."""
        value = self.get(name)
        if value is None:
            return default
        word = str(value).casefold()
        if word not in (*_TRUE, *_FALSE):
            raise _wrong(name, "true or false", value)
        return word in _TRUE

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """One of some words."""
        value = self.text(name, default) or default
        if value not in choices:
            raise _wrong(name, " or ".join(choices), value)
        return value

    def request_fields(self, but: Iterable[str] = ()) -> dict[str, Any]:
        """What is set of the fields of a ``Request``, as JSON types, by their own names.

        Pictures are never among them: a text in their place would name a file of this machine.
        """
        found = {}
        for name in FIELDS.keys() - set(but):
            field = FIELDS[name]
            if name in self._values and not isinstance(field.kind, PictureKind):
                value = self.get(name)
                read = field.kind.read(value) if isinstance(value, str) else value
                found[name] = value if read is None else read  # What stands for nothing is refused later.
        return found

    def unheeded(self, name: str) -> None:
        """A field that was read is not honoured."""
        self._unheeded.append(name)

    def left(self) -> list[str]:
        """The names of what is not honoured: not read, or read to no effect."""
        return [*self._unheeded, *(name for name in self._values if name not in self._read)]

    def warning(self) -> dict[str, str]:
        """The header that names what was not honoured; none where all was."""
        names = self.left()
        if not names:
            return {}
        shown = ", ".join(_plain(name) for name in names[:_MOST_NAMED])
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        return {WARNING: f"not honoured: {shown}{more}"}


def _plain(name: str) -> str:
    """A name as a header may have it."""
    return printable(name[:40]).encode("ascii", "backslashreplace").decode()


def _wrong(name: str, wanted: str, value: Any) -> Refusal:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:60]}..."
    return Refusal(400, f"{name} must be {wanted}, not {shown}", name, "invalid_type")
