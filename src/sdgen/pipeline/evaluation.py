"""One evaluation of the network within the sampling loop: of all of it, or with ``--fast``'s shortcuts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from sdgen import backend
from sdgen.backend import ops
from sdgen.networks.denoising_network import DenoisingNetwork, KeysValues
from sdgen.networks.layers import Tensor, Weights
from sdgen.pipeline.guidance import guide


class Evaluation(Protocol):
    """Computes the network's prediction for latents, with guidance applied.

    Attributes:
        keeps: whether it keeps something from one row to the next.
    """

    keeps: bool

    def __call__(
        self, weights: Weights, x: Tensor, here: Mapping[str, Tensor], maps: Mapping[str, Any], kept: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One evaluation.

        Args:
            weights: of the network.
            x: its input (batch, height, width, in_channels).
            here: the row's values by name: ``shifts``, and ``reuse`` and ``guided`` for shortcuts.
            maps: ``keys_values``, and ``guidance`` where there is any.
            kept: what the row before kept.

        Returns:
            The prediction (batch, height, width, channels of the latents), and the next row's ``kept``.
        """


class WholeEvaluation:
    """All of the network, in every row."""

    keeps = False

    def __init__(self, unet: DenoisingNetwork) -> None:
        self._unet = unet

    def __call__(
        self, weights: Weights, x: Tensor, here: Mapping[str, Tensor], maps: Mapping[str, Any], kept: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As ``Evaluation``; nothing is kept."""
        prediction = self._unet.denoise(weights, x, here["shifts"], maps["keys_values"])
        return (guide(prediction, maps["guidance"]) if "guidance" in maps else prediction), kept


class ShortenedEvaluation:
    """The network without what ``diffusion.shortcuts`` leaves out; it keeps the deep features.

    A shortcut is taken for an image whatever its neighbours do, and saves time where all take it.
    """

    keeps = True

    def __init__(self, unet: DenoisingNetwork) -> None:
        self._unet = unet

    def __call__(
        self, weights: Weights, x: Tensor, here: Mapping[str, Tensor], maps: Mapping[str, Any], kept: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As ``Evaluation``; ``kept`` is (copies batch, height, width, block_out_channels[0])."""
        batch, keys_values, shifts = x.shape[0], maps["keys_values"], here["shifts"]

        def unguided() -> tuple[Tensor, Tensor]:
            context = [(keys[-batch:], values[-batch:]) for keys, values in keys_values]
            prediction, fresh = self._evaluate(
                weights, x, shifts[-batch:], kept[-batch:], here["reuse"], context
            )
            return prediction, ops.concatenate([kept[:-batch], fresh])

        def guided() -> tuple[Tensor, Tensor]:
            prediction, fresh = self._evaluate(weights, x, shifts, kept, here["reuse"], keys_values)
            off = ops.convert_to_tensor([1.0, 0.0])
            return guide(prediction, ops.where(here["guided"][:, None], maps["guidance"], off)), fresh

        return backend.cond(ops.any(here["guided"]), guided, unguided) if "guidance" in maps else unguided()

    def _evaluate(
        self, weights: Weights, x: Tensor, shifts: Tensor, kept: Tensor, reuse: Tensor, context: KeysValues
    ) -> tuple[Tensor, Tensor]:
        """The prediction for each row of ``context``, and the features that it comes from."""

        def refreshed() -> Tensor:
            fresh = self._unet.deep_features(weights, x, shifts, context)
            reused = ops.tile(reuse, [kept.shape[0] // x.shape[0]])[:, None, None, None]
            return ops.where(reused, kept, fresh)

        features = backend.cond(ops.all(reuse), lambda: kept, refreshed)
        return self._unet.denoise_from(weights, features, x, shifts, context), features
