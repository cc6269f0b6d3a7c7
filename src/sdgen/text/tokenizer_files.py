"""Tokenizer files: a diffusers tokenizer folder, and the packaged vocabulary of CLIP."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import itertools
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from reprlib import repr as short
from typing import Any

from sdgen.errors import CheckpointError
from sdgen.files.foreign_files import refuse_foreign
from sdgen.files.json_files import MAX_JSON_BYTES, read_json
from sdgen.files.user_files import read_regular

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
END_OF_WORD = "</w>"
MAX_LENGTH = 77
"""How many tokens CLIP's text encoder takes, start and end included."""

MAX_TOKENS = 500_000
"""The most tokens of a vocabulary, and the most merges; CLIP has 49,408 tokens."""

MAX_ADDED = 1_000
MAX_ADDED_LETTERS = 100_000
"""The most letters of added tokens, which are looked for at every letter; models have about ten tokens."""


@dataclasses.dataclass(frozen=True)
class AddedToken:
    """A token that is found in the text before the text is cut into words.

    Attributes:
        content: its spelling.
        id: its number.
        normalized: it is looked for in the normalised text (so in any case), not in the text as typed.
    """

    content: str
    id: int
    normalized: bool = False


@dataclasses.dataclass(frozen=True)
class TokenizerFiles:
    """What a tokenizer folder says. ``unknown`` stands for a byte that the vocabulary lacks."""

    vocab: Mapping[str, int]
    merges: Sequence[tuple[str, str]]
    bos: int
    eos: int
    pad: int
    unknown: int
    max_length: int
    added: tuple[AddedToken, ...]


def byte_letters() -> dict[int, str]:
    """The letter that stands for each byte: itself if printable, else one from U+0100 on.

    In the order of CLIP's vocabulary; ``bytes_to_unicode`` of openai/CLIP, clip/simple_tokenizer.py.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in printable)
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


@functools.cache
def clip_vocabulary() -> tuple[Mapping[str, int], Sequence[tuple[str, str]]]:
    """CLIP's 49,408 tokens and 48,894 merges, read as openai/CLIP's clip/simple_tokenizer.py does."""
    packed = resources.files("sdgen.text").joinpath("data/bpe_simple_vocab_16e6.txt.gz")
    with packed.open("rb") as file, gzip.open(file, "rt", encoding="utf-8", newline="\n") as lines:
        merges = [_pair(line) for line in itertools.islice(lines, 1, 49152 - 256 - 2 + 1)]
    letters = byte_letters().values()
    tokens = [*letters, *(letter + END_OF_WORD for letter in letters), *map("".join, merges), BOS, EOS]
    return {token: number for number, token in enumerate(tokens)}, merges


def read_folder(folder: Path) -> TokenizerFiles:
    """Read a diffusers tokenizer folder as transformers does.

    The vocabulary comes from tokenizer.json where there is one, else from vocab.json and merges.txt. Special
    tokens come from special_tokens_map.json, then tokenizer_config.json, then CLIP's defaults; a
    tokenizer_config.json that lists ``added_tokens_decoder`` is newer than the map and goes first.

    Raises:
        CheckpointError: a file is missing or malformed; the message names it.
    """
    config_file, map_file = folder / "tokenizer_config.json", folder / "special_tokens_map.json"
    config = read_json(config_file) if config_file.exists() else {}
    special = read_json(map_file) if map_file.exists() else {}
    if (folder / "tokenizer.json").exists():
        vocab, merges, listed = _tokenizer_json(folder / "tokenizer.json")
    else:
        vocab_file = folder / "vocab.json"
        vocab, listed = _vocab(vocab_file, read_json(vocab_file)), []
        merges = _merges_txt(folder / "merges.txt")
    _check_merges(folder, vocab, merges)
    extra: Mapping[str, int] = {}
    if "added_tokens_decoder" in config:
        special, listed = {}, _decoder_tokens(config_file, config["added_tokens_decoder"])
    elif (folder / "added_tokens.json").exists():
        extra = _vocab(folder / "added_tokens.json", read_json(folder / "added_tokens.json"))

    ids = {**extra, **{token.content: token.id for token in listed}, **vocab}
    named = {
        role: _named_token(folder, role, special.get(f"{role}_token") or config.get(f"{role}_token"), ids)
        for role in ("bos", "eos", "unk", "pad")
    }
    # Of several entries for one spelling the last counts.
    added = {token.content: token for token in named.values()}
    for content in filter(None, extra):
        added[content] = AddedToken(content, ids[content], normalized=content not in added)
    for token in listed:
        added[token.content] = dataclasses.replace(token, id=ids[token.content])
    if len(added) > MAX_ADDED or sum(map(len, added)) > MAX_ADDED_LETTERS:
        raise CheckpointError(f"{folder} has more added tokens than are read; fetch or copy it again")
    length = config.get("model_max_length")
    return TokenizerFiles(
        vocab=vocab,
        merges=merges,
        bos=named["bos"].id,
        eos=named["eos"].id,
        pad=named["pad"].id,
        unknown=named["unk"].id,
        max_length=length if type(length) is int and 2 < length < 10_000 else MAX_LENGTH,
        added=tuple(added.values()),
    )


def _named_token(folder: Path, role: str, value: Any, ids: Mapping[str, int]) -> AddedToken:
    """A special token, given as its spelling, as a mapping with ``content``, or not at all."""
    content = value.get("content") if isinstance(value, dict) else value or (BOS if role == "bos" else EOS)
    if not isinstance(content, str) or content not in ids:
        raise CheckpointError(f"{folder} names {short(content)} as {role}_token, which its vocabulary lacks")
    normalized = isinstance(value, dict) and value.get("normalized") is True
    return AddedToken(content, ids[content], normalized)


def _tokenizer_json(path: Path) -> tuple[Mapping[str, int], list[tuple[str, str]], list[AddedToken]]:
    """Vocabulary, merges ("a b", or pairs since 2024) and added tokens of the tokenizers library's file."""
    contents = read_json(path)
    model = contents.get("model")
    if not isinstance(model, dict) or model.get("end_of_word_suffix") != END_OF_WORD:
        raise CheckpointError(f"{path} is not a CLIP tokenizer: its model has no end_of_word_suffix </w>")
    lines, added = model.get("merges"), contents.get("added_tokens") or []
    if not isinstance(lines, list) or not isinstance(added, list):
        raise CheckpointError(f"{path} is not a CLIP tokenizer: it has no merges or no list of added tokens")
    merges = []
    for number, line in enumerate(lines):
        halves = line.split(" ") if isinstance(line, str) else line
        if not isinstance(halves, list) or [type(half) for half in halves] != [str, str]:
            raise CheckpointError(f"{path}: merge {number} is not a pair of tokens: {short(line)}")
        merges.append((halves[0], halves[1]))
    return _vocab(path, model.get("vocab")), merges, [_added_token(path, token) for token in added]


