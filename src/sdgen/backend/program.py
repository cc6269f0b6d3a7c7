"""Functions of tensors, compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from sdgen.backend.arriving import Arriving
from sdgen.backend.choosing import active

__all__ = ["Arriving", "Program"]


class _Compiled(Protocol):
    """What ``JaxProgram`` and ``TensorFlowProgram`` have, and ``Program`` describes."""

    compilations: int

    def run(self, arguments: tuple[Any, ...], label: str) -> Any: ...

    def ahead(self, arguments: tuple[Any, ...]) -> Any: ...

    def stored(self, label: str) -> bool: ...


class Program:
    """A compiled function, once for each set of argument shapes.

    Calling it runs ``function(weights, *arguments)`` on trees of tensors or NumPy arrays and returns tensors.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        weights: Any,
        jit: bool | None = True,
        traced: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is compiled yet.

        Args:
            function: takes ``weights`` and the arguments of a call.
            weights: a tree of tensors, or such as arrive later.
            jit: under TensorFlow, False asks for its graph runtime in place of XLA, and None for no program
                at all: each operation runs by itself, which is best for what runs once or twice. JAX
                knows XLA alone.
            traced: called when a new program is about to be compiled, which does not hold Python's lock:
                what is to be traced meanwhile starts here and not before. TensorFlow numbers functions as
                it traces them, and its cache of programs sees the numbers.
        """
        self._compiled: _Compiled
        if active() == "jax":
            from sdgen.backend.jax_program import JaxProgram

            self._compiled = JaxProgram(function, weights, traced)
        else:
            from sdgen.backend.tensorflow_program import TensorFlowProgram

            self._compiled = TensorFlowProgram(function, weights, jit, traced)

    @property
    def compilations(self) -> int:
        """How many programs it has become."""
        return self._compiled.compilations

    def __call__(self, *arguments: Any, label: str = "") -> Any:
        """One run.

        Args:
            arguments: trees of tensors or arrays.
            label: says what the program depends on beside the code, its arguments' shapes among it. One
                with a label is kept on disk for later processes, where the backend needs that
                (``exported``), and must give a single tensor.
        """
        return self._compiled.run(arguments, label)

    def ahead(self, *arguments: Any) -> Any:
        """Compiles for a call, as far as that can be done without the weights' values.

        Under JAX, in full; elsewhere not at all, since TensorFlow compiles when it runs.

        Args:
            arguments: tensors, arrays, or what ``ahead`` of other programs gave.

        Returns:
            The shapes of the call's result, for other programs' ``ahead``; None where nothing is compiled.
        """
        return self._compiled.ahead(arguments)

    def stored(self, label: str) -> bool:
        """Whether the program of a label is on disk, where the backend needs that."""
        return self._compiled.stored(label)
