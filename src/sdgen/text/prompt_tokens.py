"""Prompts to rows of tokens and weights, and the weights onto the text encoder's output.

Two readings of a prompt: plain, as diffusers' pipelines read it (literally, one row, the rest cut off), and
AUTOMATIC1111's (``prompt_syntax``, as many rows as needed). The rules for rows, called chunks, are those of
modules/sd_hijack_clip.py (``tokenize_line``) and modules/sd_emphasis.py ("Original") in
AUTOMATIC1111/stable-diffusion-webui 1.10 with its default settings.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdgen.errors import InputError
from sdgen.text.prompt_syntax import LoraTag, Segment, extract_loras, parse_emphasis
from sdgen.text.token_rows import Tokenizer

COMMA_BACKTRACK = 20
"""A full chunk gives up what follows its last comma if that is fewer tokens than this."""


class Placement(NamedTuple):
    """Where a textual inversion's vectors replace token embeddings: ``chunk``, columns ``start`` and on."""

    name: str
    chunk: int
    start: int
    vectors: int


@dataclasses.dataclass(frozen=True, eq=False)
class TokenizedPrompt:
    """A prompt, ready for the text encoder.

    The chunks are encoded each by itself, ``apply_emphasis`` weighs the result, and the chunks are joined
    along the token axis to (chunks * length, width).

    Attributes:
        tokens: int32 (chunks, length): start, up to 75 tokens, end, padding; length is CLIP's 77.
        weights: float32 (chunks, length); 1 for start, end and padding.
        loras: LoRA tags, in order.
        truncated: the text that did not fit (plain prompts only), or None.
        embeddings: where textual inversions go; their tokens are 0 until then.
    """

    tokens: NDArray[np.int32]
    weights: NDArray[np.float32]
    loras: tuple[LoraTag, ...] = ()
    truncated: str | None = None
    embeddings: tuple[Placement, ...] = ()


def tokenize_prompt(
    prompt: str,
    tokenizer: Tokenizer,
    *,
    plain: bool = False,
    embeddings: Mapping[str, int] | None = None,
) -> TokenizedPrompt:
    """Tokens and weights of a prompt.

    Args:
        prompt: the text.
        tokenizer: the model's.
        plain: take the prompt literally, in one row.
        embeddings: textual inversions, name -> number of vectors. A name is found where its tokens stand in
            the prompt's (so in any case, and the longest first), as AUTOMATIC1111 does. A name that begins or
            ends with punctuation, as diffusers' ``<cat-toy>``, is also found beside other punctuation.

    Raises:
        InputError: the prompt's syntax or an embedding's name or size is wrong.
    """
    names = _Names(embeddings or {}, tokenizer)
    if plain:
        return _plain(names.units(Segment(prompt, 1.0)), tokenizer)
    text, loras = extract_loras(prompt)
    parts = [[unit for segment in part for unit in names.units(segment)] for part in parse_emphasis(text)]
    return _stack(_chunks(parts, tokenizer), tokenizer, loras=loras)


def pad_chunks(prompt: TokenizedPrompt, chunks: int, tokenizer: Tokenizer) -> TokenizedPrompt:
    """The prompt with empty chunks appended up to ``chunks``: prompts of one batch must be of one length."""
    missing = max(0, chunks - len(prompt.tokens))
    tokens = np.array([tokenizer.row([])] * missing, np.int32).reshape(missing, tokenizer.max_length)
    return dataclasses.replace(
        prompt,
        tokens=np.concatenate([prompt.tokens, tokens]),
        weights=np.concatenate([prompt.weights, np.ones(tokens.shape, np.float32)]),
    )


def apply_emphasis(embeddings: NDArray[Any], weights: NDArray[np.float32]) -> NDArray[Any]:
    """Weigh the text encoder's output.

    Each token's vector is multiplied by its weight, then the whole chunk is scaled so that its mean over
    tokens and width is what it was before: z' = w z, z'' = z' mean(z) / mean(z'). Chunks without weights
    stay as they are, and so does the scale of a chunk whose weighted mean is 0.

    Args:
        embeddings: (chunks, length, width), any floating dtype.
        weights: (chunks, length).

    Returns:
        The same shape and dtype as ``embeddings``.
    """
    weighted = embeddings.astype(np.float32) * weights[:, :, None]
    before = embeddings.astype(np.float64).mean(axis=(1, 2), keepdims=True)
    after = weighted.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
    scale = np.divide(before, after, out=np.ones_like(before), where=after != 0)
    emphasized = (weights != 1).any(axis=1)[:, None, None]
    return np.where(emphasized, weighted * scale, embeddings).astype(embeddings.dtype)


class _Slot(NamedTuple):
    """One column of a chunk; a textual inversion is named, with its ``vectors``, where its first one goes."""

    token: int
    weight: float
    embedding: str | None = None
    vectors: int = 0