def _decoder_tokens(path: Path, decoder: Any) -> list[AddedToken]:
    """The ``added_tokens_decoder`` of tokenizer_config.json: id as text -> token."""
    if not isinstance(decoder, dict) or not all(re.fullmatch(r"[0-9]{1,9}", key) for key in decoder):
        raise CheckpointError(f"{path}: added_tokens_decoder is not a mapping from token ids")
    return [_added_token(path, token, int(key)) for key, token in decoder.items()]


def _added_token(path: Path, token: Any, number: int | None = None) -> AddedToken:
    known = token if isinstance(token, dict) else {}
    content, number = known.get("content"), known.get("id") if number is None else number
    if not isinstance(content, str) or type(number) is not int or number < 0 or not content:
        raise CheckpointError(f"{path} lists an added token without spelling or id: {short(token)}")
    return AddedToken(content, number, bool(known.get("normalized", not known.get("special"))))


def _vocab(path: Path, vocab: Any) -> Mapping[str, int]:
    if not isinstance(vocab, dict) or not all(
        type(number) is int and number >= 0 for number in vocab.values()
    ):
        raise CheckpointError(f"{path} is not a vocabulary: it must map each token to a whole number")
    if len(set(vocab.values())) != len(vocab):
        raise CheckpointError(f"{path} is not a vocabulary: two tokens share one number")
    return vocab


def _merges_txt(path: Path) -> list[tuple[str, str]]:
    try:
        data = read_regular(path, MAX_JSON_BYTES, CheckpointError)
        lines = data.decode("utf-8").replace("\r\n", "\n").split("\n")
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; fetch or copy the whole tokenizer folder again") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    if lines and not lines[0].startswith("#version"):
        refuse_foreign(path)
    merges = []
    for number, line in enumerate(lines, 1):
        if line.startswith("#version") or (not line and number == len(lines)):
            continue
        if line.count(" ") != 1:
            raise CheckpointError(
                f"{path}, line {number}: {short(line)} is not two tokens with a space between"
            )
        merges.append(_pair(line))
    return merges


def _pair(line: str) -> tuple[str, str]:
    first, second = line.rstrip("\n").split(" ")
    return first, second


def _check_merges(folder: Path, vocab: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> None:
    if max(len(vocab), len(merges)) > MAX_TOKENS:
        raise CheckpointError(
            f"{folder} has {len(vocab)} tokens and {len(merges)} merges; the most that is read is "
            f"{MAX_TOKENS}"
        )
    for first, second in merges:
        if first + second not in vocab or first not in vocab or second not in vocab:
            raise CheckpointError(
                f"{folder}: the merge {short(first)} {short(second)} makes a token that the vocabulary "
                "lacks; "
                "vocabulary and merges are of different tokenizers, or one was altered"
            )
