"""``Image``: one picture with how it was made."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from sdgen.errors import ImageError
from sdgen.request import Request

if TYPE_CHECKING:
    import PIL.Image

    from sdgen.images.image_and_sidecar import Saved

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
"""The pixels of one image: uint8 (height, width, 3), or (height, width, 4) with transparency."""


@dataclasses.dataclass(frozen=True, eq=False)
class Image:
    """One image, or the reason why there is none.

    Attributes:
        request: what was asked for, every default filled in.
        pixels: uint8 (height, width, 3), or None where ``error`` is set; with a fourth channel where the
            picture that was started from has transparency.
        seconds: from the start of its batch to its pixels, divided among the batch.
        error: why there are no pixels.
        warnings: what the user should know, a sentence each.
        details: how it was made: model, backend, device, dtype, batch size, timings.
    """

    request: Request
    pixels: Pixels | None
    seconds: float
    error: ImageError | None = None
    warnings: tuple[str, ...] = ()
    details: dict[str, Any] = dataclasses.field(default_factory=dict)

    def to_pil(self) -> PIL.Image.Image:
        """The picture for Pillow, in the mode RGB or RGBA; the pixels are copied.

        Raises:
            ImageError: there are no pixels; it is ``error``.
        """
        from PIL import Image

        return Image.fromarray(self._drawn())

    def save(self, path: str | os.PathLike[str], *, metadata: bool = True, overwrite: bool = False) -> Saved:
        """Store the picture as the command does: whole or not at all, with its settings inside and beside it.

        Args:
            path: an image file (.png, .webp, .jpg), or a folder, where it gets the next name such as
                0001-a-red-heart-7.png. Folders are made.
            metadata: whether to write the settings and the mark of AI origin into the file, and a sidecar
                beside it (docs/sidecar.md).
            overwrite: whether a file of that name, and its sidecar, give way once the new one is whole.

        Returns:
            ``path`` of the image and ``sidecar``, which is None without ``metadata``.

        Raises:
            ImageError: there are no pixels; it is ``error``.
            InputError: the name has the ending of something else.
            OutputError: the file is there already, or cannot be written.
        """
        from sdgen.images import saving

        self._drawn()
        return saving.save(self, os.fspath(path), metadata, overwrite)

    def _drawn(self) -> Pixels:
        if self.pixels is None:
            raise self.error or ImageError("the image has no pixels")
        return self.pixels
