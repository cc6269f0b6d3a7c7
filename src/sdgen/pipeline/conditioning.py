"""``Conditioning``: what a batch is drawn under, beside its sampler tables, as one structure."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class KnownLatents:
    """Latents that are known in part of the picture, so that the rest is drawn to fit them.

    After each row of the table, what is known is put in place of what was drawn (Lugmayr et al. 2022,
    equation 8; diffusers' StableDiffusionInpaintPipeline with 4 channels): x' = alpha latents + sigma noise,
    with the table's alpha and sigma after that row. It is known where the mask is at most t / ``timesteps``,
    with the timestep t of the row that follows, 0 after the last: what is grey is drawn in the later rows
    alone (differential diffusion, Levin and Fried 2023, with InvokeAI's rule).

    Attributes:
        latents: float32 (batch, height, width, channels), of the known picture.
        mask: float32 (batch, height, width, 1), 0 where all rows know it, to 1 where all rows draw it.
        noise: float32 (batch, height, width, channels), standard normal, the same in all rows.
        timesteps: that the network was trained on; t is less.
    """

    latents: Array
    mask: Array
    noise: Array
    timesteps: int = 1000

    def arrays(self) -> dict[str, Array]:
        """The arrays that the loop takes, by name."""
        return {"latents": self.latents, "mask": self.mask, "noise": self.noise}


@dataclasses.dataclass(frozen=True, eq=False)
class Conditioning:
    """What the compiled loop takes beside tables and latents. What is None costs nothing.

    ``copies`` is 2 where there is guidance, and then whatever has that many rows begins with those of the
    negative prompts; else it is 1.

    Attributes:
        context: float32 (copies batch, length, width), text encodings; None for a network without text.
        guidance: float32 (batch, 2), scale and rescale of classifier-free guidance; None for no guidance.
        pooled: float32 (copies batch, width), pooled text vectors (SDXL).
        sizes: float32 (copies batch, 6), original height and width, crop top and left, target height and
            width, pixels (Podell et al. 2023, section 2.2).
        labels: int32 (copies batch,), class labels, or noise levels of a super-resolution model.
        channels: float32 (batch, height, width, extra channels), put beside the latents unscaled, the same
            with and without guidance.
        known: latents that are given.
    """

    context: Array | None = None
    guidance: Array | None = None
    pooled: Array | None = None
    sizes: Array | None = None
    labels: Array | None = None
    channels: Array | None = None
    known: KnownLatents | None = None

    @property
    def copies(self) -> int:
        """How many predictions an image takes in each row: 2 with guidance, 1 without."""
        return 1 if self.guidance is None else 2

    def text(self) -> dict[str, Array]:
        """The text encodings by name, as far as there are any."""
        return _present({"context": self.context})

    def vectors(self) -> dict[str, Array]:
        """What goes into the network together with the timestep, by name, as far as there is any."""
        return _present({"pooled": self.pooled, "sizes": self.sizes, "labels": self.labels})

    def maps(self) -> dict[str, Any]:
        """What the loop takes as it stands, by name, as far as there is any: a tree of arrays."""
        known = None if self.known is None else self.known.arrays()
        return _present({"guidance": self.guidance, "channels": self.channels, "known": known})


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
