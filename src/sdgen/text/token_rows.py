"""``Tokenizer``: text to token numbers, and numbers to the rows that a text encoder takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class Tokenizer:
    """What prompts are read with, whatever a model cuts text into.

    Attributes:
        bos, eos, pad: numbers of the start, end and padding tokens.
        max_length: tokens in a row, start and end included.
        largest: the largest number of a token.
        comma: the number of a comma that stands alone, near which a long prompt is cut; None without one.
    """

    bos: int
    eos: int
    pad: int
    max_length: int
    largest: int
    comma: int | None

    def encode(self, text: str) -> list[int]:
        """The token numbers of a text of any length, without start and end."""
        raise NotImplementedError

    def decode(self, numbers: Iterable[int]) -> str:
        """The text that token numbers stand for; unknown numbers are left out."""
        raise NotImplementedError

    def row(self, numbers: Sequence[int]) -> list[int]:
        """Start, up to ``max_length - 2`` of the numbers, end, and padding to ``max_length``."""
        row = [self.bos, *numbers[: self.max_length - 2], self.eos]
        return row + [self.pad] * (self.max_length - len(row))

    def encode_row(self, text: str) -> tuple[list[int], str | None]:
        """One prompt as diffusers' pipelines tokenize it.

        Returns:
            The row of ``max_length`` tokens, and the text that did not fit (decoded from its tokens), or
            None if all did.
        """
        numbers = self.encode(text)
        rest = numbers[self.max_length - 2 :]
        return self.row(numbers), self.decode(rest) if rest else None
