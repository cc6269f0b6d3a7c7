"""Request: everything that determines one image. Its declarations are the table of fields.

Options, prompts files, records of images and their schema read the table, ``FIELDS``: a field that is
declared here is in all of them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sdgen.diffusion.choices import RNGS, SPACINGS
from sdgen.diffusion.sampler_names import SAMPLERS, SCHEDULES
from sdgen.errors import InputError
from sdgen.request.fields import Field, entry, row, table
from sdgen.request.kinds import MAX_TEXT, OneOf, Real, Text, Whole, YesNo

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
MAX_GUIDANCE = 100
MAX_PROMPT = MAX_TEXT
"""Longest prompt, in characters."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """One image to draw. ``None`` means the model's own default, filled in by the pipeline.

    ``sdgen.request.FIELDS`` has the type, the range and the meaning of each field. A whole number may come
    as any integral type, or as a float without a fraction (5.0).

    Raises:
        InputError: a value is of the wrong type or out of range; its ``field`` names it.
    """

    prompt: str = dataclasses.field(
        metadata=row(
            Text(),
            about="What the picture shows.",
            leads=True,
            metavar="TEXT",
            elsewhere=("prompt", "positiveprompt", "positive"),
        )
    )
    negative_prompt: str = entry(
        "",
        Text(),
        about="What it should not show; empty for nothing.",
        option=("--negative",),
        section="Picture",
        metavar="TEXT",
        help="What the picture should not show.",
        aliases=("negative",),
        elsewhere=("negativeprompt", "uc"),
    )
    """Used where guidance is above 1."""

    seed: int = entry(
        0,
        Whole(0, MAX_SEED),
        about="Seed of this image; with rng it fixes the initial latents and all step noise.",
        leads=True,
        option=("-s", "--seed"),
        section="Seeds",
        metavar="N",
        help="Seed of the (first) image, 0 to 2^64 - 1. Default: a random one, which is reported; so is -1.",
        title="Seed",
    )
    steps: int | None = entry(
        None,
        Whole(1, MAX_STEPS),
        about="Sampling steps.",
        leads=True,
        filled=True,
        option=("--steps",),
        section="Sampling",
        metavar="N",
        help=f"1 to {MAX_STEPS}; more is finer and slower. Default: the model's.",
        aliases=("num_inference_steps",),
        title="Steps",
    )
    guidance: float | None = entry(
        None,
        Real(1, MAX_GUIDANCE, off=0),
        about="Classifier-free guidance scale; 1 and 0 are off.",
        filled=True,
        option=("--guidance",),
        section="Sampling",
        metavar="SCALE",
        help=f"How closely to follow the prompt, 1 to {MAX_GUIDANCE}; 1 and 0 are off. Default: the model's.",
        aliases=("cfg", "cfg_scale", "guidance_scale"),
        elsewhere=("scale",),
        title="CFG scale",
    )
    """Classifier-free guidance scale (Ho and Salimans 2022)."""

    sampler: str | None = entry(
        None,
        OneOf(SAMPLERS),
        about="Name of the sampler, as --sampler takes it.",
        filled=True,
        option=("--sampler",),
        section="Sampling",
        help="One that `sdgen samplers` lists. Default: the model's.",
        aliases=("sampler_name",),
        elsewhere=("comfyuisampler",),
        title="Sampler",
    )
    schedule: str | None = entry(
        None,
        OneOf(SCHEDULES),
        about="Name of the noise schedule, as --schedule takes it; null for the model's own.",
        option=("--schedule",),
        section="Sampling",
        help=f"{', '.join(SCHEDULES)}.",
        aliases=("schedule_type", "scheduler"),
        elsewhere=("schedulername", "noiseschedule", "comfyuischeduler"),
        title="Schedule type",
    )
    eta: float = entry(
        0.0,
        Real(0, 1),
        about="Share of fresh noise in DDIM's steps.",
        option=("--eta",),
        section="Sampling",
        after="spacing",
        metavar="SHARE",
        help="Fresh noise in the steps of ddim and tcd, 0 to 1.",
        title="Eta DDIM",  # Its "Eta" is of the ancestral samplers.
    )
    """DDIM's or TCD's share of fresh noise (Song et al. 2021, equation 16; TCD calls it gamma)."""

    width: int | None = entry(
        None,
        Whole(8, MAX_SIZE, 8),
        about="Pixels.",
        filled=True,
        option=("-W", "--width"),
        section="Picture",
        metavar="PIXELS",
        help="Width alone.",
        elsewhere=("width",),
    )
    height: int | None = entry(
        None,
        Whole(8, MAX_SIZE, 8),
        about="Pixels.",
        filled=True,
        option=("-H", "--height"),
        section="Picture",
        metavar="PIXELS",
        help="Height alone.",
        elsewhere=("height",),
    )
    """The model may ask for multiples of more than 8, in both directions."""

    model: str | None = entry(
        None,
        Text(),
        about="The model as it was asked for: a name, a path or a repository.",
        filled=True,
        option=("-m", "--model"),
        section="Model",
        help="A name, folder or file. Default: sd2.1-base. The bundled 'mini' needs no download.",
        aliases=("sd_model",),
        elsewhere=(
            *("basemodel", "modelweights", "basemodelname"),
            *("usestablediffusionmodel", "stablediffusionmodel"),
        ),
        title="Model",
    )
    """What ``sdgen.load`` takes."""

    rng: str = entry(
        "philox",
        OneOf(RNGS),
        about="Noise generator.",
        option=("--rng",),
        section="Seeds",
        help="Noise: philox, or torch for that of PyTorch's CPU generator. Default: philox.",
        elsewhere=("randdevice",),
        title="RNG",
    )
    prompt_syntax: str = entry(
        "a1111",
        OneOf(PROMPT_SYNTAXES),
        about="How the prompts were read, as --prompt-syntax takes it.",
        option=("--prompt-syntax",),
        section="Picture",
        help="a1111 for weights such as (word:1.3) and any length, plain for the text as it is. "
        "Default: a1111.",
    )
    clip_skip: int = entry(
        0,
        Whole(0, 11),
        about="Last layers of the text encoder that were left out.",
        option=("--clip-skip",),
        section="Picture",
        metavar="N",
        help="Leave out the last N layers of the text encoder.",
        title="Clip skip",
    )
    """Fewer than the text encoder has; for both prompts."""

    guidance_rescale: float = entry(
        0.0,
        Real(0, 1),
        about="How far guidance kept the contrast of the picture without it.",
        option=("--guidance-rescale",),
        section="Sampling",
        after="guidance",
        metavar="SHARE",
        help="How far guidance keeps the contrast of the picture without it, 0 to 1.",
        elsewhere=("cfgrescale", "cfgrescalemultiplier", "rescalecfgmultiplier"),
    )
    """Lin et al. 2024, section 3.4."""

    spacing: str | None = entry(
        None,
        OneOf(SPACINGS),
        about="How timesteps were spaced; null for the model's own way.",
        option=("--spacing",),
        section="Sampling",
        help=f"Timesteps: {', '.join(SPACINGS)}. Default: the model's.",
    )
    zero_snr: bool | None = entry(
        None,
        YesNo(),
        about="Whether sampling began at noise alone; null for the model's own way.",
        option=("--zero-snr/--no-zero-snr",),
        section="Sampling",
        help="Begin at noise alone, or not. Default: the model's.",
        title="Noise Schedule",
    )
    """Whether the last timestep is noise alone (Lin et al. 2024, section 3.1)."""

    fast: bool = entry(
        False,
        YesNo(),
        about="Whether parts of the sampling were left out, as --fast does.",
        option=("--fast/--no-fast",),
        section="Sampling",
        help="Draw in about half the time: keep deep features for several steps, and end guidance early. "
        "The picture changes a little.",
    )
    """Leave out what changes the picture little (``diffusion.shortcuts``)."""

    def __post_init__(self) -> None:
        # A million requests are made of a file: what is their default need not be checked, nor looked up.
        for name, field in FIELDS.items():
            value = getattr(self, name)
            if value is not field.default:
                object.__setattr__(self, name, field.kind.check(name, value))

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
        return {name: getattr(self, name) for name in FIELDS}

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
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def digest(self) -> str:
        """sha256 of the canonical JSON, 64 hexadecimal digits: the request's identity."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


FIELDS: Mapping[str, Field] = table(Request)
"""The table: every field of a request by name, in the order of their declaration."""


def check(field: str, value: Any) -> Any:
    """The value of one field as a request holds it.

    Raises:
        InputError: it is of the wrong type or out of range.
    """
    return FIELDS[field].kind.check(field, value)
