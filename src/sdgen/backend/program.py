"""Functions of tensors, compiled."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from sdgen import backend
from sdgen.backend.exported import Export


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


class Program:
    """A compiled function, once for each set of argument shapes.

    Calling it runs ``function(weights, *arguments)`` on trees of tensors or NumPy arrays and returns tensors.

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
            weights: a tree of tensors, or such as arrive later.
            jit: under TensorFlow, False asks for its graph runtime in place of XLA, and None for no program
                at all: each operation runs by itself, which is best for what runs once or twice. JAX
                knows XLA alone.
            traced: called when a new program is about to be compiled, which does not hold Python's lock:
                what is to be traced meanwhile starts here and not before. TensorFlow numbers functions as
                it traces them, and its cache of programs sees the numbers.
        """
        self.compilations = 0
        self._jit, self._traced = jit, traced
        self._labelled: dict[str, Callable[..., Any]] = {}
        self._run: Callable[..., Any]
        self._compile_ahead: Callable[..., Any]

        def trace(weights: Any, *arguments: Any) -> Any:
            self.compilations += 1
            with backend.xla() if jit else contextlib.nullcontext():
                return function(weights, *arguments)

        if backend.active() == "jax":
            self._run_on_jax(trace, weights)
            return
        import tensorflow as tf

        if isinstance(weights, Arriving):
            weights = weights.result()
        self._weights = weights
        if jit is None:
            self._run = lambda *arguments: function(
                weights, *tf.nest.map_structure(tf.convert_to_tensor, arguments)
            )
            return
        self._compiled = tf.function(
            lambda *arguments: trace(weights, *arguments), jit_compile=jit, autograph=False
        )
        self._run = self._run_compiled

    def __call__(self, *arguments: Any, label: str = "") -> Any:
        """One run.

        Args:
            arguments: trees of tensors or arrays.
            label: says what the program depends on beside the code, its arguments' shapes among it. One
                with a label is kept on disk for later processes, where the backend needs that
                (``exported``), and must give a single tensor.
        """
        if label and backend.active() == "tensorflow" and self._jit:
            return self._run_labelled(label, *arguments)
        return self._run(*arguments)

    def ahead(self, *arguments: Any) -> Any:
        """Compiles for a call, as far as that can be done without the weights' values.

        Under JAX, in full; elsewhere not at all, since TensorFlow compiles when it runs.

        Args:
            arguments: tensors, arrays, or what ``ahead`` of other programs gave.

        Returns:
            The shapes of the call's result, for other programs' ``ahead``; None where nothing is compiled.
        """
        return self._compile_ahead(*arguments) if backend.active() == "jax" else None

    def stored(self, label: str) -> bool:
        """Whether the program of a label is on disk."""
        return os.path.isfile(Export(label, self._weights).path)

    def _run_on_jax(self, trace: Callable[..., Any], weights: Any) -> None:
        """Compiles by the weights' shapes, so that it need not wait for them, and runs on their values."""
        import jax

        jitted, lock = jax.jit(trace), threading.Lock()
        programs: dict[Any, tuple[Callable[..., Any], Any]] = {}
        if isinstance(weights, Arriving):
            dtype, values = weights.dtype, weights.result
            shapes: Any = {name: jax.ShapeDtypeStruct(shape, dtype) for name, shape in weights.shapes.items()}
        else:
            shapes, values = weights, lambda: weights

        def compiled(*arguments: Any) -> tuple[Callable[..., Any], Any]:
            """The program for a call, and the shapes of its result."""
            leaves, structure = jax.tree.flatten(arguments)
            key = structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
            with lock:
                if key not in programs:
                    lowered = jitted.lower(shapes, *arguments)
                    self._traced()
                    result = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), lowered.out_info)
                    programs[key] = lowered.compile(), result
            return programs[key]

        self._run = lambda *arguments: compiled(*arguments)[0](values(), *arguments)
        self._compile_ahead = lambda *arguments: compiled(*arguments)[1]

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
