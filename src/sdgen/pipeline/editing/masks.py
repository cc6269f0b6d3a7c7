"""Masks: which pixels of a picture are repainted, and how much.

A mask is float32 (height, width), 0 to 1: where it is 0 the picture stays as it is, bit for bit, and where it
is 1 the pixel is drawn anew. What is between is drawn anew in the later steps alone (differential diffusion,
Levin and Fried 2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sdgen.errors import InputError
from sdgen.pipeline.editing.resizing import Geometry
from sdgen.request.pictures import NEARLY_BLACK

Array = np.ndarray[Any, np.dtype[Any]]
Pixels = np.ndarray[Any, np.dtype[Any]]

ROWS = 256
"""How many rows are computed at once: all rows of a large picture would take several times its memory."""

NEARLY = NEARLY_BLACK
"""Levels, of 255, within which a mask is black or white: JPEG leaves such, and an eye sees none of them."""


def mask_of_picture(pixels: Pixels) -> Array:
    """The mask that a picture shows: white is repainted, grey in part, and what is transparent is black.

    Args:
        pixels: uint8 (height, width, 4), RGBA, not premultiplied.
    """
    # ITU-R 601-2, as Pillow's convert("L") has it.
    weights = np.asarray([299, 587, 114], np.float32) / np.float32(1000)
    return _by_rows(lambda part: (part[..., :3] @ weights) * (part[..., 3] / np.float32(255)), pixels)


def mask_of_alpha(pixels: Pixels) -> Array:
    """The mask that repaints what is transparent in a picture, uint8 (height, width, 4)."""
    return _by_rows(lambda part: 255 - part[..., 3].astype(np.float32), pixels)


def _by_rows(levels: Callable[[Pixels], Array], pixels: Pixels) -> Array:
    """The mask of levels, 0 to 255, that are reckoned for some rows at a time."""
    mask = np.empty(pixels.shape[:2], np.float32)
    for top in range(0, len(pixels), ROWS):
        part = levels(pixels[top : top + ROWS])
        part = np.where(part <= NEARLY, 0, np.where(part >= 255 - NEARLY, 255, part))
        mask[top : top + ROWS] = part / 255
    return mask


def inverted(mask: Array) -> Array:
    """The mask that is white where ``mask`` is black."""
    turned: Array = np.float32(1) - mask
    return turned


def require_some(mask: Array) -> None:
    """Refuse a mask that repaints nothing.

    Raises:
        InputError: it is black throughout.
    """
    if not mask.any():
        raise InputError(
            "the mask is black throughout, so nothing is repainted; paint white what is to be, "
            "or turn it round with --mask-invert",
            "mask",
        )


def resized_mask(mask: Array, height: int, width: int) -> Array:
    """The mask at another size, each pixel as white as the whitest that it covers: thin lines stay."""
    for axis, size in enumerate((height, width)):
        before = mask.shape[axis]
        if size < before:
            starts, ends = np.arange(size) * before // size, -(-np.arange(1, size + 1) * before // size)
            bounds = np.stack([starts, ends], 1).ravel()
            last = np.take(mask, [-1], axis=axis)  # So that the last end is within.
            found = np.maximum.reduceat(np.concatenate([mask, last], axis=axis), bounds, axis=axis)
            mask = np.take(found, np.arange(0, 2 * size, 2), axis=axis)
        elif size > before:
            mask = np.take(mask, np.arange(size) * before // size, axis=axis)
    return mask


def applied_mask(mask: Array, geometry: Geometry) -> Array:
    """The mask brought to size as its picture is, by ``resizing.applied``."""
    first, top, last, bottom = (round(edge) for edge in geometry.part)
    left, above, right, below = geometry.place
    width, height = geometry.size
    inner = resized_mask(mask[top:bottom, first:last], below - above, right - left)
    return np.pad(inner, [(above, height - below), (left, width - right)], mode="edge")


def latent_mask(mask: Array, factor: int) -> Array:
    """The mask of the latents, float32 (height / factor, width / factor, 1).

    A latent pixel is as white as the whitest pixel it stands for, so that thin lines are repainted, too.
    (diffusers takes the top left pixel of each block, and loses them.)

    Args:
        mask: of the pixels; its sides are multiples of ``factor``.
        factor: pixels to a latent pixel along each side.
    """
    height, width = mask.shape
    blocks = mask.reshape(height // factor, factor, width // factor, factor)
    return np.ascontiguousarray(blocks.max(axis=(1, 3))[..., None])


def softened(mask: Array, blur: float) -> Array:
    """The mask with an edge that rises from 0 within what is white: nothing black becomes grey.

    The edge is that of the mask's shape under a Gaussian blur: 0 where half of its surroundings are white,
    and 1 where all are. What is thinner than the blur has few white surroundings anywhere; it is measured by
    the most that are near, so that it is not blurred away.

    Args:
        mask: any; greys are weakened towards the edge like white.
        blur: standard deviation, pixels; 0 leaves the mask as it is.
    """
    inside = mask > 0
    if blur <= 0 or inside.all() or not inside.any():
        return mask
    reach = math.ceil(2 * blur)
    rows, columns = (_span(inside.any(axis=1 - axis), 3 * reach) for axis in (0, 1))
    share = _gaussian(inside[rows, columns].astype(np.float32), blur)
    most = np.maximum(_dilated(share, reach), np.float32(1e-6))
    edge = np.clip(2 * share / most - 1, 0, 1)
    soft: Array = mask.copy()
    soft[rows, columns] *= edge
    return soft


def _span(of: Any, margin: int) -> slice:
    """The range from the first to the last true element of a bool (n,), widened by a margin."""
    found = np.flatnonzero(of)
    return slice(max(0, int(found[0]) - margin), min(len(of), int(found[-1]) + 1 + margin))


def _gaussian(values: Array, deviation: float) -> Array:
    """A Gaussian blur of float32 (height, width), the edges going on beyond the picture."""
    reach = math.ceil(4 * deviation)
    for axis in (0, 1):
        padded = np.pad(values, [(reach, reach) if i == axis else (0, 0) for i in (0, 1)], mode="edge")
        lines = np.moveaxis(padded, axis, 1)
        length = lines.shape[1]
        response = np.exp(-2 * (np.pi * deviation * np.fft.rfftfreq(length)) ** 2)
        blurred = np.empty((len(lines), length - 2 * reach), np.float32)
        for first in range(0, len(lines), ROWS):
            spectrum = np.fft.rfft(lines[first : first + ROWS], axis=1)
            blurred[first : first + ROWS] = np.fft.irfft(spectrum * response, length, 1)[:, reach:-reach]
        values = np.moveaxis(blurred, 1, axis)
    return values


def _dilated(values: Array, reach: int) -> Array:
    """The largest of the values up to ``reach`` away along both axes, by windows that double."""
    for axis in (0, 1):
        padded = np.pad(values, [(reach, reach) if i == axis else (0, 0) for i in (0, 1)], mode="edge")
        values, width, target = np.moveaxis(padded, axis, 0), 1, 2 * reach + 1
        while width < target:
            step = min(width, target - width)
            values, width = np.maximum(values[:-step], values[step:]), width + step
        values = np.moveaxis(values, 0, axis)
    return values
