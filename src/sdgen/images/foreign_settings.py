"""Settings under other tools' names, in the words of ``Request``.

One table of names serves AUTOMATIC1111's text and the JSON of others: a name that several tools have means
the same in all of them. What means something else in one, its reader brings (``collect``'s ``special``).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from sdgen.diffusion.sampler_names import automatic_schedule, is_automatic, read_sampler, read_schedule
from sdgen.errors import InputError
from sdgen.request import FIELDS, Request
from sdgen.request.fields import Field
from sdgen.request.hires_fields import HIRES_METHODS
from sdgen.request.kinds import Real, Whole, YesNo

Reader = Callable[[Any], "dict[str, Any] | None"]
"""Fields of a request, from a value; None for a value that has no meaning here."""


@dataclasses.dataclass(frozen=True)
class Found:
    """What a text says.

    Attributes:
        tool: who wrote it, as far as the text tells.
        settings: fields of ``Request`` with values that it takes.
        other: everything else that is plain, under the tool's own names.
    """

    tool: str
    settings: dict[str, Any]
    other: dict[str, Any]


def collect(tool: str, values: Mapping[str, Any], special: Mapping[str, Reader] | None = None) -> Found:
    """The settings among a tool's values.

    Args:
        tool: who wrote them.
        values: plain values, lists and objects by name; lists and objects that are no setting are left out.
        special: readers of names, as ``plain`` makes them, that come before the common ones.
    """
    names = {plain(key) for key in values}
    unnamed = names.isdisjoint(_names(FIELDS["sampler"]))
    readers = {**_READERS, **(special or {})}
    settings: dict[str, Any] = {}
    schedule: dict[str, Any] = {}
    other: dict[str, Any] = {}
    for key, value in values.items():
        name = plain(key)
        reader = readers.get(name)
        if reader is _schedule and unnamed:  # InvokeAI's ``scheduler`` is the sampler.
            reader = sampler
        found = None if reader is None or value is None else reader(value)
        if found is not None:
            (schedule if reader is _schedule else settings).update(found)
        elif isinstance(value, (str, int, float, bool)):
            other[key] = value
    settings.update(schedule)
    if settings.get("schedule") == _AUTOMATIC:
        chosen = automatic_schedule(settings["sampler"]) if "sampler" in settings else None
        del settings["schedule"]
        settings.update({"schedule": chosen} if chosen else {})
    return _checked(tool, settings, other)


def plain(name: str) -> str:
    """A name without what tools write differently: case, spaces, dashes and underlines."""
    return re.sub(r"[ _-]", "", name.lower())


def whole(field: str, less: int = 0) -> Reader:
    """Reads a whole number, as a number or as text, from which ``less`` is taken."""

    def read(value: Any) -> dict[str, Any] | None:
        if isinstance(value, str) and re.fullmatch(r"\s*[-+]?[0-9]{1,20}\s*", value):
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return {field: value - less} if isinstance(value, int) and not isinstance(value, bool) else None

    return read


def real(field: str) -> Reader:
    """Reads a number, as a number or as text."""

    def read(value: Any) -> dict[str, Any] | None:
        try:
            return None if isinstance(value, (bool, list, dict)) else {field: float(value)}
        except (TypeError, ValueError, OverflowError):
            return None

    return read


def text(field: str) -> Reader:
    """Reads a text."""
    return lambda value: {field: value} if isinstance(value, str) else None


def yes_or_no(field: str) -> Reader:
    """Reads true or false, as JSON's or as text."""

    def read(value: Any) -> dict[str, Any] | None:
        answer = YesNo().read(str(value)) if isinstance(value, (str, bool)) else None
        return None if answer is None else {field: answer}

    return read


def sampler(value: Any) -> dict[str, Any] | None:
    """Reads a sampler's name, and the schedule where the name says one."""
    found = read_sampler(value) if isinstance(value, str) else None
    return found and {name: part for name, part in found._asdict().items() if part is not None}


