"""One run of a drawing command: loading, drawing, results, signals, and the exit status."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sdgen import models
from sdgen.cli import edge, interrupts, streams
from sdgen.cli.progress import Display
from sdgen.errors import InputError, OutputError
from sdgen.outcomes import KEPT, Note, Outcome, Planned
from sdgen.output import Output
from sdgen.render import Policy, Renderer
from sdgen.report import Report
from sdgen.request import Request
from sdgen.stores import Store
from sdgen.tasks import Feed, Rejected

if TYPE_CHECKING:
    from sdgen.pipeline import Pipeline

CLOSED_PIPE = 141
"""The status that a shell gives for a command ended by SIGPIPE; ours when stdout's reader has gone."""

_UNKNOWN_SIDE = 768
"""Pixels of a side that is the model's own choice, when estimating the space that images need."""

_BESIDE_PIXELS = 65_536
"""Bytes that a file may need beyond its pixels: its text and its sidecar."""


class Run:
    """What ``sdgen draw`` and ``sdgen batch`` have in common.

    Args:
        values: settled options.
        policy: how to draw.
        output: the folder that images go to; None for stdout.
        display: messages.

    Attributes:
        report: counts, and the exit status.
        interrupts: takes signals.
        results: the run's stdout.
    """

    results: streams.Results

    def __init__(
        self, values: Mapping[str, Any], policy: Policy, output: Output | None, display: Display
    ) -> None:
        self.values, self.policy, self.output, self.display = values, policy, output, display
        self.report = Report(0)
        self.interrupts = interrupts.Interrupts(self._leave)
        self._started = time.monotonic()
        self._said: set[str] = set()

    def __call__(self, feed: Feed, store: Store) -> int:
        """Draw what the feed has; the exit status."""
        if not self.values["verbose"]:
            streams.drop_library_noise()
        with interrupts.watched(self.interrupts), streams.results() as self.results:
            try:
                self._draw(feed, store)
            except streams.ClosedPipe:
                return CLOSED_PIPE
            except Exception as error:
                sentence, self.report.ended = edge.explain(error)
                self.display.stop()
                self.display.error(sentence)
            finally:
                self.display.stop()
            self.report.stopped = self.interrupts.received
            try:
                self.summarise()
            except streams.ClosedPipe:
                return CLOSED_PIPE
            return self.report.exit_code

    def stopping(self) -> bool:
        """Whether a signal has come."""
        return self.interrupts.received is not None

    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._started

    def rejected(self, rejected: Rejected) -> None:
        """React to something in the input that cannot be drawn."""
        raise InputError(rejected.message)

    def planned(self, event: Planned) -> None:
        """React to a model being loaded."""
        self.display.start(event.steps, self.report.planned)

    def failed(self, outcome: Outcome, sentence: str) -> None:
        """Say why one image is missing."""
        self.display.error(f"seed {outcome.request.seed}: {sentence}")

    def summarise(self) -> None:
        """Say what became of everything."""
        if self.report.planned > 1 or self.report.stopped or self.report.drawn:
            self.display.say(self.report.summary(self.seconds()))

    def _draw(self, feed: Feed, store: Store) -> None:
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

    def _load(self, model: str, feed: Feed) -> Pipeline:
        import sdgen
        from sdgen import prompt_loras

        values = self.values
        known = feed.tasks if feed.tasks is not None else [feed.head(wait=False)]
        requests = [task.request for task in known if task and not isinstance(task, Rejected)]
        named = prompt_loras.named(request for request in requests if request.model == model)
        self.display.say(f"loading {model}")
        # No backend is not "auto": KERAS_BACKEND then has a say.
        return sdgen.load(
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
        )

    def _take(self, outcome: Outcome) -> None:
        """Count what became of an image, and say where it is."""
        sentence = None
        if outcome.error is not None:
            sentence = edge.explain(outcome.error)[0]
        if outcome.status == KEPT:
            self.display.skip_image(outcome.request.steps or 0)
        else:
            self.display.finish_image(outcome.request.steps or 0)
        for warning in outcome.warnings:
            if warning not in self._said:
                self._said.add(warning)
                self.display.warn(warning)
        self.report.count(outcome.status)
        with self.display.aside():
            if self.values["json"]:
                self.results.line(json.dumps(describe(outcome, sentence)))
            elif outcome.saved is not None:
                self.results.line(outcome.saved.path)
        # An OutputError ends the run, which says so.
        if sentence is not None and not isinstance(outcome.error, OutputError):
            self.failed(outcome, sentence)

    def _leave(self, number: signal.Signals) -> None:
        self.report.stopped = number
        if self.output is not None:
            self.output.abandon()
        self.display.stop()
        self.summarise()
        interrupts.leave(self.report.exit_code)


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
        "seconds": round(outcome.seconds, 3),
        "warnings": list(outcome.warnings),
        "error": error,
        **({"source": outcome.task.source} if outcome.task.source else {}),
    }


def space(request: Request) -> int:
    """Bytes that an image may need, at most."""
    width, height = request.width or _UNKNOWN_SIDE, request.height or _UNKNOWN_SIDE
    return 3 * width * height + _BESIDE_PIXELS


def show_licence(model: str, display: Display) -> None:
    """Say under which licence a model is, the first time that it is used."""
    if not display.quiet and (licence := models.licence_notice(models.find(model))):
        display.say(licence)
