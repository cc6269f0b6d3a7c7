"""The options of ``sdgen batch``: its own, and the drawing options with their meaning there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import click

from sdgen.batch.batch_folder import DEFAULT_NAME
from sdgen.cli.between import FRAMES
from sdgen.cli.command import Option
from sdgen.cli.types import Folder, Name
from sdgen.prompts import FORMATS
from sdgen.prompts.expansion import DYNAMIC


class Shard(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """``I/N``, read to (i, n)."""

    name = "I/N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", value)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            self.fail(f"{value!r} is not a share such as 2/4: the second of four", param, ctx)
        return int(match[1]), int(match[2])


OPTIONS = (
    Option(
        ["--input-format"],
        "Prompts",
        type=Name(FORMATS),
        help=f"Of the files: {', '.join(FORMATS)}. Default: by their endings.",
    ),
    Option(
        ["--strict/--skip-invalid"],
        "Prompts",
        default=True,
        help="Stop where an entry is wrong, before anything is drawn, or draw the others. Default: stop.",
    ),
    Option(["--seeds"], "Prompts", metavar="LIST", help="Seeds of every entry: 1,2,5-9."),
    Option(
        ["--sweep"],
        "Prompts",
        metavar="FIELD=A,B,...",
        multiple=True,
        help="Draw every entry with each value; several sweeps with every combination. Repeatable.",
    ),
    Option(
        ["--dynamic"],
        "Prompts",
        type=Name(DYNAMIC),
        help="Expand {red|green} and __wildcards__: combinatorial or random. Default: prompts as they are.",
    ),
    Option(
        ["--dynamic-seed"],
        "Prompts",
        type=int,
        default=0,
        metavar="N",
        help="Of --dynamic random. Default: 0.",
    ),
    Option(
        ["--wildcards"],
        "Prompts",
        type=Folder(),
        metavar="DIR",
        help="Folder of the wildcard files.",
    ),
    FRAMES,
    Option(["--dry-run"], "Batch", is_flag=True, help="Print what would be drawn, and draw nothing."),
    Option(["--shard"], "Batch", type=Shard(), default="1/1", help="Draw the Ith of N shares of the batch."),
    Option(["--force"], "Batch", is_flag=True, help="Draw again what is there."),
    Option(["--retry-failed"], "Batch", is_flag=True, help="Draw again what failed in an earlier run."),
    Option(["--fail-fast"], "Batch", is_flag=True, help="Begin nothing new after a failure."),
    Option(
        ["--verify"], "Batch", is_flag=True, help="Decode the images that are there and check their pixels."
    ),
    Option(
        ["--progress"],
        "Batch",
        type=Name({"auto": "a bar on a terminal, lines elsewhere", "json": "a JSON object a line"}),
        default="auto",
        help="On stderr: auto, or json for programs. Default: auto.",
    ),
)

_TOLD = {
    "seed": "Seed of the (first) image of an entry without one, 0 to 2^64 - 1; -1 is a random one, the same "
    "when the batch goes on. Default: 0.",
    "count": "Images of an entry that does not say; -n 4 --seed 7 draws the seeds 7, 8, 9 and 10.",
    "output": "The folder of the images; it is made if need be. Default: outputs/.",
    "name": "File name in the folder, without its ending; fields: {n} {slug} {seed} {steps} {sampler} "
    "{model} {guidance} {width} {height} {prompt} {image} {digest}. One without {digest} gets it at its end. "
    f"Default: {DEFAULT_NAME}. Of several pictures to start from: {{image}}-{{digest}}.",
    "init_image": "Start from this picture, what does not name another; from each, of a folder or a pattern. "
    "Without a prompts FILE, the .txt beside each is its prompt.",
}
"""Help of options of drawing that a batch takes otherwise."""


def of_batch(parameters: Sequence[click.Parameter]) -> list[click.Parameter]:
    """The parameters of a batch, from those that it shares with drawing."""
    told: list[click.Parameter] = []
    for parameter in (*parameters, *OPTIONS):
        help = _TOLD.get(str(parameter.name))
        told.append(parameter.told(help) if help and isinstance(parameter, Option) else parameter)
    return told