def _guidance(value: Any) -> dict[str, Any] | None:
    """Reads a guidance scale. 0 is the negative prompt alone in other tools, which sdgen does not draw."""
    found = real("guidance")(value)
    return found if found is None or found["guidance"] else None


def _schedule(value: Any) -> dict[str, Any] | None:
    if not isinstance(value, str):
        return None
    if is_automatic(value):
        return {"schedule": _AUTOMATIC}
    name = read_schedule(value)
    return {"schedule": name} if name else None


def _size(value: Any) -> dict[str, Any] | None:
    """Reads "512x768", "(512, 768)" or [512, 768]."""
    sides = re.findall(r"[0-9]{1,6}", value[:40]) if isinstance(value, str) else value
    if not isinstance(sides, list) or len(sides) != 2:
        return None
    width, height = whole("width")(sides[0]), whole("height")(sides[1])
    return None if width is None or height is None else {**width, **height}


def _model(value: Any) -> dict[str, Any] | None:
    if isinstance(value, Mapping):
        value = value.get("name") or value.get("model_name")
    return {"model": value} if isinstance(value, str) and value else None


def _seamless(value: Any) -> dict[str, Any] | None:
    """Reads the axes, or true for both."""
    axes = FIELDS["seamless"].kind.read(str(value))
    return {"seamless": axes} if axes else None


def _noise_device(value: Any) -> dict[str, Any] | None:
    """Reads where noise is made: by PyTorch on the CPU, or on a GPU, whose generator is not ours."""
    return {"rng": "torch"} if isinstance(value, str) and value.lower() == "cpu" else None


def _hires(value: Any) -> dict[str, Any] | None:
    """Reads a factor or a size."""
    plain_value = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    return {"hires": value} if plain_value else None


def _hires_method(value: Any) -> dict[str, Any] | None:
    """Reads AUTOMATIC1111's name of what enlarges; None stands for Lanczos there."""
    if not isinstance(value, str):
        return None
    name = value.strip().lower()
    found = {"none": "lanczos", "latent": "latents", "ldsr": "ldm-sr"}.get(name, name)
    return {"hires_method": found} if found in HIRES_METHODS else None


def _checked(tool: str, values: Mapping[str, Any], other: dict[str, Any]) -> Found:
    """Values that a request does not take are no settings of ours, but are still shown."""
    settings: dict[str, Any] = {}
    for name, value in values.items():
        needed = {other: values[other] for other in FIELDS[name].needed if other in values}
        try:
            settings[name] = getattr(Request(**{"prompt": "", **needed, name: value}), name)
        except InputError:
            if isinstance(value, (str, int, float)):
                other = {name: value, **other}
    return Found(tool, settings, other)


def _names(field: Field) -> set[str]:
    """What tools call a field, as ``plain`` makes it."""
    titles = (field.title,) if field.title else ()
    return {plain(name) for name in (*titles, *field.aliases, *field.elsewhere)}


def _reader(field: Field) -> Reader:
    """How a field is read of which nothing but the kind needs to be known."""
    if isinstance(field.kind, Whole):
        return whole(field.name)
    if isinstance(field.kind, Real):
        return real(field.name)
    return yes_or_no(field.name) if isinstance(field.kind, YesNo) else text(field.name)


_AUTOMATIC = "automatic"
_SPECIAL: Mapping[str, Reader] = {
    "guidance": _guidance,
    "sampler": sampler,
    "schedule": _schedule,
    "model": _model,
    "rng": _noise_device,
    "hires": _hires,
    "hires_method": _hires_method,
    "seamless": _seamless,
}
"""Readers of fields that tools write in words of their own."""

_OF_A_TOOL = ("clip_skip", "zero_snr")
"""Fields whose values mean something else in each tool, so that each tool's reader brings its own."""

_READERS: Mapping[str, Reader] = {
    **{
        name: _SPECIAL.get(field.name) or _reader(field)
        for field in FIELDS.values()
        if field.name not in _OF_A_TOOL
        for name in _names(field)
    },
    **dict.fromkeys(("size", "resolution"), _size),
}
