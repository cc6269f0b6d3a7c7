"""Kinds of values that fields have: how a value is checked, read from text, and described as JSON."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

from sdgen.errors import InputError
from sdgen.text import numerals

MAX_TEXT = 20_000
"""Longest text, in characters."""

_TRUTH: Mapping[str, bool] = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


class Kind:
    """What a field holds.

    Attributes:
        noun: the kind in a sentence, "a whole number".
        json: the type's name in JSON Schema.
    """

    noun, json = "", ""

    def check(self, field: str, value: Any) -> Any:
        """The value as a request holds it.

        Raises:
            InputError: it is of the wrong type or out of range; the sentence begins with ``field``.
        """
        raise NotImplementedError

    def read(self, text: str) -> Any:
        """The value that a text stands for, which is still to be checked; None where it stands for none."""
        return text

    def located(self, value: Any, folder: str) -> Any:
        """A value that a file in ``folder`` has, before it is checked: paths in it are relative to that."""
        return value

    def plain(self, value: Any) -> Any:
        """A checked value in JSON's types."""
        return value

    def identity(self, value: Any) -> Any:
        """What of a checked value decides how the picture looks, in JSON's types."""
        return self.plain(value)

    def schema(self) -> dict[str, Any]:
        """The type and the range in the words of JSON Schema."""
        return {"type": self.json}


class Text(Kind):
    """Unicode text of up to ``MAX_TEXT`` characters without NUL."""

    noun, json = "text", "string"

    def check(self, field: str, value: Any) -> str:
        """As ``Kind.check``."""
        if not isinstance(value, str):
            raise InputError(f"{field} must be text, not {value!r}", field)
        if len(value) > MAX_TEXT:
            raise InputError(f"{field} has {len(value)} characters; the most is {MAX_TEXT}", field)
        if "\0" in value:
            raise InputError(f"{field} holds a NUL character; remove it", field)
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InputError(f"{field} is not valid Unicode text", field) from None
        return value


class Whole(Kind):
    """A whole number, also as a float without a fraction (5.0), of ``low`` to ``high``.

    Up to ``usual`` it may be in any request, and more in some, which see to it themselves.
    """

    noun, json = "a whole number", "integer"

    def __init__(self, low: int, high: int, multiple: int = 1, usual: int | None = None) -> None:
        self.low, self.high, self.multiple = low, high, multiple
        self._usual = usual or high

    def check(self, field: str, value: Any) -> int:
        """As ``Kind.check``."""
        # Beyond 2**53 a float may be a neighbour of the number that was written.
        exact = isinstance(value, float) and value.is_integer() and abs(value) <= 2**53
        if isinstance(value, bool) or not (exact or isinstance(value, numbers.Integral)):
            raise InputError(f"{field} must be a whole number, not {value!r}", field)
        number = int(value)
        if not self.low <= number <= self.high:
            raise self.beyond(field, number)
        if number % self.multiple:
            raise InputError(f"{field} must be a multiple of {self.multiple}, not {number}", field)
        return number

    def beyond(self, field: str, number: int) -> InputError:
        """The error of a number that is out of range."""
        return InputError(f"{field} must be {self.low} to {self._usual}, not {number}", field)

    def read(self, text: str) -> int | None:
        """As ``Kind.read``."""
        return numerals.whole(text)

    def schema(self) -> dict[str, Any]:
        """As ``Kind.schema``."""
        multiple = {} if self.multiple == 1 else {"multipleOf": self.multiple}
        return {"type": self.json, "minimum": self.low, "maximum": self.high, **multiple}


class Real(Kind):
    """A number of ``low`` to ``high``; or ``off``, if it is not None, a number outside that range."""

    noun, json = "a number", "number"

    def __init__(self, low: float, high: float, off: float | None = None) -> None:
        self.low, self.high, self.off = low, high, off

    def check(self, field: str, value: Any) -> float:
        """As ``Kind.check``."""
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise InputError(f"{field} must be a number, not {value!r}", field)
        if not self.low <= value <= self.high and value != self.off:  # type: ignore[operator]
            off = "" if self.off is None else f"{self.off:g} (off) or "
            raise InputError(f"{field} must be {off}{self.low:g} to {self.high:g}, not {value}", field)
        return float(value)

    def read(self, text: str) -> float | None:
        """As ``Kind.read``."""
        return numerals.real(text)

    def schema(self) -> dict[str, Any]:
        """As ``Kind.schema``, of one range from the least number to the greatest."""
        ends = [self.low, self.high, *([] if self.off is None else [self.off])]
        return {"type": self.json, "minimum": min(ends), "maximum": max(ends)}


class OneOf(Kind):
    """One of some names.

    Args:
        names: the names, with a line about each where they are a mapping.
    """

    noun, json = "a name", "string"

    def __init__(self, names: Mapping[str, str] | tuple[str, ...]) -> None:
        self.names = names

    def check(self, field: str, value: Any) -> str:
        """As ``Kind.check``."""
        if not isinstance(value, str) or value not in self.names:
            raise InputError(f"{field} must be one of {', '.join(self.names)}, not {value!r}", field)
        return value

    def schema(self) -> dict[str, Any]:
        """As ``Kind.schema``."""
        return {"type": self.json, "enum": list(self.names)}


class YesNo(Kind):
    """True or false."""

    noun, json = "true or false", "boolean"

    def check(self, field: str, value: Any) -> bool:
        """As ``Kind.check``."""
        if not isinstance(value, bool):
            raise InputError(f"{field} must be true or false, not {value!r}", field)
        return value

    def read(self, text: str) -> bool | None:
        """As ``Kind.read``: true, yes, on or 1, and their opposites."""
        return _TRUTH.get(text.strip().casefold())


class Axes(OneOf):
    """Names of axes, the last of them all axes, which true means, too; false is none."""

    def check(self, field: str, value: Any) -> Any:
        """As ``Kind.check``; None for none."""
        if isinstance(value, bool):
            return [*self.names][-1] if value else None
        return super().check(field, value)

    def read(self, text: str) -> Any:
        """As ``Kind.read``."""
        return _TRUTH.get(text.strip().casefold(), text)


class Colour(Text):
    """A colour: a name of CSS or #rrggbb."""

    noun = "a colour"

    def check(self, field: str, value: Any) -> str:
        """As ``Kind.check``."""
        from PIL import ImageColor

        text = super().check(field, value)
        try:
            ImageColor.getrgb(text)
        except ValueError:
            raise InputError(
                f"{field} must be a colour such as white or #ff8800, not {text!r}", field
            ) from None
        return text
