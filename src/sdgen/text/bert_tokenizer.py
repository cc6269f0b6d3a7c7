"""BERT's word pieces, equal to transformers' BertTokenizer (version 5, on the tokenizers library)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from reprlib import repr as short
from typing import TYPE_CHECKING, Any

from sdgen.errors import CheckpointError
from sdgen.files.foreign_files import refuse_foreign
from sdgen.files.json_files import read_json
from sdgen.files.user_files import read_regular
from sdgen.text.token_rows import Tokenizer
from sdgen.text.tokenizer_files import MAX_LENGTH, MAX_TOKENS

if TYPE_CHECKING:
    import tokenizers

_ROLES: Mapping[str, str] = {"cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "unk": "[UNK]", "mask": "[MASK]"}
"""BERT's special tokens by their role; a text that has one has the token."""

_PIECE = "##"
"""How a piece begins that goes on with a word."""

_MOST_BYTES = 50_000_000


class BertTokenizer(Tokenizer):
    """Text to word pieces (Devlin et al. 2019, section 3; Wu et al. 2016, section 4.1).

    A text is cut at special tokens; what lies between is put into lower case without accents, and cut at
    white space and punctuation; of each word the longest piece that the vocabulary has is taken, again and
    again, and a word that cannot be taken apart is the unknown token.
    """

    def __init__(
        self, vocab: Mapping[str, int], *, lower_case: bool = True, max_length: int = MAX_LENGTH
    ) -> None:
        """A tokenizer from its vocabulary.

        Args:
            vocab: piece -> number, each number once; it has the special tokens.
            lower_case: whether case and accents are dropped.
            max_length: tokens in a row, start and end included.
        """
        self.vocab, self._lower_case, self.max_length = vocab, lower_case, max_length
        self.bos, self.eos, self.pad = (vocab[_ROLES[role]] for role in ("cls", "sep", "pad"))
        self._pieces = {number: piece for piece, number in vocab.items()}
        self.largest = max(self._pieces)
        self.comma = vocab.get(",")

    @classmethod
    def from_files(cls, folder: str | Path) -> BertTokenizer:
        """The tokenizer of a model's folder, from vocab.txt and, if there is one, tokenizer_config.json.

        Raises:
            CheckpointError: a file is missing or malformed; the message names it.
        """
        folder = Path(folder)
        file = folder / "tokenizer_config.json"
        config: Mapping[str, Any] = read_json(file) if file.exists() else {}
        length, lower_case = config.get("model_max_length"), config.get("do_lower_case", True)
        if not isinstance(lower_case, bool):
            raise CheckpointError(f"{file} has do_lower_case = {short(lower_case)}, no truth value")
        return cls(
            _vocabulary(folder / "vocab.txt"),
            lower_case=lower_case,
            max_length=length if type(length) is int and 2 < length < 10_000 else MAX_LENGTH,
        )

    def encode(self, text: str) -> list[int]:
        """As ``Tokenizer.encode``."""
        return list(self._encoder.encode(text, add_special_tokens=False).ids)

    @functools.cached_property
    def _encoder(self) -> tokenizers.Tokenizer:
        """The library's tokenizer, made when the first text comes."""
        from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

        encoder = Tokenizer(models.WordPiece(dict(self.vocab), unk_token=_ROLES["unk"]))
        encoder.normalizer = normalizers.BertNormalizer(lowercase=self._lower_case)
        encoder.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        special = [token for token in _ROLES.values() if token in self.vocab]
        encoder.add_special_tokens([AddedToken(token, normalized=False) for token in special])
        return encoder

    def decode(self, numbers: Iterable[int]) -> str:
        """As ``Tokenizer.decode``: words and punctuation apart."""
        pieces = (self._pieces[number] for number in numbers if number in self._pieces)
        return " ".join(pieces).replace(f" {_PIECE}", "")


def _vocabulary(file: Path) -> dict[str, int]:
    """The pieces of a vocab.txt, a line each, numbered from 0."""
    refuse_foreign(file)
    try:
        lines = read_regular(file, _MOST_BYTES).decode("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CheckpointError(f"{file} cannot be read: {reason}; fetch or copy the model again") from None
    pieces = [line.rstrip("\r") for line in (lines[:-1] if not lines[-1] else lines)]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    if missing := [token for role, token in _ROLES.items() if role != "mask" and token not in vocab]:
        raise CheckpointError(f"{file} lacks {missing[0]}, which every vocabulary of BERT's has")
    if len(pieces) > MAX_TOKENS:
        raise CheckpointError(f"{file} has {len(pieces):,} pieces; the most that are read is {MAX_TOKENS:,}")
    return vocab
