"""A pipeline that draws gradients at once, for tests of the command around it.

Words in a prompt make it misbehave: "broken" gives no image, "long" a warning, "slow" takes a while, "stuck"
takes for ever between two steps, "noisy" prints, "abort" dies, and "crash", "refuse", "starve" and "exhaust"
raise. The device "slow to load" is. ``python stand_in.py ARGUMENTS`` is sdgen with this pipeline.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import sdgen
from sdgen import models
from sdgen.errors import BackendError, ImageError
from sdgen.pipeline import Image, Progress
from sdgen.request import Request

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


class Pipeline:
    def resolve(self, request: Request) -> Request:
        return request.replace(
            steps=request.steps or 4,
            guidance=request.guidance or 5.0,
            sampler=request.sampler or "ddim",
            schedule=request.schedule or "normal",
            width=request.width or 64,
            height=request.height or 64,
        )

    def stream(
        self, requests: Sequence[Request], batch_size: int | None = None
    ) -> Iterator[Progress | Image]:
        for request in requests:
            if "crash" in request.prompt:
                raise RuntimeError("this should not happen")
            if "refuse" in request.prompt:
                raise BackendError("this device cannot draw it")
            if "starve" in request.prompt:
                raise MemoryError
            if "exhaust" in request.prompt:
                raise RuntimeError("RESOURCE_EXHAUSTED: out of memory while allocating 4 GiB")
            if "abort" in request.prompt:
                os.write(2, b"F0000 fatal: no way on\n")
                os.abort()
            if "noisy" in request.prompt:
                make_noise()
            for step in range(request.steps or 0):
                if "slow" in request.prompt:
                    time.sleep(0.2)
                if "stuck" in request.prompt and step == 1:
                    print("stuck", file=sys.stderr, flush=True)
                    time.sleep(60)
                yield Progress(step + 1, request.steps or 0, 1)
            if "broken" in request.prompt:
                yield Image(request, None, 0.5, ImageError("the image came out black"))
            else:
                warnings = ("the prompt was cut after 'fox'",) if "long" in request.prompt else ()
                yield Image(request, draw(request), 0.5, None, warnings, dict(DETAILS))


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
        time.sleep(60)
    return Pipeline()


if __name__ == "__main__":
    vars(sdgen)["load"] = load
    from sdgen.__main__ import main

    main()
