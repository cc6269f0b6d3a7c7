"""Looking at a batch while it is denoised: when the loop stops for that, and what there is to see."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sdgen.checkpoints import Checkpoint
from sdgen.checkpoints.families.linear_decoder import LinearDecoder, linear_decoder
from sdgen.diffusion.table import SamplerTable
from sdgen.errors import InputError
from sdgen.images.animation import evenly

if TYPE_CHECKING:
    from sdgen.pipeline.sampling_loop import Slice

LATENTS, ESTIMATE = "latents", "estimate"
"""What there is to see: the noisy latents, and what the network took the picture for."""


@dataclasses.dataclass(frozen=True)
class Watch:
    """When a batch is looked at.

    Attributes:
        moments: how many of an image's steps the loop stops after, at most, evenly spread, its last among
            them; 0 stops nowhere, and what the loop tells of by itself is looked at.
    """

    moments: int = 0

    def steps(self, steps: int) -> list[int]:
        """The steps, 1 to ``steps``, after which an image of ``steps`` steps is looked at."""
        return evenly(steps, self.moments) if self.moments else []


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """Where each image of a batch stands. It is copied from the device where it is looked at, and not before.

    Attributes:
        steps: done of each image.
        of: how many steps each image takes.
        latents, estimate: tensors (batch, height, width, channels).
        decoder: shows what they look like.
    """

    steps: tuple[int, ...]
    of: tuple[int, ...]
    latents: Any
    estimate: Any
    decoder: LinearDecoder

    def values(self, image: int, what: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The latents or the estimate of one image, float32 (height, width, channels)."""
        return np.asarray({LATENTS: self.latents, ESTIMATE: self.estimate}[what][image], np.float32)

    def colours(self, image: int = 0, what: str = ESTIMATE) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """What the latents look like, uint8 (height, width, 3), at their size or a multiple of it."""
        return self.decoder(self.values(image, what))


class Watcher:
    """What a batch shows of itself, run after run of the sampling loop.

    Args:
        watch: what is asked for; None for nothing.
        checkpoint: whose latents they are.
        runs: the tables of each run, one for each image.

    Raises:
        InputError: nobody knows what such latents look like.
    """

    def __init__(
        self, watch: Watch | None, checkpoint: Checkpoint, runs: Sequence[Sequence[SamplerTable]]
    ) -> None:
        self._watch, self._runs = watch, runs
        self._decoder = None if watch is None else _decoder(checkpoint)

    def stops(self, run: int = 0) -> set[int]:
        """The numbers of rows after which the loop stops in a run."""
        stops: set[int] = set()
        if self._watch is None:
            return stops
        for image, table in enumerate(self._runs[run]):
            # A step is done with the last of its rows.
            ends = np.flatnonzero(np.diff(table.steps, append=table.steps[-1] + 1)) + 1
            before = self._steps(image, run)
            wanted = self._watch.steps(self._steps(image, len(self._runs)))
            stops |= {int(ends[step - before - 1]) for step in wanted if 0 < step - before <= len(ends)}
        return stops

    def view(self, part: Slice, run: int = 0) -> View | None:
        """What there is to see after some rows of a run; None where nobody watches."""
        if self._decoder is None:
            return None
        tables = list(enumerate(self._runs[run]))
        return View(
            tuple(self._steps(image, run) + table.steps_done(part.rows) for image, table in tables),
            tuple(self._steps(image, len(self._runs)) for image, _ in tables),
            part.latents,
            part.estimate,
            self._decoder,
        )

    def _steps(self, image: int, runs: int) -> int:
        """How many steps an image takes in the first so many runs."""
        tables = [run[image] for run in self._runs[:runs]]
        return sum(table.steps_done(len(table.steps)) for table in tables)


def can_be_seen(checkpoint: Checkpoint) -> bool:
    """Whether sdgen knows what a model's latents look like."""
    return linear_decoder(checkpoint.vae.config) is not None


def _decoder(checkpoint: Checkpoint) -> LinearDecoder:
    vae = checkpoint.vae.config
    decoder = linear_decoder(vae)
    if decoder is None:
        scaled = f", scaled by {vae['scaling_factor']}" if "scaling_factor" in vae else ""
        raise InputError(
            f"what the latents of {checkpoint.name} look like is not known ({vae.get('latent_channels')} "
            f"channels{scaled}): leave out --record and --preview",
            "record",
        )
    return decoder
