"""The options that drawing commands share. docs/configuration.md says where their values come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from sdgen.backend import program_cache
from sdgen.cli import settings
from sdgen.cli.command import Option
from sdgen.cli.types import Bytes, Existing, Field, Lora, Model, Name, Sampler, Schedule, Size, Whole
from sdgen.diffusion.sampler_names import SCHEDULES
from sdgen.diffusion.terms import PREDICTION_TYPES, RNGS, SPACINGS
from sdgen.request import PROMPT_SYNTAXES

ENGINES: Mapping[str, str] = {
    "sdgen": "networks with the reference's numerics, one compiled program",
    "keras-cv": "keras_cv's stock networks and loop, as they are",
}
BACKENDS: Mapping[str, str] = {
    "auto": "JAX where it is installed and sees an accelerator, else TensorFlow",
    "tensorflow": "TensorFlow with XLA",
    "jax": "JAX",
}
DTYPES: Mapping[str, str] = {
    "auto": "what the device is best at",
    "float32": "32 bits",
    "bfloat16": "16 bits, range of float32",
    "float16": "16 bits",
}
FORMATS: Mapping[str, str] = {
    "png": "lossless",
    "webp": "lossy, quality 95",
    "jpeg": "lossy, quality 95, full colour resolution",
}
MAX_COUNT = 100_000
MAX_BATCH = 1024

_F = TypeVar("_F", bound=Callable[..., Any])


def _option(section: str, *names: str, help: str, **attributes: Any) -> Option:
    return Option(names, section, help=help, **attributes)


PICTURE = (
    _option(
        "Picture",
        "--negative",
        type=Field("negative_prompt", str, "TEXT"),
        help="What the picture should not show.",
    ),
    _option("Picture", "--size", type=Size(), metavar="WxH", help="Pixels. Default: the model's."),
    _option("Picture", "-W", "--width", type=Field("width", int, "PIXELS"), help="Width alone."),
    _option("Picture", "-H", "--height", type=Field("height", int, "PIXELS"), help="Height alone."),
    _option(
        "Picture",
        "--prompt-syntax",
        type=Name(PROMPT_SYNTAXES),
        help="a1111 for weights such as (word:1.3) and any length, plain for the text as it is. "
        "Default: a1111.",
    ),
    _option(
        "Picture",
        "--clip-skip",
        type=Field("clip_skip", int, "N"),
        help="Leave out the last N layers of the text encoder.",
    ),
)
SEEDS = (
    _option(
        "Seeds",
        "-s",
        "--seed",
        type=Field("seed", int, "N"),
        help="Seed of the (first) image, 0 to 2^64 - 1. Default: a random one, which is reported; so is -1.",
    ),
    _option(
        "Seeds",
        "-n",
        "--count",
        type=Whole(MAX_COUNT),
        default=1,
        help="Images of each prompt; -n 4 --seed 7 draws the seeds 7, 8, 9 and 10.",
    ),
    _option(
        "Seeds",
        "--rng",
        type=Name(dict.fromkeys(RNGS, "")),
        help="Noise: philox, or torch for that of PyTorch's CPU generator. Default: philox.",
    ),
)
SAMPLING = (
    _option(
        "Sampling",
        "--steps",
        type=Field("steps", int, "N"),
        help="1 to 1000; more is finer and slower. Default: the model's.",
    ),
    _option(
        "Sampling",
        "--guidance",
        type=Field("guidance", float, "SCALE"),
        help="How closely to follow the prompt, 1 to 100; 1 and 0 are off. Default: the model's.",
    ),
    _option(
        "Sampling",
        "--guidance-rescale",
        type=Field("guidance_rescale", float, "SHARE"),
        help="How far guidance keeps the contrast of the picture without it, 0 to 1.",
    ),
    _option(
        "Sampling",
        "--sampler",
        type=Sampler(),
        help="One that `sdgen samplers` lists. Default: the model's.",
    ),
    _option("Sampling", "--schedule", type=Schedule(), help=f"{', '.join(SCHEDULES)}."),
    _option(
        "Sampling",
        "--spacing",
        type=Name(dict.fromkeys(SPACINGS, "")),
        help=f"Timesteps: {', '.join(SPACINGS)}. Default: the model's.",
    ),
    _option(
        "Sampling",
        "--eta",
        type=Field("eta", float, "SHARE"),
        help="Fresh noise in the steps of ddim and tcd, 0 to 1.",
    ),
    _option(
        "Sampling",
        "--zero-snr/--no-zero-snr",
        default=None,
        help="Begin at noise alone, or not. Default: the model's.",
    ),
    _option(
        "Sampling",
        "--fast/--no-fast",
        default=None,
        help="Draw in about half the time: keep deep features for several steps, and end guidance early. "
        "The picture changes a little.",
    ),
)
MODEL = (
    _option(
        "Model",
        "-m",
        "--model",
        type=Model(),
        help="A name, folder or file. Default: sd2.1-base. The bundled 'mini' needs no download.",
    ),
    _option("Model", "--vae", type=Existing(), help="A folder or file whose VAE to use."),
    _option(
        "Model",
        "--lora",
        type=Lora(),
        multiple=True,
        help="A LoRA to merge into the weights, with its scale after a colon. Repeatable.",
    ),
    _option(
        "Model",
        "--embedding",
        type=Existing(dir_okay=False),
        multiple=True,
        help="A textual inversion that prompts name. Repeatable.",
    ),
    _option("Model", "--variant", metavar="NAME", help="Weights to prefer in a diffusers folder: fp16."),
    _option(
        "Model",
        "--prediction",
        type=Name(dict.fromkeys(PREDICTION_TYPES, "")),
        help=f"What the network predicts, in place of what the model says: {', '.join(PREDICTION_TYPES)}.",
    ),
)
COMPUTING = (
    _option(
        "Computing",
        "--engine",
        type=Name(ENGINES),
        default="sdgen",
        help="sdgen, or keras-cv for keras_cv's stock networks and loop.",
    ),
    _option(
        "Computing",
        "--backend",
        type=Name(BACKENDS),
        help="tensorflow, jax, or auto: JAX where it sees an accelerator. Default: KERAS_BACKEND, else auto.",
    ),
    _option(
        "Computing",
        "--dtype",
        type=Name(DTYPES),
        default="auto",
        help="auto, float32, bfloat16 or float16. auto: float32 on a CPU, for the exact picture.",
    ),
    _option(
        "Computing",
        "--device",
        metavar="DEVICE",
        help="cpu, gpu or gpu:N. Default: the first accelerator.",
    ),
    _option(
        "Computing",
        "--batch-size",
        type=Whole(MAX_BATCH),
        help="Images drawn at a time, at most (a CPU: one). It changes speed and memory, never the images.",
    ),
    _option(
        "Computing",
        "--low-memory/--no-low-memory",
        default=None,
        help="Take less memory, in more time.",
    ),
    _option(
        "Computing",
        "--cache-limit",
        type=Bytes(),
        default=program_cache.LIMIT,
        help="How much compiled programs may take on the disk; the least recently used go. Default: 4GB.",
    ),
)
OUTPUT = (
    _option(
        "Output",
        "-o",
        "--output",
        type=click.Path(allow_dash=True),
        help="A folder (ending in / if it is new), an image file, or - for stdout. Default: outputs/.",
    ),
    _option(
        "Output",
        "--name",
        metavar="TEMPLATE",
        help="File name in the folder, without its ending; fields: {n} {slug} {seed} {steps} {sampler} "
        "{model} {guidance} {width} {height} {prompt} {date} {time}. Default: {n}-{slug}-{seed}.",
    ),
    _option("Output", "--format", type=Name(FORMATS), help="png, webp or jpeg. Default: png."),
    _option(
        "Output",
        "no_metadata",
        "--no-metadata/--metadata",
        default=False,
        help="Write no text into the image, no mark that AI made it, and no sidecar beside it.",
    ),
    _option(
        "Output",
        "--grid",
        type=click.Path(),
        metavar="FILE",
        help="Put what is drawn on a contact sheet, too: sweeps, or prompts and seeds, in rows and columns.",
    ),
    _option(
        "Output",
        "--json/--no-json",
        default=False,
        help="On stdout, a JSON object for each image instead of its path.",
    ),
    _option(
        "Output",
        "--no-input/--input",
        default=False,
        help="Never ask, on a terminal neither; asked is whether to fetch a model that is not here.",
    ),
    _option("Output", "-q", "--quiet/--no-quiet", default=False, help="Errors alone on stderr."),
    _option(
        "Output",
        "-v",
        "--verbose/--no-verbose",
        default=False,
        help="More on stderr: library logs, and tracebacks of errors.",
    ),
)
DRAWING: tuple[Option, ...] = (*PICTURE, *SEEDS, *SAMPLING, *MODEL, *COMPUTING, *OUTPUT)
"""Every option that a settings file may set."""


def _use_settings(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if not ctx.resilient_parsing:
        ctx.default_map = settings.read(Path(value) if value else None, DRAWING)


CONFIG = Option(
    ["--config"],
    type=click.Path(),
    envvar="SDGEN_CONFIG",
    is_eager=True,
    expose_value=False,
    callback=_use_settings,
    help="Read this settings file instead of config.toml in the config folder.",
)


def drawing_options(function: _F) -> _F:
    """Decorator: give a click command every option of ``DRAWING`` and ``--config``."""
    parameters = getattr(function, "__click_params__", [])
    function.__click_params__ = [CONFIG, *reversed(DRAWING), *parameters]  # type: ignore[attr-defined]
    return function
