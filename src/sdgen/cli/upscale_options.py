"""The options of ``sdgen upscale``: its own, and those that it shares with drawing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from sdgen.cli import batch_options
from sdgen.cli.command import Option
from sdgen.cli.options import COMPUTING, CONFIG, DRAWING
from sdgen.cli.types import Field, Model, Name, Pictures, Whole
from sdgen.request import FIELDS
from sdgen.request.bounds import MAX_UPSCALE
from sdgen.request.upscale_methods import DEFAULT, METHODS, Method

_TAKEN = ("seed", "rng", "steps", "guidance", "sampler", "eta", "negative")
"""Options of drawing that say how a model enlarges. Their settings are for drawing, and not read here."""

_TOLD = {
    "seed": "Seed of the noise, the same for each picture; -1 is a random one. Default: 0.",
    "negative": "What the picture should not show.",
    "background": "What is behind its transparent parts, for a model and in JPEG. Default: white.",
    "name": "File name in the folder, without its ending; fields as for `sdgen batch`. Default: {image}, the "
    "name of the picture, with -2 and so on where that is taken.",
    "output": "A folder (ending in / if it is new), an image file, or - for stdout. Default: outputs/.",
    "sampler": "One that `sdgen samplers` lists. Default: the method's.",
    "steps": "1 to 1000; more is finer and slower. Default: the method's.",
    "guidance": "How closely to follow the prompt, 1 to 100; 1 and 0 are off. Default: the method's.",
    "device": "cpu, gpu or gpu:N. Default: the first accelerator.",
}
OF_WEIGHTS = (*(str(option.name) for option in COMPUTING), "variant")
"""Options that say how networks are computed: nothing to a filter."""

OF_MODELS = {FIELDS[name].parameter: name for method in METHODS.values() for name in method.takes}
"""Options that some methods take, with the fields that they set."""


def _own(*names: str, help: str, **attributes: Any) -> Option:
    """An option of enlarging; no variable sets it, for some of those names are of drawing."""
    option = Option(names, "Enlarging", help=help, **attributes)
    option.envvar = None
    return option


def _of_drawing(*names: str) -> Iterator[Option]:
    """Options of drawing, without the variables of those that mean something else here."""
    known = {str(option.name): option for option in DRAWING}
    for name in names:
        option = known[name].told(_TOLD.get(name) or known[name].help or "")
        if name in _TAKEN:
            option.envvar = None
        yield option


OPTIONS = (
    CONFIG,
    _own(
        "--scale",
        type=Whole(MAX_UPSCALE, least=2),
        help="How many times as wide and high: 2 to 8 by a filter, 2 or 4 by a model. Default: 4; of "
        "latent-x2 2.",
    ),
    _own(
        "--method",
        type=Name({name: method.about for name, method in METHODS.items()}),
        help=f"{', '.join(METHODS)}: see below. Default: {DEFAULT}.",
    ),
    _own(
        "-m",
        "--model",
        type=Model(),
        help="Weights of your own, for a method that has any: a folder or file. Default: the method's.",
    ),
    _own("--prompt", type=Field("prompt"), help="What the picture shows."),
    *_of_drawing("negative"),
    _own(
        "--noise-level",
        type=Field("noise_level"),
        metavar="N",
        help="Noise on the picture before, 0 to 350: more invents more. Default: 20.",
    ),
    *_of_drawing("steps", "eta", "guidance", "sampler", "seed", "rng"),
    *_of_drawing("variant", *(str(option.name) for option in COMPUTING if option.name != "engine")),
    *_of_drawing("output", "name", "format", "background", "no_metadata", "json", "no_input"),
    *_of_drawing("quiet", "verbose"),
    *(
        option
        for option in batch_options.OPTIONS
        if option.name in ("force", "retry_failed", "fail_fast", "verify", "progress")
    ),
)

IMAGES = click.Argument(
    ["images"], metavar="IMAGE|FOLDER...", nargs=-1, required=True, type=Pictures("init_image")
)


def takes(method: str | None) -> set[str]:
    """The options that mean something to a method; None is that of a model that nobody has read yet."""
    if method is None:
        return {*OF_MODELS, *OF_WEIGHTS}
    found: Method = METHODS[method]
    named = {FIELDS[name].parameter for name in found.takes}
    return {*named, *OF_WEIGHTS} if found.takes else named


def absent(params: Mapping[str, Any]) -> dict[str, Any]:
    """What ``drawing_requests.settle`` and ``Run`` ask for that is no option here: not set."""
    names = {str(option.name): () if option.multiple else None for option in DRAWING}
    return {
        name: value
        for name, value in {**names, "count": 1, "prompts": (), "engine": "sdgen", "strict": True}.items()
        if name not in params
    }
