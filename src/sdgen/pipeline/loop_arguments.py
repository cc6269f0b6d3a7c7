"""What the compiled loop is given: windows of the tables' rows, and what it takes as it stands."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sdgen.backend import ops
from sdgen.diffusion.shortcuts import Shortcuts
from sdgen.diffusion.table import SamplerTable
from sdgen.pipeline.conditioning import Conditioning, KnownLatents
from sdgen.pipeline.windows import Windows

WINDOW = 32
"""Table rows handed to the program at a time. The program's shapes depend on it, and not on the steps."""

MOST_NOISE = 1 << 25
"""Values of one image's fresh noise that are handed over at a time, 128 MiB: all rows of 4096x4096 pixels."""

Array = np.ndarray[Any, np.dtype[np.float32]]

_ROW_VALUES = ("timesteps", "p", "q", "noise", "data_p", "data_q")


def rows_at_once(shape: Sequence[int], fresh_noise: bool) -> int:
    """How many of the table's rows are handed over at a time: ``WINDOW``, or fewer of a very large picture.

    Args:
        shape: of an image's latents.
        fresh_noise: whether the rows come with noise.
    """
    return max(1, min(WINDOW, MOST_NOISE // math.prod(shape))) if fresh_noise else WINDOW


def table_window(
    tables: Sequence[SamplerTable], first: int, known: KnownLatents | None, count: int = WINDOW
) -> dict[str, Array]:
    """Rows ``first`` and on of all tables, each (count, batch, ...); rows past the end change nothing.

    Where something is ``known``, the weights of image and noise after each row are among them, and the
    timestep that follows as a share of all.
    """
    batch = len(tables)
    window = {name: np.zeros((count, batch), np.float32) for name in _ROW_VALUES}
    if known is not None:
        window["alpha"], window["sigma"] = np.ones_like(window["p"]), np.zeros_like(window["p"])
    window["mix"] = np.broadcast_to(np.eye(4, 5, dtype=np.float32), (count, batch, 4, 5)).copy()
    for i, table in enumerate(tables):
        rows = slice(first, min(first + count, len(table.timesteps)))
        for name, values in window.items():
            part = getattr(table, name)[rows]
            values[: len(part), i] = part
    if known is not None:
        window["following"] = _following(tables, first, count) / np.float32(known.timesteps)
    return window


def _following(tables: Sequence[SamplerTable], first: int, count: int) -> Array:
    """The timestep after each of the rows ``first`` and on, (count, batch); 0 after the last."""
    timesteps = np.zeros((count, len(tables)), np.float32)
    for i, table in enumerate(tables):
        part = table.timesteps[first + 1 : first + 1 + count]
        timesteps[: len(part), i] = part
    return timesteps


def shortcut_window(shortcuts: Sequence[Shortcuts], first: int, count: int = WINDOW) -> dict[str, Any]:
    """Rows ``first`` and on of all shortcuts, each (count, batch); rows past the end hold nobody up."""
    if not shortcuts:
        return {}
    reuse, guided = np.ones((count, len(shortcuts)), bool), np.zeros((count, len(shortcuts)), bool)
    for i, rows in enumerate(shortcuts):
        part = slice(first, first + count)
        reuse[: len(rows.reuse[part]), i] = rows.reuse[part]
        guided[: len(rows.guided[part]), i] = rows.guided[part]
    return {"reuse": reuse, "guided": guided}


def tensors(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A tree of arrays as tensors."""
    return {
        name: tensors(value) if isinstance(value, Mapping) else ops.convert_to_tensor(value)
        for name, value in tree.items()
    }


def loop_maps(conditioning: Conditioning, windows: Windows | None) -> dict[str, Any]:
    """What the loop takes as it stands."""
    return conditioning.maps() | ({} if windows is None else {"windows": vars(windows)})


def shapes(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A tree of arrays as their shapes."""
    return {
        name: shapes(value) if isinstance(value, Mapping) else value.shape for name, value in tree.items()
    }
