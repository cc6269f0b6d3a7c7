"""CLIP's byte-pair tokenizer, equal to transformers' CLIPTokenizer (version 5, on the tokenizers library)."""

from __future__ import annotations

import functools
import heapq
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from sdgen.errors import CheckpointError
from sdgen.text import clip_words
from sdgen.text.tokenizer_files import (
    BOS,
    END_OF_WORD,
    EOS,
    MAX_LENGTH,
    AddedToken,
    byte_letters,
    clip_vocabulary,
    read_folder,
)

_LETTERS = byte_letters()
_BYTES = {letter: byte for byte, letter in _LETTERS.items()}
_CACHED_WORDS = 32_768


class ClipTokenizer:
    """Text to token numbers and back.

    A text is cut at special tokens, which a user may type and which stand for themselves; what lies between
    is normalised and cut into words (``clip_words``); a word's UTF-8 bytes, the last one marked ``</w>``, are
    merged pair by pair, the pair of lowest rank first (Sennrich et al. 2016).

    Where the pad token is "!" (SD 2.x), transformers takes it for a special token as well: each "!" of a
    prompt becomes the pad token, and so it does here.

    Attributes:
        vocab: token -> number.
        bos, eos, pad: numbers of the start, end and padding tokens.
        max_length: tokens in a row, start and end included (77).
        largest: the largest number of a token.
    """

    def __init__(
        self,
        vocab: Mapping[str, int],
        merges: Sequence[tuple[str, str]],
        *,
        bos: int,
        eos: int,
        pad: int,
        max_length: int = MAX_LENGTH,
        unknown: int | None = None,
        added: Iterable[AddedToken] | None = None,
    ) -> None:
        """A tokenizer from its tables.

        Args:
            vocab: token -> number, each number once.
            merges: pairs of tokens, the first to be merged first.
            bos, eos, pad: numbers of the start, end and padding tokens.
            max_length: tokens in a row, start and end included.
            unknown: the token for a byte that the vocabulary lacks; default ``eos``.
            added: tokens to find in the text before it is cut into words; default bos, eos and pad as typed.
        """
        self.vocab = vocab
        self.bos, self.eos, self.pad = bos, eos, pad
        self.max_length = max_length
        self._tokens = {number: token for token, number in vocab.items()}
        if added is None:
            added = [AddedToken(self._tokens[number], number) for number in dict.fromkeys((bos, eos, pad))]
        added = list(added)
        self._tokens.update((token.id, token.content) for token in added)
        self.largest = max(self._tokens, default=0)
        self._unknown = eos if unknown is None else unknown
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._as_typed = _Finder({token.content: token.id for token in added if not token.normalized})
        self._normalized = _Finder(
            {clip_words.normalize(token.content): token.id for token in added if token.normalized}
        )
        self._word = functools.lru_cache(_CACHED_WORDS)(self._encode_word)

    @classmethod
    def from_files(cls, folder: str | Path) -> ClipTokenizer:
        """The tokenizer of a diffusers model's ``tokenizer`` folder.

        Reads tokenizer.json, or vocab.json and merges.txt, and the special tokens of tokenizer_config.json
        and special_tokens_map.json.

        Raises:
            CheckpointError: a file is missing or malformed; the message names it.
        """
        read = read_folder(Path(folder))
        return cls(
            read.vocab,
            read.merges,
            bos=read.bos,
            eos=read.eos,
            pad=read.pad,
            max_length=read.max_length,
            unknown=read.unknown,
            added=read.added,
        )

    @classmethod
    def clip(cls, pad_token: str = EOS) -> ClipTokenizer:
        """OpenAI CLIP's tokenizer (49,408 tokens), packaged with sdgen.

        Args:
            pad_token: "<|endoftext|>" for SD 1.x, "!" (number 0) for SD 2.x.

        Raises:
            CheckpointError: ``pad_token`` is not a token.
        """
        vocab, merges = clip_vocabulary()
        if pad_token not in vocab:
            raise CheckpointError(f"the pad token {pad_token!r} is not in CLIP's vocabulary")
        return cls(vocab, merges, bos=vocab[BOS], eos=vocab[EOS], pad=vocab[pad_token])

    @property
    def vocab_size(self) -> int:
        """Rows that a token embedding for this tokenizer needs: the largest number plus one."""
        return max(self._tokens) + 1

    def encode(self, text: str) -> list[int]:
        """The token numbers of a text of any length, without start and end."""
        numbers: list[int] = []
        for typed, number in self._as_typed.cut(text):
            if number is not None:
                numbers.append(number)
                continue
            for span, number in self._normalized.cut(clip_words.normalize(typed)):
                if number is not None:
                    numbers.append(number)
                    continue
                for word in clip_words.split(span):
                    numbers += self._word(word)
        return numbers

    def decode(self, numbers: Iterable[int]) -> str:
        """The text that token numbers stand for: lower case, words and punctuation apart.

        Bytes that are not UTF-8 become U+FFFD and unknown numbers are left out.
        """
        tokens = (self._tokens[number] for number in numbers if number in self._tokens)
        text = b"".join(map(_token_bytes, tokens)).decode("utf-8", errors="replace")
        return text.replace(END_OF_WORD, " ").strip()

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

    def _encode_word(self, word: str) -> tuple[int, ...]:
        letters = [_LETTERS[byte] for byte in word.encode()]
        letters[-1] += END_OF_WORD
        return tuple(self.vocab.get(symbol, self._unknown) for symbol in _merge(letters, self._ranks))


def _merge(symbols: list[str], ranks: Mapping[tuple[str, str], int]) -> list[str]:
    """Merge neighbours, lowest rank first and leftmost of equals, until no pair has a rank.

    A heap holds the pairs and two lists link each symbol to its neighbours: n log n in the word's length.
    """
    end = len(symbols)
    after, before = list(range(1, end + 1)), list(range(-1, end - 1))
    heap = [(ranks[pair], at) for at, pair in enumerate(itertools.pairwise(symbols)) if pair in ranks]
    heapq.heapify(heap)
    while heap:
        rank, left = heapq.heappop(heap)
        right = after[left]
        if right == end or ranks.get((symbols[left], symbols[right])) != rank:
            continue  # one of the two was merged meanwhile
        symbols[left] += symbols[right]
        symbols[right] = ""
        after[left] = after[right]
        if after[left] < end:
            before[after[left]] = left
        for first, second in ((before[left], left), (left, after[left])):
            if first >= 0 and second < end and (pair := (symbols[first], symbols[second])) in ranks:
                heapq.heappush(heap, (ranks[pair], first))
    return [symbol for symbol in symbols if symbol]


def _token_bytes(token: str) -> bytes:
    try:
        return bytes(_BYTES[letter] for letter in token)
    except KeyError:
        return token.encode()  # an added token is spelled as it is


class _Finder:
    """Finds literal strings in a text, the leftmost first and the longest of those at one place."""

    def __init__(self, numbers: Mapping[str, int]) -> None:
        self._numbers = numbers
        longest_first = sorted(numbers, key=len, reverse=True)
        self._pattern = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if numbers else None

    def cut(self, text: str) -> Iterator[tuple[str, int | None]]:
        """The pieces of a text in order: (what lies between, None) and (string, its number)."""
        parts = self._pattern.split(text) if self._pattern else [text]
        for at, part in enumerate(parts):
            yield part, self._numbers[part] if at % 2 else None
