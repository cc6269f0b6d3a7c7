"""What the UNet adds to its residual blocks: the timestep's embedding, and vectors beside it.

All of it is computed before the sampling loop, for the whole table of timesteps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from sdgen import backend
from sdgen.backend import ops
from sdgen.networks.attention import match_batch
from sdgen.networks.config import UNetConfig
from sdgen.networks.layers import Embedding, Layer, Linear, Parameter, Tensor, Weights, columns, silu


def timestep_embedding(values: Tensor, config: UNetConfig, width: int | None = None) -> Tensor:
    """Sinusoids of Vaswani et al. 2017, section 3.5, as diffusers' get_timestep_embedding has them.

    values is any shape, float32; the result has one more axis, of ``width``, or block_out_channels[0].
    """
    half = (width or config.block_out_channels[0]) // 2
    exponent = -math.log(10000.0) * ops.arange(half, dtype="float32") / (half - config.freq_shift)
    angles = values[..., None] * ops.exp(exponent)
    parts = [ops.sin(angles), ops.cos(angles)]
    return ops.concatenate(parts[::-1] if config.flip_sin_to_cos else parts, axis=-1)


class TimeProjections(Layer):
    """The time embedding's projections for every residual block, as one matrix product.

    Each block adds its projection right after its first convolution, so that convolution's bias
    is added here too.
    """

    def __init__(self, width: int, blocks: list[tuple[str, int]]) -> None:
        self.width, self.blocks = width, blocks

    def own_parameters(self) -> Iterator[Parameter]:
        names = [f"{name}.time_emb_proj" for name, _ in self.blocks]
        sizes = [outputs for _, outputs in self.blocks]
        matrices = {f"{n}.weight": (size, self.width) for n, size in zip(names, sizes, strict=True)}
        biases = {f"{n}.bias": (size,) for n, size in zip(names, sizes, strict=True)}
        yield Parameter("time_projections.weight", matrices, (1, 0), (self.width, sum(sizes)), columns)
        yield Parameter("time_projections.bias", biases, (0,), (sum(sizes),), columns)

    def __call__(self, weights: Weights, embedding: Tensor) -> Tensor:
        """(..., width) -> (..., sum of the blocks' channels)."""
        biases = ops.concatenate([weights[f"{name}.conv1.bias"] for name, _ in self.blocks])
        y = backend.matmul(silu(embedding), weights["time_projections.weight"])
        return y + ops.cast(weights["time_projections.bias"], y.dtype) + ops.cast(biases, y.dtype)

    def split(self, shifts: Tensor) -> Iterator[Tensor]:
        """(batch, sum of channels) -> one (batch, channels) a block, in the order of use."""
        start = 0
        for _, outputs in self.blocks:
            yield shifts[:, start : start + outputs]
            start += outputs


class TimeEmbedding(Layer):
    """Sinusoids of timesteps to the vectors that ``TimeProjections`` takes (diffusers' TimestepEmbedding).

    Two kinds of vectors are added to them, where the network has been trained with them: an embedding of
    ``labels`` (copies batch,), classes or noise levels (num_class_embeds of diffusers' config); and a
    projection of ``pooled`` (copies batch, text width) beside the sinusoids of ``sizes`` (copies batch,
    numbers), addition_embed_type "text_time" (Podell et al. 2023, section 2.2; diffusers' get_aug_embed).
    """

    def __init__(self, config: UNetConfig) -> None:
        self.config, inputs = config, config.block_out_channels[0]
        width = 4 * inputs
        self.linear_1 = Linear("time_embedding.linear_1", inputs, width)
        self.linear_2 = Linear("time_embedding.linear_2", width, width)
        self.labels = Embedding("class_embedding", config.labels, width) if config.labels else None
        self.added_1 = self.added_2 = None
        self.takes = frozenset(["labels"] if config.labels else [])
        if config.added_inputs:
            self.added_1 = Linear("add_embedding.linear_1", config.added_inputs, width)
            self.added_2 = Linear("add_embedding.linear_2", width, width)
            self.takes |= {"pooled", "sizes"}

    def __call__(self, weights: Weights, sinusoids: Tensor, vectors: Mapping[str, Tensor]) -> Tensor:
        """(rows, batch, block_out_channels[0]) -> (rows, batch or copies batch, 4 block_out_channels[0]).

        Raises:
            ValueError: ``vectors`` are not those that the network takes.
        """
        if vectors.keys() != self.takes:
            raise ValueError(f"this UNet takes {sorted(self.takes)} beside timesteps, not {sorted(vectors)}")
        x = self.linear_2(weights, silu(self.linear_1(weights, sinusoids)))
        if self.labels is not None:
            x = added(x, self.labels(weights, vectors["labels"]))
        if self.added_1 is not None and self.added_2 is not None:
            sizes = timestep_embedding(vectors["sizes"], self.config, self.config.size_width)
            sizes = ops.reshape(sizes, (sizes.shape[0], -1))
            joined = ops.concatenate([vectors["pooled"], sizes], axis=-1)
            joined = ops.cast(joined, sinusoids.dtype)
            x = added(x, self.added_2(weights, silu(self.added_1(weights, joined))))
        return x


def added(x: Tensor, vectors: Tensor) -> Tensor:
    """(rows, batch, width) + (copies batch, width) -> (rows, copies batch, width)."""
    x = ops.transpose(match_batch(ops.transpose(x, (1, 0, 2)), vectors.shape[0]), (1, 0, 2))
    return x + ops.cast(vectors, x.dtype)
