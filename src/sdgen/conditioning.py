"""Prompts to the text encodings that the UNet attends to."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from keras import ops

from sdgen.backend import Program
from sdgen.networks.layers import Tensor, Weights
from sdgen.networks.network import TextEncoderModel
from sdgen.networks.text_encoder import TextEncoder
from sdgen.tokenizer import ClipTokenizer

Array = np.ndarray[Any, np.dtype[np.float32]]

REMEMBERED = 256
"""Encodings kept, the least recently used dropped first."""


class Conditioner:
    """Encodes prompts, each distinct one once."""

    def __init__(self, model: TextEncoderModel, tokenizer: ClipTokenizer) -> None:
        self.tokenizer = tokenizer
        self._network: TextEncoder = model.network
        self._encode = Program(self._encode_tokens, model.weights_by_name)
        self._encodings: OrderedDict[tuple[int, ...], Array] = OrderedDict()

    def encode(self, prompt: str) -> Array:
        """The encoding of one prompt, (77, width) float32."""
        row, _ = self.tokenizer.encode_row(prompt)
        key = tuple(row)
        if key not in self._encodings:
            tokens = np.asarray([row], np.int32)
            self._encodings[key] = ops.convert_to_numpy(self._encode(tokens))[0]
            if len(self._encodings) > REMEMBERED:
                self._encodings.popitem(last=False)
        self._encodings.move_to_end(key)
        return self._encodings[key]

    def truncated(self, prompt: str) -> str | None:
        """The end of the prompt that does not fit the text encoder, or None."""
        return self.tokenizer.encode_row(prompt)[1]

    def _encode_tokens(self, weights: Weights, tokens: Tensor) -> Tensor:
        return self._network.encode(weights, self._network.embed(weights, tokens))
