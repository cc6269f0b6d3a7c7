"""Every way to compute a 3x3 convolution, and products of mixed dtypes."""

from __future__ import annotations

import numpy as np
import pytest

from sdgen import backend
from sdgen.networks import layers

pytestmark = pytest.mark.numeric


def reference(x, weight, bias, stride, padding, wrap=""):
    """By the definition, in float64: (n, h, w, c) with filters (outputs, inputs, 3, 3)."""
    x = x.astype(np.float64)
    for axis, letter in ((1, "y"), (2, "x")):
        widths = [padding if i == axis else (0, 0) for i in range(4)]
        x = np.pad(x, widths, mode="wrap" if letter in wrap else "constant")
    height, width = ((size - 3) // stride + 1 for size in x.shape[1:3])
    total = 0
    for i in range(3):
        for j in range(3):
            rows, columns = (slice(k, k + stride * (n - 1) + 1, stride) for k, n in ((i, height), (j, width)))
            total = total + x[:, rows, columns] @ weight[:, :, i, j].T.astype(np.float64)
    return total + bias


@pytest.mark.parametrize("jit", [True, None], ids=["xla", "operations"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("way", ["direct", "all winograd", "gathered"])
@pytest.mark.parametrize(
    ("height", "width", "stride", "padding"),
    [(24, 24, 1, (1, 1)), (7, 6, 1, (1, 1)), (8, 6, 2, (1, 1)), (8, 6, 2, (0, 1))],
    ids=["many tiles", "few tiles, odd", "stride 2", "stride 2, the VAE's"],
)
def test_a_convolution_is_what_it_is_defined_as(way, dtype, height, width, stride, padding, jit):
    assert_as_defined(way, dtype, height, width, stride, padding, jit)


@pytest.mark.parametrize("jit", [True, None], ids=["xla", "operations"])
@pytest.mark.parametrize("wrap", ["x", "y", "xy"])
@pytest.mark.parametrize("way", ["direct", "all winograd", "gathered"])
@pytest.mark.parametrize(
    ("height", "width", "stride", "padding"),
    [(24, 24, 1, (1, 1)), (7, 5, 1, (1, 1)), (1, 2, 1, (1, 1)), (8, 6, 2, (1, 1)), (8, 6, 2, (0, 1))],
    ids=["many tiles", "few tiles, odd", "tiny", "stride 2", "stride 2, the VAE's"],
)
def test_a_convolution_that_wraps_sees_the_other_end(way, height, width, stride, padding, wrap, jit):
    assert_as_defined(way, "float32", height, width, stride, padding, jit, wrap)


def assert_as_defined(way, dtype, height, width, stride, padding, jit, wrap=""):
    backend.activate("tensorflow")
    from sdgen.backend.program import Program
    from sdgen.networks.convolution import Conv3x3

    generator = np.random.default_rng(0)
    x = generator.standard_normal((2, height, width, 32), np.float32)
    weight = generator.standard_normal((48, 32, 3, 3), np.float32) / 17
    bias = generator.standard_normal(48, np.float32)
    numerics = layers.Numerics(dtype, "float32", way, attention=lambda *_: None, wrap=wrap)
    convolution = Conv3x3("conv", 32, 48, numerics, stride, padding)
    weights = {}
    for parameter in convolution.parameters():
        source = {"conv.weight": weight, "conv.bias": bias}[next(iter(parameter.sources))]
        value = backend.empty_array(parameter.shape, dtype)
        parameter.fill(value, [source.transpose(parameter.axes)])
        weights[parameter.name] = backend.to_tensor(value)

    result = np.asarray(Program(convolution, weights, jit)(x))
    expected = reference(x, weight, bias, stride, padding, wrap)
    assert result.shape == expected.shape
    assert result.dtype == np.float32
    error = np.linalg.norm(result - expected) / np.linalg.norm(expected)
    assert error < (1e-6 if dtype == "float32" else 6e-3)


@pytest.mark.parametrize("jit", [True, None], ids=["xla", "operations"])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("batch", [(), (5,)])
def test_a_product_has_the_wider_dtype_and_the_narrower_ones_rounding(jit, transposed, batch):
    backend.activate("tensorflow")
    import tensorflow as tf

    from sdgen.backend.program import Program

    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((5, 3, 8)), generator.standard_normal((*batch, 8, 4))
    rounded_a, rounded_b = (tf.cast(tf.cast(x, "bfloat16"), "float32").numpy() for x in (a, b))
    b = tf.cast(np.swapaxes(b, -1, -2) if transposed else b, "bfloat16")
    program = Program(lambda _, a, b: backend.matmul(a, b, transposed), {}, jit)
    result = np.asarray(program(a.astype(np.float32), b))
    assert result.dtype == np.float32
    # Operations one by one round the result, too.
    tolerance = 1e-5 if jit else 2**-8
    np.testing.assert_allclose(result, rounded_a @ rounded_b, rtol=tolerance, atol=tolerance)


LARGE = {"bfloat16": 256.0, "float16": 2048.0}
"""Numbers from which on a dtype has every other one."""


@pytest.mark.parametrize("jit", [True, False, None], ids=["xla", "graph", "operations"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("columns", [1, 4, 64])
def test_products_of_half_precision_are_sums_in_float32_rounded_to_nearest(dtype, columns, jit):
    backend.activate("tensorflow")
    import tensorflow as tf

    from sdgen.backend.program import Program

    a = np.tile(np.float32([LARGE[dtype], 1, 0.75, 0]), (5, 1))
    program = Program(lambda _, a, b: backend.matmul(a, b), {}, jit)
    result = np.asarray(program(a, tf.ones((4, columns), dtype))) - LARGE[dtype]
    assert result.shape == (5, columns)
    # 1.75, or 2 where it is rounded; a narrow sum gives 0, and so does one that is cut off.
    assert np.isin(result, (1.75, 2)).all()


@pytest.mark.parametrize("jit", [True, False, None], ids=["xla", "graph", "operations"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("way", ["direct", "gathered"])
def test_convolutions_of_half_precision_are_sums_in_float32_rounded_to_nearest(way, dtype, jit):
    backend.activate("tensorflow")
    import tensorflow as tf

    from sdgen.backend.program import Program
    from sdgen.networks.convolution import Conv3x3

    x = np.zeros((1, 4, 4, 32), np.float32)
    x[..., :3] = LARGE[dtype], 1, 0.75
    middle = np.zeros((3, 3, 32, 32), np.float32)
    middle[1, 1] = 1
    numerics = layers.Numerics(dtype, "float32", way, attention=lambda *_: None)
    weights = {"c.weight": tf.cast(middle, dtype), "c.bias": tf.zeros(32, dtype)}
    result = np.asarray(Program(Conv3x3("c", 32, 32, numerics), weights, jit)(x)) - LARGE[dtype]
    assert np.isin(result, (1.75, 2)).all()
