"""The record of how one picture formed, as an animation or a strip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sdgen.checkpoints.families.linear_decoder import LinearDecoder
from sdgen.images import a1111_text, animation

if TYPE_CHECKING:
    from sdgen.images.image import Image, Pixels

    Values = np.ndarray[Any, np.dtype[np.float16]]

MOST_SIDE = 512
"""Pixels of a frame's longer side."""

MOST_BYTES = 64_000_000
"""The most bytes that are kept of one picture while it forms."""

_GAP = 4


class Process:
    """Keeps what a picture looked like while it formed, as latents, which take a hundredth of its pixels.

    Args:
        decoder: of the latents.
        kinds: what is kept, in the order in which it is shown: from top to bottom of a strip, from left to
            right of an animation.
    """

    def __init__(self, decoder: LinearDecoder, kinds: Sequence[str]) -> None:
        self._decoder, self._kinds = decoder, tuple(kinds)
        self._moments: dict[int, Mapping[str, Values]] = {}
        self._of = self._bytes = 0

    def add(self, step: int, of: int, values: Mapping[str, np.ndarray[Any, np.dtype[np.float32]]]) -> None:
        """Keep what there is to see after a step.

        A step that has been already begins anew there. Beyond ``MOST_BYTES``, every other moment is let go
        of.

        Args:
            step: 1 to ``of``.
            of: all that the picture takes.
            values: by kind, each (height, width, channels).
        """
        self._of = of
        for later in [known for known in self._moments if known >= step]:
            self._forget(later)
        limits = np.finfo(np.float16)
        kept = {kind: values[kind].clip(limits.min, limits.max).astype(np.float16) for kind in self._kinds}
        self._moments[step] = kept
        self._bytes += _size(kept)
        if self._bytes > MOST_BYTES:
            for known in sorted(self._moments)[-2::-2]:
                self._forget(known)

    def encode(self, image: Image, format: str, *, described: bool = True) -> bytes:
        """The record's file.

        Args:
            image: the picture that it came to, which is the last frame.
            format: a value of ``animation.FORMATS``.
            described: whether the file says what was drawn, and that AI made it.
        """
        assert image.pixels is not None
        height, width = image.pixels.shape[:2]
        scale = min(1.0, MOST_SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        last = _resized(image.pixels, size)
        # In place of what the linear decoder makes of the last step, there is the picture.
        moments = [step for step in sorted(self._moments) if step < self._of]
        rows = [
            [_resized(self._decoder(self._moments[step][kind]), size) for step in moments] + [last]
            for kind in self._kinds
        ]
        text = a1111_text.write(image.request, image.details) if described else ""
        if format == "strip":
            labels = [f"step {step}" for step in (*moments, self._of)]
            return animation.encode_strip(rows, labels, text=text, mark=described)
        frames = rows[0] if len(rows) == 1 else [_beside(*pair) for pair in zip(*rows, strict=True)]
        return animation.encode(frames, format, text=text, mark=described)

    def _forget(self, step: int) -> None:
        self._bytes -= _size(self._moments.pop(step))


def _size(values: Mapping[str, Values]) -> int:
    return sum(value.nbytes for value in values.values())


def _beside(*frames: Pixels) -> Pixels:
    """Frames of one moment side by side, a white gap between them."""
    gap = np.full((frames[0].shape[0], _GAP, 3), 255, np.uint8)
    parts = [part for frame in frames for part in (gap, frame)]
    return np.concatenate(parts[1:], axis=1)


def _resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """A frame of that size; one of another shape, of a part that was drawn alone, gets margins."""
    from PIL import Image, ImageOps

    if pixels.shape[:2] == (size[1], size[0]):
        return pixels
    return np.asarray(ImageOps.pad(Image.fromarray(pixels), size, Image.Resampling.BICUBIC, color="white"))
