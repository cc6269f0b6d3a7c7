"""The engine of the methods without weights: a picture enlarged by a filter, as ``sdgen.load("lanczos")``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from sdgen import backend as backends
from sdgen.errors import ImageError, InputError
from sdgen.images import ai_mark
from sdgen.images.image import Image, Pixels
from sdgen.models import Entry
from sdgen.pipeline.editing.filtering import enlarged
from sdgen.pipeline.engine import Engine
from sdgen.pipeline.results import Denoised, Job, Progress
from sdgen.pipeline.watching import Watch
from sdgen.request import FIELDS, Request
from sdgen.request.upscale_methods import BACKEND

_TAKEN = ("prompt", "init_image", "upscale", "model", "background")
"""Fields that mean something to a filter; the prompt is empty."""


class FilterEngine(Engine):
    """Enlarges pictures by a filter of Pillow's. It computes with bytes, on the CPU, and needs no backend.

    Values are those of the file, sRGB, as pictures are brought to size elsewhere here and in other programs.
    Colours count by their alpha, so that what is behind transparent pixels does not show at edges.

    Args:
        entry: what is known of the filter.
        changes: what is to be merged into weights, or to replace some, a phrase each.

    Raises:
        InputError: there is any.
    """

    engine = "sdgen"
    checkpoint = None
    backend, device, dtype = BACKEND, "cpu:0", "uint8"
    low_memory = False

    def __init__(self, entry: Entry, changes: Sequence[str] = ()) -> None:
        self.entry = entry
        if changes:
            raise InputError(f"{entry.name} is a filter without weights: leave out the {changes[0]}", "model")

    @property
    def compilations(self) -> int:
        """0: nothing is compiled."""
        return 0

    @property
    def size_multiple(self) -> int:
        """1: pictures of any size are enlarged."""
        return 1

    def resolve(self, request: Request) -> Request:
        """As ``Engine.resolve``; a filter has neither steps, sampler, guidance nor a size to draw in."""
        if request.upscale is None:
            raise InputError(
                f"{self.entry.name} enlarges pictures and draws none; give init_image and upscale", "model"
            )
        for name, field in FIELDS.items():
            value = getattr(request, name)
            if (value != "") if name == "prompt" else (name not in _TAKEN and value != field.default):
                raise InputError(f"{self.entry.name} is a filter and has no {name}; leave it out", name)
        return request.replace(model=self.entry.name)

    def pays_to_compile(self, requests: Iterable[Request], batch_size: int | None = None) -> bool:
        """False: there is nothing to compile."""
        return False

    def in_float32(self) -> Engine | None:
        """None: nothing overflows."""
        return None

    def read(self, request: Request) -> Job:
        """As ``Engine.read``; each picture is enlarged by itself."""
        return Job(self.resolve(request), ())

    def draw(
        self, jobs: Sequence[Job], size: int, jit: bool, watch: Watch | None = None
    ) -> Iterator[Progress | Denoised]:
        """As ``Engine.draw``; all is left to ``decode``."""
        if watch is not None:
            raise InputError(
                f"{self.entry.name} has no steps that could be shown; leave out --record and --preview",
                "record",
            )
        yield Denoised(tuple(jobs), None, 0.0, {"batch_size": size})

    def decode(self, batch: Denoised) -> Iterator[Image]:
        """As ``Engine.decode``: the pictures enlarged, with alpha where they have any."""
        for job in batch.jobs:
            began = time.perf_counter()
            pixels, error = self._enlarged(job.request)
            seconds = time.perf_counter() - began
            details = {**self._details(), **batch.details, "decode_seconds": seconds}
            details["source_type"] = _source_type(job.request)
            yield Image(job.request, pixels, seconds, error, (), details)

    def _enlarged(self, request: Request) -> tuple[Pixels | None, ImageError | None]:
        picture, size = request.init_image, request.stored_size
        assert picture is not None and size is not None
        try:
            pixels = picture.pixels()
        except InputError as error:
            return None, ImageError(str(error))
        shown = pixels if picture.alpha else np.ascontiguousarray(pixels[..., :3])
        return enlarged(shown, *size, self.entry.name), None

    def _details(self) -> dict[str, Any]:
        return {
            "model": self.entry.name,
            "changes": [],
            "engine": self.engine,
            "backend": self.backend,
            "device": self.device,
            "dtype": self.dtype,
            "low_memory": self.low_memory,
            "peak_memory_bytes": backends.peak_memory(self.device),
        }


def _source_type(request: Request) -> str | None:
    """The mark that the picture had, as ``ai_mark.found`` tells: to enlarge it makes it no model's work."""
    encoded = request.init_image.encoded if request.init_image is not None else None
    return None if encoded is None else ai_mark.found(encoded)
