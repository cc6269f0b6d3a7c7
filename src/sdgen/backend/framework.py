"""The functions that each framework has a module of, and which of the two modules is in use."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from sdgen.backend.choosing import active

if TYPE_CHECKING:
    import numpy as np


class Framework(Protocol):
    """What ``jax_operations`` and ``tensorflow_operations`` have.

    ``device_names``, ``memory`` and ``operations`` offer these to other packages, and say what each does.
    """

    def devices(self) -> list[str]:
        """Names of all devices."""

    def on_device(self, kind: str, index: int) -> Any:
        """A context in which tensors are made and programs run there."""

    def compute_capability(self, index: int) -> tuple[int, int]:
        """A GPU's, as NVIDIA counts; (0, 0) for other makes."""

    def free_memory(self, kind: str, index: int) -> int | None:
        """Bytes of an accelerator's memory that are free; None where nobody knows."""

    def peak_memory(self, kind: str, index: int) -> int | None:
        """The most bytes of an accelerator's memory in use at once; None where nobody knows."""

    def without_gradients(self) -> AbstractContextManager[None]:
        """A context in which functions are traced that nobody differentiates."""

    def to_tensor(self, array: np.ndarray[Any, np.dtype[Any]]) -> Any:
        """An array as a tensor."""

    def wait(self, tensor: Any) -> None:
        """Returns when a tensor has been computed."""

    def fori_loop(self, start: Any, stop: Any, body: Callable[[Any, Any], Any], state: Any) -> Any:
        """A loop with bounds that are data."""

    def cond(self, condition: Any, when_true: Callable[[], Any], when_false: Callable[[], Any]) -> Any:
        """The result of one of two functions."""

    def map_in_turn(self, function: Callable[[Any], Any], count: int, like: Any = None) -> Any:
        """A function of the numbers below ``count``, stacked."""

    def matmul(self, a: Any, b: Any, transposed: bool, result: str) -> Any:
        """The product of tensors of one dtype, in dtype ``result``."""

    def factor_dtype(self, half: str) -> str:
        """The dtype in which "bfloat16" or "float16" is to be multiplied."""

    def cudnn_attention(self, q: Any, k: Any, v: Any, causal: bool) -> Any:
        """Of (batch, length, heads, head size), on a GPU that has it; in a compiled program."""


@functools.cache
def framework() -> Framework:
    """The active framework's functions."""
    if active() == "jax":
        from sdgen.backend import jax_operations

        return jax_operations
    from sdgen.backend import tensorflow_operations

    return tensorflow_operations
