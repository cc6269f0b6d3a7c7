"""Weights that another thread may still be loading."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Arriving:
    """Weights that another thread may still be loading.

    Attributes:
        shapes: of each, by name; JAX compiles by them meanwhile.
        dtype: of all.
        result: waits for them and gives them by name.
    """

    shapes: Mapping[str, tuple[int, ...]]
    dtype: str
    result: Callable[[], Mapping[str, Any]]
