"""``sdgen draw``, which is also what ``sdgen PROMPT`` runs."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from sdgen import models
from sdgen.cli import edge, interrupts, plan, streams
from sdgen.cli.command import Command
from sdgen.cli.options import drawing_options
from sdgen.cli.progress import Display
from sdgen.errors import OutputError, SdgenError
from sdgen.metadata import encode
from sdgen.output import Output, Saved
from sdgen.report import Report
from sdgen.request import Request

if TYPE_CHECKING:
    from sdgen.pipeline import Image, Pipeline

CLOSED_PIPE = 141
"""The status that a shell gives for a command ended by SIGPIPE; ours when stdout's reader has gone."""

_UNKNOWN_SIDE = 768
"""Pixels of a side that is the model's own choice, when estimating the space that images need."""

_BESIDE_PIXELS = 65_536
"""Bytes that a file may need beyond its pixels: its text and its sidecar."""

EXAMPLES = """\
sdgen "a red heart" --model mini
sdgen "a red fox in the snow" --steps 50 --seed 7
sdgen "a lighthouse" "a harbour at night" -n 4 --size 768x512 -o sea/
sdgen "a blue fish" --model mini -o fish.png
echo "a panda" | sdgen - --model mini -o - > panda.png
sdgen "an owl" --sampler dpmpp-2m --schedule karras --json | jq -r .path"""

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
@click.argument("prompts", metavar="PROMPT...", nargs=-1, required=True)
@drawing_options
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Draw a picture of each PROMPT and print its path.

    The prompt - is read from stdin, the whole text being one prompt. -- ends the options, so that a
    prompt may begin with a dash.
    """
    values = plan.settle(ctx)
    edge.set_verbose(values["verbose"])
    model = values["model"] or models.DEFAULT
    requests = plan.requests(values, model)
    output = plan.destination(values)
    entry = models.find(model)
    models.locate(model)
    if output is not None:
        output.prepare(len(requests), max(_space(request) for request in requests))

    display = Display(quiet=values["quiet"])
    if not values["quiet"] and (licence := models.licence_notice(entry)):
        display.say(licence)
    if values["seed"] is None:
        seeds = f"seed {requests[0].seed}"
        display.say(seeds if values["count"] == 1 else f"{seeds} to {requests[-1].seed}")
    run = Run(model, requests, output, values["format"] or "png", display)
    if not values["verbose"]:
        streams.drop_library_noise()
    with interrupts.watched(run.interrupts), streams.results() as run.results:
        return run(values)


class Run:
    """One run of the command, from loading the model to the exit status.

    Args:
        model: the model's name.
        requests: what to draw.
        output: where images go; None for stdout.
        format: of an image that goes to stdout.
        display: messages.
    """

    results: streams.Results

    def __init__(
        self, model: str, requests: Sequence[Request], output: Output | None, format: str, display: Display
    ) -> None:
        self.model = model
        self.requests = requests
        self.output = output
        self.format = format
        self.display = display
        self.report = Report(len(requests))
        self.interrupts = interrupts.Interrupts(self._leave)
        self._started = time.monotonic()
        self._said: set[str] = set()

    def __call__(self, values: dict[str, Any]) -> int:
        """Draw with the settled options ``values``; the exit status."""
        try:
            self._draw(self._load(values), values["batch_size"], values["json"])
        except streams.ClosedPipe:
            return CLOSED_PIPE
        except Exception as error:
            sentence, self.report.ended = edge.explain(error)
            self.display.stop()
            self.display.error(sentence)
        finally:
            self.display.stop()
        self.report.stopped = self.interrupts.received
        self._summarise()
        return self.report.exit_code

    def _load(self, values: dict[str, Any]) -> Pipeline:
        import sdgen

        self.display.say(f"loading {self.model}")
        # No backend is not "auto": KERAS_BACKEND then has a say.
        return sdgen.load(
            self.model,
            backend=values["backend"],
            dtype=None if values["dtype"] == "auto" else values["dtype"],
            device=None if values["device"] == "auto" else values["device"],
            engine=values["engine"],
            vae=values["vae"],
            loras=values["lora"],
            embeddings=values["embedding"],
            variant=values["variant"],
            prediction_type=values["prediction"],
        )

    def _draw(self, pipeline: Pipeline, batch_size: int | None, as_json: bool) -> None:
        from sdgen import Progress

        requests = [pipeline.resolve(request) for request in self.requests]
        self.display.start(sum(request.steps or 0 for request in requests), len(requests))
        for event in pipeline.stream(requests, batch_size=batch_size):
            self.interrupts.nothing_to_keep = False
            if not isinstance(event, Progress):
                self._take(event, as_json)
            elif self.interrupts.received:
                break
            else:
                self.display.advance(event.step, event.steps, event.images)

    def _take(self, image: Image, as_json: bool) -> None:
        """Store a finished image, count it and say where it is."""
        saved: Saved | None = None
        error: SdgenError | None = image.error
        failure: OutputError | None = None
        if error is None:
            try:
                saved = self._store(image)
            except OutputError as problem:
                error = failure = problem
        self.display.finish_image(image.request.steps or 0)
        for warning in image.warnings:
            if warning not in self._said:
                self._said.add(warning)
                self.display.warn(warning)
        if error is None:
            self.report.drawn += 1
        else:
            self.report.failed += 1
        with self.display.aside():
            if as_json:
                self.results.line(json.dumps(describe(image, saved, error)))
            elif saved is not None:
                self.results.line(saved.path)
        # A full disk is as full for the next image: the run ends.
        if failure is not None:
            raise failure
        if error is not None:
            self.display.error(f"seed {image.request.seed}: {error}")

    def _store(self, image: Image) -> Saved | None:
        if self.output is not None:
            return self.output.save(image)
        assert image.pixels is not None
        self.results.data(encode(image.pixels, self.format, image.request, image.details))
        return None

    def _summarise(self) -> None:
        if self.report.planned > 1 or self.report.stopped or self.report.drawn:
            self.display.say(self.report.summary(time.monotonic() - self._started))

    def _leave(self, number: signal.Signals) -> None:
        self.report.stopped = number
        if self.output is not None:
            self.output.abandon()
        self.display.stop()
        self._summarise()
        interrupts.leave(self.report.exit_code)


def describe(image: Image, saved: Saved | None, error: SdgenError | None) -> dict[str, Any]:
    """What ``--json`` prints of an image."""
    return {
        "status": "drawn" if error is None else "failed",
        "path": os.fspath(saved.path) if saved else None,
        "sidecar": os.fspath(saved.sidecar) if saved and saved.sidecar else None,
        "prompt": image.request.prompt,
        "seed": image.request.seed,
        "steps": image.request.steps,
        "seconds": round(image.seconds, 3),
        "warnings": list(image.warnings),
        "error": None if error is None else str(error),
    }


def _space(request: Request) -> int:
    width, height = request.width or _UNKNOWN_SIDE, request.height or _UNKNOWN_SIDE
    return 3 * width * height + _BESIDE_PIXELS
