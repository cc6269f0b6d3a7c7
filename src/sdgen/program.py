"""Functions of tensors, compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sdgen import backend
from sdgen.exported import Export


class Program:
    """A compiled function, once for each set of argument shapes.

    Calling it runs ``function(weights, *arguments)`` on tensors or NumPy arrays and returns tensors.

    Attributes:
        compilations: how many programs it has become.
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
            weights: a tree of tensors.
            jit: under TensorFlow, False asks for its graph runtime in place of XLA, and None for no program
                at all: each operation runs by itself, which is best for what runs once or twice. JAX
                knows XLA alone.
            traced: called when TensorFlow is about to compile a new program, without holding Python's lock:
                what is to be traced meanwhile starts here and not before. TensorFlow numbers functions as
                it traces them, and its cache of programs sees the numbers.
        """
        self.compilations = 0
        self._weights, self._jit, self._traced = weights, jit, traced
        self._labelled: dict[str, Callable[..., Any]] = {}

        def trace(weights: Any, *arguments: Any) -> Any:
            self.compilations += 1
            return function(weights, *arguments)

        if backend.active() == "jax":
            import jax

            compiled = jax.jit(trace)
            self._run: Callable[..., Any] = lambda *arguments: compiled(weights, *arguments)
            return
        import tensorflow as tf

        if jit is None:
            self._run = lambda *arguments: function(weights, *map(tf.convert_to_tensor, arguments))
            return
        self._compiled = tf.function(
            lambda *arguments: trace(weights, *arguments), jit_compile=jit, autograph=False
        )
        self._run = self._run_compiled

    def __call__(self, *arguments: Any, label: str = "") -> Any:
        """One run.

        Args:
            arguments: tensors or arrays.
            label: says what the program depends on beside the code, its arguments' shapes among it. One
                with a label is kept on disk for later processes, where the backend needs that
                (``exported``), and must give a single tensor.
        """
        if label and backend.active() == "tensorflow" and self._jit:
            return self._run_labelled(label, *arguments)
        return self._run(*arguments)

    def stored(self, label: str) -> bool:
        """Whether the program of a label is on disk."""
        return Export(label, self._weights).path.exists()

    def _run_compiled(self, *arguments: Any) -> Any:
        known = self.compilations
        self._compiled.get_concrete_function(*arguments)
        if self.compilations > known:
            self._traced()
        return self._compiled(*arguments)

    def _run_labelled(self, label: str, *arguments: Any) -> Any:
        import tensorflow as tf

        if label in self._labelled:
            return self._labelled[label](*arguments)
        export, known = Export(label, self._weights), self.compilations
        program = export.read()
        if program is None:
            export.write(self._compiled, arguments)
            program = export.read()
        if program is not None:
            self.compilations = known + 1
            self._traced()
            try:
                result = program(*arguments)
            except tf.errors.OpError as error:
                # Another version of TensorFlow may refuse what this one takes; tracing works with all.
                if backend.is_out_of_memory(error):
                    raise
            else:
                self._labelled[label] = program
                return result
        self._labelled[label] = self._run_compiled
        return self._run_compiled(*arguments)
