"""CLIP's text encoder (Radford et al. 2021, section 2.4; transformers' CLIPTextModel)."""

from __future__ import annotations

from collections.abc import Callable

from sdgen.backend import ops
from sdgen.networks.attention import SelfAttention
from sdgen.networks.config import TextEncoderConfig
from sdgen.networks.layers import (
    Embedding,
    Layer,
    LayerNorm,
    Linear,
    Numerics,
    Tensor,
    Weights,
    gelu,
    quick_gelu,
)

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": gelu, "quick_gelu": quick_gelu}


class EncoderLayer(Layer):
    """Causal self-attention and a two-layer perceptron, each on a normalised input and added to it."""

    def __init__(self, name: str, config: TextEncoderConfig, numerics: Numerics) -> None:
        width = config.hidden_size
        self.norm1 = LayerNorm(name + ".layer_norm1", width, config.layer_norm_eps)
        q, k, v = (f"{name}.self_attn.{letter}_proj" for letter in "qkv")
        self.attention = SelfAttention(
            (q, k, v),
            name + ".self_attn.out_proj",
            width,
            config.num_attention_heads,
            numerics,
            bias=True,
            causal=True,
        )
        self.norm2 = LayerNorm(name + ".layer_norm2", width, config.layer_norm_eps)
        self.fc1 = Linear(name + ".mlp.fc1", width, config.intermediate_size)
        self.fc2 = Linear(name + ".mlp.fc2", config.intermediate_size, width)
        self.activation = ACTIVATIONS[config.hidden_act]

    def __call__(self, weights: Weights, x: Tensor) -> Tensor:
        x = x + self.attention(weights, self.norm1(weights, x))
        return x + self.fc2(weights, self.activation(self.fc1(weights, self.norm2(weights, x))))


class TextEncoder(Layer):
    """Tokens to the encoding that the UNet attends to."""

    def __init__(self, config: TextEncoderConfig, numerics: Numerics) -> None:
        self.config, self.activations = config, numerics.activations
        embeddings = "embeddings"
        self.tokens = Embedding(f"{embeddings}.token_embedding", config.vocab_size, config.hidden_size)
        self.positions = Embedding(
            f"{embeddings}.position_embedding", config.max_position_embeddings, config.hidden_size
        )
        self.layers = [
            EncoderLayer(f"encoder.layers.{i}", config, numerics) for i in range(config.num_hidden_layers)
        ]
        self.final_norm = LayerNorm("final_layer_norm", config.hidden_size, config.layer_norm_eps)

    def embed(self, weights: Weights, tokens: Tensor) -> Tensor:
        """(batch, length) int32 token ids -> (batch, length, hidden_size), positions not yet added."""
        return self.tokens(weights, tokens)

    def encode(self, weights: Weights, embedded: Tensor, skip: int = 0) -> Tensor:
        """The encoding of embedded tokens.

        Args:
            weights: parameter values.
            embedded: (batch, length, hidden_size), from ``embed``.
            skip: last layers to leave out ("clip skip"): 0 takes the last layer's output.

        Returns:
            (batch, length, hidden_size) float32, normalised by the final layer norm.
        """
        return ops.cast(self.final_norm(weights, self._hidden(weights, embedded, skip)), "float32")

    def encode_pooled(
        self, weights: Weights, tokens: Tensor, embedded: Tensor, skip: int = 0
    ) -> tuple[Tensor, Tensor]:
        """The encoding of embedded tokens before the final layer norm, and a pooled vector.

        Args:
            weights: parameter values.
            tokens: (batch, length) int32; the first of the highest number is the end of the text.
            embedded: (batch, length, hidden_size), from ``embed``.
            skip: last layers to leave out, as for ``encode``.

        Returns:
            (batch, length, hidden_size) and, of the end of the text, normalised, (batch, hidden_size),
            float32.
        """
        hidden = self._hidden(weights, embedded, skip)
        last = ops.one_hot(ops.argmax(tokens, axis=1), tokens.shape[1], dtype=hidden.dtype)
        end = ops.sum(hidden * last[..., None], axis=1)
        return ops.cast(hidden, "float32"), ops.cast(self.final_norm(weights, end), "float32")

    def _hidden(self, weights: Weights, embedded: Tensor, skip: int) -> Tensor:
        positions = weights[self.positions.name + ".weight"][: embedded.shape[1]]
        x = ops.cast(embedded, self.activations) + ops.cast(positions, self.activations)
        for layer in self.layers[: len(self.layers) - skip]:
            x = layer(weights, x)
        return x
