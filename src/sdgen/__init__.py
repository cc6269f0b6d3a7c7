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
from sdgen.files.version import VERSION
from sdgen.request import Request

if TYPE_CHECKING:
    from sdgen.images.image import Image
    from sdgen.pipeline.loading import load
    from sdgen.pipeline.pipeline import Pipeline
    from sdgen.pipeline.results import Progress

__version__ = VERSION

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
    if name == "Image":
        from sdgen.images.image import Image

        return Image
    if name == "Progress":
        from sdgen.pipeline.results import Progress

        return Progress
    raise AttributeError(f"module 'sdgen' has no attribute {name!r}")
