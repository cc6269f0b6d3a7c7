"""``program.Program`` on TensorFlow: by XLA, by its graph runtime, or each operation by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from sdgen.backend.arriving import Arriving
from sdgen.backend.exported import Export
from sdgen.backend.memory import is_out_of_memory
from sdgen.backend.tensorflow_operations import xla


class TensorFlowProgram:
    """A function that TensorFlow compiles, once for each set of shapes; for arguments see ``Program``."""

    def __init__(
        self, function: Callable[..., Any], weights: Any, jit: bool | None, traced: Callable[[], None]
    ) -> None:
        self.compilations = 0
        self._jit, self._traced = jit, traced
        self._labelled: dict[str, Callable[..., Any]] = {}
        self._function = function
        self._weights = weights = weights.result() if isinstance(weights, Arriving) else weights

        def trace(*arguments: Any) -> Any:
            self.compilations += 1
            with xla() if jit else contextlib.nullcontext():
                return function(weights, *arguments)

        self._compiled = tf.function(trace, jit_compile=bool(jit), autograph=False)

    def run(self, arguments: tuple[Any, ...], label: str) -> Any:
        """As ``Program.__call__``."""
        if self._jit is None:
            return self._function(self._weights, *tf.nest.map_structure(tf.convert_to_tensor, arguments))
        return (
            self._run_labelled(label, *arguments) if label and self._jit else self._run_compiled(*arguments)
        )

    def ahead(self, arguments: tuple[Any, ...]) -> None:
        """Nothing: TensorFlow compiles when it runs."""

    def stored(self, label: str) -> bool:
        """As ``Program.stored``."""
        return self._export(label).path.is_file()

    def _export(self, label: str) -> Export:
        return Export(self._function, label, self._weights)

    def _run_compiled(self, *arguments: Any) -> Any:
        known = self.compilations
        self._compiled.get_concrete_function(*arguments)
        if self.compilations > known:
            self._traced()
        return self._compiled(*arguments)

    def _run_labelled(self, label: str, *arguments: Any) -> Any:
        if label in self._labelled:
            return self._labelled[label](*arguments)
        export, known = self._export(label), self.compilations
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
                if is_out_of_memory(error):
                    raise
            else:
                self._labelled[label] = program
                return result
        self._labelled[label] = self._run_compiled
        return self._run_compiled(*arguments)
