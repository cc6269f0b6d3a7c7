"""``--interpolate`` and ``--frames``: pictures on the way from one to another."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from sdgen.cli.command import Option
from sdgen.cli.options import MAX_COUNT
from sdgen.cli.types import Whole
from sdgen.errors import InputError

USUAL_FRAMES = 30

FRAMES = Option(
    ["--frames"],
    "Between",
    type=Whole(MAX_COUNT, least=2),
    help="Draw so many pictures: all of the way from PROMPT to --prompt-to, and from the seed of "
    "--variation-of to --seed.",
)
INTERPOLATE = Option(
    ["--interpolate"],
    "Between",
    nargs=2,
    metavar="PROMPT PROMPT",
    help=f"The way between two prompts, in {USUAL_FRAMES} frames or --frames.",
)


def settle(ctx: click.Context, values: dict[str, Any]) -> None:
    """Put what ``--interpolate`` says where its parts belong; values are changed in place.

    Raises:
        click.UsageError: there is no prompt, nor a picture that may have a caption; or there is one beside
            those of ``--interpolate``.
        InputError: there is nothing to draw frames between.
    """
    if values["interpolate"] is not None:
        if values["prompts"] or values["prompt_to"] is not None:
            other = "PROMPT" if values["prompts"] else "--prompt-to"
            raise click.UsageError(f"--interpolate has both prompts; leave out {other}", ctx)
        first, values["prompt_to"] = values["interpolate"]
        values["prompts"] = (first,)
        values["frames"] = values["frames"] or USUAL_FRAMES
    if not values["prompts"] and values["init_image"] is None:
        raise click.MissingParameter(ctx=ctx, param=_argument(ctx))
    if values["frames"] is None or values["prompt_to"] is not None or values["variation_of"] is not None:
        return
    if ctx.get_parameter_source("frames") is ParameterSource.COMMANDLINE:
        raise InputError(
            "--frames are what lies between two pictures; give --prompt-to, or --variation-of, as well",
            "frames",
        )
    values["frames"] = None  # A variable is for those commands that have a use for it.


def _argument(ctx: click.Context) -> click.Parameter:
    return next(parameter for parameter in ctx.command.params if parameter.name == "prompts")
