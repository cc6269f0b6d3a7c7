"""A run over many tasks: what ``sdgen batch`` and ``sdgen upscale`` have in common."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from sdgen.batch.batch_folder import BatchFolder
from sdgen.batch.outcomes import Outcome
from sdgen.batch.report import Report
from sdgen.batch.request_queue import RequestQueue
from sdgen.batch.store import Store
from sdgen.batch.tasks import Rejected, Task
from sdgen.cli import watching
from sdgen.cli.batch_tasks import STDIN, Entries
from sdgen.cli.run import Run, space, told
from sdgen.cli.terminal import streams
from sdgen.cli.terminal.progress import Display, JsonDisplay
from sdgen.errors import ExitCode, InputError
from sdgen.images.image_files import FOLDER

FolderKind = TypeVar("FolderKind", bound=BatchFolder)

MOST_TOLD = 20
"""Wrong entries that are told one by one."""

_CHANGES = ("vae", "lora", "embedding", "variant", "prediction")
"""Options beside the request's that decide how an image looks."""


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
            raise no_prompt(self.values)

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
        where = f"{told(outcome)}: {sentence}"
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


def display(ctx: click.Context, values: Mapping[str, Any]) -> Display:
    """What a run says on stderr, to people or to programs.

    Raises:
        InputError: pictures are to be shown where programs read.
    """
    if values["progress"] == "json":
        if values["preview"] and ctx.get_parameter_source("preview") is ParameterSource.COMMANDLINE:
            raise InputError(
                "--progress json is for programs, and --preview draws on a terminal; give one", "preview"
            )
        return JsonDisplay(quiet=values["quiet"])
    return Display(quiet=values["quiet"], preview=watching.preview(ctx, values))


def folder(values: Mapping[str, Any], usual_name: str, kind: type[FolderKind]) -> FolderKind:
    """Where the images of a run go.

    Args:
        values: settled options.
        usual_name: the template of names where none is given.
        kind: of folder.

    Raises:
        InputError: the template is wrong.
    """
    changes = {name: values[name] for name in _CHANGES}
    if values["engine"] != "sdgen":
        changes["engine"] = values["engine"]
    return kind(
        Path(values["output"]).expanduser() if values["output"] else FOLDER,
        values["name"] or usual_name,
        values["format"] or "png",
        not values["no_metadata"],
        changes,
        force=values["force"],
        retry_failed=values["retry_failed"],
        verify=values["verify"],
    )


def missing(tasks: list[Task], store: BatchFolder) -> tuple[int, int]:
    """How many images are to be stored, as far as that is known, and bytes for each."""
    lacking = [task for task in tasks if store.needs_model or store.find(task, task.request) is None]
    return len(lacking), max((space(task.request) for task in lacking), default=1)


def no_prompt(values: Mapping[str, Any]) -> InputError:
    """The error of prompts files that ask for nothing."""
    files = ["stdin" if file == STDIN else file for file in values["prompts"]]
    return InputError(f"there is no prompt in {', '.join(files)}", "prompts")


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
