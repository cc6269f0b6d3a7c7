"""``sdgen batch``: every entry of prompts files, again and again until all are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sdgen import models
from sdgen.batch import batch_size
from sdgen.batch.batch_folder import DEFAULT_NAME, BatchFolder
from sdgen.batch.feeds import Feed, Stream
from sdgen.batch.policy import Policy
from sdgen.batch.tasks import Task
from sdgen.cli import (
    batch_options,
    batch_plan,
    batch_run,
    conflicts,
    drawing_requests,
    error_messages,
    watching,
)
from sdgen.cli.batch_run import BatchRun
from sdgen.cli.batch_tasks import STDIN, Entries
from sdgen.cli.command import Command
from sdgen.cli.downloads import locate_for
from sdgen.cli.options import drawing_options
from sdgen.cli.run import show_licence
from sdgen.errors import ExitCode, InputError
from sdgen.images import image_files, naming
from sdgen.prompts.expansion import Expansion, parse_seeds, parse_sweeps
from sdgen.text.plurals import counted

if TYPE_CHECKING:
    from sdgen.cli.sheet import Sheet

EXAMPLES = """\
sdgen batch prompts/mini.txt --model mini -o out/
sdgen batch prompts/samplers.csv --seeds 1,2,5-9 --sweep steps=10,20,50
sdgen batch p.txt --sweep steps=10,20 --sweep guidance=3,5,7 --grid sheet.png
sdgen batch prompts/templates.txt --dynamic random -n 100 --wildcards cards/
cat prompts.txt | sdgen batch - --json | jq -r '.path // empty'
sdgen batch prompts.jsonl --shard 2/4"""

RESUMING = """\
The same command goes on where it was stopped: images that are there and
whole are kept, the others are drawn, with the same pixels. Several processes
may draw one batch into one folder."""

EXIT_STATUS = """\
0    every image is there
1    none is
2    the command line or a prompts file is wrong
3    some are there, some are not
4    the model or its weights are not available
130  stopped by Ctrl-C (SIGINT)
141  the reader of stdout has gone
143  stopped by SIGTERM"""

NOTES = (("Examples", EXAMPLES), ("Going on", RESUMING), ("Exit status", EXIT_STATUS))


@click.command("batch", cls=Command, notes=NOTES, short_help="Draw every entry of prompts files.")
@click.argument("prompts", metavar="FILE...", nargs=-1, type=click.Path(allow_dash=True))
@drawing_options
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Draw every entry of prompts files, and print the paths as the images finish.

    The file - is stdin: drawing begins while it is still being written. What an entry leaves out comes from
    the options. docs/prompts-files.md describes the files.
    """
    target = ctx.params["output"]
    if target is not None and (target == drawing_requests.STDOUT or image_files.is_file_name(target)):
        raise InputError(f"-o {target}: a batch goes to a folder; give one with -o", "output")
    values = drawing_requests.settle(ctx)
    if not values["prompts"] and not conflicts.several(values):
        raise click.MissingParameter(ctx=ctx, param=command.params[0])
    error_messages.set_verbose(values["verbose"])
    usual = naming.AS_STARTED if conflicts.several(values) else DEFAULT_NAME
    store = batch_run.folder(values, usual, BatchFolder)
    entries = _entries(values)
    recording = watching.recording(ctx, values, None)
    display = batch_run.display(ctx, values)
    policy = Policy(values["batch_size"], batch_size.choose, batch_size.learn, fail_fast=values["fail_fast"])
    run = BatchRun(values, policy, store, display)
    if entries.live and not values["dry_run"]:
        store.prepare(1, 1)
        run.sheet, run.film = _sheet(values, None), watching.film(values, None)
        return run(Stream(run.counted(entries), run.stopping), watching.attach(run, store, recording))

    try:
        tasks = entries.all(run.rejected)
    finally:
        run.tell_untold()
    if run.report.invalid and (values["strict"] or not tasks):
        advice = "nothing was drawn" if not tasks else "nothing was drawn; --skip-invalid draws the rest"
        display.error(f"{run.report.invalid} of the entries cannot be drawn; {advice}")
        return ExitCode.USAGE
    if not tasks and not run.report.invalid and not entries.of_other_shards:
        raise batch_run.no_prompt(values)
    distinct = _distinct(tasks, store)
    if repeats := entries.repeats + len(tasks) - len(distinct):
        repeat = counted(repeats, "entry repeats another", "entries repeat others")
        display.say(f"{repeat} and {'is' if repeats == 1 else 'are'} drawn once")
    tasks, run.report.planned = distinct, run.report.invalid + len(distinct)
    if values["dry_run"]:
        batch_plan.check_files(tasks, values)
        batch_plan.show(tasks, store, values["batch_size"], values["json"], values["embedding"])
        return ExitCode.OK
    used = list(dict.fromkeys(task.request.model or "" for task in tasks))
    for model in used:
        requests = [task.request for task in tasks if (task.request.model or "") == model]
        locate_for(requests, model, quiet=values["quiet"], no_input=values["no_input"])
    store.prepare(*batch_run.missing(tasks, store))
    run.sheet, run.film = _sheet(values, len(tasks)), watching.film(values, len(tasks))
    for model in used:
        show_licence(model, display)
    return run(Feed(tasks), watching.attach(run, store, recording))


command.params = batch_options.of_batch(command.params)


def _entries(values: dict[str, Any]) -> Entries:
    if values["prompts"].count(STDIN) > 1:
        raise InputError("the file - is stdin and can be given once", "prompts")
    expansion = Expansion(
        dynamic=values["dynamic"],
        dynamic_seed=values["dynamic_seed"],
        wildcards=values["wildcards"],
        sweeps=parse_sweeps(values["sweep"]),
        seeds=parse_seeds(values["seeds"]) if values["seeds"] else (),
        count=values["count"],
        frames=values["frames"],
    )
    defaults = drawing_requests.given(values, values["model"] or models.DEFAULT)
    pictures = defaults.pop("init_image") if conflicts.several(values) else ()
    return Entries(values["prompts"], values["input_format"], defaults, expansion, values["shard"], pictures)


def _distinct(tasks: list[Task], store: BatchFolder) -> list[Task]:
    """The tasks, without those that are the same image as an earlier one in other words.

    Raises:
        InputError: two would be stored under one name.
    """
    found = {store.identity(task): task for task in reversed(tasks)}
    distinct = [task for task in tasks if found[store.identity(task)] is task]
    if (clash := store.clash(distinct)) is not None:
        one, other, path = clash
        raise InputError(
            f"{one.source} and {other.source} would both be stored as {path.name}; add {{n}} to --name",
            "name",
        )
    return distinct


def _sheet(values: dict[str, Any], images: int | None) -> Sheet | None:
    """The sheet of ``--grid``; whoever goes on with a batch has the same sheet made again."""
    if not values["grid"]:
        return None
    from sdgen.cli.sheet import Sheet

    swept = [sweep.field for sweep in parse_sweeps(values["sweep"])]
    return Sheet(values["grid"], images, swept, replace=True, metadata=not values["no_metadata"])
