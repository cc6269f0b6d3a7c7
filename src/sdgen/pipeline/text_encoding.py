"""Prompts to the text encodings that the UNet attends to."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sdgen import backend
from sdgen.backend import ops
from sdgen.backend.program import Program
from sdgen.errors import InputError
from sdgen.networks.layers import Tensor, Weights
from sdgen.pipeline.model_networks import Networks
from sdgen.text.prompt_tokens import TokenizedPrompt, apply_emphasis, pad_chunks, tokenize_prompt
from sdgen.text.token_rows import Tokenizer

Array = np.ndarray[Any, np.dtype[np.float32]]

REMEMBERED = 256
"""Encoded rows kept, the least recently used dropped first."""


class Conditioner:
    """The ``PromptEncoder`` of a model with a text encoder: each distinct row of tokens is encoded once."""

    def __init__(
        self,
        networks: Networks,
        tokenizer: Tokenizer,
        embeddings: Mapping[str, Array],
        jit: bool | None,
        keep: bool = True,
    ) -> None:
        """Nothing is compiled yet.

        Args:
            networks: whose text encoder.
            tokenizer: its tokenizer.
            embeddings: textual inversions, name -> (vectors, width).
            jit: ``Program``'s.
            keep: hold the text encoder's weights in memory; or else read them whenever there is something
                new to encode.
        """
        self.tokenizer, self.embeddings, self._jit = tokenizer, embeddings, jit
        self.length = tokenizer.max_length
        self._networks, self._keep = networks, keep
        self._width = networks.text_encoder_config.hidden_size
        self._vocabulary = networks.text_encoder_config.vocab_size
        self._programs: dict[int, Program] = {}
        self._rows: OrderedDict[tuple[Any, ...], Array] = OrderedDict()
        if keep:
            _ = networks.text_encoder

    def tokenize(self, prompt: str, syntax: str, field: str = "prompt") -> TokenizedPrompt:
        """A prompt's tokens and weights; as ``PromptEncoder.tokenize``.

        Raises:
            InputError: the prompt's syntax is wrong, or it has a token that the text encoder lacks.
        """
        vectors = {name: len(values) for name, values in self.embeddings.items()}
        read = tokenize_prompt(prompt, self.tokenizer, plain=syntax == "plain", embeddings=vectors)
        if (number := int(read.tokens.max())) >= self._vocabulary:
            word = self.tokenizer.decode([number])
            raise InputError(
                f"the prompt has {word!r}, a token of the model's tokenizer that its text encoder lacks; "
                "leave it out",
                field,
            )
        return read

    def encode(self, prompts: Sequence[TokenizedPrompt], clip_skip: int) -> Array:
        """The encodings of prompts, float32 (prompts, length, width).

        The length is 77 times the most chunks that one of the prompts has; shorter ones get empty chunks.
        """
        chunks = max(len(prompt.tokens) for prompt in prompts)
        padded = [pad_chunks(prompt, chunks, self.tokenizer) for prompt in prompts]
        with backend.on_device(self._networks.text_device):
            encoded = np.stack([self._encode_prompt(prompt, clip_skip) for prompt in padded])
        if not self._keep:
            self._programs.clear()
            self._networks.drop_text_encoder()
        return encoded

    def _encode_prompt(self, prompt: TokenizedPrompt, clip_skip: int) -> Array:
        rows = np.stack([self._encode_row(prompt, chunk, clip_skip) for chunk in range(len(prompt.tokens))])
        weighted = apply_emphasis(rows, prompt.weights)
        return weighted.reshape(-1, weighted.shape[-1])

    def _encode_row(self, prompt: TokenizedPrompt, chunk: int, clip_skip: int) -> Array:
        placements = tuple(p for p in prompt.embeddings if p.chunk == chunk)
        tokens = prompt.tokens[chunk]
        key = (tokens.tobytes(), placements, clip_skip)
        if key not in self._rows:
            vectors = np.zeros((1, len(tokens), self._width), np.float32)
            replaced = np.zeros((1, len(tokens), 1), bool)
            for placement in placements:
                columns = slice(placement.start, placement.start + placement.vectors)
                vectors[0, columns], replaced[0, columns] = self.embeddings[placement.name], True
            self._rows[key] = np.asarray(self._program(clip_skip)(tokens[None], vectors, replaced))[0]
            if len(self._rows) > REMEMBERED:
                self._rows.popitem(last=False)
        self._rows.move_to_end(key)
        return self._rows[key]

    def _program(self, clip_skip: int) -> Program:
        """The text encoder without its last ``clip_skip`` layers."""
        if clip_skip not in self._programs:
            model = self._networks.text_encoder
            network = model.network

            def encode(weights: Weights, tokens: Tensor, vectors: Tensor, replaced: Tensor) -> Tensor:
                embedded = network.embed(weights, tokens)
                embedded = ops.where(replaced, ops.cast(vectors, embedded.dtype), embedded)
                return self._encoding(network, weights, tokens, embedded, clip_skip)

            self._programs[clip_skip] = Program(encode, model.arriving, jit=self._jit)
        return self._programs[clip_skip]

    def _encoding(
        self, network: Any, weights: Weights, tokens: Tensor, embedded: Tensor, clip_skip: int
    ) -> Tensor:
        """What is kept of a row: (1, length, width) float32."""
        return network.encode(weights, embedded, clip_skip)
