"""CLIP's byte-pair tokenizer, equal to transformers' CLIPTokenizer (version 5, on the tokenizers library)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sdgen.errors import CheckpointError
from sdgen.text.token_rows import Tokenizer
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

if TYPE_CHECKING:
    import tokenizers

_BYTES = {letter: byte for byte, letter in byte_letters().items()}

_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""A word of CLIP's: a contraction's ending, a run of letters, one digit, or a run of anything else but white
space (openai/CLIP, clip/simple_tokenizer.py; transformers, models/clip/tokenization_clip.py)."""


class ClipTokenizer(Tokenizer):
    """Text to token numbers and back.

    A text is cut at special tokens, which a user may type and which stand for themselves; what lies between
    is composed (NFC), put into lower case with single spaces, and cut into words; a word's UTF-8 bytes, the
    last one marked ``</w>``, are merged pair by pair, the pair of lowest rank first (Sennrich et al. 2016).
    The ``tokenizers`` library does it, built as transformers builds it.

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
        self.comma = vocab.get(f",{END_OF_WORD}")
        self._merges, self._added = merges, added
        self._declared: dict[int, int] = {}
        self._unknown = self._tokens.get(eos if unknown is None else unknown, "")

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
        numbers = self._encoder.encode(text, add_special_tokens=False).ids
        return [self._declared.get(number, number) for number in numbers]

    @functools.cached_property
    def _encoder(self) -> tokenizers.Tokenizer:
        """The library's tokenizer, made when the first text comes."""
        from tokenizers import AddedToken as Added
        from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

        encoder = Tokenizer(
            models.BPE(
                dict(self.vocab),
                list(self._merges),
                unk_token=self._unknown,
                continuing_subword_prefix="",
                end_of_word_suffix=END_OF_WORD,
                fuse_unk=False,
            )
        )
        encoder.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        encoder.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        encoder.add_tokens([Added(token.content, normalized=token.normalized) for token in self._added])
        # The library numbers tokens that the vocabulary lacks itself; the model goes by the files' numbers.
        for token in self._added:
            number = encoder.token_to_id(token.content)
            if number is not None and number != token.id:
                self._declared[number] = token.id
        return encoder

    def decode(self, numbers: Iterable[int]) -> str:
        """The text that token numbers stand for: lower case, words and punctuation apart.

        Bytes that are not UTF-8 become U+FFFD and unknown numbers are left out.
        """
        tokens = (self._tokens[number] for number in numbers if number in self._tokens)
        text = b"".join(map(_token_bytes, tokens)).decode("utf-8", errors="replace")
        return text.replace(END_OF_WORD, " ").strip()


def _token_bytes(token: str) -> bytes:
    try:
        return bytes(_BYTES[letter] for letter in token)
    except KeyError:
        return token.encode()  # an added token is spelled as it is
