"""An evaluation of the network in overlapping windows, for pictures larger than it was trained with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdgen import backend
from sdgen.backend import ops
from sdgen.networks.layers import Tensor, Weights
from sdgen.pipeline.evaluation import Evaluation


class TiledEvaluation:
    """Another evaluation in each of ``maps["windows"]``, of ``pipeline.windows``, averaged in every row.

    As MultiDiffusion (Bar-Tal et al. 2023, equation 5): a row of a sampler is linear in the prediction, so
    that the average of predictions is the average of their results. The windows are computed one after the
    other, in the memory of one. Guidance is applied, and rescaled, in each by itself.
    """

    def __init__(self, evaluate: Evaluation, channels: int) -> None:
        """An evaluation in windows.

        Args:
            evaluate: what is done in each.
            channels: of its prediction.
        """
        self.keeps, self._evaluate, self._channels = evaluate.keeps, evaluate, channels

    def __call__(
        self, weights: Weights, x: Tensor, here: Mapping[str, Tensor], maps: Mapping[str, Any], kept: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As ``Evaluation``; kept features have an axis of windows before all others."""
        windows, (batch, height, width, channels) = maps["windows"], x.shape
        count, *size = windows["positions"].shape
        flat = ops.reshape(x, (batch, height * width, channels))

        def in_window(i: Tensor) -> Any:
            where = ops.reshape(ops.take(windows["positions"], i, axis=0), (-1,))
            part = ops.reshape(ops.take(flat, where, axis=1), (batch, *size, channels))
            before = ops.take(kept, i, axis=0) if self.keeps else None
            prediction, after = self._evaluate(weights, part, here, maps, before)
            return (prediction, after) if self.keeps else prediction

        like: Any = (batch, *size, self._channels), "float32"
        if self.keeps:
            like = (like, (tuple(kept.shape[1:]), kept.dtype))
        result = backend.map_in_turn(in_window, count, like)
        predictions, after = result if self.keeps else (result, kept)
        return _averaged(predictions, windows["sources"], windows["shares"]), after


def _averaged(predictions: Tensor, sources: Tensor, shares: Tensor) -> Tensor:
    """(windows, batch, rows, columns, channels) of the windows -> (batch, height, width, channels)."""
    batch, channels = predictions.shape[1], predictions.shape[4]
    flat = ops.reshape(ops.transpose(predictions, (1, 0, 2, 3, 4)), (batch, -1, channels))
    total: Tensor = 0.0
    for k in range(sources.shape[0]):
        part = ops.take(flat, ops.reshape(sources[k], (-1,)), axis=1)
        total += shares[k][None, ..., None] * ops.reshape(part, (batch, *sources.shape[1:], channels))
    return total
