"""Multi-head attention and the transformer blocks of the UNet's spatial transformers."""

from __future__ import annotations

import math
from collections.abc import Iterator

from sdgen import backend
from sdgen.backend import ops
from sdgen.networks.layers import (
    GroupNorm,
    Layer,
    LayerNorm,
    Linear,
    Numerics,
    Pointwise,
    Tensor,
    Weights,
    gelu,
)


def scaled_dot_product(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> Tensor:
    """softmax(q k^T / sqrt(d)) v (Vaswani et al. 2017, equation 1), softmax in float32.

    q is (batch, heads, n, d), k and v (batch, heads, m, d); the result is (batch, heads, n, d), in q's dtype.
    """
    shape, n, d = q.shape, q.shape[2], q.shape[3]
    # One batch axis: XLA on the CPU has no fast product of bfloat16 for heads that lie between positions.
    q, k, v = (ops.reshape(t, (-1, t.shape[2], d)) for t in (q, k, v))
    scores = ops.cast(backend.matmul(q * (1 / math.sqrt(d)), k, transposed=True), "float32")
    if causal:
        scores = scores + ops.triu(ops.full((n, n), -1e30, dtype="float32"), k=1)
    exponentials = ops.exp(scores - ops.max(scores, axis=-1, keepdims=True))
    # Divided after the product with v, where there are d values a query and not m.
    total = ops.sum(exponentials, axis=-1, keepdims=True)
    return ops.cast(ops.reshape(backend.matmul(exponentials, v) / total, shape), q.dtype)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(batch, n, heads d) -> (batch, heads, n, d)."""
    batch, n, channels = x.shape
    return ops.transpose(ops.reshape(x, (batch, n, heads, channels // heads)), (0, 2, 1, 3))


def join_heads(x: Tensor) -> Tensor:
    """(batch, heads, n, d) -> (batch, n, heads d)."""
    batch, heads, n, d = x.shape
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (batch, n, heads * d))


def match_batch(x: Tensor, batch: int) -> Tensor:
    """Repeats x along its first axis, as often as makes ``batch`` of it."""
    return x if x.shape[0] == batch else ops.concatenate([x] * (batch // x.shape[0]))


class SelfAttention(Layer):
    """Attention of a sequence to itself; query, key and value come from one matrix product."""

    def __init__(
        self,
        projections: tuple[str, str, str],
        out: str,
        channels: int,
        heads: int,
        numerics: Numerics,
        bias: bool = False,
        causal: bool = False,
        inner: int | None = None,
    ) -> None:
        """Heads of ``channels / heads`` channels, or of ``inner / heads`` where that is given."""
        self.heads, self.causal = heads, causal
        self.attention, self.dtype = numerics.attention, numerics.dtype
        self.to_qkv = Linear(projections, channels, inner or channels, bias=bias)
        self.to_out = Linear(out, inner or channels, channels)

    def __call__(self, weights: Weights, x: Tensor) -> Tensor:
        q, k, v = (split_heads(t, self.heads) for t in ops.split(self.to_qkv(weights, x), 3, axis=-1))
        k, v = ops.cast(k, self.dtype), ops.cast(v, self.dtype)
        return self.to_out(weights, join_heads(self.attention(q, k, v, causal=self.causal)))


class CrossAttention(Layer):
    """Attention of a sequence to the text encoding, whose keys and values are projected beforehand."""

    def __init__(
        self,
        name: str,
        channels: int,
        context_width: int,
        heads: int,
        numerics: Numerics,
        bias: bool = False,
        norm: bool = False,
    ) -> None:
        """With ``norm``, the encoding is normalised first (diffusers' cross_attention_norm "layer_norm")."""
        self.heads, self.attention, self.dtype = heads, numerics.attention, numerics.dtype
        self.norm = LayerNorm(name + ".norm_cross", context_width) if norm else None
        self.to_q = Linear(name + ".to_q", channels, channels, bias=bias)
        self.to_kv = Linear((name + ".to_k", name + ".to_v"), context_width, channels, bias=bias)
        self.to_out = Linear(name + ".to_out.0", channels, channels)

    def project_context(self, weights: Weights, context: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, m, context width) -> keys and values, each (batch, heads, m, d)."""
        context = context if self.norm is None else self.norm(weights, context)
        k, v = ops.split(ops.cast(self.to_kv(weights, context), self.dtype), 2, axis=-1)
        return split_heads(k, self.heads), split_heads(v, self.heads)

    def __call__(self, weights: Weights, x: Tensor, keys_values: tuple[Tensor, Tensor]) -> Tensor:
        q = split_heads(self.to_q(weights, x), self.heads)
        return self.to_out(weights, join_heads(self.attention(q, *keys_values)))


class FeedForward(Layer):
    """GEGLU (Shazeer 2020) of four times the width, and back."""

    def __init__(self, name: str, channels: int) -> None:
        self.proj = Linear(name + ".net.0.proj", channels, 8 * channels)
        self.out = Linear(name + ".net.2", 4 * channels, channels)

    def __call__(self, weights: Weights, x: Tensor) -> Tensor:
        value, gate = ops.split(self.proj(weights, x), 2, axis=-1)
        return self.out(weights, value * gelu(gate))


class AttentionBlock(Layer):
    """Self-attention over the positions of a feature map, added to it (diffusers' AttnDownBlock2D)."""

    def __init__(
        self, name: str, channels: int, heads: int, groups: int, epsilon: float, numerics: Numerics
    ) -> None:
        self.norm = GroupNorm(name + ".group_norm", channels, groups, epsilon)
        q, k, v = (f"{name}.to_{letter}" for letter in "qkv")
        self.attention = SelfAttention((q, k, v), name + ".to_out.0", channels, heads, numerics, bias=True)

    def __call__(
        self, weights: Weights, x: Tensor, context: Iterator[tuple[Tensor, Tensor]] | None = None
    ) -> Tensor:
        """(batch, height, width, channels) to the same; the context of other attentions is not looked at."""
        sequence = ops.reshape(self.norm(weights, x), (x.shape[0], -1, x.shape[3]))
        return x + ops.reshape(self.attention(weights, sequence), x.shape)

    @property
    def cross_attentions(self) -> list[CrossAttention]:
        """None."""
        return []


class TransformerBlock(Layer):
    """Two attentions and a feed-forward, each on a normalised input and added to it.

    The first attention is to the sequence itself; with ``only_cross`` it is to the text, as the second is
    (diffusers' BasicTransformerBlock with only_cross_attention).
    """

    def __init__(
        self,
        name: str,
        channels: int,
        context_width: int,
        heads: int,
        numerics: Numerics,
        only_cross: bool = False,
    ) -> None:
        self.norm1, self.norm2, self.norm3 = (LayerNorm(f"{name}.norm{i}", channels) for i in (1, 2, 3))
        q, k, v = (f"{name}.attn1.to_{letter}" for letter in "qkv")
        self.attn1: SelfAttention | CrossAttention = (
            CrossAttention(name + ".attn1", channels, context_width, heads, numerics)
            if only_cross
            else SelfAttention((q, k, v), name + ".attn1.to_out.0", channels, heads, numerics)
        )
        self.attn2 = CrossAttention(name + ".attn2", channels, context_width, heads, numerics)
        self.ff = FeedForward(name + ".ff", channels)

    @property
    def cross_attentions(self) -> list[CrossAttention]:
        """Those to the text, in the order in which they take keys and values."""
        return [each for each in (self.attn1, self.attn2) if isinstance(each, CrossAttention)]

    def __call__(self, weights: Weights, x: Tensor, context: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
        if isinstance(self.attn1, SelfAttention):
            x = x + self.attn1(weights, self.norm1(weights, x))
        # Up to the first cross-attention the two halves of the guidance are one: it is there that they part.
        for attention, norm in zip(self.cross_attentions, self._cross_norms, strict=True):
            keys_values = next(context)
            x = match_batch(x, keys_values[0].shape[0])
            x = x + attention(weights, norm(weights, x), keys_values)
        return x + self.ff(weights, self.norm3(weights, x))

    @property
    def _cross_norms(self) -> list[LayerNorm]:
        return [self.norm2] if isinstance(self.attn1, SelfAttention) else [self.norm1, self.norm2]


class SpatialTransformer(Layer):
    """Transformer blocks over the positions of a feature map (Rombach et al. 2022, appendix E.2.1)."""

    def __init__(
        self,
        name: str,
        channels: int,
        heads: int,
        depth: int,
        context_width: int,
        groups: int,
        linear_projection: bool,
        numerics: Numerics,
        only_cross: bool = False,
    ) -> None:
        projection = Linear if linear_projection else Pointwise
        self.norm = GroupNorm(name + ".norm", channels, groups, epsilon=1e-6)
        self.proj_in = projection(name + ".proj_in", channels, channels)
        self.blocks = [
            TransformerBlock(
                f"{name}.transformer_blocks.{i}", channels, context_width, heads, numerics, only_cross
            )
            for i in range(depth)
        ]
        self.proj_out = projection(name + ".proj_out", channels, channels)

    @property
    def cross_attentions(self) -> list[CrossAttention]:
        """Those of its blocks, in their order."""
        return [attention for block in self.blocks for attention in block.cross_attentions]

    def __call__(self, weights: Weights, x: Tensor, keys_values: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
        """Transforms x (batch, height, width, channels); ``keys_values`` gives one pair a cross-attention.

        Where they are of a multiple of x's batch, the result is of theirs (see ``UNet.denoise``).
        """
        batch, height, width, channels = x.shape
        y = ops.reshape(self.norm(weights, x), (batch, height * width, channels))
        y = self.proj_in(weights, y)
        for block in self.blocks:
            y = block(weights, y, keys_values)
        y = ops.reshape(self.proj_out(weights, y), (-1, height, width, channels))
        return match_batch(x, y.shape[0]) + y
