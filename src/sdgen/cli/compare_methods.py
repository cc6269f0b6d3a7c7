"""The methods that a comparison is of: those that have names, and models that enlarge pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sdgen.cli.downloads import locate
from sdgen.errors import InputError
from sdgen.request import upscale_methods

FIELDS = ("seed", "steps", "prompt", "noise_level")
"""Of a request, those that the command has options for, and that not every method takes."""


@dataclasses.dataclass(frozen=True)
class Method:
    """One way to enlarge a picture.

    Attributes:
        name: as the user has it.
        model: what ``sdgen.load`` takes.
        takes: fields of a request that mean something to it.
    """

    name: str
    model: str
    takes: tuple[str, ...] = FIELDS

    @property
    def draws(self) -> bool:
        """Whether it is a model with weights, rather than a filter."""
        return self.model not in upscale_methods.FILTERS

    def settings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a request that the options tell and this method takes."""
        told = {name: values[name] for name in FIELDS if name in self.takes}
        return {name: value for name, value in told.items() if value is not None}


def chosen(names: Sequence[str], values: Mapping[str, Any]) -> list[Method]:
    """The methods of some names; a model that is not here is fetched, after a question.

    Args:
        names: of ``upscale_methods.METHODS``, or whatever ``sdgen.load`` takes.
        values: the options.

    Raises:
        InputError: an option means nothing to any of them, one does not enlarge so much, or is for something
            else.
        ModelUnavailable: a model is not here.
    """
    methods = [_method(name, values["scale"]) for name in names]
    for field in FIELDS:
        if values[field] is not None and not any(field in method.takes for method in methods):
            option = f"--{field.replace('_', '-')}"
            raise InputError(f"{option} means nothing to {', '.join(names)}; leave it out", field)
    for method in methods:
        locate(method.model, task="upscaling", quiet=values["quiet"], no_input=values["no_input"])
    return methods


def _method(name: str, scale: int) -> Method:
    known = upscale_methods.METHODS.get(name)
    if known is None:
        return Method(name, name)
    if scale not in known.factors:
        factors = " or ".join(map(str, sorted(known.factors)))
        raise InputError(f"{name} enlarges by {factors}, not {scale}; give another --scale, or other methods")
    return Method(name, known.model, known.takes)
