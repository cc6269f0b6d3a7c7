"""The fields of a request that every picture has: prompt, seed, sampling, size, model."""

from __future__ import annotations

import dataclasses

from sdgen.diffusion.choices import RNGS, SPACINGS
from sdgen.diffusion.sampler_names import SAMPLERS, SCHEDULES
from sdgen.request.bounds import MAX_DRAWN, MAX_GUIDANCE, MAX_SEED, MAX_SIZE, MAX_STEPS, PROMPT_SYNTAXES
from sdgen.request.fields import entry, row
from sdgen.request.kinds import OneOf, Real, Text, Whole, YesNo

SIDE = Whole(8, MAX_DRAWN, 8, usual=MAX_SIZE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawingFields:
    """What a picture is drawn by."""

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
        SIDE,
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
        SIDE,
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
