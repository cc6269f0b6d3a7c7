"""The layers that the networks are made of: parameters by reference name, and what is computed from them.

A network is a tree of ``Layer`` objects. A layer knows its parameters' names, how they are
arranged from the reference's tensors (transposed, fused, transformed), and how to compute. It holds
no values: they are passed as ``weights``, a mapping that the compiled program takes as an argument.
Written so, and not as nested ``keras.layers``, a network of 700 tensors is traced in a fraction of
the time that Keras needs to trace nested calls, and TensorFlow and JAX run the same code.

Images are NHWC, sequences (batch, length, channels).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sdgen import backend
from sdgen.backend import ops

Tensor = Any
"""A tensor of the chosen backend."""

Array = np.ndarray[Any, np.dtype[Any]]

Weights = Mapping[str, Tensor]
"""Parameter values by ``Parameter.name``."""


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A value that a layer computes with, and the reference's tensors that it is made of.

    Attributes:
        name: key in ``Weights``.
        sources: reference tensor name -> its shape, in the order in which ``fill`` takes them.
        axes: the permutation that each source tensor goes through first; trailing axes of length 1 that it
            does not name are dropped.
        shape: of the value.
        fill: writes the value to an array of that shape and any float dtype, from the permuted source
            arrays in their stored dtypes.
    """

    name: str
    sources: Mapping[str, tuple[int, ...]]
    axes: tuple[int, ...]
    shape: tuple[int, ...]
    fill: Callable[[Array, list[Array]], None]


@dataclasses.dataclass(frozen=True)
class Numerics:
    """How a network computes.

    Attributes:
        dtype: of weights, and of what is multiplied with them.
        activations: dtype of everything else; statistics of the norms and softmax are float32.
        convolutions: how those of 3x3 are computed, a key of ``convolution.ALGORITHMS``.
        attention: computes softmax(q k^T / sqrt(d)) v from (batch, heads, length, d) tensors.
        wrap: "x", "y" or "xy" for pictures that join themselves on these axes: convolutions of 3x3 find
            beyond an edge what lies at the opposite one, and not zeros.
    """

    dtype: str
    activations: str
    convolutions: str
    attention: Callable[..., Tensor] = dataclasses.field(repr=False)
    wrap: str = ""


class Layer:
    """A node of a network. Its children are the layers among its attributes, lists included."""

    def own_parameters(self) -> Iterator[Parameter]:
        """The parameters of this node without its children's."""
        return iter(())

    def parameters(self) -> Iterator[Parameter]:
        """Every parameter of this node and below."""
        yield from self.own_parameters()
        for value in vars(self).values():
            for child in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(child, Layer):
                    yield from child.parameters()


def columns(out: Array, arrays: list[Array]) -> None:
    """The arrays side by side along their last axis."""
    out, stop = np.atleast_2d(out), 0
    for array in map(np.atleast_2d, arrays):
        start, stop = stop, stop + array.shape[-1]
        # By blocks of inputs, so that what is read of a transposed array stays in the cache.
        for first in range(0, array.shape[-2], 64):
            rows = slice(first, first + 64)
            np.copyto(out[..., rows, start:stop], array[..., rows, :], casting="unsafe")


def vector(name: str, length: int) -> Parameter:
    """A parameter that is one of the reference's vectors, as it is."""
    return Parameter(name, {name: (length,)}, (0,), (length,), columns)


class Linear(Layer):
    """y = x W + b. One matrix for several reference layers of one input: they are joined by columns."""

    def __init__(self, names: str | Sequence[str], inputs: int, outputs: int, bias: bool = True) -> None:
        self.names = [names] if isinstance(names, str) else list(names)
        self.inputs, self.outputs, self.bias = inputs, outputs, bias
        self.name = "+".join(self.names)

    def own_parameters(self) -> Iterator[Parameter]:
        total = len(self.names) * self.outputs
        matrices = {f"{n}.weight": (self.outputs, self.inputs) for n in self.names}
        yield Parameter(self.name + ".weight", matrices, (1, 0), (self.inputs, total), columns)
        if self.bias:
            biases = {f"{n}.bias": (self.outputs,) for n in self.names}
            yield Parameter(self.name + ".bias", biases, (0,), (total,), columns)

    def __call__(self, weights: Weights, x: Tensor) -> Tensor:
        y = backend.matmul(x, weights[self.name + ".weight"])
        return y + ops.cast(weights[self.name + ".bias"], y.dtype) if self.bias else y


class Embedding(Layer):
    """A table of vectors."""

    def __init__(self, name: str, count: int, width: int) -> None:
        self.name, self.count, self.width = name, count, width

    def own_parameters(self) -> Iterator[Parameter]:
        name, shape = self.name + ".weight", (self.count, self.width)
        yield Parameter(name, {name: shape}, (0, 1), shape, columns)

    def __call__(self, weights: Weights, numbers: Tensor) -> Tensor:
        """(...) whole numbers below ``count`` -> (..., width)."""
        return ops.take(weights[self.name + ".weight"], numbers, axis=0)


