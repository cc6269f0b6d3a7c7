"""``sdgen draw``, which is also what ``sdgen PROMPT`` runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from sdgen import models
from sdgen.batch.feeds import Feed
from sdgen.batch.policy import Policy
from sdgen.batch.store import Sink
from sdgen.batch.tasks import Task
from sdgen.cli import between, conflicts, drawing_requests, error_messages, prompts_needed, watching
from sdgen.cli.command import Command, Option
from sdgen.cli.downloads import locate_for
from sdgen.cli.options import drawing_options
from sdgen.cli.run import Run, show_licence, space, write_image
from sdgen.cli.terminal.progress import Display
from sdgen.cli.viewer import OPTION as OPENING
from sdgen.cli.viewer import Viewer
from sdgen.errors import ExitCode, InputError, OutputError
from sdgen.images.image_files import is_file_name
from sdgen.request import RANDOM_SEED, Request

if TYPE_CHECKING:
    from sdgen.images.image import Image
    from sdgen.images.image_and_sidecar import Saved

EXAMPLES = """\
sdgen "a red heart" --model mini
sdgen "a red fox in the snow" --steps 50 --seed 7
sdgen "a lighthouse" "a harbour at night" -n 4 --size 768x512 -o sea/
sdgen "a blue fish" --model mini -o fish.png --overwrite --open
sdgen "a star" "a heart" -n 3 --model mini --grid sheet.png
sdgen "a house" --model mini --record house.gif --preview
echo "a panda" | sdgen - --model mini -o - > panda.png
sdgen "an owl" --sampler dpmpp-2m --json | jq -r '.path // empty'"""

ENVIRONMENT = """\
Every option can be set as SDGEN_<OPTION> (SDGEN_BATCH_SIZE=4, SDGEN_JSON=1)
or in config.toml (batch-size = 4). The command line wins over the
environment, the environment over the file, the file over the model's
defaults. An empty variable counts as unset. SDGEN_CONFIG_DIR,
SDGEN_MODELS_DIR, SDGEN_CACHE_DIR and SDGEN_STATE_DIR move sdgen's folders."""

EXIT_STATUS = """\
0    every image was drawn
1    none was
2    the command line is wrong
3    some were, some were not
4    the model or its weights are not available
130  stopped by Ctrl-C (SIGINT)
141  the reader of stdout has gone
143  stopped by SIGTERM"""

NOTES = (("Examples", EXAMPLES), ("Environment and settings", ENVIRONMENT), ("Exit status", EXIT_STATUS))


@click.command("draw", cls=Command, notes=NOTES, short_help="Draw pictures: what sdgen PROMPT does.")
@click.argument("prompts", metavar="PROMPT...", nargs=-1)
@drawing_options
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Draw a picture of each PROMPT and print its path.

    The prompt - is read from stdin, the whole text being one prompt. -- ends the options, so that a
    prompt may begin with a dash. With --init-image, a prompt may also lie in a .txt beside the picture.
    A model that takes no prompt is given none.
    """
    values = drawing_requests.settle(ctx)
    model = values["model"] or models.DEFAULT
    drawing_requests.settle_prompts(values, model)
    between.settle(ctx, values)
    error_messages.set_verbose(values["verbose"])
    requests = drawing_requests.requests(values, model)
    _check_overwrite(ctx, values)
    output = drawing_requests.destination(values)
    viewer = _viewer(values, len(requests))
    recording = watching.recording(ctx, values, len(requests))
    film = watching.film(values, len(requests))
    preview = watching.preview(ctx, values)
    locate_for(requests, model, quiet=values["quiet"], no_input=values["no_input"])
    prompts_needed.check(requests, model)
    if output is not None:
        output.prepare(len(requests), max(space(request) for request in requests))
    sheet = None
    if values["grid"]:
        from sdgen.cli.sheet import Sheet

        with_text = not values["no_metadata"]
        sheet = Sheet(values["grid"], len(requests), replace=values["overwrite"], metadata=with_text)

    display = Display(quiet=values["quiet"], preview=preview)
    show_licence(model, display)
    if values["seed"] in (None, RANDOM_SEED):
        seeds = f"seed {requests[0].seed}"
        display.say(seeds if values["count"] == 1 else f"{seeds} to {requests[-1].seed}")
    # Short jobs need not be compiled, and an error that nobody foresaw is not met again for each image.
    policy = Policy(values["batch_size"], in_order=True, jit=False, unforeseen=0)
    run = Run(values, policy, output, display, sheet)
    run.report.planned = len(requests)
    paths: list[Path] = []

    def save(image: Image) -> Saved | None:
        if output is None:
            write_image(run.results, image, values)
            return None
        saved = output.save(image)
        paths.append(saved.path)
        return saved

    run.film = film
    store = watching.attach(run, Sink(save), recording)
    status = run(Feed(_tasks(requests, values)), store)
    if viewer is None or run.stopping():
        return status
    try:
        viewer([sheet.path] if sheet is not None and sheet.written else paths)
    except OutputError as error:
        display.error(str(error))
        return status or ExitCode.SOME_FAILED
    return status


OVERWRITE = Option(
    ["--overwrite"],
    "Output",
    is_flag=True,
    help="Let the file of -o, or an earlier one of --grid, --record or --animate, give way once the new one "
    "is whole.",
)

command.params += [OVERWRITE, OPENING, between.INTERPOLATE, between.FRAMES]


def _check_overwrite(ctx: click.Context, values: Mapping[str, Any]) -> None:
    """Refuse ``--overwrite`` where nothing could be in the way; a variable may be set for other commands."""
    target = values["output"]
    to_file = target not in (None, drawing_requests.STDOUT) and is_file_name(target)
    if ctx.get_parameter_source("overwrite") is ParameterSource.COMMANDLINE and not (
        to_file or values["grid"] or values["record"] or values["animate"]
    ):
        raise InputError(
            "--overwrite is for the file that -o names, or that --grid, --record or --animate does; in a "
            "folder every image gets a name that is free",
            "overwrite",
        )


def _tasks(requests: Sequence[Request], values: Mapping[str, Any]) -> list[Task]:
    """A task for each request; with several prompts or pictures, each task names its own."""
    prompts = max(1, len(values["prompts"]))
    each = len(requests) // prompts

    def source(number: int, request: Request) -> str:
        if conflicts.several(values):
            return (request.init_image and request.init_image.file) or ""
        return f"prompt {number // each + 1} of {prompts}" if prompts > 1 else ""

    return [Task(request, number + 1, source(number, request)) for number, request in enumerate(requests)]


def _viewer(values: Mapping[str, Any], images: int) -> Viewer | None:
    """What opens the pictures in the end; None without ``--open``."""
    if not values["open"]:
        return None
    if values["output"] == drawing_requests.STDOUT:
        raise InputError("-o - stores no image, and --open opens stored ones; give one of them", "open")
    return Viewer(1 if values["grid"] else images)
