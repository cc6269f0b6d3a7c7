"""``sdgen replay``: draw recorded images again and say whether they come out the same."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import re
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from sdgen import backend
from sdgen.cli import drawing_requests, error_messages, redraw, variables
from sdgen.cli.command import Command, Option
from sdgen.cli.downloads import locate_for
from sdgen.cli.options import CONFIG, DRAWING, WATCHING
from sdgen.cli.redraw import Job
from sdgen.cli.run import space
from sdgen.cli.session import Session
from sdgen.cli.terminal import streams
from sdgen.cli.terminal.progress import Display
from sdgen.cli.types import Field
from sdgen.errors import ExitCode, ImageError, InputError, ModelUnavailable, SdgenError
from sdgen.images import records
from sdgen.images.records import Record
from sdgen.text.printable import printable

if TYPE_CHECKING:
    from sdgen.images.comparison import Comparison
    from sdgen.images.image import Image
    from sdgen.images.image_files import Output
    from sdgen.pipeline.engine import Engine
    from sdgen.request import Request

EXAMPLES = """\
sdgen replay outputs/0001-a-red-fox-7.json
sdgen replay outputs/*.json --json | jq 'select(.verdict == "different")'
sdgen replay fox.png --steps 100 -o sharper/"""

EXIT_STATUS = """\
0    every image came out identical or close (40 dB or more)
1    one came out different, also where options asked for that; or none
     could be drawn
2    the command line or a file is wrong
3    some could be drawn again, some not
4    the model or its weights are not available
130  stopped by Ctrl-C (SIGINT)
141  the reader of stdout has gone
143  stopped by SIGTERM"""

UNFORESEEN = 3
"""Images in a row that may fail for reasons that nobody foresaw, before the run ends."""

_PATH = click.Path(path_type=Path)
_WATCHING = {str(option.name): None for option in WATCHING}
_OF_DRAWING_ALONE = {"count", "output", "grid", *_WATCHING}
"""Options of drawing that are none of drawing again."""


def _as_recorded(option: Option) -> Option:
    """A drawing option without its default, in place of which what was recorded is taken."""
    if option.section == "Output" or option.name == "cache_limit" or not option.help:
        return option
    return option.told(re.sub(r" Default: .*$", "", option.help))


OPTIONS = (
    CONFIG,
    Option(["--prompt"], "Picture", type=Field("prompt"), help="Another prompt."),
    *(_as_recorded(option) for option in DRAWING if option.name not in _OF_DRAWING_ALONE),
    Option(
        ["-o", "--output"],
        "Output",
        type=click.Path(),
        help="Store what is drawn in this folder (ending in / if it is new) or image file.",
    ),
    Option(["--save"], "Output", is_flag=True, help="Store what is drawn in outputs/."),
)
"""The options of ``draw`` without those for several images of a prompt."""


@click.command(
    "replay",
    cls=Command,
    params=[
        click.Argument(["files"], metavar="FILE...", nargs=-1, required=True, type=_PATH),
        *OPTIONS,
    ],
    notes=(("Examples", EXAMPLES), ("Exit status", EXIT_STATUS)),
    short_help="Draw images again from their records and compare.",
)
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Draw images again, from sidecars or from what the images say, and compare the pixels.

    For each FILE it prints identical, close or different. An option that is not on the command line is as
    it was recorded. Nothing is stored without -o or --save, and no file is ever overwritten.
    """
    files: tuple[Path, ...] = ctx.params["files"]
    # What drawing_requests.settle needs to know of draw's own parameters.
    ctx.params |= {"count": 1, "prompts": (), "grid": None, **_WATCHING}
    values = drawing_requests.settle(ctx)
    error_messages.set_verbose(values["verbose"])
    given = {
        name: value
        for name, value in values.items()
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    output = _output(values, given, len(files))
    run = Replay(len(files), output, Display(quiet=values["quiet"]), values["json"])
    jobs = run.read(files, values, given)
    if output is not None and jobs:
        output.prepare(len(jobs), max(space(job.request) for job in jobs))
    if not values["verbose"] and jobs:
        streams.drop_library_noise()
    return run(jobs)


def _output(values: dict[str, Any], given: dict[str, Any], files: int) -> Output | None:
    """Where images are stored: nowhere unless the command line asks for it."""
    if "output" not in given and "save" not in given:
        return None
    if "output" not in given:
        values = {**values, "output": None}
    elif values["output"] == drawing_requests.STDOUT:
        raise click.UsageError("replay writes its verdicts to stdout; give a file or folder with -o")
    output = drawing_requests.destination(values)
    if output is not None and output.file_name is not None and files > 1:
        raise click.UsageError("-o names one file, and there are several to replay; give a folder with -o")
    return output


class Replay(Session):
    """One run of the command.

    Args:
        planned: how many files were named.
        output: where images are stored, or None.
        display: messages.
        as_json: print objects.
    """

    def __init__(self, planned: int, output: Output | None, display: Display, as_json: bool) -> None:
        super().__init__(planned, output, display)
        self.as_json = as_json
        self.verdicts = dict.fromkeys(("identical", "close", "different"), 0)
        self._unreadable: list[tuple[Path, SdgenError]] = []

    def read(self, files: Sequence[Path], values: dict[str, Any], given: dict[str, Any]) -> list[Job]:
        """What can be drawn again; the other files are kept for the report."""
        jobs: list[Job] = []
        declined: set[str] = set()  # A model is offered once, however many files need it.
        for file in files:
            try:
                job = redraw.job(records.read(file), values, given)
                silent = values["no_input"] or job.setup.model in declined
                locate_for([job.request], job.setup.model, quiet=values["quiet"], no_input=silent)
                jobs.append(job)
            except ModelUnavailable as error:
                declined.add(job.setup.model)
                self._unreadable.append((file, error))
            except SdgenError as error:
                self._unreadable.append((file, error))
        return redraw.on_one_backend(jobs)

    def __call__(self, jobs: Sequence[Job]) -> int:
        """Draw and compare; the exit status."""
        for sentence in variables.warnings():
            self.display.warn(sentence)
        return self.carry_out(lambda: self._replay(jobs))

    def status(self) -> int:
        """1 where one came out different."""
        if self.report.stopped is None and self.verdicts["different"]:
            return ExitCode.NONE_DRAWN
        return super().status()

    def summarise(self) -> None:
        """Prints how many images came out identical, close, different or not at all."""
        if self.report.planned > 1 or self.report.stopped:
            counts = {**self.verdicts, "failed": self.report.failed}
            parts = [f"{count} {name}" for name, count in counts.items() if count] or ["none compared"]
            self.display.say(f"{', '.join(parts)}, in {self.seconds():.1f} s")

    def _replay(self, jobs: Sequence[Job]) -> None:
        for file, error in self._unreadable:
            self._fail(file, error)
        if jobs:
            self.display.start(sum(job.request.steps_run for job in jobs), len(jobs))
        groups: dict[redraw.Setup, list[Job]] = {}
        for job in jobs:
            groups.setdefault(job.setup, []).append(job)
        for setup, alike in groups.items():
            if not self.stopping():
                self._draw(setup, alike)
                gc.collect()  # The next model needs the memory: see sdgen.batch.renderer.

    def _draw(self, setup: redraw.Setup, jobs: Sequence[Job]) -> None:
        """Load one model and draw what was drawn with it; out of memory, fewer at once."""
        self.display.loading(setup.model)
        try:
            pipeline = setup.load()
        except SdgenError as error:
            for job in jobs:
                self._fail(job.record.file, error)
            return
        left: deque[tuple[Job, Request]] = deque()
        for job in jobs:
            try:
                left.append((job, pipeline.resolve(job.request)))
            except SdgenError as error:
                self._fail(job.record.file, error)
        self.display.loaded()
        self._draw_all(pipeline, left, pipeline.batch_limit(setup.batch_size))

    def _draw_all(self, pipeline: Engine, left: deque[tuple[Job, Request]], size: int) -> None:
        """Draw ``left``, ``size`` images at once, at first; an error that nobody foresaw costs one image."""
        surprises = 0
        while left and not self.stopping():
            before = len(left)
            try:
                self._stream(pipeline, left, size)
            except (SdgenError, streams.ClosedPipe):
                raise
            except Exception as error:
                memory = backend.is_out_of_memory(error)
                surprises = (0 if len(left) < before else surprises) + (size == 1 and not memory)
                if surprises > UNFORESEEN:
                    raise
                if size == 1:
                    self._fail(left.popleft()[0].record.file, ImageError(error_messages.explain(error)[0]))
                elif memory:
                    self.display.say(f"out of memory with {size} images at once; going on with {size // 2}")
                size = max(1, size // 2) if memory else 1

    def _stream(self, pipeline: Engine, left: deque[tuple[Job, Request]], size: int) -> None:
        """Draw the jobs in ``left``, ``size`` images at once, and remove those that are done."""
        from sdgen import Progress

        for event in pipeline.stream([request for _, request in left], batch_size=size, fill=True):
            self.interrupts.nothing_to_keep = False
            if not isinstance(event, Progress):
                self._take(left[0][0], event)
                left.popleft()
            elif self.interrupts.received:
                break
            else:
                self.display.advance(event.step, event.steps, event.images)

    def _take(self, job: Job, image: Image) -> None:
        """Compare a picture with the recorded one, store it where that is asked for, and say so."""
        from sdgen.images.comparison import compare

        self.display.finish_image(image.request.steps_run)
        record, saved = job.record, None
        try:
            if image.pixels is None:
                raise image.error or ImageError("it could not be drawn")
            found = compare(record, image.pixels)
            if self.output is not None:
                saved = self.output.save(image)
        except (ImageError, InputError) as error:
            self._fail(record.file, error)
            return
        self.report.drawn += 1
        self.verdicts[found.verdict] += 1
        notes = [*job.notes, *redraw.differences(record, image.details, found.verdict)]
        if found.note:
            notes.append(found.note)
        with self.display.aside():
            if self.as_json:
                line = {
                    **_line(record.file, found),
                    "path": os.fspath(saved.path) if saved else None,
                    "sidecar": os.fspath(saved.sidecar) if saved and saved.sidecar else None,
                    "seed": image.request.seed,
                    "steps": image.request.steps,
                    "seconds": round(image.seconds, 3),
                    "notes": notes,
                    "error": None,
                }
                self.results.line(json.dumps(line))
            else:
                self.results.line(_sentence(record, found, saved.path if saved else None))
        if not self.as_json:
            for note in notes:
                self.display.say(printable(f"note: {record.file}: {note}"))

    def _fail(self, file: Path, error: SdgenError) -> None:
        self.report.failed += 1
        # The first gives the status where nothing could be drawn.
        self.report.ended = self.report.ended or error.exit_code
        text = printable(str(error))
        self.display.error(text if str(file) in str(error) else f"{file}: {text}")
        if self.as_json:
            self.results.line(json.dumps({"file": os.fspath(file), "verdict": None, "error": text}))


def _line(file: Path, found: Comparison) -> dict[str, Any]:
    return {"file": os.fspath(file), **{k: v for k, v in dataclasses.asdict(found).items() if k != "note"}}


def _sentence(record: Record, found: Comparison, saved: Path | None) -> str:
    decibels = f"  {found.psnr:.1f} dB" if found.psnr is not None else ""
    stored = f" -> {saved}" if saved else ""
    return f"{found.verdict}{decibels}  {record.file}{stored}"
