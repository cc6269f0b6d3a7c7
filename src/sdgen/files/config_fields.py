"""The fields of a network's config.json, each read with its type and bounds."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from sdgen.errors import CheckpointError

_REQUIRED = object()


class ConfigFields:
    """The fields of a config.json, each of which is checked before it is believed.

    Every method raises CheckpointError where a field is missing, of another type, not finite or out of
    bounds.

    Args:
        config: what the file holds.
        part: what error messages call the network.
    """

    def __init__(self, config: Mapping[str, Any], part: str) -> None:
        self._config, self._part = config, part

    def whole(self, name: str, most: int, default: Any = _REQUIRED) -> int:
        """A whole number from 1 to ``most``."""
        return self._whole(name, self._get(name, default), most)

    def count(self, name: str, most: int) -> int:
        """A whole number from 1 to ``most``, or 0 where there is none."""
        value = self._config.get(name)
        return 0 if value is None else self._whole(name, value, most)

    def number(self, name: str, low: float, high: float, default: Any = _REQUIRED) -> float:
        """A finite number from ``low`` to ``high``; null where the default is 0 counts as 0."""
        value = self._get(name, default)
        if value is None and default == 0:
            return 0.0
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise self.fault(name, value, f"a number from {low:g} to {high:g} belongs")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise self.fault(name, value, "true or false belongs")
        return value

    def wholes(self, name: str, most: int, longest: int) -> tuple[int, ...]:
        """A list of 1 to ``longest`` whole numbers from 1 to ``most``."""
        return tuple(self._whole(name, value, most) for value in self._list(name, longest))

    def names(self, name: str, allowed: Sequence[str], longest: int) -> tuple[str, ...]:
        """A list of 1 to ``longest`` of the allowed names."""
        values = self._list(name, longest)
        for value in values:
            if value not in allowed:
                raise CheckpointError(
                    f"the {self._part} has a block of type {reprlib.repr(value)}, which sdgen does not have"
                )
        return tuple(values)

    def per_block(self, name: str, blocks: int, most: int, default: int) -> tuple[int, ...]:
        """A whole number for each block, from a list of them or one for all."""
        value = self._get(name, default)
        values = value if isinstance(value, (list, tuple)) else (value,) * blocks
        if len(values) != blocks:
            raise CheckpointError(
                f"the {self._part}'s config.json has {len(values)} {name} for {blocks} blocks"
            )
        return tuple(self._whole(name, number, most) for number in values)

    def flags(self, name: str, blocks: int, default: bool) -> tuple[bool, ...]:
        """True or false for each block, from a list of them or one for all."""
        value = self._get(name, default)
        values = value if isinstance(value, (list, tuple)) else (value,) * blocks
        if len(values) != blocks or not all(isinstance(each, bool) for each in values):
            raise self.fault(name, value, f"true or false for each of {blocks} blocks belongs")
        return tuple(values)

    def pair(self, name: str, most: int, default: int) -> tuple[int, int]:
        """Two whole numbers, from a list of two or one for both; null and 0 count as missing."""
        value = self._config.get(name) or default
        values = value if isinstance(value, (list, tuple)) else (value, value)
        if len(values) != 2:
            raise self.fault(name, value, "one number or two belong")
        first, second = (self._whole(name, number, most) for number in values)
        return first, second

    def only(self, fixed: Mapping[str, tuple[Any, ...]]) -> None:
        """Refuses a setting that the networks here do not have, rather than ignore it.

        Args:
            fixed: the values that a field may have, if it is there.
        """
        for name, allowed in fixed.items():
            if name in self._config and self._config[name] not in allowed:
                raise CheckpointError(
                    f"the {self._part} has {name} = {reprlib.repr(self._config[name])}, which sdgen cannot "
                    f"compute (it knows {', '.join(map(repr, allowed))})"
                )

    def present(self, names: Sequence[str]) -> None:
        """Refuses a config without these fields, be they null."""
        for name in names:
            if name not in self._config:
                raise CheckpointError(f"the {self._part}'s config.json has no {name!r}")

    def divides(self, parts: int, widths: Sequence[int]) -> None:
        """Refuses a number of groups or heads that does not divide the channels."""
        for width in widths:
            if width % parts:
                raise CheckpointError(f"the {self._part}'s config.json divides {width} channels by {parts}")

    def fault(self, name: str, value: Any, wanted: str) -> CheckpointError:
        """What is wrong with a field; ``wanted`` ends the sentence."""
        return CheckpointError(
            f"the {self._part}'s config.json has {name} = {reprlib.repr(value)}, where {wanted}"
        )

    def _get(self, name: str, default: Any) -> Any:
        value = self._config.get(name, default)
        if value is _REQUIRED or (value is None and default is _REQUIRED):
            raise CheckpointError(f"the {self._part}'s config.json has no {name!r}")
        return value

    def _whole(self, name: str, value: Any, most: int) -> int:
        if type(value) is not int or value < 1:
            raise self.fault(name, value, "a whole number above 0 belongs")
        if value > most:
            raise self.fault(name, value, f"a number up to {most} belongs")
        return value

    def _list(self, name: str, longest: int) -> Sequence[Any]:
        values = self._get(name, _REQUIRED)
        if not isinstance(values, (list, tuple)) or not 0 < len(values) <= longest:
            raise self.fault(name, values, f"a list of 1 to {longest} belongs")
        return values
