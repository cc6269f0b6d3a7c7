"""One run of ``sdgen compare``: every method enlarges every picture; a table, and a sheet at the end."""

from __future__ import annotations

import gc
import itertools
import json
import math
import statistics
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdgen.batch import trial
from sdgen.batch.trial import Result, Trial
from sdgen.cli import compare_sheet, error_messages
from sdgen.cli.compare_methods import Method
from sdgen.cli.run import show_licence
from sdgen.cli.session import Session
from sdgen.cli.terminal import streams
from sdgen.cli.terminal.progress import Display
from sdgen.errors import ImageError, OutputError, SdgenError
from sdgen.request import Request
from sdgen.text.printable import printable

if TYPE_CHECKING:
    from sdgen.images.image import Image
    from sdgen.pipeline.engine import Engine

_AT_ONCE = 16
"""Pictures that are held in memory, to be enlarged one after the other."""


class Comparing(Session):
    """One run.

    Args:
        trials: the pictures.
        methods: in the order of the sheet.
        display: messages.
        values: the options.
        sheet: the sheet's file; None for none.
        as_json: print objects.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        methods: Sequence[Method],
        display: Display,
        values: Mapping[str, Any],
        sheet: Path | None,
        as_json: bool,
    ) -> None:
        super().__init__(len(trials) * len(methods), None, display)
        self.trials, self.methods, self.values = trials, methods, values
        self.sheet, self.as_json = sheet, as_json
        self._results: dict[tuple[Path, str], Result] = {}
        self._width = max(len(printable(method.name)) for method in methods)

    def __call__(self) -> int:
        """Enlarge and compare; the exit status."""
        return self.carry_out(self._compare)

    def summarise(self) -> None:
        """The means of several pictures, and how many results there are."""
        if len(self.trials) > 1 and any(result.psnr is not None for result in self._made()):
            for method in self.methods:
                made = [result for result in self._made() if result.method == method.name]
                if made:
                    self.display.say(self._line(method.name, *means(made), f"mean of {len(made)}"))
        if self.report.drawn < self.report.planned:
            self.display.say(self.report.summary(self.seconds()))

    def _compare(self) -> None:
        try:
            for method in self.methods:
                if not self.stopping():
                    self._enlarge_all(method)
                    gc.collect()  # The next model needs the memory: see sdgen.batch.renderer.
        finally:
            # Also after a signal, or an error: what is finished took its time.
            self.display.stop()
            if self.sheet is not None and self.report.drawn:
                self._write(self.sheet)

    def _write(self, sheet: Path) -> None:
        compare_sheet.write(sheet, self.trials, self.methods, self._results, not self.values["no_metadata"])
        if not self.as_json:
            self.results.line(sheet)

    def _enlarge_all(self, method: Method) -> None:
        """Load one model and enlarge every picture with it; what fails costs one picture."""
        import sdgen

        if method.draws:
            self.display.loading(method.name)
            show_licence(method.model, self.display)
        try:
            engine = sdgen.load(method.model, **self._loading())
        except SdgenError as error:
            for each in self.trials:
                self._fail(method, each, error)
            return
        self.display.loaded()
        for some in _in_parts(self.trials):
            if self.stopping():
                return
            self._enlarge(engine, method, deque(self._requests(engine, method, some)))

    def _loading(self) -> dict[str, Any]:
        named = {name: self.values[name] for name in ("backend", "dtype", "device")}
        named["dtype"] = None if named["dtype"] == "auto" else named["dtype"]
        return {**named, "low_memory": self.values["low_memory"]}

    def _defaults(self, method: Method) -> dict[str, Any]:
        """One seed for all that draw, so that a comparison comes out the same again."""
        return {"prompt": "", **({"seed": 0} if method.draws else {})}

    def _requests(
        self, engine: Engine, method: Method, trials: Sequence[Trial]
    ) -> Iterator[tuple[Trial, Request]]:
        for each in trials:
            try:
                request = Request(
                    **{**self._defaults(method), **method.settings(self.values)},
                    init_image=each.start(),
                    upscale=each.scale,
                    model=method.model,
                )
                yield each, engine.resolve(request)
            except SdgenError as error:
                self._fail(method, each, error)

    def _enlarge(self, engine: Engine, method: Method, left: deque[tuple[Trial, Request]]) -> None:
        from sdgen import Progress

        while left and not self.stopping():
            self.display.start(sum(request.steps_run for _, request in left), self.report.planned)
            try:
                for event in engine.stream([request for _, request in left], batch_size=1):
                    if not isinstance(event, Progress):
                        self._take(method, left[0][0], event)
                        left.popleft()
                    elif self.stopping():
                        return
                    else:
                        self.display.advance(event.step, event.steps, event.images)
            except (OutputError, streams.ClosedPipe):
                raise
            except Exception as error:
                self._fail(method, left.popleft()[0], error)

    def _take(self, method: Method, one: Trial, image: Image) -> None:
        """Measure a picture, and say what was found."""
        self.display.finish_image(image.request.steps_run)
        try:
            result = trial.measure(one, method.name, method.model, image)
        except ImageError as error:
            self._fail(method, one, error)
            return
        for warning in image.warnings:
            self.display.warn(warning)
        self.interrupts.nothing_to_keep = False
        if not self.report.drawn:
            self.display.say(f"{'method':{self._width}}  PSNR, dB    SSIM  seconds  picture")
        self.report.drawn += 1
        self._add(result)
        seconds = 0.0 if result.seconds is None else result.seconds
        self.display.say(self._line(method.name, result.psnr, result.ssim, seconds, one.name))

    def _fail(self, method: Method, one: Trial, error: Exception) -> None:
        sentence, status = error_messages.explain(error)
        self.report.failed += 1
        # The first gives the status where nothing could be enlarged.
        self.report.ended = self.report.ended or status
        self.display.error(f"{printable(method.name)}, {one.name}: {sentence}")
        self._add(Result(one, method.name, method.model, error=printable(sentence)))

    def _add(self, result: Result) -> None:
        self._results[result.trial.file, result.method] = result
        if self.as_json:
            with self.display.aside():
                self.results.line(json.dumps(result.to_dict()))

    def _made(self) -> list[Result]:
        return [result for result in self._results.values() if result.error is None]

    def _line(self, method: str, psnr: float | None, ssim: float | None, seconds: float, of: str) -> str:
        """A row of the table."""
        figures = "-" if psnr is None else "same" if math.isinf(psnr) else f"{psnr:.2f}"
        similar = "-" if ssim is None else f"{ssim:.4f}"
        return f"{printable(method):{self._width}}  {figures:>8}  {similar:>6}  {seconds:7.2f}  {of}"


def means(results: Sequence[Result]) -> tuple[float | None, float | None, float]:
    """The means of PSNR, over the results where it is finite, of SSIM and of seconds."""
    psnr = [result.psnr for result in results if result.psnr is not None and math.isfinite(result.psnr)]
    ssim = [result.ssim for result in results if result.ssim is not None]
    return (
        statistics.fmean(psnr) if psnr else None,
        statistics.fmean(ssim) if ssim else None,
        statistics.fmean(result.seconds or 0.0 for result in results),
    )


def _in_parts(trials: Sequence[Trial]) -> Iterator[Sequence[Trial]]:
    waiting = iter(trials)
    while some := list(itertools.islice(waiting, _AT_ONCE)):
        yield some
