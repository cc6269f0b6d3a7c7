"""The text encoder of latent diffusion's text model (Rombach et al. 2022; diffusers' LDMBertModel).

A transformer without masks, trained together with the UNet on BERT's word pieces.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sdgen.backend import ops
from sdgen.files.config_fields import ConfigFields
from sdgen.networks.attention import SelfAttention
from sdgen.networks.config_bounds import MOST_CHANNELS, MOST_LAYERS
from sdgen.networks.layers import Embedding, Layer, LayerNorm, Linear, Numerics, Tensor, Weights, gelu


@dataclasses.dataclass(frozen=True)
class LDMBertConfig:
    """LDMBertConfig's fields by its names; ``d_model`` is the width of the encoding."""

    vocab_size: int
    max_position_embeddings: int
    d_model: int
    encoder_layers: int
    encoder_ffn_dim: int
    encoder_attention_heads: int
    head_dim: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LDMBertConfig:
        """Reads a config.json; fields left out have diffusers' defaults.

        Raises:
            CheckpointError: a field is malformed, or asks for a network that sdgen does not have.
        """
        fields = ConfigFields(config, "text encoder")
        fields.only({"activation_function": ("gelu",), "scale_embedding": (False,)})
        return cls(
            vocab_size=fields.whole("vocab_size", 1_000_000, 30522),
            max_position_embeddings=fields.whole("max_position_embeddings", 10_000, 77),
            d_model=fields.whole("d_model", MOST_CHANNELS, 1280),
            encoder_layers=fields.whole("encoder_layers", MOST_LAYERS, 32),
            encoder_ffn_dim=fields.whole("encoder_ffn_dim", 8 * MOST_CHANNELS, 5120),
            encoder_attention_heads=fields.whole("encoder_attention_heads", MOST_CHANNELS, 8),
            head_dim=fields.whole("head_dim", MOST_CHANNELS, 64),
        )

    @property
    def hidden_size(self) -> int:
        """Width of the encoding, under CLIP's name for it."""
        return self.d_model

    @property
    def num_hidden_layers(self) -> int:
        """How many layers there are, under CLIP's name for it."""
        return self.encoder_layers


class LDMBertLayer(Layer):
    """Self-attention and a two-layer perceptron, each on a normalised input and added to it."""

    def __init__(self, name: str, config: LDMBertConfig, numerics: Numerics) -> None:
        width = config.d_model
        self.norm1 = LayerNorm(name + ".self_attn_layer_norm", width)
        q, k, v = (f"{name}.self_attn.{letter}_proj" for letter in "qkv")
        heads = config.encoder_attention_heads
        self.attention = SelfAttention(
            (q, k, v), name + ".self_attn.out_proj", width, heads, numerics, inner=heads * config.head_dim
        )
        self.norm2 = LayerNorm(name + ".final_layer_norm", width)
        self.fc1 = Linear(name + ".fc1", width, config.encoder_ffn_dim)
        self.fc2 = Linear(name + ".fc2", config.encoder_ffn_dim, width)

    def __call__(self, weights: Weights, x: Tensor) -> Tensor:
        x = x + self.attention(weights, self.norm1(weights, x))
        return x + self.fc2(weights, gelu(self.fc1(weights, self.norm2(weights, x))))


class LDMBert(Layer):
    """Tokens to the encoding that the UNet attends to; the same parts as ``TextEncoder``."""

    def __init__(self, config: LDMBertConfig, numerics: Numerics) -> None:
        self.config, self.activations = config, numerics.activations
        self.tokens = Embedding("model.embed_tokens", config.vocab_size, config.d_model)
        self.positions = Embedding("model.embed_positions", config.max_position_embeddings, config.d_model)
        self.layers = [
            LDMBertLayer(f"model.layers.{i}", config, numerics) for i in range(config.encoder_layers)
        ]
        self.final_norm = LayerNorm("model.layer_norm", config.d_model)

    def embed(self, weights: Weights, tokens: Tensor) -> Tensor:
        """(batch, length) int32 token ids -> (batch, length, d_model), positions not yet added."""
        return self.tokens(weights, tokens)

    def encode(self, weights: Weights, embedded: Tensor, skip: int = 0) -> Tensor:
        """As ``TextEncoder.encode``: (batch, length, d_model) float32, without the last ``skip`` layers."""
        positions = weights[self.positions.name + ".weight"][: embedded.shape[1]]
        x = ops.cast(embedded, self.activations) + ops.cast(positions, self.activations)
        for layer in self.layers[: len(self.layers) - skip]:
            x = layer(weights, x)
        return ops.cast(self.final_norm(weights, x), "float32")
