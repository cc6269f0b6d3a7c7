"""A pipeline that draws gradients at once, for tests of the command around it.

Words in a prompt make it misbehave: "broken" gives no image, "long" a warning, "slow" takes a while, "stuck"
takes for ever between two steps, "held" says so and waits there for a file ``go``, "noisy" prints, "abort"
dies, "crash", "refuse", "starve" and "exhaust" raise, and so does "hungry" where more than two are drawn at
once. The device "slow to load" is.
``python stand_in.py ARGUMENTS`` is sdgen with this pipeline; it says when it has taken a signal.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

import sdgen
from sdgen import models
from sdgen.checkpoints.families.linear_decoder import linear_decoder
from sdgen.errors import BackendError, ImageError, InputError
from sdgen.images.image import Image
from sdgen.pipeline.engine import Engine
from sdgen.pipeline.results import Denoised, Job, Progress
from sdgen.pipeline.watching import View, Watch
from sdgen.request import Request

REQUEST = Request(
    prompt="a red fox",
    negative_prompt="blurry",
    seed=7,
    steps=20,
    guidance=7.5,
    sampler="dpmpp-2m",
    schedule="karras",
    width=64,
    height=32,
    model="mini",
)
"""One that the pipeline would not change."""

DETAILS = {
    "model": "mini",
    "weights_sha256": "ab" * 32,
    "backend": "tensorflow",
    "device": "cpu:0",
    "dtype": "float32",
    "engine": "sdgen",
    "batch_size": 1,
    "encode_seconds": 0.1,
    "denoise_seconds": 0.3,
    "decode_seconds": 0.1,
}


class Pipeline(Engine):
    engine, compilations, size_multiple = "sdgen", 0, 8
    entry = models.find("mini")
    checkpoint: Any = types.SimpleNamespace(
        vae=types.SimpleNamespace(config={"latent_channels": 4, "scaling_factor": 0.18215})
    )
    dtype, device, backend, low_memory = "float32", "cpu:0", "tensorflow", False

    def resolve(self, request: Request) -> Request:
        if request.width == 104:
            raise InputError("width 104 is not a multiple of 32", "width")
        return request.replace(
            steps=request.steps or 4,
            guidance=5.0 if request.guidance is None else request.guidance,
            sampler=request.sampler or "ddim",
            schedule=request.schedule or "normal",
            width=request.width or 64,
            height=request.height or 64,
        )

    def batch_limit(self, asked: int | None = None) -> int:
        super().batch_limit(asked)
        return asked or 1

    def pays_to_compile(self, requests: Iterable[Request], batch_size: int | None = None) -> bool:
        return False

    def in_float32(self) -> None:
        return None

    def read(self, request: Request) -> Job:
        request = self.resolve(request)
        return Job(request, (request.height, request.width))

    def draw(
        self, jobs: Sequence[Job], size: int, jit: bool, watch: Watch | None = None
    ) -> Iterator[Progress | Denoised]:
        requests = [job.request for job in jobs]
        prompts = " ".join(request.prompt for request in requests)
        steps = max(request.steps or 0 for request in requests)
        if "crash" in prompts:
            raise RuntimeError("this should not happen")
        if "refuse" in prompts:
            raise BackendError("this device cannot draw it")
        if "starve" in prompts:
            raise MemoryError
        if "exhaust" in prompts or ("hungry" in prompts and size > 2):
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory while allocating 4 GiB")
        if "abort" in prompts:
            os.write(2, b"F0000 fatal: no way on\n")
            os.abort()
        if "noisy" in prompts:
            make_noise()
        for step in range(steps):
            if "slow" in prompts:
                time.sleep(0.2)
            if "stuck" in prompts and step == 1:
                print("stuck", file=sys.stderr, flush=True)
                time.sleep(60)
            if "held" in prompts and step == 1:
                print("held", file=sys.stderr, flush=True)
                while not os.path.exists("go"):
                    time.sleep(0.01)
                    yield Progress(step, steps, len(jobs))
            yield Progress(step + 1, steps, len(jobs), view_of(requests, step + 1) if watch else None)
        yield Denoised(tuple(jobs), None, 0.5, {"batch_size": len(jobs)})

    def decode(self, batch: Denoised) -> Iterator[Image]:
        for job in batch.jobs:
            yield finish(job.request, batch.details["batch_size"])


def view_of(requests: Sequence[Request], step: int) -> View:
    """Latents that get brighter with each step, and estimates that get darker."""
    of = tuple(request.steps or 0 for request in requests)
    steps = tuple(min(step, each) for each in of)
    shape = (requests[0].height or 64) // 8, (requests[0].width or 64) // 8, 4
    latents = np.stack(
        [np.full(shape, done / each, np.float32) for done, each in zip(steps, of, strict=True)]
    )
    decoder = linear_decoder({"latent_channels": 4, "scaling_factor": 0.18215})
    assert decoder is not None
    return View(steps, of, latents, -latents, decoder)


def finish(request: Request, batch_size: int) -> Image:
    """What the pipeline gives for a request in the end."""
    if "broken" in request.prompt:
        return Image(request, None, 0.5, ImageError("the image came out black"))
    warnings = ("the prompt was cut after 'fox'",) if "long" in request.prompt else ()
    return Image(request, draw(request), 0.5, None, warnings, {**DETAILS, "batch_size": batch_size})


def make_noise() -> None:
    """Print as libraries do."""
    print("printed by Python")
    libc = ctypes.CDLL(None)
    libc.puts(b"printed by C")
    os.write(2, b"I0000 00:00:1795381923.166331    9158 port.cc:153] oneDNN custom operations are on.\n")


def draw(request: Request) -> np.ndarray:
    """A gradient whose colour is the seed's, uint8 (height, width, 3)."""
    width, height = request.width or 64, request.height or 64
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width, dtype=np.uint8)
    pixels[..., 1] = np.linspace(0, 255, height, dtype=np.uint8)[:, None]
    pixels[..., 2] = request.seed % 256
    return pixels


def load(model: str, **options: Any) -> Pipeline:
    """Takes what ``sdgen.load`` takes."""
    models.locate(model)
    if options["device"] == "slow to load":
        print("held while loading", file=sys.stderr, flush=True)
        time.sleep(60)
    return Pipeline()


def tell_of_signals() -> None:
    """Say of each signal that it has been taken."""
    from sdgen.cli.terminal.interrupts import Interrupts

    take = Interrupts.take

    def told(interrupts: Interrupts, number: int) -> None:
        take(interrupts, number)
        print("signal taken", file=sys.stderr, flush=True)

    Interrupts.take = told  # type: ignore[method-assign]


if __name__ == "__main__":
    vars(sdgen)["load"] = load
    tell_of_signals()
    from sdgen.__main__ import main

    main()
