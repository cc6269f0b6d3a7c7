"""The measurements of ``sdgen bench``: first pictures in new processes, batches in this one."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdgen.cli.prompts_needed import some_prompt
from sdgen.errors import SdgenError
from sdgen.request import Request

if TYPE_CHECKING:
    from sdgen.images.image import Image
    from sdgen.pipeline.pipeline import Pipeline

RANDOM = ("random-sd1.5", "random-sd2.1")
"""Models of ``random_models``: full size, random weights."""

_PROMPT = "a red heart, number {}"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        model: what ``sdgen.load`` takes, or a name of ``RANDOM``.
        backend, dtype, device: as ``sdgen.load`` takes them.
        width, height: of the pictures; None for the model's own.
        steps: of each picture; None for the model's own.
        guided: with classifier-free guidance, two network evaluations a step.
        batch_sizes: images at once.
        repeats: runs of each batch size, of which the median counts.
        start: also draw a first picture in new processes, with nothing compiled and with all of it.
    """

    model: str
    backend: str | None = None
    dtype: str | None = None
    device: str | None = None
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guided: bool = True
    batch_sizes: tuple[int, ...] = (1,)
    repeats: int = 3
    start: bool = True

    def request(self, number: int) -> Request:
        """The request of one picture; its prompt and seed are its own."""
        return Request(
            prompt=some_prompt(self.model, _PROMPT.format(number), number),
            seed=number,
            width=self.width,
            height=self.height,
            steps=self.steps,
            guidance=None if self.guided else 1.0,
        )


def load(settings: Settings) -> Pipeline:
    """The pipeline to measure.

    Raises:
        SdgenError: as ``sdgen.load`` does.
    """
    from sdgen.pipeline import loading
    from sdgen.pipeline.pipeline import Pipeline

    if settings.model not in RANDOM:
        loaded = loading.load(
            settings.model, backend=settings.backend, dtype=settings.dtype, device=settings.device
        )
        assert isinstance(loaded, Pipeline)  # There is no other engine to choose here.
        return loaded
    device, dtype = loading.activate(settings.backend, settings.device, settings.dtype)
    from sdgen.cli.benchmark import random_models

    return Pipeline(
        random_models.open_random(settings.model), random_models.entry(settings.model), dtype, device
    )


