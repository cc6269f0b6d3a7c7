"""``PromptEncoder``: from prompts to what the UNet attends to, and what stands for it without prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from sdgen.text.prompt_tokens import TokenizedPrompt

Array = np.ndarray[Any, np.dtype[np.float32]]


class PromptEncoder(Protocol):
    """From prompts to encodings.

    Attributes:
        length: rows of the encoding of a short prompt; 0 where there is none.
    """

    length: int

    def tokenize(self, prompt: str, syntax: str, field: str = "prompt") -> TokenizedPrompt:
        """A prompt as tokens.

        Args:
            prompt: the text.
            syntax: a name of ``sdgen.request.PROMPT_SYNTAXES``.
            field: the field of ``Request`` that it is of.

        Raises:
            InputError: the model cannot read it.
        """
        raise NotImplementedError

    def encode(self, prompts: Sequence[TokenizedPrompt], clip_skip: int) -> Array | None:
        """The encodings of prompts, float32 (prompts, length, width); None where there are none."""
        raise NotImplementedError


class NoPrompts:
    """For a model that takes none; ``prompt_fields`` refuses them."""

    length = 0

    def tokenize(self, prompt: str, syntax: str, field: str = "prompt") -> TokenizedPrompt:
        """No tokens."""
        return TokenizedPrompt(np.zeros((0, 0), np.int32), np.zeros((0, 0), np.float32))

    def encode(self, prompts: Sequence[TokenizedPrompt], clip_skip: int) -> None:
        """None."""


def split_pooled(encodings: Array) -> tuple[Array, Array]:
    """Encodings whose last row is the pooled vector: (prompts, length, width) and (prompts, width)."""
    return encodings[:, :-1], encodings[:, -1]
