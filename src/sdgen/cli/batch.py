"""``sdgen batch``: every entry of prompts files, again and again until all are there."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from sdgen import models
from sdgen.batch import batch_size
from sdgen.batch.batch_folder import DEFAULT_NAME, BatchFolder
from sdgen.batch.feeds import Feed, Stream
from sdgen.batch.outcomes import Outcome
from sdgen.batch.policy import Policy
from sdgen.batch.report import Report
from sdgen.batch.request_queue import RequestQueue
from sdgen.batch.store import Store
from sdgen.batch.tasks import Rejected, Task
from sdgen.cli import batch_options, batch_plan, conflicts, drawing_requests, error_messages, watching
from sdgen.cli.batch_tasks import STDIN, Entries
from sdgen.cli.command import Command
from sdgen.cli.downloads import locate, task_of
from sdgen.cli.options import drawing_options
from sdgen.cli.run import Run, show_licence, space
from sdgen.cli.terminal import streams
from sdgen.cli.terminal.progress import Display, JsonDisplay
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

MOST_TOLD = 20
"""Wrong entries that are told one by one."""

_CHANGES = ("vae", "lora", "embedding", "variant", "prediction")
"""Options beside the request's that decide how an image looks."""


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
    store = _folder(values)
    entries = _entries(values)
    recording = watching.recording(ctx, values, None)
    display = _display(ctx, values)
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
        raise _no_prompt(values)
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
        purpose = task_of(task.request for task in tasks if (task.request.model or "") == model)
        locate(model, task=purpose, quiet=values["quiet"], no_input=values["no_input"])
    store.prepare(*_missing(tasks, store))
    run.sheet, run.film = _sheet(values, len(tasks)), watching.film(values, len(tasks))
    for model in used:
        show_licence(model, display)
    return run(Feed(tasks), watching.attach(run, store, recording))


command.params = batch_options.of_batch(command.params)


class BatchRun(Run):
    """A run that says at its end what failed and how to go on.

    A wrong entry ends it, after what came before is drawn, unless such entries are skipped. What else is
    wrong with what has come of a stream is said, too.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._failures: list[str] = []
        self._feed: RequestQueue | None = None
        self._told = self._untold = 0

    def __call__(self, feed: RequestQueue, store: Store) -> int:
        """As ``Run``; from here on, what is rejected comes from a stream or from the model."""
        self._feed = feed
        return super().__call__(feed, store)

    def counted(self, entries: Entries) -> Any:
        """The entries of a stream, counted as they come.

        Raises:
            InputError: it ends, and there was none.
        """
        for item in entries:
            self.report.planned += not (isinstance(item, Rejected) and item.again)
            self.display.planned(self.report.planned)
            yield item
        if not self.report.planned and not entries.of_other_shards:
            raise _no_prompt(self.values)

    def rejected(self, rejected: Rejected) -> None:
        """Say what is wrong with an entry, of the first few; programs are told of all."""
        self.report.invalid += not rejected.again
        if self._told < MOST_TOLD:
            self._told += 1
            self.display.error(rejected.message)
        else:
            self._untold += 1
        if self.values["json"]:
            line = json.dumps({"status": "invalid", "error": rejected.message})
            if self._feed is not None:
                self.results.line(line)
            else:
                streams.show(line)
        if self._feed is not None and self.values["strict"] and self.report.ended is None:
            self.report.ended = ExitCode.USAGE
            for item in self._feed.end():
                if isinstance(item, Rejected):
                    self.rejected(item)

    def tell_untold(self) -> None:
        """Say how much more is wrong than was said."""
        if self._untold:
            advice = "" if self.values["json"] else "; --json lists them all"
            self.display.error(f"and {self._untold:,} more{advice}")
        self._untold = 0

    def failed(self, outcome: Outcome, sentence: str) -> None:
        """Say why one image is missing, and remember it for the end."""
        where = f"{outcome.task.source}, seed {outcome.request.seed}: {sentence}"
        self._failures.append(where)
        self.display.error(where)

    def summarise(self) -> None:
        """Say what became of everything, what failed, and how to go on."""
        report, display = self.report, self.display
        self.tell_untold()
        if report.planned or report.ended is None:  # What ended the run before an entry came is said.
            display.say(report.summary(self.seconds()))
        if self._failures:
            display.say("failed:")
            for failure in self._failures:
                display.say(f"  {failure}")
        left = report.planned - report.drawn - report.kept - report.failed - report.invalid
        if left > 0 or report.ended is ExitCode.NONE_DRAWN:
            again = shlex.join(["sdgen", *sys.argv[1:]])
            same = "with the same input again" if STDIN in self.values["prompts"] else "with"
            display.say(f"go on {same}: {again}")
        if self.values["json"] or self.values["progress"] == "json":
            gathered = {"grid": self.sheet, "animation": self.film}
            files = {name: str(each.path) for name, each in gathered.items() if each and each.written}
            display.summary({**_summary(report, self.seconds()), **files})


def _summary(report: Report, seconds: float) -> dict[str, Any]:
    return {
        "planned": report.planned,
        "drawn": report.drawn,
        "kept": report.kept,
        "failed": report.failed,
        "invalid": report.invalid,
        "seconds": round(seconds, 3),
        "exit_code": int(report.exit_code),
    }


def _display(ctx: click.Context, values: Mapping[str, Any]) -> Display:
    if values["progress"] == "json":
        if values["preview"] and ctx.get_parameter_source("preview") is ParameterSource.COMMANDLINE:
            raise InputError(
                "--progress json is for programs, and --preview draws on a terminal; give one", "preview"
            )
        return JsonDisplay(quiet=values["quiet"])
    return Display(quiet=values["quiet"], preview=watching.preview(ctx, values))


def _folder(values: dict[str, Any]) -> BatchFolder:
    changes = {name: values[name] for name in _CHANGES}
    if values["engine"] != "sdgen":
        changes["engine"] = values["engine"]
    return BatchFolder(
        Path(values["output"]).expanduser() if values["output"] else image_files.FOLDER,
        values["name"] or (naming.AS_STARTED if conflicts.several(values) else DEFAULT_NAME),
        values["format"] or "png",
        not values["no_metadata"],
        changes,
        force=values["force"],
        retry_failed=values["retry_failed"],
        verify=values["verify"],
    )


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


def _no_prompt(values: Mapping[str, Any]) -> InputError:
    files = ["stdin" if file == STDIN else file for file in values["prompts"]]
    return InputError(f"there is no prompt in {', '.join(files)}", "prompts")


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


def _missing(tasks: list[Task], store: BatchFolder) -> tuple[int, int]:
    """How many images are to be stored, as far as that is known, and bytes for each."""
    missing = [task for task in tasks if store.needs_model or store.find(task, task.request) is None]
    return len(missing), max((space(task.request) for task in missing), default=1)
