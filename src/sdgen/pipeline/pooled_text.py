"""Prompts to text encodings with a pooled vector, as Stable Diffusion's x2 latent upscaler takes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from sdgen.backend import ops
from sdgen.networks.layers import Tensor, Weights
from sdgen.pipeline.text_encoding import Conditioner
from sdgen.text.prompt_tokens import TokenizedPrompt, apply_emphasis

Array = np.ndarray[Any, np.dtype[np.float32]]


class PooledConditioner(Conditioner):
    """As ``Conditioner``, of encodings that the last norm has not seen, each with one row more at its end.

    That row is the pooled vector: of the end of the text, normalised (``hidden_states[-1]`` and
    ``pooler_output`` of transformers' CLIPTextModel). A long prompt has that of its first 77 tokens.
    """

    def _encode_prompt(self, prompt: TokenizedPrompt, clip_skip: int) -> Array:
        rows = np.stack([self._encode_row(prompt, chunk, clip_skip) for chunk in range(len(prompt.tokens))])
        weighted = apply_emphasis(rows[:, :-1], prompt.weights)
        return np.concatenate([weighted.reshape(-1, weighted.shape[-1]), rows[0, -1:]])

    def _encoding(
        self, network: Any, weights: Weights, tokens: Tensor, embedded: Tensor, clip_skip: int
    ) -> Tensor:
        hidden, pooled = network.encode_pooled(weights, tokens, embedded, clip_skip)
        return ops.concatenate([hidden, pooled[:, None]], axis=1)
