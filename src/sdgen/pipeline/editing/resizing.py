"""A picture or mask brought to the size that is drawn."""

from __future__ import annotations

import dataclasses

import numpy as np

from sdgen.errors import InputError
from sdgen.images.image import Pixels

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""

LANCZOS = "lanczos"


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Which part of a picture comes where: a mask that is brought to size by its picture's stays on it.

    Attributes:
        source: width and height of the picture.
        size: width and height of the result.
        part: the part of the picture that is used.
        place: where it comes in the result, in whole pixels; what is around it is filled from its edges.
    """

    source: tuple[int, int]
    size: tuple[int, int]
    part: Box
    place: tuple[int, int, int, int]


def geometry(source: tuple[int, int], size: tuple[int, int], resize: str) -> Geometry:
    """How a picture comes to a size.

    Args:
        source: its width and height.
        size: the width and height wanted.
        resize: "stretch" changes the proportions, as diffusers' VaeImageProcessor does; "fill" cuts off what
            is beyond the size, on both sides alike; "fit" shows all of the picture, in the middle; "none"
            changes nothing.

    Raises:
        InputError: ``resize`` is "none" and the size is another.
    """
    (width, height), (wide, high) = source, size
    whole = (0.0, 0.0, float(width), float(height))
    if resize == "none" and source != size:
        raise InputError(
            f"the picture is {width}x{height} and {wide}x{high} is drawn; give its size, or another --resize"
        )
    if resize == "fill":
        scale = min(width / wide, height / high)
        left, top = (width - wide * scale) / 2, (height - high * scale) / 2
        part = (
            max(0.0, left),
            max(0.0, top),
            min(width, left + wide * scale),
            min(height, top + high * scale),
        )
        return Geometry(source, size, part, (0, 0, wide, high))
    if resize == "fit":
        scale = min(wide / width, high / height)
        across, down = max(1, min(wide, round(width * scale))), max(1, min(high, round(height * scale)))
        left_edge, top_edge = (wide - across) // 2, (high - down) // 2
        return Geometry(source, size, whole, (left_edge, top_edge, left_edge + across, top_edge + down))
    return Geometry(source, size, whole, (0, 0, wide, high))


def resized(pixels: Pixels, width: int, height: int, resize: str, method: str = LANCZOS) -> Pixels:
    """A picture in another size, by a filter of Pillow's.

    Args:
        pixels: uint8 (height, width), (height, width, 3), or RGBA (height, width, 4); transparent pixels
            count by their alpha.
        width, height: of the result.
        resize: as for ``geometry``.
        method: "lanczos", of three lobes, or "bicubic".

    Returns:
        uint8 of ``height``, ``width`` and the same channels; the same array where the size is the same.

    Raises:
        InputError: as ``geometry``.
    """
    return applied(pixels, geometry((pixels.shape[1], pixels.shape[0]), (width, height), resize), method)


def applied(pixels: Pixels, geometry: Geometry, method: str = LANCZOS) -> Pixels:
    """A picture, or a mask of its size, brought to size by a geometry; see ``resized``."""
    left, top, right, bottom = geometry.place
    scaled = _scaled(pixels, (right - left, bottom - top), geometry.part, method)
    width, height = geometry.size
    around = [(top, height - bottom), (left, width - right), (0, 0)][: pixels.ndim]
    if not any(map(any, around)):
        return scaled
    return np.pad(scaled, around, mode="edge")


def size_for(
    source: tuple[int, int],
    multiple: int,
    most: int,
    width: int | None = None,
    height: int | None = None,
) -> tuple[int, int]:
    """Width and height to draw a picture in, where not both are given: as near to its own as can be.

    Args:
        source: its width and height.
        multiple: of which both sides must be; they are rounded down to it.
        most: of either side, itself a multiple; a larger picture is scaled down, its proportions kept.
        width, height: the side that is given; the other follows the picture's proportions.
    """
    wide, high = source
    scale = min(1.0, most / max(source))
    if width is not None:
        scale = min(width / wide, most / high)
    elif height is not None:
        scale = min(height / high, most / wide)
    sides = (int(side * scale + 1e-6) // multiple * multiple for side in source)
    across, down = (max(multiple, side) for side in sides)
    return width or across, height or down


def _scaled(pixels: Pixels, size: tuple[int, int], part: Box, method: str) -> Pixels:
    from PIL import Image

    height, width = pixels.shape[:2]
    if (*size, *part) == (width, height, 0, 0, width, height):
        return pixels
    if pixels.shape[2:] == (4,) and bool((pixels[..., 3] == 255).all()):
        # As the picture without alpha is, to the bit, whatever Pillow's way through premultiplied colours.
        opaque = _scaled(np.ascontiguousarray(pixels[..., :3]), size, part, method)
        return np.dstack([opaque, np.full(opaque.shape[:2], 255, np.uint8)])
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(size, Image.Resampling[method.upper()], box=part))
