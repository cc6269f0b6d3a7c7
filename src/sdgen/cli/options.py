"""The options that drawing commands share: one for each field of a request, and some others.

docs/configuration.md says where their values come from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from sdgen import backend
from sdgen.backend import program_cache
from sdgen.cli import settings
from sdgen.cli.command import Option
from sdgen.cli.types import (
    Bytes,
    Existing,
    Lora,
    Model,
    Name,
    Pictures,
    Sampler,
    Schedule,
    Size,
    Whole,
    ZoomOut,
)
from sdgen.cli.types import Field as FieldType
from sdgen.diffusion.choices import PREDICTION_TYPES
from sdgen.images.animation import MOST_MOMENTS
from sdgen.request import FIELDS
from sdgen.request.fields import Field
from sdgen.request.kinds import OneOf, YesNo

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
    **{name: dtype.words for name, dtype in backend.DTYPES.items()},
}
FORMATS: Mapping[str, str] = {
    "png": "lossless",
    "webp": "lossy, quality 95",
    "jpeg": "lossy, quality 95, full colour resolution",
}
RECORDED: Mapping[str, str] = {
    "estimate": "what the network takes the picture for at each step",
    "latents": "what is left of the noise",
    "both": "the latents and the estimate",
}
MAX_COUNT = 100_000
MAX_BATCH = 1024

_F = TypeVar("_F", bound=Callable[..., Any])


def _option(section: str, *names: str, help: str, **attributes: Any) -> Option:
    return Option(names, section, help=help, **attributes)


def _of_field(field: Field) -> Option:
    """The option of a field of ``Request``. Without a value of its own it leaves the field to others."""
    attributes: dict[str, Any] = {}
    if field.name in _TYPES:
        attributes["type"] = _TYPES[field.name]()
    elif isinstance(field.kind, YesNo):
        attributes["default"] = None
    elif isinstance(field.kind, OneOf):
        names = field.kind.names
        attributes["type"] = Name(names if isinstance(names, Mapping) else dict.fromkeys(names, ""))
    else:
        attributes["type"] = FieldType(field.name)
    return Option(field.option, field.section, help=field.help, **attributes)


def _of_fields(section: str) -> tuple[Option, ...]:
    """The options of a section's fields, in the order of the fields but for those that follow another."""
    found = [field for field in FIELDS.values() if field.option and field.section == section]
    ordered = [field for field in found if field.after is None]
    for field in found:
        if field.after is not None:
            ordered.insert(ordered.index(FIELDS[field.after]) + 1, field)
    return tuple(map(_of_field, ordered))


_TYPES: Mapping[str, Callable[[], Any]] = {
    "sampler": Sampler,
    "schedule": Schedule,
    "model": Model,
    "init_image": lambda: Pictures("init_image"),
}
"""How fields are read whose kind does not tell enough."""

_negative, *_picture = _of_fields("Picture")
PICTURE = (
    _negative,
    _option("Picture", "--size", type=Size(), metavar="WxH", help="Pixels. Default: the model's."),
    *_picture,
)
_seed, *_noise = _of_fields("Seeds")
SEEDS = (
    _seed,
    _option(
        "Seeds",
        "-n",
        "--count",
        type=Whole(MAX_COUNT),
        default=1,
        help="Images of each prompt; -n 4 --seed 7 draws the seeds 7, 8, 9 and 10.",
    ),
    *_noise,
)
SAMPLING = _of_fields("Sampling")
EDITING = (
    *_of_fields("Editing"),
    _option(
        "Editing",
        "--zoom-out",
        type=ZoomOut(),
        help="Outpaint on all sides alike, to a picture so many times as wide and high: 1.5.",
    ),
)
BETWEEN = _of_fields("Between")
MODEL = (
    *_of_fields("Model"),
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
        "{model} {guidance} {width} {height} {prompt} {image} {date} {time}. Default: {n}-{slug}-{seed}; "
        "{image}, the name of what was started from, where --init-image is several.",
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
WATCHING = (
    _option(
        "The process",
        "--record",
        metavar="FILE|FORMAT",
        help="Record how the picture forms: FILE.gif, .webp or .apng is an animation, FILE.png a strip of "
        "steps. For several pictures give gif, webp, apng or png alone, for NAME.process.gif beside each.",
    ),
    _option(
        "The process",
        "--record-of",
        type=Name(RECORDED),
        default="estimate",
        help="What it shows: estimate, latents or both. Default: estimate.",
    ),
    _option(
        "The process",
        "--record-steps",
        type=Whole(MOST_MOMENTS),
        help=f"How many steps it shows, at most. Default: {MOST_MOMENTS}, of a strip 8.",
    ),
    _option(
        "The process",
        "--preview/--no-preview",
        default=False,
        help="Show on the terminal what forms.",
    ),
    _option(
        "The process",
        "--animate",
        metavar="FILE",
        help="Put what is drawn into one animation, a frame a picture: FILE.gif, .webp or .apng.",
    ),
    _option(
        "The process",
        "--frame-rate",
        type=click.FloatRange(0.1, 50),
        default=10.0,
        metavar="N",
        help="Frames a second of --animate. Default: 10.",
    ),
)
DRAWING: tuple[Option, ...] = (
    *PICTURE,
    *SEEDS,
    *SAMPLING,
    *EDITING,
    *BETWEEN,
    *MODEL,
    *COMPUTING,
    *OUTPUT,
    *WATCHING,
)
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
