"""``Engine``: what commands, batches and other callers draw with, whatever computes behind it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from sdgen.checkpoints import Checkpoint
from sdgen.errors import InputError
from sdgen.images.image import Image
from sdgen.models import Entry
from sdgen.pipeline.results import Denoised, Job, Progress
from sdgen.pipeline.watching import Watch
from sdgen.request import Request


class Engine(Protocol):
    """A loaded model that draws requests.

    ``generate`` and ``stream`` are for whoever wants images. ``read``, ``draw`` and ``decode`` are their
    parts, for a caller that packs batches itself (``sdgen.batch``).

    Attributes:
        engine: its name, as ``--engine`` has it.
        checkpoint: the weights' files; None of an engine without weights.
        entry: what the catalogue says of the model.
        backend, device, dtype: what it runs on.
        low_memory: whether it trades speed for memory; see ``sdgen.load``.
    """

    engine: str
    checkpoint: Checkpoint | None
    entry: Entry
    backend: str
    device: str
    dtype: str
    low_memory: bool

    @property
    def compilations(self) -> int:
        """How often the sampling loop was compiled."""
        raise NotImplementedError

    @property
    def size_multiple(self) -> int:
        """Width and height must be multiples of this."""
        raise NotImplementedError

    def resolve(self, request: Request) -> Request:
        """The request with every None replaced by the model's default.

        Raises:
            InputError: the engine cannot draw it.
        """
        raise NotImplementedError

    def read(self, request: Request) -> Job:
        """The request, resolved, and made ready to be drawn.

        Raises:
            InputError: it does not fit the model.
        """
        raise NotImplementedError

    def draw(
        self, jobs: Sequence[Job], size: int, jit: bool, watch: Watch | None = None
    ) -> Iterator[Progress | Denoised]:
        """Denoises one batch: a ``Progress`` after every few steps, at last a ``Denoised``.

        Args:
            jobs: what ``read`` gave, of one shape.
            size: images of the program; a batch of fewer is filled up, so that it need not be compiled again.
            jit: compile the loop with XLA; see ``pays_to_compile``.
            watch: when what has been drawn by then is to be seen, ``Progress.view``.

        Raises:
            InputError: the engine cannot show what has been drawn.
        """
        raise NotImplementedError

    def decode(self, batch: Denoised) -> Iterator[Image]:
        """The images of a batch of ``draw``'s, in the order of its jobs.

        Another thread may do this while the next batch is denoised.
        """
        raise NotImplementedError

    def pays_to_compile(self, requests: Iterable[Request], batch_size: int | None = None) -> bool:
        """Whether XLA saves more in these requests than it takes to compile."""
        raise NotImplementedError

    def in_float32(self) -> Engine | None:
        """The model in float32, for images that overflow; None if it is so already or would be too large."""
        raise NotImplementedError

    def batch_limit(self, asked: int | None = None) -> int:
        """How many images are drawn at once, at most: ``asked``, else 4, or 1 with ``low_memory``.

        On a CPU it is 1 whatever is asked for. A batch is no faster there (docs/batch.md), and a row of a
        product is rounded by how many there are and where it stands (TensorFlow's convolutions and
        operations without AVX-512): drawn alone, an image is the same to the bit among any others.

        Raises:
            InputError: ``asked`` is below 1.
        """
        if asked is not None and asked < 1:
            raise InputError(f"the batch size must be 1 or more, not {asked}")
        if self.device.startswith("cpu"):
            return 1
        return asked or (1 if self.low_memory else 4)

    def generate(self, requests: Iterable[Request], batch_size: int | None = None) -> Iterator[Image]:
        """The images of requests, in order, each as soon as its batch is drawn.

        Args:
            requests: what to draw; taken as they are needed.
            batch_size: images drawn at once, at most; by default 4. A CPU draws one at a time.

        Raises:
            InputError: a request does not fit the model, or the batch size is no number of images. Images
                of earlier batches may have been yielded.
        """
        return (event for event in self.stream(requests, batch_size) if isinstance(event, Image))

    def stream(
        self,
        requests: Iterable[Request],
        batch_size: int | None = None,
        fill: bool = False,
        watch: Watch | None = None,
    ) -> Iterator[Progress | Image]:
        """As ``generate``, with a ``Progress`` after every few steps; stop iterating to stop drawing.

        With ``fill``, every batch is drawn by the program for ``batch_size`` images, however few there are.
        With ``watch``, each ``Progress`` has a view of its images, to be looked at before the next is taken.
        """
        limit = self.batch_limit(batch_size)
        jit = self.pays_to_compile(requests, batch_size)
        for _, alike in itertools.groupby(map(self.read, requests), key=lambda job: job.shape):
            size = limit if fill else 1
            while batch := list(itertools.islice(alike, limit)):
                size = max(size, len(batch))
                for event in self.draw(batch, size, jit, watch):
                    if isinstance(event, Progress):
                        yield event
                    else:
                        yield from self.decode(event)
