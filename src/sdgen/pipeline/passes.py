"""The sampling runs that draw a batch: one, or with ``hires`` a second over the enlarged pictures."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sdgen.checkpoints import Checkpoint
from sdgen.diffusion.noise import ImageNoise
from sdgen.diffusion.shortcuts import Shortcuts
from sdgen.diffusion.table import SamplerTable
from sdgen.pipeline.enlarging import Enlarger
from sdgen.pipeline.sampler_tables import request_table, table_shortcuts
from sdgen.pipeline.windows import Windows, overlapping_windows
from sdgen.request import Request

Array = np.ndarray[Any, np.dtype[np.float32]]


@dataclasses.dataclass(frozen=True, eq=False)
class Pass:
    """One run of the sampling loop.

    Attributes:
        tables: of each image.
        shortcuts: of each image; empty without ``--fast``.
        shape: of one image's latents: height, width, channels.
        windows: in which the network is evaluated; None for all of the picture at once.
        seamless: axes on which the picture joins itself.
    """

    tables: Sequence[SamplerTable]
    shortcuts: Sequence[Shortcuts]
    shape: tuple[int, int, int]
    windows: Windows | None
    seamless: str = ""

    @property
    def wrap(self) -> str:
        """Axes on which what the network is given joins itself: a part of a picture does not."""
        height, width = self.shape[:2] if self.windows is None else self.windows.positions.shape[1:]
        whole = {"x": width == self.shape[1], "y": height == self.shape[0]}
        return "".join(axis for axis in self.seamless if whole[axis])

    @property
    def steps(self) -> int:
        """The steps of the image that takes the most."""
        return self.steps_done(max(len(table.steps) for table in self.tables))

    @property
    def positions(self) -> int:
        """Latent positions that the network is evaluated at in each row, for one image."""
        return math.prod(self.shape[:2]) if self.windows is None else self.windows.positions.size

    @property
    def fresh_noise(self) -> bool:
        """Whether some image's table takes fresh noise."""
        return any(table.noise.any() for table in self.tables)

    def steps_done(self, rows: int) -> int:
        """How many steps are done after so many rows, of the image that takes the most rows."""
        return max(self.tables, key=lambda table: len(table.steps)).steps_done(rows)


def passes(
    requests: Sequence[Request],
    checkpoint: Checkpoint,
    downsampling: int,
    channels: int,
    window: tuple[int, int],
) -> list[Pass]:
    """The runs of a batch, in their order.

    Args:
        requests: resolved; of one size, of one size after ``hires``, and alike in ``tiles``, ``fast`` and
            ``seamless``.
        checkpoint: which scheduler it has, and what its family sets in any.
        downsampling: of the VAE.
        channels: of latents.
        window: height and width of the latents of the model's own size.

    Raises:
        InputError, CheckpointError: as ``request_table``.
    """
    first, scheduler, forced = requests[0], checkpoint.scheduler, checkpoint.family.forced
    assert first.width and first.height and first.picture_size
    sizes = [(first.width, first.height), *([first.picture_size] if first.hires else [])]
    made = []
    for number, (width, height) in enumerate(sizes):
        tables = [request_table(scheduler, request, number > 0, forced) for request in requests]
        shortcuts = [table_shortcuts(scheduler, table) for table in tables] if first.fast else []
        shape = (height // downsampling, width // downsampling, channels)
        seamless = first.seamless or ""
        windows = overlapping_windows(shape[:2], window, seamless) if first.tiles or first.upscale else None
        made.append(Pass(tables, shortcuts, shape, windows, seamless))
    return made


def second_start(
    enlarger: Enlarger,
    requests: Sequence[Request],
    before: Pass,
    here: Pass,
    noises: Sequence[ImageNoise],
    latents: Array,
) -> Array:
    """Where the second pass begins: the enlarged picture's latents with noise, as image to image does.

    Each image's draws go on in its own stream: what the first pass had, then a sample of the posterior where
    the method encodes, then the noise, then that of the steps.

    Args:
        enlarger: of the latents.
        requests: resolved, of one size after ``hires``.
        before, here: the two passes.
        noises: of each image, as the first pass left them.
        latents: float32 (batch, height, width, channels), what the first pass drew.

    Returns:
        float32 (batch, height, width, channels) of the larger size.
    """
    starts = []
    for i, (request, table, noise) in enumerate(zip(requests, here.tables, noises, strict=True)):
        if not before.fresh_noise:  # Then nobody has made its draws, and a neighbour with noise would have.
            for _ in range(np.count_nonzero(before.tables[i].draws)):
                noise.normal(*before.shape)
        large = enlarger(latents[i], request, noise)
        starts.append(table.alpha_in[0] * large + table.sigma_in[0] * noise.normal(*here.shape))
    return np.asarray(starts, np.float32)
