"""Looking at a batch while it is denoised: when the loop stops for that, and what there is to see."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from sdgen.checkpoints import Checkpoint
from sdgen.checkpoints.families.linear_decoder import LinearDecoder, linear_decoder
from sdgen.diffusion.table import SamplerTable
from sdgen.errors import InputError
from sdgen.images.animation import evenly

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
        """The steps, 1 to ``steps``, after which an image of so many is looked at."""
        return evenly(steps, self.moments) if self.moments else []

    def rows(self, tables: Sequence[SamplerTable]) -> set[int]:
        """After how many rows the loop stops, for all images of a batch."""
        stops = set()
        for table in tables:
            # A step is done with the last of its rows.
            ends = np.flatnonzero(np.diff(table.steps, append=table.steps[-1] + 1)) + 1
            stops |= {int(ends[step - 1]) for step in self.steps(len(ends))}
        return stops


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

    @classmethod
    def after(
        cls, rows: int, tables: Sequence[SamplerTable], latents: Any, estimate: Any, decoder: LinearDecoder
    ) -> View:
        """The view after so many rows of the tables."""
        done = tuple(table.steps_done(rows) for table in tables)
        of = tuple(table.steps_done(len(table.steps)) for table in tables)
        return cls(done, of, latents, estimate, decoder)

    def values(self, image: int, what: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The latents or the estimate of one image, float32 (height, width, channels)."""
        return np.asarray({LATENTS: self.latents, ESTIMATE: self.estimate}[what][image], np.float32)

    def colours(self, image: int = 0, what: str = ESTIMATE) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """What they look like, uint8 (height, width, 3), at the latents' size or a multiple of it."""
        return self.decoder(self.values(image, what))


def decoder_to_watch(checkpoint: Checkpoint) -> LinearDecoder:
    """The linear decoder of a model's latents.

    Raises:
        InputError: none is known.
    """
    vae = checkpoint.vae.config
    decoder = linear_decoder(vae)
    if decoder is None:
        raise InputError(
            f"what the latents of {checkpoint.name} look like is not known ({vae.get('latent_channels')} "
            f"channels, scaled by {vae.get('scaling_factor')}): leave out --record and --preview",
            "record",
        )
    return decoder
