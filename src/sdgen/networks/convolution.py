"""3x3 convolutions: as they are defined, by Winograd's algorithm, or as products of gathered neighbours.

All of them wrap where ``Numerics.wrap`` says so, as torch's do with ``padding_mode="circular"``: so pictures
are made seamless elsewhere, too (AUTOMATIC1111's "Tiling", by axes InvokeAI's "seamless").
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator

import numpy as np

from sdgen import backend
from sdgen.backend import ops
from sdgen.networks.layers import Array, Layer, Numerics, Parameter, Tensor, Weights, columns, vector


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """Which convolutions are computed how; the figures are in docs/performance.md.

    Attributes:
        winograd_channels: least input and output channels for Winograd's algorithm: it takes four kernels
            more to compile.
        winograd_weights: most input times output channels for it: its filters are 16/9 the size.
        gathered_channels: least input and output channels, of the rest, for a product of gathered neighbours.
    """

    winograd_channels: int = sys.maxsize
    winograd_weights: int = 0
    gathered_channels: int = sys.maxsize


ALGORITHMS = {
    "direct": Algorithm(),
    "winograd": Algorithm(winograd_channels=320, winograd_weights=1280 * 640),
    "winograd, gathered": Algorithm(
        winograd_channels=320, winograd_weights=1280 * 640, gathered_channels=320
    ),
    "all winograd": Algorithm(winograd_channels=32, winograd_weights=sys.maxsize, gathered_channels=32),
    "gathered": Algorithm(gathered_channels=32),
}
"""By ``Numerics.convolutions``."""


class Conv3x3(Layer):
    """3x3 convolution, NHWC, of stride 1 or 2, computed as ``ALGORITHMS`` says."""

    def __init__(
        self,
        name: str,
        inputs: int,
        outputs: int,
        numerics: Numerics,
        stride: int = 1,
        padding: tuple[int, int] = (1, 1),
    ) -> None:
        self.name, self.inputs, self.outputs = name, inputs, outputs
        self.stride, self.padding, self.wrap = stride, padding, numerics.wrap
        way, least = ALGORITHMS[numerics.convolutions], min(inputs, outputs)
        small = inputs * outputs <= way.winograd_weights
        self.winograd = stride == 1 and least >= way.winograd_channels and small
        self.gathered = not self.winograd and least >= way.gathered_channels

    def own_parameters(self) -> Iterator[Parameter]:
        name, inputs, outputs = self.name, self.inputs, self.outputs
        weight = {name + ".weight": (outputs, inputs, 3, 3)}
        if self.winograd:
            shape = (16, outputs, inputs)
            yield Parameter(name + ".winograd", weight, (2, 3, 0, 1), shape, _winograd_filters)
        else:
            yield Parameter(name + ".weight", weight, (2, 3, 1, 0), (3, 3, inputs, outputs), columns)
        yield vector(name + ".bias", outputs)

    def __call__(self, weights: Weights, x: Tensor, shift: Tensor | None = None) -> Tensor:
        """Convolves x and adds the bias, or ``shift`` (batch, outputs) in its place.

        x is (batch, height, width, inputs); the result has its dtype, and x's size over the stride.
        """
        if self.winograd:
            y = _winograd(x, weights[self.name + ".winograd"], self.wrap)
        else:
            padded = _padded(x, self.padding, self.wrap)
            convolve = _gathered if self.gathered else _direct
            y = convolve(padded, weights[self.name + ".weight"], self.stride)
        return y + (
            ops.cast(weights[self.name + ".bias"], y.dtype) if shift is None else shift[:, None, None]
        )


def _padded(x: Tensor, padding: tuple[int, int], wrap: str, zeros: tuple[int, int] = (0, 0)) -> Tensor:
    """The map x (n, height, width, channels) with rows and columns more than its own, for a convolution.

    Args:
        x: the map.
        padding: how many go before and after its own, on both axes: zeros or, on an axis of ``wrap``, those
            of the other end.
        wrap: ``Numerics.wrap``.
        zeros: rows and columns of zeros after all of these.
    """
    before, after = padding
    widths = []
    for axis, letter, more in ((1, "y", zeros[0]), (2, "x", zeros[1])):
        if letter in wrap:
            along = (slice(None),) * axis
            last, first = (*along, slice(x.shape[axis] - before, None)), (*along, slice(0, after))
            x = ops.concatenate([x[last], x, x[first]], axis)
        widths.append((0, more) if letter in wrap else (before, after + more))
    return ops.pad(x, ((0, 0), *widths, (0, 0)))


def _direct(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    dtype = backend.factor_dtype(weight.dtype)
    narrow = ops.cast(ops.cast(x, weight.dtype), dtype)
    y = ops.conv(narrow, ops.cast(weight, dtype), strides=stride, padding="valid")
    return ops.cast(y, x.dtype)


def _gathered(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """One product of each position's nine neighbours with the filters.

    x (n, height, width, channels) is padded already, as in ``_direct``; the product sums in its dtype.
    """
    _, height, width, channels = x.shape
    height, width = (height - 3) // stride + 1, (width - 3) // stride + 1
    narrow = ops.cast(x, weight.dtype)
    rows = [slice(i, i + stride * (height - 1) + 1, stride) for i in range(3)]
    lines = [slice(j, j + stride * (width - 1) + 1, stride) for j in range(3)]
    neighbours = ops.concatenate([narrow[:, row, line] for row in rows for line in lines], axis=-1)
    return backend.matmul(neighbours, ops.reshape(weight, (9 * channels, -1)), dtype=x.dtype)


# G of Lavin and Gray 2016, equation 7, for the filter transform U = G g G^T.
_FILTER_TRANSFORM = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)


def _winograd_filters(out: Array, arrays: list[Array]) -> None:
    """(3, 3, outputs, inputs) -> (16, outputs, inputs); the products are numbered column first, then row."""
    both = np.einsum("ij,kl->kijl", _FILTER_TRANSFORM, _FILTER_TRANSFORM).reshape(16, 9)
    kernel = arrays[0].astype(np.float32).reshape(9, -1)
    np.matmul(both, kernel, out=out.reshape(16, -1), casting="unsafe")


FEW_TILES = 128
"""Up to so many, XLA is faster with the filters as the left factor, whose rows it does not rearrange."""


def _winograd(x: Tensor, filters: Tensor, wrap: str) -> Tensor:
    """Same-size 3x3 convolution of x (n, height, width, channels) -> (n, height, width, outputs).

    By minimal filtering F(2x2, 3x3), Y = A^T [U . B^T d B] A for each 4x4 tile d of stride 2 (Lavin and Gray
    2016, section 4.1 and equations 7 and 8): 16 products where the definition takes 36, as 16
    matrix products over channels. The filters U are transformed once, at load.
    """
    n, height, width, channels = x.shape
    outputs = filters.shape[1]
    down, across = (height + 1) // 2, (width + 1) // 2
    odd_row, odd_column = 2 * down - height, 2 * across - width
    x = _padded(x, (1, 1), wrap, (odd_row, odd_column))
    rows = _input_transform(ops.reshape(x, (n, down + 1, 2, 2 * (across + 1), channels)), axis=1)
    tiles = _input_transform(ops.reshape(rows, (4, n, down, across + 1, 2, channels)), axis=3)
    tiles = ops.reshape(tiles, (16, n * down * across, channels))
    if n * down * across <= FEW_TILES:
        products = backend.matmul(filters, tiles, transposed=True)
        products = ops.reshape(products, (4, 4, outputs, n, down, across))
        columns = ops.stack(_output_transform(products), axis=1)
        y = ops.stack(_output_transform(columns), axis=0)  # (row, column, outputs, n, down, across)
        y = ops.transpose(y, (3, 4, 0, 5, 1, 2))
    else:
        products = backend.matmul(tiles, filters, transposed=True)
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
