"""Request: everything that determines one image. Its declarations are the table of fields.

Options, prompts files, records of images and their schema read the table, ``FIELDS``: a field that is
declared in drawing_fields.py, or in one of the other modules of fields here, is in all of them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from sdgen.diffusion.choices import steps_of_strength
from sdgen.errors import InputError
from sdgen.request.between_fields import BetweenFields
from sdgen.request.bounds import (
    MAX_GUIDANCE,
    MAX_PROMPT,
    MAX_SEED,
    MAX_SIZE,
    MAX_STEPS,
    PROMPT_SYNTAXES,
    RANDOM_SEED,
)
from sdgen.request.drawing_fields import SIDE, DrawingFields
from sdgen.request.editing_fields import EditingFields
from sdgen.request.fields import Field, table
from sdgen.request.hires_fields import HiresFields, enlarged
from sdgen.request.mask_fields import BLACK_MASK, MaskFields, canvas_size, require_fitting
from sdgen.request.pictures import Picture
from sdgen.request.upscale_fields import UpscaleFields, enlarged_whole, require_enlargeable

__all__ = [
    "FIELDS",
    "MAX_GUIDANCE",
    "MAX_PROMPT",
    "MAX_SEED",
    "MAX_SIZE",
    "MAX_STEPS",
    "PROMPT_SYNTAXES",
    "RANDOM_SEED",
    "Picture",
    "Request",
    "check",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(UpscaleFields, BetweenFields, HiresFields, MaskFields, EditingFields, DrawingFields):
    """One image to draw. ``None`` means the model's own default, filled in by the pipeline.

    Its fields are in the order of the classes from the last to the first.

    ``sdgen.request.FIELDS`` has the type, the range and the meaning of each field. A whole number may come
    as any integral type, or as a float without a fraction (5.0).

    Raises:
        InputError: a value is of the wrong type or out of range; its ``field`` names it.
    """

    def __post_init__(self) -> None:
        # A million requests are made of a file: what is their default need not be checked, nor looked up.
        for name, field in FIELDS.items():
            value = getattr(self, name)
            if value is not field.default:
                object.__setattr__(self, name, field.kind.check(name, value))
                if field.lacks(self.__getattribute__):
                    needed = " or ".join(field.needed)
                    raise InputError(f"{name} means nothing without {needed}; give both or neither", name)

        if self.mask is not None and self.init_image is not None:
            require_fitting(self.mask, self.init_image)
            if self.mask.black and not self.mask_invert:
                raise InputError(BLACK_MASK, "mask")
        if self.upscale is not None and self.init_image is not None:
            require_enlargeable(
                self.init_image, self.upscale, self.__getattribute__, lambda name: FIELDS[name].default
            )
        elif max(self.width or 0, self.height or 0) > MAX_SIZE:
            self._refuse_size()

    @property
    def guided(self) -> bool:
        """Whether classifier-free guidance is on: above a scale of 1, at which it changes nothing."""
        return self.guidance is not None and self.guidance > 1

    @property
    def base_seed(self) -> int:
        """The seed of the random numbers; a variation has the seed of the picture that it varies."""
        return self.seed if self.variation_of is None else self.variation_of

    @property
    def first_steps_run(self) -> int:
        """How many of the steps are run: all, or ``strength``'s share where a picture is started from."""
        steps = self.steps or 0
        return steps if self.strength is None else steps_of_strength(steps, self.strength)

    @property
    def hires_steps_run(self) -> int:
        """How many steps the second pass runs, counted in the same way; 0 where there is none."""
        if self.hires is None or self.hires_strength is None:
            return 0
        steps = self.hires_steps or self.steps or 0
        return steps_of_strength(steps, self.hires_strength)

    @property
    def steps_run(self) -> int:
        """How many steps are run for the picture, in both passes where there are two."""
        return self.first_steps_run + self.hires_steps_run

    @property
    def picture_size(self) -> tuple[int, int] | None:
        """Width and height of the picture that it asks for; None where the model decides."""
        if self.width is None or self.height is None:
            return enlarged((0, 0), self.hires) if self.hires and "x" in self.hires else None
        size = self.width, self.height
        return enlarged(size, self.hires) if self.hires else size

    @property
    def stored_size(self) -> tuple[int, int] | None:
        """Width and height of the picture that is stored; where a picture is repainted in part, its own."""
        picture = self.init_image
        if picture is not None and self.upscale is not None:
            return enlarged_whole(picture, self.upscale)
        if picture is None or not self.masked or (self.only_masked is None and self.resize != "none"):
            return self.picture_size
        return canvas_size(picture, self.outpaint)

    def replace(self, **changes: Any) -> Request:
        """The same request with some fields changed.

        Raises:
            InputError: as the constructor does.
        """
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, as JSON types, in the table's order; sparse ones where they are set."""
        return {name: FIELDS[name].kind.plain(value) for name, value in self._present()}

    def identity(self) -> dict[str, Any]:
        """The fields that are not at their default, as JSON types: two of equal identity ask for one picture.

        Of a picture it has the sha256 alone, wherever its file is.
        """
        fields = FIELDS
        return {
            name: fields[name].kind.identity(value)
            for name, value in self._present()
            if value != fields[name].default
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Request:
        """A request from JSON types.

        Raises:
            InputError: a field is unknown, missing or wrong.
        """
        for name in values:
            if name not in FIELDS:
                raise InputError(f"unknown field {name!r}; the fields are {', '.join(FIELDS)}", name)
        if "prompt" not in values:
            raise InputError("the field 'prompt' is missing", "prompt")
        return cls(**values)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, UTF-8 text. Equal requests give equal text."""
        return _canonical(self.to_dict())

    def digest(self) -> str:
        """sha256 of the canonical JSON, 64 hexadecimal digits, a picture standing there as its own sha256."""
        values = {name: FIELDS[name].kind.identity(value) for name, value in self._present()}
        return hashlib.sha256(_canonical(values).encode()).hexdigest()

    def _refuse_size(self) -> None:
        for field in ("width", "height"):
            if (pixels := getattr(self, field) or 0) > MAX_SIZE:
                raise SIDE.beyond(field, pixels)

    def _present(self) -> Iterator[tuple[str, Any]]:
        for name, field in FIELDS.items():
            value = getattr(self, name)
            if not field.sparse or value != field.default:
                yield name, value


FIELDS: Mapping[str, Field] = table(Request)
"""The table: every field of a request by name, in the order of their declaration."""


def _canonical(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def check(field: str, value: Any) -> Any:
    """The value of one field as a request holds it.

    Raises:
        InputError: it is of the wrong type or out of range.
    """
    return FIELDS[field].kind.check(field, value)
