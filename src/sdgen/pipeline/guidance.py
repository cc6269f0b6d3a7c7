"""Classifier-free guidance."""

from __future__ import annotations

from sdgen.backend import ops
from sdgen.networks.layers import Tensor


def guide(prediction: Tensor, guidance: Tensor) -> Tensor:
    """Classifier-free guidance and its rescaling.

    m = u + g (c - u) (Ho and Salimans 2022, equation 6), then m (phi std(c) / std(m) + 1 - phi) (Lin et al.
    2024, equations 15 and 16). The prediction is (2 batch, height, width, channels), u before c, and the
    result has half of that; guidance is (batch, 2), g and phi.
    """
    unconditional, conditional = ops.split(prediction, 2)
    scale, rescale = per_image(guidance[:, 0]), per_image(guidance[:, 1])
    guided = unconditional + scale * (conditional - unconditional)
    axes = (1, 2, 3)
    contrast = ops.std(conditional, axis=axes, keepdims=True) / ops.std(guided, axis=axes, keepdims=True)
    return guided * ops.where(rescale > 0, rescale * contrast + (1 - rescale), 1.0)


def per_image(values: Tensor) -> Tensor:
    """(batch,) -> (batch, 1, 1, 1)."""
    return values[:, None, None, None]
