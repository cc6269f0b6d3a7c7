"""``sdgen compare``: what several methods make of pictures that they enlarge, side by side and in figures."""

# mypy: disable-error-code="type-arg"
# As in sdgen.cli.types: click's parameter types are generic in some versions.

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sdgen.cli import error_messages
from sdgen.cli.command import Command
from sdgen.cli.compare_methods import chosen
from sdgen.cli.options import BACKENDS, DTYPES
from sdgen.cli.terminal import streams
from sdgen.cli.terminal.progress import Display
from sdgen.cli.types import Field, Name, Whole
from sdgen.errors import InputError
from sdgen.images import pictures
from sdgen.request import MAX_SEED
from sdgen.request.upscale_methods import METHODS
from sdgen.text import numerals

if TYPE_CHECKING:
    from sdgen.batch.trial import Trial

EXAMPLES = """\
sdgen compare photo.png --shrink --methods bicubic,lanczos -o sheet.png
sdgen compare photo.png --shrink --methods bicubic,ldm-sr,sd-x4 -o sheet.png
sdgen compare small.png --reference original.png --json
sdgen compare photos/ --shrink --scale 2 --methods bicubic,latent-x2 --json"""

EXIT_STATUS = """\
0    every method has enlarged every picture
1    none has enlarged one
2    the command line or a file is wrong
3    something is missing
4    a model or its weights are not available
130  stopped by Ctrl-C (SIGINT)
141  the reader of stdout has gone
143  stopped by SIGTERM"""

MOST_PICTURES, MOST_METHODS = 200, 16


class _Methods(click.ParamType):
    name = "NAME,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        names = tuple(part.strip() for part in str(value).split(","))
        if not all(names) or len(set(names)) < len(names):
            self.fail(f"{value!r} is no list of different names with commas between them", param, ctx)
        if len(names) > MOST_METHODS:
            self.fail(f"these are {len(names)} methods; the most is {MOST_METHODS}", param, ctx)
        return names


class _Crop(click.ParamType):
    name = "X,Y,SIZE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int, int]:
        numbers = [numerals.whole(part) for part in str(value).split(",")]
        if len(numbers) == 3:
            x, y, side = numbers
            if x is not None and y is not None and side is not None and min(x, y) >= 0 and side > 0:
                return x, y, side
        self.fail(f"{value!r} is not a place and a size in pixels such as 400,200,256", param, ctx)


@click.command("compare", cls=Command, notes=(("Examples", EXAMPLES), ("Exit status", EXIT_STATUS)))
@click.argument("files", metavar="IMAGE|FOLDER...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--methods",
    type=_Methods(),
    default="bicubic,ldm-sr",
    show_default=True,
    help=f"Of {', '.join(METHODS)}, or models by name, folder or file.",
)
@click.option(
    "--scale", type=click.IntRange(2, 8), default=4, show_default=True, help="How many times as large."
)
@click.option(
    "--reference",
    type=click.Path(path_type=Path),
    metavar="ORIGINAL",
    help="What IMAGE was made of: the results are compared with it.",
)
@click.option(
    "--shrink",
    is_flag=True,
    help="IMAGE is the original: shrink it by the scale (bicubic, antialiased), enlarge that, compare.",
)
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(),
    metavar="FILE",
    help="A sheet of crops side by side: a .png, .webp or .jpg file that is not there yet. The figures go "
    "beside it as .json.",
)
@click.option(
    "--crop",
    type=_Crop(),
    help="Where the crops are, in pixels of the enlarged picture. Default: where it shows the most.",
)
@click.option("--steps", type=Field("steps"), help="Of the methods that draw. Default: the model's.")
@click.option("--seed", type=Whole(MAX_SEED, least=0), help="Of the methods that draw. Default: 0.")
@click.option("--prompt", default=None, metavar="TEXT", help="What IMAGE shows, for methods that read it.")
@click.option("--noise-level", type=Field("noise_level"), help="Of the methods that add noise to IMAGE.")
@click.option("--backend", type=Name(BACKENDS), help="tensorflow, jax or auto.")
@click.option("--dtype", type=Name(DTYPES), help="auto, float32, bfloat16 or float16.")
@click.option("--device", metavar="DEVICE", help="cpu, gpu or gpu:N.")
@click.option("--low-memory", is_flag=True, help="Take less memory, in more time.")
@click.option("--no-metadata", is_flag=True, help="Leave out the mark that AI made a part of the sheet.")
@click.option("--json", "as_json", is_flag=True, help="On stdout, a JSON object for each result.")
@click.option("--no-input", is_flag=True, help="Never ask whether to fetch a model that is not here.")
@click.option("-q", "--quiet", is_flag=True, help="Errors alone on stderr.")
@click.option("-v", "--verbose", is_flag=True, help="More on stderr: library logs, tracebacks of errors.")
def command(files: tuple[Path, ...], target: str | None, as_json: bool, **values: Any) -> int:
    """Enlarge pictures by several methods and compare what they make of them.

    With --reference or --shrink, a table on stderr tells PSNR and SSIM against the original. The sheet has
    a row for each picture: the picture, with the place of the crops marked, then the crops, a pixel a pixel.
    The enlarged pictures are not kept; that is what `sdgen upscale` is for.
    """
    error_messages.set_verbose(values["verbose"])
    if target is None and not as_json and values["reference"] is None and not values["shrink"]:
        raise click.UsageError("there is nothing to say of the results; give -o, --reference or --shrink")
    from sdgen.cli import compare_sheet
    from sdgen.cli.comparing import Comparing
    from sdgen.images import methods_sheet

    sheet = None if target is None else compare_sheet.path_of(target)
    trials = _trials(files, values)
    if sheet is not None:
        compared = any(each.reference is not None for each in trials)
        methods_sheet.require_room([each.place.side for each in trials], len(values["methods"]) + compared)
    methods = chosen(values["methods"], values)
    if not values["verbose"]:
        streams.drop_library_noise()
    return Comparing(trials, methods, Display(quiet=values["quiet"]), values, sheet, as_json)()


def _trials(files: tuple[Path, ...], values: dict[str, Any]) -> list[Trial]:
    """The pictures, read.

    Raises:
        InputError: one cannot be, or there are too many.
    """
    from sdgen.batch import trial
    from sdgen.images.crops import Square

    reference, shrink = values["reference"], values["shrink"]
    if reference is not None and shrink:
        raise click.UsageError(
            "--shrink takes IMAGE for the original, and --reference names another; give one"
        )
    found = list(dict.fromkeys(itertools.islice(pictures.find(files), MOST_PICTURES + 1)))
    if len(found) > MOST_PICTURES:
        raise InputError(f"these are more than {MOST_PICTURES} pictures; name fewer")
    if not found:
        raise InputError(f"there is no picture in {', '.join(map(str, files))}")
    if reference is not None and len(found) > 1:
        raise click.UsageError("--reference is the original of one IMAGE, and there are several; name one")
    crop = None if values["crop"] is None else Square(*values["crop"])
    return [trial.prepare(file, values["scale"], shrink, reference, crop) for file in found]