def run(settings: Settings, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Measures; ``say`` gets a line about each step.

    Raises:
        SdgenError: the model cannot be loaded or drawn with.
    """
    report: dict[str, Any] = {"model": settings.model}
    if settings.start:
        # First, as two processes may not fit on one accelerator.
        report["start"] = _starts(settings, say)
    say(f"loading {settings.model}")
    pipeline = load(settings)
    request = pipeline.resolve(settings.request(0))
    report |= {
        "backend": pipeline.backend,
        "device": pipeline.device,
        "dtype": pipeline.dtype,
        "width": request.width,
        "height": request.height,
        "steps": request.steps,
        "guided": settings.guided,
    }
    report["batches"] = [_batch(pipeline, settings, size, say) for size in settings.batch_sizes]
    from sdgen import backend
    from sdgen.cli.benchmark.ceiling import matmul_rate

    report["peak_memory_bytes"] = backend.peak_memory(pipeline.device)
    say("multiplying matrices")
    ceiling = matmul_rate(pipeline.device, pipeline.dtype)
    report["matmul_tflops"] = ceiling / 1e12
    for batch in report["batches"]:
        batch["fraction_of_matmul"] = batch["tflops"] * 1e12 / ceiling
    return report


def _batch(pipeline: Pipeline, settings: Settings, size: int, say: Callable[[str], None]) -> dict[str, Any]:
    say(f"compiling for batches of {size}")
    began = time.perf_counter()
    # Two steps run the same program as any other number.
    _draw(pipeline, [settings.request(n).replace(steps=2) for n in range(size)])
    first = time.perf_counter() - began
    runs = []
    for repeat in range(settings.repeats):
        say(f"batch of {size}, run {repeat + 1} of {settings.repeats}")
        start = 1000 * (repeat + 1)
        runs.append(_timed(pipeline, [settings.request(start + n) for n in range(size)]))
    seconds = statistics.median(run["total"] for run in runs)
    typical = min(runs, key=lambda run: abs(run["total"] - seconds))
    flops = _flops(pipeline, pipeline.resolve(settings.request(0)), size, settings.guided)
    steps = pipeline.resolve(settings.request(0)).steps_run
    return {
        "batch_size": size,
        "first_seconds": first,
        "seconds_per_image": seconds / size,
        "seconds_per_image_runs": [run["total"] / size for run in runs],
        "steps_per_second": steps / typical["denoise"],
        "seconds": typical,
        "tflop_per_image": flops / size / 1e12,
        "tflops": flops / seconds / 1e12,
    }


def _timed(pipeline: Pipeline, requests: Sequence[Request]) -> dict[str, float]:
    """Seconds of each part of one batch, and from the prompts to the pixels (``total``)."""
    from sdgen.images.metadata import encode

    began = time.perf_counter()
    images = _draw(pipeline, requests)
    total = time.perf_counter() - began
    began = time.perf_counter()
    for image in images:
        assert image.pixels is not None
        encode(image.pixels, "png", image.request, image.details)
    return {
        "total": total,
        "text": images[0].details["encode_seconds"],
        "denoise": images[0].details["denoise_seconds"],
        "decode": sum(image.details["decode_seconds"] for image in images),
        "png": time.perf_counter() - began,
    }


def _draw(pipeline: Pipeline, requests: Sequence[Request]) -> list[Image]:
    from sdgen.pipeline.results import Denoised

    jobs = [pipeline.read(request) for request in requests]
    images = [
        image
        for event in pipeline.draw(jobs, len(jobs), jit=True)
        if isinstance(event, Denoised)
        for image in pipeline.decode(event)
    ]
    for image in images:
        if image.error is not None:
            raise image.error
    return images


def _flops(pipeline: Pipeline, request: Request, size: int, guided: bool) -> int:
    """Floating-point operations of drawing a batch."""
    from sdgen.cli.benchmark.flops import decoder_flops, text_encoder_flops, unet_flops
    from sdgen.pipeline.sampler_tables import request_table

    assert request.height and request.width
    networks = pipeline.networks
    downsampling = networks.vae_config.downsampling
    height, width = request.height // downsampling, request.width // downsampling
    # Some samplers evaluate the network more often than once a step.
    checkpoint = pipeline.checkpoint
    table = request_table(checkpoint.scheduler, request, forced=checkpoint.family.forced)
    rows = len(table.timesteps)
    encoders = [networks.text_encoder.network] if checkpoint.family.text else []
    return size * (
        rows * unet_flops(networks.diffusion_model.network, height, width, guided=guided)
        + decoder_flops(networks.decoder.network, height, width)
        + sum(map(text_encoder_flops, encoders))
    )


def _starts(settings: Settings, say: Callable[[str], None]) -> dict[str, Any]:
    """First pictures of new processes: with an empty cache folder, then with what that one left there."""
    with tempfile.TemporaryDirectory() as folder:
        report = {}
        for name, what in (("cold", "with nothing compiled"), ("warm", "with what the last one compiled")):
            say(f"drawing a first picture {what}, in a new process")
            report[name] = _start(settings, folder)
    return report


def _start(settings: Settings, folder: str) -> dict[str, float]:
    picture = Path(folder, "picture.png")
    command = [
        sys.executable,
        "-m",
        "sdgen.cli.benchmark.first_picture",
        json.dumps(dataclasses.asdict(settings)),
        str(picture),
    ]
    environment: Mapping[str, str] = {**os.environ, "SDGEN_CACHE_DIR": folder}
    began = time.perf_counter()
    child = subprocess.run(command, env=environment, capture_output=True, text=True)
    total = time.perf_counter() - began
    if child.returncode or not picture.exists():
        words = child.stderr.strip().splitlines()
        raise SdgenError(f"the first picture failed: {words[-1] if words else child.returncode}")
    picture.unlink()
    parts: dict[str, float] = json.loads(child.stdout.splitlines()[-1])
    return {"total": total, **parts}