class Pointwise(Linear):
    """A 1x1 convolution: a ``Linear`` whose reference weight is stored (outputs, inputs, 1, 1)."""

    def own_parameters(self) -> Iterator[Parameter]:
        for parameter in super().own_parameters():
            sources = {
                name: (*shape, 1, 1) if len(shape) == 2 else shape
                for name, shape in parameter.sources.items()
            }
            yield dataclasses.replace(parameter, sources=sources)


class GroupNorm(Layer):
    """Group normalisation (Wu and He 2018) of (batch, ..., channels), statistics in float32."""

    def __init__(self, name: str, channels: int, groups: int, epsilon: float) -> None:
        self.name, self.channels, self.groups, self.epsilon = name, channels, groups, epsilon

    def own_parameters(self) -> Iterator[Parameter]:
        yield vector(self.name + ".weight", self.channels)
        yield vector(self.name + ".bias", self.channels)

    def __call__(self, weights: Weights, x: Tensor) -> Tensor:
        """Normalises over each group of channels and all positions."""
        return self.normalise(x, *self.scale_and_shift(weights, self.moments(x)))

    @staticmethod
    def moments(x: Tensor) -> Tensor:
        """(2, batch, channels) float32: means over all positions, of the values and of their squares.

        x is (batch, ..., width, channels). The last axis of positions is summed first, then the others:
        a GPU then has a sum for every row to work on, where it would have one for every 32 channels.
        """
        wide = ops.cast(x, "float32")
        rows = ops.stack([ops.mean(wide, axis=-2), ops.mean(ops.square(wide), axis=-2)])
        return ops.mean(ops.reshape(rows, (2, x.shape[0], -1, x.shape[-1])), axis=2)

    def scale_and_shift(self, weights: Weights, moments: Tensor) -> tuple[Tensor, Tensor]:
        """What normalising multiplies values with and then adds, each (batch, channels) float32."""
        batch, size = moments.shape[1], self.channels // self.groups
        weight = ops.cast(weights[self.name + ".weight"], "float32")
        bias = ops.cast(weights[self.name + ".bias"], "float32")
        mean, deviation = self.mean_and_inverse_deviation(moments)
        scale = deviation * ops.reshape(weight, (self.groups, size))
        shift = ops.reshape(bias, (self.groups, size)) - mean * scale
        return ops.reshape(scale, (batch, -1)), ops.reshape(shift, (batch, -1))

    def mean_and_inverse_deviation(self, moments: Tensor) -> tuple[Tensor, Tensor]:
        """Of each group, each (batch, groups, 1) float32, from ``moments``."""
        batch, size = moments.shape[1], self.channels // self.groups
        moments = ops.mean(ops.reshape(moments, (2, batch, self.groups, size)), axis=3, keepdims=True)
        mean, square = moments[0], moments[1]
        # Of values that are nearly the same everywhere, rounding can leave a difference below 0.
        variance = ops.maximum(square - ops.square(mean), 0.0)
        return mean, ops.rsqrt(variance + self.epsilon)

    @staticmethod
    def normalise(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """The values of x, or of any part of its positions, scaled and shifted, in x's dtype."""
        flat = ops.cast(ops.reshape(x, (x.shape[0], -1, x.shape[-1])), "float32")
        return ops.reshape(ops.cast(flat * scale[:, None] + shift[:, None], x.dtype), x.shape)


class LayerNorm(Layer):
    """Layer normalisation (Ba et al. 2016) over the last axis, statistics in float32."""

    def __init__(self, name: str, channels: int, epsilon: float = 1e-5) -> None:
        self.name, self.channels, self.epsilon = name, channels, epsilon

    def own_parameters(self) -> Iterator[Parameter]:
        yield vector(self.name + ".weight", self.channels)
        yield vector(self.name + ".bias", self.channels)

    def __call__(self, weights: Weights, x: Tensor) -> Tensor:
        wide = ops.cast(x, "float32")
        centred = wide - ops.mean(wide, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
        y = centred * ops.rsqrt(variance + self.epsilon)
        y = y * ops.cast(weights[self.name + ".weight"], "float32")
        return ops.cast(y + ops.cast(weights[self.name + ".bias"], "float32"), x.dtype)


def silu(x: Tensor) -> Tensor:
    """The sigmoid linear unit, x sigmoid(x)."""
    return x * ops.sigmoid(x)


def gelu(x: Tensor) -> Tensor:
    """GELU, x Phi(x), exactly (erf), as the reference has it; keras_cv uses the tanh approximation."""
    # Not ops.gelu: JAX computes that by erfc, which takes a GPU three times as long.
    return 0.5 * x * (1 + ops.erf(x * math.sqrt(0.5)))


def quick_gelu(x: Tensor) -> Tensor:
    """OpenAI CLIP's activation, x sigmoid(1.702 x)."""
    return x * ops.sigmoid(1.702 * x)


def upsample_nearest(x: Tensor) -> Tensor:
    """(n, h, w, c) -> (n, 2h, 2w, c), each pixel four times."""
    n, height, width, channels = x.shape
    x = ops.broadcast_to(x[:, :, None, :, None, :], (n, height, 2, width, 2, channels))
    return ops.reshape(x, (n, 2 * height, 2 * width, channels))
