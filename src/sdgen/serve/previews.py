"""What is seen of pictures that are drawn together, some of them for callers who want to see them form."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sdgen.pipeline.watching import Watch, can_be_seen

if TYPE_CHECKING:
    from sdgen.images.image import Pixels
    from sdgen.pipeline.engine import Engine
    from sdgen.pipeline.results import Progress


@dataclasses.dataclass(frozen=True)
class Partials(Watch):
    """``moments`` steps that part the way to the picture evenly, without its start and its end."""

    def steps(self, steps: int) -> list[int]:
        """As ``Watch.steps``."""
        between = (round(steps * part / (self.moments + 1)) for part in range(1, self.moments + 1))
        return sorted({step for step in between if 0 < step < steps})


@dataclasses.dataclass(frozen=True)
class Several(Watch):
    """What several callers want to see: every step that one of them does."""

    watches: tuple[Watch, ...] = ()

    def steps(self, steps: int) -> list[int]:
        """As ``Watch.steps``."""
        return sorted({step for watch in self.watches for step in watch.steps(steps)})


def together(engine: Engine, watches: Sequence[Watch]) -> Watch | None:
    """All of some watches as one; None where there is none, or the model's latents cannot be shown."""
    if not watches or engine.checkpoint is None or not can_be_seen(engine.checkpoint):
        return None
    return Several(watches=tuple(watches))


def steps(progress: Progress, image: int) -> tuple[int, int]:
    """How many steps of an image of the batch are done, of how many: its own, where they are known."""
    if progress.view is None:
        return progress.step, progress.steps
    return progress.view.steps[image], progress.view.of[image]


def seen(watch: Watch | None, progress: Progress, image: int) -> Pixels | None:
    """What an image of the batch looks like, uint8 (height, width, 3), where ``watch`` is for this step.

    A watch of no moments is for all steps that are told of; the last is never shown, for the picture follows.
    """
    if watch is None or progress.view is None:
        return None
    step, of = steps(progress, image)
    if not 0 < step < of or (watch.moments and step not in watch.steps(of)):
        return None
    return progress.view.colours(image)
