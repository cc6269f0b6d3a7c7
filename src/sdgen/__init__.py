"""sdgen: text to image in one command.

    import sdgen

    pipeline = sdgen.load("mini")
    for image in pipeline.generate([sdgen.Request(prompt="a red heart", seed=7)]):
        print(image.pixels.shape)  # (256, 256, 3), uint8

Importing this package is quick: TensorFlow or JAX is imported by ``load``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdgen.errors import (
    BackendError,
    CheckpointError,
    ExitCode,
    ImageError,
    InputError,
    ModelUnavailable,
    OutputError,
    SdgenError,
)
from sdgen.request import Request

if TYPE_CHECKING:
    from sdgen.pipeline.loading import load
    from sdgen.pipeline.pipeline import Pipeline
    from sdgen.pipeline.results import Image, Progress

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "CheckpointError",
    "ExitCode",
    "Image",
    "ImageError",
    "InputError",
    "ModelUnavailable",
    "OutputError",
    "Pipeline",
    "Progress",
    "Request",
    "SdgenError",
    "__version__",
    "load",
]


def __getattr__(name: str) -> Any:
    if name == "load":
        from sdgen.pipeline.loading import load

        return load
    if name == "Pipeline":
        from sdgen.pipeline.pipeline import Pipeline

        return Pipeline
    if name in ("Image", "Progress"):
        from sdgen.pipeline import results

        return getattr(results, name)
    raise AttributeError(f"module 'sdgen' has no attribute {name!r}")
