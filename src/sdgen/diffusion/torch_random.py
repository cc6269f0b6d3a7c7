"""PyTorch's CPU generator and ``torch.randn`` in float32, bit for bit, from the published algorithms.

The generator is MT19937 (Matsumoto and Nishimura 1998) with the 2002 initialisation, which is NumPy's legacy
seeding. Normal numbers are Box and Muller's (1958), in one of two ways (ATen,
``native/cpu/DistributionTemplates.h`` and ``core/DistributionsHelper.h``): 16 or more of them in blocks of
16 float32 numbers; fewer one at a time in float64, where every second one waits for the next call.

PyTorch computes the blocks with AVX2 on any x86-64 processor of the last ten years, with the logarithm and
sines of the Cephes library (ATen, ``native/cpu/avx_mathfun.h``) and fused multiply-adds. The same is done
here in whole arrays, so the numbers are the same on every machine. PyTorch itself differs from them in the
last digits, by less than 3e-6, where it runs without AVX2.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Array32 = NDArray[np.float32]

BLOCK = 16
_LOG_POLYNOMIAL = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
_MINUS_QUARTER_PI = (-0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8)
_SIN_POLYNOMIAL = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_COS_POLYNOMIAL = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)


class TorchGenerator:
    """``torch.Generator("cpu").manual_seed(seed)``, for draws of ``torch.randn`` in float32.

    Args:
        seed: 0 to 2**64 - 1; like PyTorch, only the lowest 32 bits count.
    """

    def __init__(self, seed: int) -> None:
        self._bits = np.random.MT19937()
        legacy = np.random.RandomState(seed & 0xFFFFFFFF).get_state(legacy=False)
        self._bits.state = cast(Any, legacy)
        self._waiting: float | None = None

    def randn(self, size: int) -> Array32:
        """The next ``torch.randn(size)``: standard normal numbers, float32 (size,).

        ``torch.randn`` of any shape with as many elements gives the same numbers in row-major order.
        """
        if size < BLOCK:
            return np.array([self._normal() for _ in range(size)], np.float32)
        normals = np.empty(size, np.float32)
        whole, rest = size - size % BLOCK, size % BLOCK
        uniforms = self._uniforms(size)
        normals[:whole] = _box_muller(uniforms[:whole])
        if rest:
            # The last block overlaps the one before it and is drawn anew.
            normals[-BLOCK:] = _box_muller(self._uniforms(BLOCK))
        return normals

    def _uniforms(self, size: int) -> Array32:
        low = (self._bits.random_raw(size) & 0xFFFFFF).astype(np.float32)
        return np.asarray(low * np.float32(2**-24))

    def _uniform64(self) -> float:
        high, low = (int(word) for word in self._bits.random_raw(2))
        return ((high << 32 | low) & (2**53 - 1)) * 2.0**-53

    def _normal(self) -> float:
        if self._waiting is not None:
            normal, self._waiting = self._waiting, None
            return normal
        angle = 2 * math.pi * self._uniform64()
        radius = math.sqrt(-2 * math.log1p(-self._uniform64()))
        self._waiting = radius * math.sin(angle)
        return radius * math.cos(angle)


def _box_muller(uniforms: Array32) -> Array32:
    """Blocks of 8 radii and 8 angles, in [0, 1), to blocks of 8 cosines and 8 sines; float32, same shape."""
    pairs = uniforms.reshape(-1, 2, BLOCK // 2)
    radius = np.sqrt(np.float32(-2) * _log(1 - pairs[:, 0]))
    sine, cosine = _sincos(np.float32(2 * math.pi) * pairs[:, 1])
    return np.stack([radius * cosine, radius * sine], axis=1).reshape(-1)


def _fma(a: Array32, b: Array32 | float, c: Array32 | float) -> Array32:
    """Fused multiply-add a b + c, rounded once: the product of two float32 numbers is exact in float64."""
    wide = a.astype(np.float64) * np.float32(b) + np.float32(c)
    return np.asarray(wide, np.float32)


def _log(x: Array32) -> Array32:
    """The natural logarithm of normal positive numbers (Cephes ``logf``)."""
    mantissa, exponent = np.frexp(x)
    low = mantissa < np.float32(math.sqrt(0.5))
    exponent = (exponent - low).astype(np.float32)
    x = np.where(low, mantissa + mantissa, mantissa) - np.float32(1)
    square = x * x
    y = _polynomial(x, _LOG_POLYNOMIAL) * x
    y = _fma(y, square, exponent * np.float32(_LN2_LOW))
    y = _fma(square, -0.5, y)
    return _fma(exponent, _LN2_HIGH, x + y)


def _sincos(x: Array32) -> tuple[Array32, Array32]:
    """Sine and cosine of small non-negative numbers (Cephes ``sinf`` and ``cosf``)."""
    octant = ((x * np.float32(4 / math.pi)).astype(np.int32) + 1) & ~1
    for part in _MINUS_QUARTER_PI:
        x = _fma(octant.astype(np.float32), part, x)
    square = x * x
    cosine = _polynomial(square, _COS_POLYNOMIAL) * square
    cosine = _fma(cosine, square, square * np.float32(-0.5)) + np.float32(1)
    sine = _fma(_polynomial(square, _SIN_POLYNOMIAL) * square, x, x)
    swap = (octant & 2) != 0
    sine, cosine = np.where(swap, cosine, sine), np.where(swap, sine, cosine)
    return np.where(octant & 4, -sine, sine), np.where((octant + 2) & 4, -cosine, cosine)


def _polynomial(x: Array32, coefficients: tuple[float, ...]) -> Array32:
    """Horner's rule, the highest power first."""
    value = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = _fma(value, x, coefficient)
    return value
