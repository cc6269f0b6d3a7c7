"""Between the two passes of ``hires``: a picture enlarged by a model that is made for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sdgen.errors import ImageError
from sdgen.images.image import Pixels
from sdgen.images.metadata import HIRES_WEIGHTS
from sdgen.pipeline.engine import Engine
from sdgen.request import Request
from sdgen.request.upscale_methods import METHODS


class EnlargingModels:
    """Enlarges pictures by models, each loaded when it is first asked for; the last one stays in memory.

    Args:
        load: gives the engine of a model's name, as the model was loaded that draws.
    """

    def __init__(self, load: Callable[[str], Engine]) -> None:
        self._load = load
        self._last: tuple[str, Engine] | None = None
        self._weights: dict[str, Any] = {}

    def __call__(self, pixels: Pixels, request: Request) -> Pixels:
        """A picture, as many times as wide and high as ``hires_method``'s model makes it.

        Args:
            pixels: uint8 (height, width, 3).
            request: resolved. Its prompt counts where the method takes one, and its seed and generator do,
                with a stream of random numbers of its own; steps, sampler and guidance are the method's.

        Raises:
            ImageError: the model makes no usable picture of it.
            SdgenError: it cannot be loaded.
        """
        method = METHODS[request.hires_method]
        taken = [name for name in ("prompt", "negative_prompt") if name in method.takes]
        fields: dict[str, Any] = {"prompt": "", **{name: getattr(request, name) for name in taken}}
        fields |= {"init_image": pixels, "upscale": method.usual, "model": method.model}
        enlarging = Request(**fields, seed=request.base_seed, rng=request.rng)
        (image,) = self._engine(method.model).generate([enlarging])
        if image.pixels is None:
            raise image.error or ImageError(f"{method.model} made no picture of what was drawn first")
        self._weights[request.hires_method] = image.details.get("weights_sha256")
        return image.pixels

    def details(self, request: Request) -> dict[str, Any]:
        """What is recorded of the model that enlarged a request's picture: nothing where none did."""
        return {HIRES_WEIGHTS: self._weights[name]} if (name := request.hires_method) in self._weights else {}

    def _engine(self, model: str) -> Engine:
        if self._last is None or self._last[0] != model:
            self._last = None  # Two at once would take the memory of both.
            self._last = model, self._load(model)
        return self._last[1]
