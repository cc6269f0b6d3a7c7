"""What a server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

if TYPE_CHECKING:
    from sdgen.images.image import Image

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_IMAGES = (1, 2, 4, 8)


class Metrics:
    """A registry of its own: several servers of one process count apart."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "sdgen_http_requests",
            "Answers, by route and status.",
            ("route", "status"),
            registry=self._registry,
        )
        self._images = Counter("sdgen_images", "Pictures drawn.", ("model",), registry=self._registry)
        self._seconds = Histogram(
            "sdgen_image_seconds",
            "From the call to the picture.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batches = Histogram(
            "sdgen_batch_images",
            "Pictures of the program that drew a picture.",
            buckets=_IMAGES,
            registry=self._registry,
        )
        self._pending = Gauge(
            "sdgen_images_pending", "Pictures asked for that are not there yet.", registry=self._registry
        )

    def watch(self, pending: Callable[[], int]) -> None:
        """Say where the number of pictures that wait is to be had."""
        self._pending.set_function(pending)

    def answered(self, route: str, status: int) -> None:
        """A call was answered."""
        self._requests.labels(route, str(status)).inc()

    def drawn(self, image: Image, seconds: float) -> None:
        """A picture was drawn, so many seconds after its call."""
        self._images.labels(image.request.model or "").inc()
        self._seconds.observe(seconds)
        self._batches.observe(image.details.get("batch_size") or 1)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
