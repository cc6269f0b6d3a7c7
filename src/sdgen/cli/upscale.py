"""``sdgen upscale``: pictures made larger, by a filter or by a model."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from sdgen import models
from sdgen.batch import batch_size
from sdgen.batch.feeds import Feed
from sdgen.batch.kept_names import KeptNames
from sdgen.batch.policy import Policy
from sdgen.batch.store import Sink
from sdgen.batch.tasks import Task
from sdgen.cli import batch_run, drawing_requests, error_messages, upscale_options
from sdgen.cli.batch_run import BatchRun
from sdgen.cli.batch_tasks import STDIN
from sdgen.cli.command import Command
from sdgen.cli.conflicts import to_one_place
from sdgen.cli.downloads import locate
from sdgen.cli.run import show_licence, space, write_image
from sdgen.errors import InputError
from sdgen.files.containers import MOST_WEBP_PIXELS
from sdgen.images import image_files, naming
from sdgen.request import RANDOM_SEED, Picture, Request
from sdgen.request.upscale_methods import DEFAULT, METHODS, method_of
from sdgen.text.plurals import counted

if TYPE_CHECKING:
    from sdgen.images.image import Image
    from sdgen.images.image_and_sidecar import Saved

EXAMPLES = """\
sdgen upscale fox.png
sdgen upscale photos/ 'more/*.jpg' --scale 2 -o large/
sdgen upscale fox.png --method ldm-sr --steps 100 -o fox-x4.png
sdgen upscale fox.png --method sd-x4 --prompt "a red fox in the snow"
cat fox.png | sdgen upscale - -o - > large.png"""

METHODS_TOLD = "\n".join(
    f"{name:<10} {method.about}{'' if method.takes else '; no download'}" for name, method in METHODS.items()
)
GOING_ON = """\
The same command goes on where it was stopped: pictures that are there and
whole are kept. No file is ever written over, least of all the picture."""

EXIT_STATUS = """\
0    every picture is there
1    none is
2    the command line or a picture is wrong
3    some are there, some are not
4    the model or its weights are not available
130  stopped by Ctrl-C (SIGINT)
141  the reader of stdout has gone
143  stopped by SIGTERM"""

NOTES = (
    ("Methods", METHODS_TOLD),
    ("Examples", EXAMPLES),
    ("Going on", GOING_ON),
    ("Exit status", EXIT_STATUS),
)
USUAL_SCALE = 4


@click.command(
    "upscale",
    cls=Command,
    params=[upscale_options.IMAGES, *upscale_options.OPTIONS],
    notes=NOTES,
    short_help="Enlarge pictures, by a filter or by a model.",
)
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Enlarge pictures and print the paths as they finish.

    IMAGE is a file, a folder, a pattern such as 'in/*.png', or - for the picture on stdin. Transparency is
    kept, and so is the name. A picture becomes 16000 pixels a side at most, and 67 million in all.
    """
    pictures = _pictures(ctx.params["images"])
    from_stdin = any(picture.file is None for picture in pictures)
    ctx.params |= upscale_options.absent(ctx.params)
    values = {**drawing_requests.settle(ctx), "prompts": (STDIN,) if from_stdin else ()}
    error_messages.set_verbose(values["verbose"])
    given = {
        name: value
        for name, value in values.items()
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    method = _method(given)
    _refuse_unused(given, method)
    if to_one_place(values) and len(pictures) > 1:
        raise InputError(
            f"-o names a place for one picture, and these are {len(pictures)}; give a folder with -o",
            "output",
        )
    requests = _requests(pictures, given, method)
    model = requests[0].model or ""
    place = _place(values)
    _check_format(requests, place.format if place is not None else values["format"])
    display = batch_run.display(ctx, values)
    path = locate(model, task="upscaling", quiet=values["quiet"], no_input=values["no_input"])
    if path is not None and method is not None and "model" in given:
        _check_weights(path, method)
    tasks = [Task(request, number, _source(request)) for number, request in enumerate(requests, start=1)]
    show_licence(model, display)
    if values["seed"] == RANDOM_SEED:
        display.say(f"seed {requests[0].seed}")
    if not isinstance(place, KeptNames):
        return _to_one_place(tasks, place, values, display)
    distinct = list({place.identity(task): task for task in reversed(tasks)}.values())[::-1]
    if repeats := len(tasks) - len(distinct):
        display.say(f"{counted(repeats, 'picture')} given twice, and enlarged once")
    _refuse_own_folder(ctx.params["images"], place.folder)
    place.prepare(*batch_run.missing(distinct, place))
    policy = Policy(values["batch_size"], batch_size.choose, batch_size.learn, fail_fast=values["fail_fast"])
    run = BatchRun(values, policy, place, display)
    run.report.planned = len(distinct)
    return run(Feed(distinct), place)


def _pictures(given: Sequence[Picture | tuple[Picture, ...]]) -> list[Picture]:
    """The pictures that the arguments name, in their order."""
    return [picture for each in given for picture in (each if isinstance(each, tuple) else (each,))]


def _method(given: Mapping[str, Any]) -> str | None:
    """The method that is asked for; None where a model of the user's own is, which tells by itself.

    Raises:
        InputError: a filter is to have weights.
    """
    method: str | None = given.get("method")
    if "model" not in given:
        return method or DEFAULT
    if method is not None and not METHODS[method].takes:
        raise InputError(f"--model names weights, and {method} has none; leave one of them out", "model")
    return method or method_of(given["model"])


def _refuse_unused(given: Mapping[str, Any], method: str | None) -> None:
    """Refuse an option that means nothing to the method.

    Raises:
        InputError: there is one; the sentence says which methods take it.
    """
    unused = {*upscale_options.OF_MODELS, *upscale_options.OF_WEIGHTS} - upscale_options.takes(method)
    for name in given:
        if name in unused:
            others = ", ".join(other for other in METHODS if name in upscale_options.takes(other))
            flag = f"--{name.replace('_', '-')}"
            raise InputError(
                f"{flag} means nothing to {method}; leave it out, or take another --method: {others}",
                name,
            )


def _requests(pictures: Sequence[Picture], given: Mapping[str, Any], method: str | None) -> list[Request]:
    """What is to be made of each picture.

    Raises:
        InputError: the method has no such factor, or a picture would become too large.
    """
    known = METHODS[method] if method else None
    scale = given.get("scale") or (known.usual if known else USUAL_SCALE)
    if known and scale not in known.factors:
        factors = " or ".join(map(str, known.factors))
        raise InputError(f"--scale {scale}: {method} enlarges {factors} times", "scale")
    named = {field: given[option] for option, field in upscale_options.OF_MODELS.items() if option in given}
    if named.get("seed") == RANDOM_SEED:
        named["seed"] = secrets.randbelow(drawing_requests.RANDOM_SEEDS)
    if "background" in given:
        named["background"] = given["background"]
    fields = {"prompt": "", **named, "upscale": scale, "model": given.get("model") or (known and known.model)}
    found = []
    for picture in pictures:
        try:
            found.append(Request(**fields, init_image=picture))
        except InputError as error:
            raise InputError(f"{picture.file or 'stdin'}: {error}", error.field) from None
    return found


def _check_format(requests: Sequence[Request], format: str | None) -> None:
    """Refuse to store a picture as a file that would be too large to be read.

    Raises:
        InputError: it would be.
    """
    for request in requests:
        width, height = request.stored_size or (0, 0)
        if format == "webp" and width * height > MOST_WEBP_PIXELS:
            raise InputError(
                f"{_source(request)}: of a WebP {MOST_WEBP_PIXELS // 1_000_000} million pixels are read at "
                f"most, and this would have {width}x{height}; take --format png",
                "format",
            )


def _source(request: Request) -> str:
    """Where a picture comes from."""
    return (request.init_image and request.init_image.file) or "stdin"


def _check_weights(path: Path, method: str) -> None:
    """Refuse weights that are another method's.

    Raises:
        InputError: they are.
        CheckpointError: they cannot be read.
    """
    from sdgen.checkpoints import open_checkpoint

    family, wanted = open_checkpoint(path).family.name, models.find(METHODS[method].model).family
    if family != wanted:
        raise InputError(
            f"{path} has weights of {family}, and {method} takes those of {wanted}; leave out --method",
            "model",
        )


def _place(values: Mapping[str, Any]) -> image_files.Output | None:
    """Where the pictures go: a folder, a file, or None for stdout."""
    if to_one_place(values):
        return drawing_requests.destination(values)
    return batch_run.folder(values, naming.AS_STARTED, KeptNames)


def _refuse_own_folder(given: Sequence[Picture | tuple[Picture, ...]], folder: Path) -> None:
    """Refuse to put the pictures of a folder into that folder: the next run would take them for more of it.

    Raises:
        InputError: it is the same.
    """
    folders = {os.path.dirname(each.file or "") for some in given if isinstance(some, tuple) for each in some}
    for each in sorted(folders):
        if os.path.isdir(folder) and os.path.samefile(each or ".", folder):
            raise InputError(
                f"{folder} has the pictures that are enlarged, and the next run would find more there; give "
                "another folder with -o",
                "output",
            )


def _to_one_place(
    tasks: Sequence[Task], output: image_files.Output | None, values: Mapping[str, Any], display: Any
) -> int:
    """Enlarge the one picture, to its file or to stdout; the exit status."""
    if output is not None:
        output.prepare(1, space(tasks[0].request))
    policy = Policy(values["batch_size"], in_order=True, jit=False, unforeseen=0)
    run = BatchRun(values, policy, output, display)
    run.report.planned = 1

    def save(image: Image) -> Saved | None:
        if output is not None:
            return output.save(image)
        write_image(run.results, image, values)
        return None

    return run(Feed(tasks), Sink(save))
