"""How many images to draw at once: estimated from the free memory, corrected by what was too many."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdgen import backend
from sdgen.files import folders, small_json
from sdgen.request import Request

if TYPE_CHECKING:
    from sdgen.pipeline.engine import Engine

MOST = 8
"""Beyond this an H100 gains little (docs/performance.md)."""

_ACTIVATIONS = 48
"""Tensors of the size of the UNet's widest that are alive at once, an estimate from above."""

_SHARE = 0.8
"""The share of the free memory that a batch may take; the decoder and the compilers need the rest."""


def choose(pipeline: Engine, request: Request) -> int:
    """Images to draw at once: 1 on a CPU (docs/batch.md) or with ``low_memory``, else a power of two.

    It is at most ``MOST``.

    Args:
        request: resolved; its size, in tiles or not, and whether it is guided count.
    """
    if pipeline.device.startswith("cpu") or pipeline.low_memory:
        return 1
    free = backend.free_memory(pipeline.device)
    size = pipeline.batch_limit() if free is None else _fitting(free, bytes_per_image(pipeline, request))
    known = small_json.read(_file()).get(_key(pipeline, request))
    # What was too many once counts until there is more memory than there was.
    if isinstance(known, dict) and (free is None or free <= 1.25 * _whole(known.get("free"), 0)):
        size = min(size, _whole(known.get("size"), size))
    return max(1, size)


def learn(pipeline: Engine, request: Request, size: int) -> None:
    """Remember that no more than ``size`` images of this kind fit."""
    sizes = small_json.read(_file())
    sizes[_key(pipeline, request)] = {"size": size, "free": backend.free_memory(pipeline.device) or 0}
    # A cache folder that cannot be written forgets, and that is all.
    with contextlib.suppress(OSError):
        small_json.write(_file(), sizes, indent=2)


def bytes_per_image(pipeline: Engine, request: Request) -> int:
    """An estimate of the memory that one image of a batch takes in the sampling loop.

    Its parts are the activations at full resolution and, where attention is not fused, the scores (heads,
    positions, positions) in float32, twice.
    """
    assert request.picture_size and pipeline.checkpoint is not None
    config = pipeline.checkpoint.unet.config
    channels = int(config.get("block_out_channels", [320])[0])
    width, height = request.picture_size
    if request.tiles or request.upscale:
        from sdgen.pipeline.defaults import native_size

        most = native_size(pipeline.entry, pipeline.checkpoint)
        width, height = min(width, most[1]), min(height, most[0])
    positions = width * height // 64
    passes = 2 if request.guided else 1
    activations = _ACTIVATIONS * positions * channels * backend.DTYPES[pipeline.dtype].size
    fused = pipeline.backend == "jax" and pipeline.dtype != "float32"
    scores = 0 if fused else 2 * 4 * positions**2 * max(1, channels // 64)
    return passes * (activations + scores)


def _fitting(free: int, each: int) -> int:
    size = 1
    while size < MOST and 2 * size * each <= _SHARE * free:
        size *= 2
    return size


def _key(pipeline: Engine, request: Request) -> str:
    guided = "guided" if request.guided else "unguided"
    size = "x".join(map(str, request.picture_size or ())) + (" in tiles" if request.tiles else "")
    parts = (pipeline.entry.name, pipeline.backend, pipeline.device, pipeline.dtype)
    return " ".join((*parts, size, guided))


def _file() -> Path:
    return folders.cache() / "batch-sizes.json"


def _whole(value: Any, otherwise: int) -> int:
    return value if type(value) is int else otherwise
