"""Prompts to the text encodings that the UNet attends to."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from sdgen.backend import Program
from sdgen.networks.layers import Tensor, Weights
from sdgen.networks.network import TextEncoderModel
from sdgen.networks.text_encoder import TextEncoder
from sdgen.prompt_tokens import TokenizedPrompt, apply_emphasis, pad_chunks, tokenize_prompt
from sdgen.tokenizer import ClipTokenizer

Array = np.ndarray[Any, np.dtype[np.float32]]

REMEMBERED = 256
"""Encoded rows kept, the least recently used dropped first."""


class Conditioner:
    """Encodes prompts; each distinct row of tokens once."""

    def __init__(
        self,
        model: TextEncoderModel,
        tokenizer: ClipTokenizer,
        embeddings: Mapping[str, Array],
        jit: bool,
    ) -> None:
        """``embeddings`` are textual inversions, name -> (vectors, width); ``jit`` is ``Program``'s."""
        self.tokenizer, self.embeddings, self._jit = tokenizer, embeddings, jit
        self._model = model
        self._network: TextEncoder = model.network
        self._programs: dict[int, Program] = {}
        self._rows: OrderedDict[tuple[Any, ...], Array] = OrderedDict()

    def tokenize(self, prompt: str, syntax: str) -> TokenizedPrompt:
        """A prompt's tokens and weights; ``syntax`` is a name of ``sdgen.request.PROMPT_SYNTAXES``.

        Raises:
            InputError: the prompt's syntax is wrong.
        """
        vectors = {name: len(values) for name, values in self.embeddings.items()}
        return tokenize_prompt(prompt, self.tokenizer, plain=syntax == "plain", embeddings=vectors)

    def encode(self, prompts: Sequence[TokenizedPrompt], clip_skip: int) -> Array:
        """The encodings of prompts, float32 (prompts, length, width).

        The length is 77 times the most chunks that one of the prompts has; shorter ones get empty chunks.
        """
        chunks = max(len(prompt.tokens) for prompt in prompts)
        padded = [pad_chunks(prompt, chunks, self.tokenizer) for prompt in prompts]
        return np.stack([self._encode_prompt(prompt, clip_skip) for prompt in padded])

    def _encode_prompt(self, prompt: TokenizedPrompt, clip_skip: int) -> Array:
        rows = np.stack([self._encode_row(prompt, chunk, clip_skip) for chunk in range(len(prompt.tokens))])
        weighted = apply_emphasis(rows, prompt.weights)
        return weighted.reshape(-1, weighted.shape[-1])

    def _encode_row(self, prompt: TokenizedPrompt, chunk: int, clip_skip: int) -> Array:
        placements = tuple(p for p in prompt.embeddings if p.chunk == chunk)
        tokens = prompt.tokens[chunk]
        key = (tokens.tobytes(), placements, clip_skip)
        if key not in self._rows:
            vectors = np.zeros((1, len(tokens), self._network.config.hidden_size), np.float32)
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

        def encode(weights: Weights, tokens: Tensor, vectors: Tensor, replaced: Tensor) -> Tensor:
            embedded = self._network.embed(weights, tokens)
            embedded = ops.where(replaced, ops.cast(vectors, embedded.dtype), embedded)
            return self._network.encode(weights, embedded, clip_skip)

        if clip_skip not in self._programs:
            self._programs[clip_skip] = Program(encode, self._model.weights_by_name, jit=self._jit)
        return self._programs[clip_skip]
