"""Classes to what the UNet attends to: the ``PromptEncoder`` of a class-conditional model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sdgen.checkpoints import Checkpoint
from sdgen.checkpoints.checkpoint import Component
from sdgen.errors import CheckpointError
from sdgen.text.class_names import CLASSES, class_number
from sdgen.text.prompt_tokens import TokenizedPrompt

Array = np.ndarray[Any, np.dtype[np.float32]]

_WEIGHTS = "embedding.weight"


def shape(embedder: Component) -> tuple[int, int]:
    """Rows and width of a class embedder: a row for each class, and behind ImageNet's 1,000 one for none.

    Raises:
        CheckpointError: it has no such weights.
    """
    match embedder.tensors.shapes().get(_WEIGHTS, ()):
        case (rows, width) if rows and width:
            return rows, width
        case other:
            raise CheckpointError(
                f"{embedder.source} needs {_WEIGHTS} of (classes, width) and has {other or 'none'}; fetch "
                "the model again"
            )


def knows_no_class(embedder: Component) -> bool:
    """Whether a class embedder has a row that stands for no class."""
    return shape(embedder)[0] == CLASSES + 1


def label_of(text: str, embedder: Component, field: str) -> int:
    """The row of the class that a text means.

    Args:
        text: a number or a name; see ``class_names.class_number``. An empty negative prompt means no class.
        embedder: of the model.
        field: "prompt", "negative_prompt" or "prompt_to".

    Raises:
        InputError: it means no class, or several.
    """
    rows, _ = shape(embedder)
    if field == "negative_prompt" and not text.strip():
        return rows - 1  # Without a row for no class there is no guidance (``prompt_fields``).
    return class_number(text, CLASSES if knows_no_class(embedder) else rows, field)


class LabelEncoder:
    """Looks classes up in a checkpoint's class embedder (CompVis/latent-diffusion, ``ClassEmbedder``)."""

    length = 1

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._embedder = checkpoint.component(checkpoint.family.class_embedder)
        self._rows: Array = self._embedder.tensors[_WEIGHTS].astype(np.float32)

    def tokenize(self, prompt: str, syntax: str, field: str = "prompt") -> TokenizedPrompt:
        """The row of the class, as one token; the syntax of prompts has no meaning for it."""
        row = label_of(prompt, self._embedder, field)
        return TokenizedPrompt(np.asarray([[row]], np.int32), np.ones((1, 1), np.float32))

    def encode(self, prompts: Sequence[TokenizedPrompt], clip_skip: int) -> Array:
        """The rows, float32 (prompts, 1, width)."""
        return np.stack([self._rows[prompt.tokens[0]] for prompt in prompts])
