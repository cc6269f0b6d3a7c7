"""TensorFlow programs as StableHLO on disk, so that a second process need not trace them again.

Tracing a network of 700 tensors takes TensorFlow a second, and lowering the graph to XLA's input another.
Both are done once: what comes out is stored, and every process, the first too, compiles and runs that. The
function that XLA is handed has a name of its own, where TensorFlow numbers those that it traces, and its
cache of compiled programs looks at the name: so it is found again whatever was traced before it.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context

from sdgen.backend import program_cache
from sdgen.backend.source_key import source_key
from sdgen.backend.tensorflow_operations import call_module
from sdgen.errors import OutputError, SdgenError
from sdgen.files import whole_files
from sdgen.files.user_files import open_regular

_REWRITTEN = (
    (re.compile(r"mhlo\.copy (%\S+) : (tensor<[^>]*>)"), r"stablehlo.reshape \1 : (\2) -> \2"),
    (re.compile(r"mhlo\.erf (%\S+) : (tensor<[^>]*>)"), r"chlo.erf \1 : \2 -> \2"),
)
"""Operations of XLA's own dialect, as TensorFlow exports them, and what StableHLO has for them."""

_LOCATION = re.compile(r"^#loc.*$| ?\bloc\((?:[^()\"]|\"[^\"]*\"|\([^()]*\))*\)", re.MULTILINE)

_MAIN = re.compile(r"func\.func (?:public )?@main\(.*")

_DIGEST = 64
"""Bytes of the digest in front of a stored program: hexadecimal digits."""

_MAX_BYTES = 256 << 20
"""The most that a stored program may have; that of Stable Diffusion's loop has a few million."""


class Export:
    """One program for arguments of one set of shapes.

    Args:
        function: what the program computes.
        label: what the function and its arguments' shapes depend on beside its source, as text.
        weights: variables by name, which the program takes after its arguments.
    """

    def __init__(self, function: Callable[..., Any], label: str, weights: Mapping[str, Any]) -> None:
        versions = f"{metadata.version('tensorflow')} {metadata.version('keras')}"
        key = f"{versions} {source_key(function)} {label}"
        self._name = "sdgen_" + hashlib.sha256(key.encode()).hexdigest()[:32]
        self._weights = weights
        self.path = program_cache.folder("tensorflow") / f"{self._name}.json.gz"

    def read(self) -> Callable[..., Any] | None:
        """The stored program; None where there is none, or its file is not as ``write`` wrote it."""
        try:
            with open_regular(self.path) as packed, gzip.open(packed) as file:
                digest, text = file.read(_DIGEST), file.read(_MAX_BYTES)
            os.utime(self.path)
        except (OSError, EOFError, zlib.error, SdgenError):
            return None
        return self._callable(json.loads(text)) if digest == _digest(text) else None

    def write(self, function: Any, arguments: Sequence[Any]) -> None:
        """Traces and stores a program.

        A program that cannot be expressed or stored is left out; ``read`` then finds none.

        Args:
            function: a ``tf.function`` with ``jit_compile`` that gives one tensor and reads ``weights``.
            arguments: of a call.
        """
        concrete = function.get_concrete_function(*arguments)
        names = {id(variable.handle): name for name, variable in self._weights.items()}
        read = [names.get(id(captured)) for captured in concrete.captured_inputs]
        try:
            text = function.experimental_get_compiler_ir(*arguments)(stage="stablehlo")
        except (tf.errors.OpError, TypeError, ValueError):
            return
        for pattern, replacement in _REWRITTEN:
            text = pattern.sub(replacement, text)
        text = _LOCATION.sub("", text)
        # Empty tensors are constants to XLA.
        taken = [i for i, a in enumerate(tf.nest.flatten(arguments)) if 0 not in a.shape]
        parameters = _MAIN.search(text)
        takes = parameters[0].count("%arg") if parameters else 0
        if None in read or "= mhlo." in text or takes != len(taken) + len(read):
            return
        (output,) = concrete.outputs
        stored = {
            "module": text,
            "arguments": taken,
            "weights": read,
            "shape": output.shape.as_list(),
            "dtype": output.dtype.name,
        }
        with contextlib.suppress(OutputError, OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(stored).encode()
            whole_files.write(self.path, gzip.compress(_digest(text) + text, 1), replace=True)

    def _callable(self, stored: Mapping[str, Any]) -> Callable[..., Any]:
        module, shape, dtype = stored["module"].encode(), stored["shape"], stored["dtype"]

        def call(*tensors: Any) -> Any:
            return call_module(list(tensors), module, shape, dtype, "CPU")

        weights = [tf.convert_to_tensor(self._weights[name]) for name in stored["weights"]]

        def run(*arguments: Any) -> Any:
            flat = tf.nest.flatten(arguments)
            tensors = [*(tf.convert_to_tensor(flat[i]) for i in stored["arguments"]), *weights]
            if not context.context().has_function(self._name):
                specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in tensors]
                concrete = tf.function(call, jit_compile=True, autograph=False).get_concrete_function(*specs)
                definition = type(concrete.function_def)()
                definition.CopyFrom(concrete.function_def)
                definition.signature.name = self._name
                context.context().add_function_def(definition)
            return tf.raw_ops.StatefulPartitionedCall(args=tensors, Tout=[dtype], f=self._name)[0]

        return run


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()
