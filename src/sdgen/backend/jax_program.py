"""``program.Program`` on JAX: compiled by the weights' shapes, which need not have arrived."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import jax

from sdgen.backend.arriving import Arriving


class JaxProgram:
    """A function that JAX compiles, once for each set of shapes; for arguments see ``Program``."""

    def __init__(self, function: Callable[..., Any], weights: Any, traced: Callable[[], None]) -> None:
        self.compilations = 0
        self._traced = traced
        self._jitted = jax.jit(self._counting(function))
        self._lock = threading.Lock()
        self._programs: dict[Any, tuple[Callable[..., Any], Any]] = {}
        self._shapes: Any = weights
        self._values: Callable[[], Any] = lambda: weights
        if isinstance(weights, Arriving):
            self._values = weights.result
            self._shapes = {
                name: jax.ShapeDtypeStruct(shape, weights.dtype) for name, shape in weights.shapes.items()
            }

    def run(self, arguments: tuple[Any, ...], label: str) -> Any:
        """As ``Program.__call__``; JAX keeps what it compiles by itself, with a label or without."""
        return self._program(arguments)[0](self._values(), *arguments)

    def ahead(self, arguments: tuple[Any, ...]) -> Any:
        """As ``Program.ahead``."""
        return self._program(arguments)[1]

    def stored(self, label: str) -> bool:
        """False: JAX does not say what it has kept."""
        return False

    def _counting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def trace(weights: Any, *arguments: Any) -> Any:
            self.compilations += 1
            return function(weights, *arguments)

        return trace

    def _program(self, arguments: tuple[Any, ...]) -> tuple[Callable[..., Any], Any]:
        """The program for a call, and the shapes of its result."""
        leaves, structure = jax.tree.flatten(arguments)
        key = structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        with self._lock:
            if key not in self._programs:
                lowered = self._jitted.lower(self._shapes, *arguments)
                self._traced()
                result = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), lowered.out_info)
                self._programs[key] = lowered.compile(), result
        return self._programs[key]
