"""Request: everything that determines one image."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import numbers
from collections.abc import Callable, Mapping
from typing import Any

from sdgen.diffusion.sampler_names import SAMPLERS, SCHEDULES
from sdgen.diffusion.terms import RNGS, SPACINGS
from sdgen.errors import InputError

PROMPT_SYNTAXES: Mapping[str, str] = {
    "a1111": "AUTOMATIC1111's: (word:1.3), ((word)), [word], BREAK, <lora:name:0.8>; any length",
    "plain": "the prompt as it stands, cut off after 77 tokens, as diffusers reads it",
}
"""How prompts are read, with a line about each."""

MAX_SEED = 2**64 - 1
RANDOM_SEED = -1
"""What people write for a seed that is to be drawn by chance. A request holds the one that was drawn."""
MAX_STEPS = 1000
MAX_SIZE = 4096
MAX_PROMPT = 20_000
"""Longest prompt, in characters."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """One image to draw. ``None`` means the model's own default, filled in by the pipeline.

    Attributes:
        prompt: what the picture shows; up to 20,000 characters.
        negative_prompt: what it should not show; used where guidance is above 1.
        seed: 0 to 2**64 - 1; with ``rng`` it fixes the initial latents and all step noise.
        steps: sampling steps, 1 to 1000.
        guidance: classifier-free guidance scale (Ho and Salimans 2022), 1 to 100; 1 and 0 are off.
        sampler: a name of ``sdgen.diffusion.sampler_names.SAMPLERS``.
        schedule: a name of ``sdgen.diffusion.sampler_names.SCHEDULES``.
        eta: DDIM's or TCD's share of fresh noise, 0 to 1 (Song et al. 2021, equation 16; TCD calls it gamma).
        width, height: pixels, multiples of 8, up to 4096; the model may ask for more.
        model: a name, folder, file or repository that ``sdgen.load`` takes.
        rng: a name of ``RNGS``.
        prompt_syntax: a name of ``PROMPT_SYNTAXES``.
        clip_skip: last layers of the text encoder to leave out, 0 to 11 and fewer than it has, for both
            prompts.
        guidance_rescale: 0 to 1, how far guidance keeps the contrast of the unguided prediction
            (Lin et al. 2024, section 3.4).
        spacing: a name of ``SPACINGS``, in place of the model's.
        zero_snr: whether the last timestep is noise alone (Lin et al. 2024, section 3.1), in place of what
            the model says.
        fast: leave out what changes the picture little (``diffusion.shortcuts``).

    A whole number may come as any integral type, or as a float without a fraction (5.0).

    Raises:
        InputError: a value is of the wrong type or out of range; its ``field`` names it.
    """

    prompt: str
    negative_prompt: str = ""
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    sampler: str | None = None
    schedule: str | None = None
    eta: float = 0.0
    width: int | None = None
    height: int | None = None
    model: str | None = None
    rng: str = "philox"
    prompt_syntax: str = "a1111"
    clip_skip: int = 0
    guidance_rescale: float = 0.0
    spacing: str | None = None
    zero_snr: bool | None = None
    fast: bool = False

    def __post_init__(self) -> None:
        # A million requests are made of a file: what is their default need not be checked, nor looked up.
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            if value is not default:
                object.__setattr__(self, name, _CHECKS[name](name, value))

    @property
    def guided(self) -> bool:
        """Whether classifier-free guidance is on: above a scale of 1, at which it changes nothing."""
        return self.guidance is not None and self.guidance > 1

    def replace(self, **changes: Any) -> Request:
        """The same request with some fields changed.

        Raises:
            InputError: as the constructor does.
        """
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Every field by name, as JSON types, in declaration order."""
        return {name: getattr(self, name) for name in _DEFAULTS}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Request:
        """A request from JSON types.

        Raises:
            InputError: a field is unknown, missing or wrong.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise InputError(f"unknown field {name!r}; the fields are {', '.join(known)}", name)
        if "prompt" not in values:
            raise InputError("the field 'prompt' is missing", "prompt")
        return cls(**values)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, UTF-8 text. Equal requests give equal text."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def digest(self) -> str:
        """sha256 of the canonical JSON, 64 hexadecimal digits: the request's identity."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def check(field: str, value: Any) -> Any:
    """The value of one field as a request holds it.

    Raises:
        InputError: it is of the wrong type or out of range.
    """
    return _CHECKS[field](field, value)


def _text(field: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"{field} must be text, not {value!r}", field)
    if len(value) > MAX_PROMPT:
        raise InputError(f"{field} has {len(value)} characters; the most is {MAX_PROMPT}", field)
    if "\0" in value:
        raise InputError(f"{field} holds a NUL character; remove it", field)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"{field} is not valid Unicode text", field) from None
    return value


def _whole(low: int, high: int, multiple: int = 1) -> Callable[[str, Any], int]:
    def check(field: str, value: Any) -> int:
        # Beyond 2**53 a float may be a neighbour of the number that was written.
        exact = isinstance(value, float) and value.is_integer() and abs(value) <= 2**53
        if isinstance(value, bool) or not (exact or isinstance(value, numbers.Integral)):
            raise InputError(f"{field} must be a whole number, not {value!r}", field)
        number = int(value)
        if not low <= number <= high:
            raise InputError(f"{field} must be {low} to {high}, not {number}", field)
        if number % multiple:
            raise InputError(f"{field} must be a multiple of {multiple}, not {number}", field)
        return number

    return check


def _real(low: float, high: float) -> Callable[[str, Any], float]:
    def check(field: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise InputError(f"{field} must be a number, not {value!r}", field)
        if not low <= value <= high:  # type: ignore[operator]
            raise InputError(f"{field} must be {low:g} to {high:g}, not {value}", field)
        return float(value)

    return check


def _guidance(field: str, value: Any) -> float:
    try:
        return _real(1, 100)(field, value)
    except InputError as error:
        if value == 0 and not isinstance(value, bool):
            return 0.0
        raise InputError(str(error).replace(" 1 to 100", " 0 (off) or 1 to 100"), field) from None


def _one_of(names: Mapping[str, str] | tuple[str, ...]) -> Callable[[str, Any], str]:
    def check(field: str, value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise InputError(f"{field} must be one of {', '.join(names)}, not {value!r}", field)
        return value

    return check


def _yes_or_no(field: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{field} must be true or false, not {value!r}", field)
    return value


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "prompt": _text,
    "negative_prompt": _text,
    "seed": _whole(0, MAX_SEED),
    "steps": _whole(1, MAX_STEPS),
    "guidance": _guidance,
    "sampler": _one_of(SAMPLERS),
    "schedule": _one_of(SCHEDULES),
    "eta": _real(0, 1),
    "width": _whole(8, MAX_SIZE, 8),
    "height": _whole(8, MAX_SIZE, 8),
    "model": _text,
    "rng": _one_of(RNGS),
    "prompt_syntax": _one_of(PROMPT_SYNTAXES),
    "clip_skip": _whole(0, 11),
    "guidance_rescale": _real(0, 1),
    "spacing": _one_of(SPACINGS),
    "zero_snr": _yes_or_no,
    "fast": _yes_or_no,
}

_DEFAULTS: Mapping[str, Any] = {field.name: field.default for field in dataclasses.fields(Request)}
"""Fields in their order with their defaults, which are valid."""
