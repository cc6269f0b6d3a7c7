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
from keras import ops

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
        dtype: of activations and weights; statistics of the norms and softmax are float32.
        winograd: 3x3 convolutions by Winograd's algorithm (pays on the CPU, see ``Conv3x3``).
        attention: computes softmax(q k^T / sqrt(d)) v from (batch, heads, length, d) tensors.
    """

    dtype: str
    winograd: bool
    attention: Callable[..., Tensor]


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


def _vector(name: str, length: int) -> Parameter:
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
        y = ops.matmul(x, weights[self.name + ".weight"])
        return y + weights[self.name + ".bias"] if self.bias else y


class Pointwise(Linear):
    """A 1x1 convolution: a ``Linear`` whose reference weight is stored (outputs, inputs, 1, 1)."""

    def own_parameters(self) -> Iterator[Parameter]:
        for parameter in super().own_parameters():
            sources = {
                name: (*shape, 1, 1) if len(shape) == 2 else shape
                for name, shape in parameter.sources.items()
            }
            yield dataclasses.replace(parameter, sources=sources)


WINOGRAD_CHANNELS = 320
"""Least input and output channels for Winograd's algorithm: below, a step gains less than the kernels cost
to compile."""

WINOGRAD_WEIGHTS = 1280 * 640
"""Most input times output channels for it: its filters are 16/9 the size, and the widest convolutions hold
most of a model's weights."""


class Conv3x3(Layer):
    """3x3 convolution, NHWC, of stride 1 or 2.

    With ``numerics.winograd`` and stride 1, by Winograd's minimal filtering F(2x2, 3x3) (Lavin and Gray
    2016, section 4.1): 16 products where the definition takes 36, as 16
    matrix products over channels. The weights are transformed once, at load.
    """

    def __init__(
        self,
        name: str,
        inputs: int,
        outputs: int,
        numerics: Numerics,
        stride: int = 1,
        padding: tuple[int, int] = (1, 1),
    ) -> None:
        self.name, self.inputs, self.outputs, self.stride, self.padding = (
            name,
            inputs,
            outputs,
            stride,
            padding,
        )
        small, large = WINOGRAD_CHANNELS, WINOGRAD_WEIGHTS
        fits = min(inputs, outputs) >= small and inputs * outputs <= large
        self.winograd = numerics.winograd and stride == 1 and fits

    def own_parameters(self) -> Iterator[Parameter]:
        weight = {self.name + ".weight": (self.outputs, self.inputs, 3, 3)}
        matrix = (self.inputs, self.outputs)
        if self.winograd:
            yield Parameter(self.name + ".winograd", weight, (2, 3, 1, 0), (16, *matrix), _winograd_filters)
        else:
            yield Parameter(self.name + ".weight", weight, (2, 3, 1, 0), (3, 3, *matrix), columns)
        yield _vector(self.name + ".bias", self.outputs)

    def __call__(self, weights: Weights, x: Tensor, shift: Tensor | None = None) -> Tensor:
        """Convolves x and adds the bias, or ``shift`` (batch, outputs) in its place."""
        if self.winograd:
            y = _winograd(x, weights[self.name + ".winograd"])
        else:
            x = ops.pad(x, ((0, 0), self.padding, self.padding, (0, 0)))
            y = ops.conv(x, weights[self.name + ".weight"], strides=self.stride, padding="valid")
        return y + (weights[self.name + ".bias"] if shift is None else shift[:, None, None, :])


# G of Lavin and Gray 2016, equation 7, for the filter transform U = G g G^T.
_FILTER_TRANSFORM = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)


def _winograd_filters(out: Array, arrays: list[Array]) -> None:
    """(3, 3, inputs, outputs) -> (16, inputs, outputs); the products are numbered column first, then row."""
    both = np.einsum("ij,kl->kijl", _FILTER_TRANSFORM, _FILTER_TRANSFORM).reshape(16, 9)
    kernel = arrays[0].astype(np.float32).reshape(9, -1)
    np.matmul(both, kernel, out=out.reshape(16, -1), casting="unsafe")


def _winograd(x: Tensor, filters: Tensor) -> Tensor:
    """Same-size 3x3 convolution of x (n, height, width, channels) -> (n, height, width, outputs).

    Y = A^T [U . B^T d B] A per 4x4 tile d of stride 2 (Lavin and Gray 2016, equations 7 and 8).
    """
    n, height, width, channels = x.shape
    outputs = filters.shape[-1]
    down, across = (height + 1) // 2, (width + 1) // 2
    odd_row, odd_column = 2 * down - height, 2 * across - width
    x = ops.pad(x, ((0, 0), (1, 1 + odd_row), (1, 1 + odd_column), (0, 0)))
    rows = _input_transform(ops.reshape(x, (n, down + 1, 2, 2 * (across + 1), channels)), axis=1)
    tiles = _input_transform(ops.reshape(rows, (4, n, down, across + 1, 2, channels)), axis=3)
    products = ops.matmul(ops.reshape(tiles, (16, n * down * across, channels)), filters)
    products = ops.reshape(products, (4, 4, n, down, across, outputs))
    columns = ops.stack(_output_transform(products), axis=4)
    y = ops.stack(_output_transform(columns), axis=2)
    y = ops.reshape(y, (n, 2 * down, 2 * across, outputs))
    return y[:, :height, :width] if odd_row or odd_column else y


def _input_transform(pairs: Tensor, axis: int) -> Tensor:
    """B^T d along an axis that is split into pairs (axis, axis + 1); the results lie on a new first axis.

    The tile at pair t is d = (pairs[t, 0], pairs[t, 1], pairs[t + 1, 0], pairs[t + 1, 1]).
    """
    even, odd = ops.unstack(pairs, axis=axis + 1)
    tiles = even.shape[axis] - 1
    index = (slice(None),) * axis
    here, beyond = (*index, slice(0, tiles)), (*index, slice(1, tiles + 1))
    d0, d1, d2, d3 = even[here], odd[here], even[beyond], odd[beyond]
    return ops.stack([d0 - d2, d1 + d2, d2 - d1, d1 - d3])


def _output_transform(m: Tensor) -> list[Tensor]:
    """A^T m: four products to two outputs, along the first axis."""
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


class GroupNorm(Layer):
    """Group normalisation (Wu and He 2018) of (batch, ..., channels), statistics in float32."""

    def __init__(self, name: str, channels: int, groups: int, epsilon: float) -> None:
        self.name, self.channels, self.groups, self.epsilon = name, channels, groups, epsilon

    def own_parameters(self) -> Iterator[Parameter]:
        yield _vector(self.name + ".weight", self.channels)
        yield _vector(self.name + ".bias", self.channels)

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
        moments = ops.mean(ops.reshape(moments, (2, batch, self.groups, size)), axis=3, keepdims=True)
        mean, square = moments[0], moments[1]
        # Of values that are nearly the same everywhere, rounding can leave a difference below 0.
        variance = ops.maximum(square - ops.square(mean), 0.0)
        deviation = ops.rsqrt(variance + self.epsilon)
        weight = ops.cast(weights[self.name + ".weight"], "float32")
        bias = ops.cast(weights[self.name + ".bias"], "float32")
        scale = deviation * ops.reshape(weight, (self.groups, size))
        shift = ops.reshape(bias, (self.groups, size)) - mean * scale
        return ops.reshape(scale, (batch, -1)), ops.reshape(shift, (batch, -1))

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
        yield _vector(self.name + ".weight", self.channels)
        yield _vector(self.name + ".bias", self.channels)

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
