"""One run of a drawing command: loading, drawing, results, signals, and the exit status."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdgen import models
from sdgen.backend import program_cache
from sdgen.batch.outcomes import KEPT, Note, Outcome, Planned
from sdgen.batch.policy import Policy
from sdgen.batch.renderer import Renderer
from sdgen.batch.request_queue import RequestQueue
from sdgen.batch.store import Store
from sdgen.batch.tasks import Rejected, Task
from sdgen.cli import error_messages, variables
from sdgen.cli.session import Session
from sdgen.cli.terminal import streams
from sdgen.cli.terminal.progress import Display
from sdgen.errors import ExitCode, InputError, OutputError, SdgenError
from sdgen.images.image_files import Output
from sdgen.images.metadata import encode
from sdgen.request import Request

if TYPE_CHECKING:
    from sdgen.batch.recording import RecordingStore
    from sdgen.cli.film import Film
    from sdgen.cli.sheet import Sheet
    from sdgen.images.image import Image
    from sdgen.pipeline.engine import Engine

_UNKNOWN_SIDE = 768
"""Pixels of a side that is the model's own choice, when estimating the space that images need."""

_BESIDE_PIXELS = 65_536
"""Bytes that a file may need beyond its pixels: its text and its sidecar."""


class Run(Session):
    """What ``sdgen draw`` and ``sdgen batch`` have in common.

    Args:
        values: settled options.
        policy: how to draw.
        output, display: as for ``Session``.
        sheet: takes what is stored; written at the end of a run that no signal ends.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        policy: Policy,
        output: Output | None,
        display: Display,
        sheet: Sheet | None = None,
    ) -> None:
        super().__init__(0, output, display)
        self.values, self.policy, self.sheet = values, policy, sheet
        self.film: Film | None = None
        self.records: RecordingStore | None = None
        self._said: set[str] = set()

    def __call__(self, feed: RequestQueue, store: Store) -> int:
        """Draw what the feed has; the exit status."""
        for sentence in variables.warnings():
            self.display.warn(sentence)
        if not self.values["verbose"]:
            streams.drop_library_noise()
        return self.carry_out(lambda: self._draw(feed, store))

    def finish(self) -> None:
        """Write the contact sheet and the animation that are asked for; bound the programs that are kept."""
        program_cache.trim(self.values["cache_limit"])
        self._tell_of_records()
        for what, gathered in (("contact sheet", self.sheet), ("animation", self.film)):
            if gathered is None:
                continue
            try:
                gathered.write()
                if gathered.written:
                    self.display.say(f"{what}: {gathered.path}")
            except SdgenError as error:
                self.report.ended = self.report.ended or ExitCode.SOME_FAILED
                self.display.error(f"no {what}: {error_messages.explain(error)[0]}")

    def _tell_of_records(self) -> None:
        """Say where the record of the one picture is, and which records are missing."""
        if self.records is None:
            return
        if self.report.planned == 1:
            for path in self.records.written:
                self.display.say(f"record: {path}")
        for sentence in self.records.failures:
            self.report.ended = self.report.ended or ExitCode.SOME_FAILED
            self.display.error(sentence)

    def rejected(self, rejected: Rejected) -> None:
        """React to something in the input that cannot be drawn."""
        raise InputError(rejected.message)

    def planned(self, event: Planned) -> None:
        """React to a model being loaded."""
        self.display.start(event.steps, self.report.planned)

    def failed(self, outcome: Outcome, sentence: str) -> None:
        """Say why one image is missing."""
        self.display.error(f"{told(outcome)}: {sentence}")

    def summarise(self) -> None:
        """Say what became of everything."""
        if self.report.planned > 1 or self.report.stopped or self.report.drawn:
            self.display.say(self.report.summary(self.seconds()))

    def _draw(self, feed: RequestQueue, store: Store) -> None:
        renderer = Renderer(lambda model: self._load(model, feed), store, self.policy, self.stopping)
        for event in renderer.run(feed):
            if isinstance(event, Rejected):
                self.rejected(event)
            elif isinstance(event, Note):
                self.display.say(event.text)
            elif isinstance(event, Planned):
                self.planned(event)
            elif isinstance(event, Outcome):
                self.interrupts.nothing_to_keep = False
                self._take(event)
            else:
                self.interrupts.nothing_to_keep = False
                self.display.advance(event.step, event.steps, event.images)
                if event.view is not None:
                    self.display.picture(event.view.colours)

    def _load(self, model: str, feed: RequestQueue) -> Engine:
        from sdgen.pipeline.opening import opened

        values = self.values
        named: Sequence[tuple[Path, tuple[float, float]]] = ()
        known = feed.tasks if feed.tasks is not None else [feed.head(wait=False)]
        requests = [task.request for task in known if isinstance(task, Task)]
        if not models.find(model).weightless:
            from sdgen.prompts import prompt_loras

            named = prompt_loras.named(request for request in requests if request.model == model)
            self.display.loading(model)
        # No backend is not "auto": KERAS_BACKEND then has a say.
        return opened(
            model,
            backend=values["backend"],
            dtype=None if values["dtype"] == "auto" else values["dtype"],
            device=None if values["device"] == "auto" else values["device"],
            engine=values["engine"],
            vae=values["vae"],
            loras=(*values["lora"], *named),
            embeddings=values["embedding"],
            variant=values["variant"],
            prediction_type=values["prediction"],
            low_memory=bool(values["low_memory"]),
        )

    def _take(self, outcome: Outcome) -> None:
        """Count what became of an image, and say where it is."""
        sentence = None
        if outcome.error is not None:
            sentence = error_messages.explain(outcome.error)[0]
        if outcome.status == KEPT:
            self.display.skip_image(outcome.request.steps_run)
        else:
            self.display.finish_image(outcome.request.steps_run)
        for warning in outcome.warnings:
            if warning not in self._said:
                self._said.add(warning)
                self.display.warn(warning)
        self.report.count(outcome.status)
        for gathered in (self.sheet, self.film):
            if gathered is not None:
                gathered.add(outcome)
        with self.display.aside():
            if self.values["json"]:
                described = describe(outcome, sentence)
                if self.records is not None:
                    record = self.records.record(outcome.saved)
                    described["record"] = None if record is None else os.fspath(record)
                self.results.line(json.dumps(described))
            elif outcome.saved is not None:
                self.results.line(outcome.saved.path)
        # An OutputError ends the run, which says so.
        if sentence is not None and not isinstance(outcome.error, OutputError):
            self.failed(outcome, sentence)


def describe(outcome: Outcome, error: str | None) -> dict[str, Any]:
    """What ``--json`` prints of an image."""
    saved, request = outcome.saved, outcome.request
    return {
        "status": outcome.status,
        "path": os.fspath(saved.path) if saved else None,
        "sidecar": os.fspath(saved.sidecar) if saved and saved.sidecar else None,
        "prompt": request.prompt,
        "seed": request.seed,
        "steps": request.steps,
        **({"steps_run": request.steps_run} if request.steps not in (None, request.steps_run) else {}),
        "seconds": round(outcome.seconds, 3),
        "warnings": list(outcome.warnings),
        "error": error,
        **({"source": outcome.task.source} if outcome.task.source else {}),
    }


def told(outcome: Outcome) -> str:
    """Which image it is: where it comes from, and its seed; a picture that is enlarged is of its file."""
    source, seed = outcome.task.source, f"seed {outcome.request.seed}"
    if not source:
        return seed
    return source if outcome.request.upscale is not None else f"{source}, {seed}"


def write_image(results: streams.Results, image: Image, values: Mapping[str, Any]) -> None:
    """Write an image's bytes, to stdout, with text in them unless --no-metadata is set."""
    assert image.pixels is not None
    request = None if values["no_metadata"] else image.request
    results.data(encode(image.pixels, values["format"] or "png", request, image.details))


def space(request: Request) -> int:
    """Bytes that an image may need, at most."""
    unknown = {"width": request.width or _UNKNOWN_SIDE, "height": request.height or _UNKNOWN_SIDE}
    width, height = request.stored_size or request.replace(**unknown).stored_size or (0, 0)
    return 3 * width * height + _BESIDE_PIXELS


def show_licence(model: str, display: Display) -> None:
    """Say under which licence a model is, the first time that it is used."""
    if not display.quiet and (licence := models.licence_notice(models.find(model))):
        display.say(licence)
