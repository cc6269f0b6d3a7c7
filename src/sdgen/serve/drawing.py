"""What one call asks a ``Drawer`` for, and what it is told of it."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sdgen.errors import SdgenError
from sdgen.request import Request

if TYPE_CHECKING:
    from sdgen.images.image import Image, Pixels
    from sdgen.pipeline.watching import Watch


class Dropped(SdgenError):
    """A picture that is not drawn because whoever asked for it, or has the server, wants it no more."""


class Stage(enum.Enum):
    """Where a picture is."""

    WAITING = "waiting"
    DRAWING = "drawing"
    DRAWN = "drawn"
    FAILED = "failed"
    DROPPED = "dropped"


@dataclasses.dataclass(frozen=True, eq=False)
class Stepped:
    """A picture is denoised.

    Attributes:
        picture: its place among those of its call, from 0.
        step: done, of ``steps``.
        seen: what it looks like, uint8 (height, width, 3), at the latents' size or a multiple; None where
            nobody asked to see it at this step.
    """

    picture: int
    step: int
    steps: int
    seen: Pixels | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Drawn:
    """A picture is there."""

    picture: int
    image: Image


@dataclasses.dataclass(frozen=True, eq=False)
class Failed:
    """A picture will not come; ``error`` is ``Dropped`` where it is not wanted any more."""

    picture: int
    error: Exception


Event = Stepped | Drawn | Failed
"""What a call is told: for each picture any number of ``Stepped``, then one of the others."""

Listener = Callable[[Event], None]
"""Called in the drawer's threads; it must not raise, nor wait but for the disk, in the thread that stores."""


@dataclasses.dataclass
class Standing:
    """Where one picture of a call is."""

    stage: Stage = Stage.WAITING
    step: int = 0
    steps: int = 0
    seen: Pixels | None = None

    @property
    def share(self) -> float:
        """How much of it is done, 0 to 1."""
        if self.stage in (Stage.WAITING, Stage.DRAWING):
            return self.step / self.steps if self.steps else 0.0
        return 1.0


class Drawing:
    """The pictures that one call asked for. ``Drawer.submit`` makes it.

    Attributes:
        requests: as they were asked for.
        numbers: of their tasks.
        watch: which of their steps are to be seen; None for none.
        bounded: whether they count among those of which only so many may wait.
        standings: where each is, as of its last event; to be read from any thread.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        numbers: Sequence[int],
        listener: Listener,
        watch: Watch | None = None,
        bounded: bool = True,
    ) -> None:
        self.requests, self.numbers, self.watch = tuple(requests), tuple(numbers), watch
        self.bounded = bounded
        self.standings = [Standing() for _ in self.requests]
        self._listener = listener

    @property
    def share(self) -> float:
        """How much of all of it is done, 0 to 1."""
        return sum(standing.share for standing in self.standings) / len(self.standings)

    @property
    def done(self) -> bool:
        """Whether nothing more will be told."""
        return all(each.stage not in (Stage.WAITING, Stage.DRAWING) for each in self.standings)

    def tell(self, event: Event) -> None:
        """Something has happened."""
        standing = self.standings[event.picture]
        if isinstance(event, Stepped):
            standing.stage, standing.step, standing.steps = Stage.DRAWING, event.step, event.steps
            standing.seen = standing.seen if event.seen is None else event.seen
        elif isinstance(event, Drawn):
            standing.stage, standing.seen = Stage.DRAWN, None
        else:
            standing.stage = Stage.DROPPED if isinstance(event.error, Dropped) else Stage.FAILED
        self._listener(event)