_Unit = list[_Slot]
"""A token, or a textual inversion whose vectors stay together."""


class _Names:
    """Finds the names of textual inversions among tokens."""

    def __init__(self, vectors: Mapping[str, int], tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._vectors = vectors
        room = tokenizer.max_length - 2
        for name, count in vectors.items():
            if not tokenizer.encode(name):
                raise InputError(f"the textual inversion {name!r} needs a name with a letter or a sign in it")
            if not 1 <= count <= room:
                raise InputError(
                    f"the textual inversion {name!r} has {count} vectors; 1 to {room} fit a prompt"
                )
        tokens = ((tokenizer.encode(name), name) for name in vectors)
        self._longest_first = sorted(tokens, key=lambda pair: len(pair[0]), reverse=True)
        edged = [name for name in vectors if not (name[0].isalnum() and name[-1].isalnum())]
        alternatives = "|".join(re.escape(name) for name in sorted(edged, key=len, reverse=True))
        self._edged = re.compile(f"({alternatives})", re.IGNORECASE) if edged else None

    def units(self, segment: Segment) -> list[_Unit]:
        """The segment's tokens, each alone, and textual inversions, each whole."""
        texts = self._edged.split(segment.text) if self._edged else [segment.text]
        return [unit for text in texts for unit in self._cut(self._tokenizer.encode(text), segment.weight)]

    def _cut(self, tokens: list[int], weight: float) -> Iterator[_Unit]:
        at = 0
        while at < len(tokens):
            for name_tokens, name in self._longest_first:
                if tokens[at : at + len(name_tokens)] == name_tokens:
                    count = self._vectors[name]
                    yield [_Slot(0, weight, name, count), *[_Slot(0, weight)] * (count - 1)]
                    at += len(name_tokens)
                    break
            else:
                yield [_Slot(tokens[at], weight)]
                at += 1


def _plain(units: Sequence[_Unit], tokenizer: Tokenizer) -> TokenizedPrompt:
    """One chunk of what fits, and the text of what does not."""
    ends = itertools.accumulate(map(len, units))
    fitting = sum(end <= tokenizer.max_length - 2 for end in ends)
    chunk = [slot for unit in units[:fitting] for slot in unit]
    rest = itertools.groupby(units[fitting:], key=lambda unit: unit[0].embedding)
    words = [
        " ".join([name for _ in run]) if name else tokenizer.decode(unit[0].token for unit in run)
        for name, run in rest
    ]
    return _stack([chunk], tokenizer, truncated=" ".join(words) or None)


def _chunks(parts: Sequence[Sequence[_Unit]], tokenizer: Tokenizer) -> list[list[_Slot]]:
    """Fill chunks of 75, and begin a new one at each part but the first.

    A full chunk whose last comma is near its end gives up what follows the comma to the next one.
    """
    room = tokenizer.max_length - 2
    comma = tokenizer.comma
    chunks: list[list[_Slot]] = []
    chunk: list[_Slot] = []
    after_comma = 0  # where what follows the chunk's last comma begins; 0: no comma

    for number, part in enumerate(parts):
        if number:
            chunks.append(chunk)
            chunk, after_comma = [], 0
        for unit in part:
            if len(unit) == 1 and unit[0].token == comma and unit[0].embedding is None:
                after_comma = len(chunk) + 1
            elif len(chunk) == room and after_comma and len(chunk) - after_comma < COMMA_BACKTRACK:
                chunks.append(chunk[:after_comma])
                chunk, after_comma = chunk[after_comma:], 0
            if len(chunk) + len(unit) > room:
                chunks.append(chunk)
                chunk, after_comma = [], 0
            chunk = chunk + unit
    if chunk or not chunks:
        chunks.append(chunk)
    return chunks


def _stack(
    chunks: Sequence[Sequence[_Slot]],
    tokenizer: Tokenizer,
    loras: tuple[LoraTag, ...] = (),
    truncated: str | None = None,
) -> TokenizedPrompt:
    weights = np.ones((len(chunks), tokenizer.max_length), np.float32)
    for row, chunk in zip(weights, chunks, strict=True):
        row[1 : len(chunk) + 1] = [slot.weight for slot in chunk]
    return TokenizedPrompt(
        tokens=np.array([tokenizer.row([slot.token for slot in chunk]) for chunk in chunks], np.int32),
        weights=weights,
        loras=loras,
        truncated=truncated,
        embeddings=tuple(_placements(chunks)),
    )


def _placements(chunks: Sequence[Sequence[_Slot]]) -> Iterator[Placement]:
    for number, chunk in enumerate(chunks):
        for column, slot in enumerate(chunk, start=1):
            if slot.embedding is not None:
                yield Placement(slot.embedding, number, column, slot.vectors)
