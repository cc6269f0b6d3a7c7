"""BERT's word pieces against transformers' (golden/make_bert_tokenizer.py) and against broken files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from golden import make_bert_tokenizer as golden

from sdgen.errors import CheckpointError
from sdgen.text.bert_tokenizer import BertTokenizer

EXPECTED = json.loads(golden.GOLDEN.read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return golden.write(tmp_path / "tokenizer")


@pytest.mark.parametrize("number", range(len(golden.TEXTS)))
def test_texts_are_cut_as_transformers_does(folder: Path, number: int) -> None:
    tokenizer = BertTokenizer.from_files(folder)
    assert tokenizer.encode(golden.TEXTS[number]) == EXPECTED["numbers"][number]
    assert tokenizer.encode_row(golden.TEXTS[number])[0] == EXPECTED["rows"][number]


def test_what_does_not_fit_a_row_is_told(folder: Path) -> None:
    row, rest = BertTokenizer.from_files(folder).encode_row(" ".join(["fox"] * 76))
    assert (len(row), rest) == (77, "fox")


def test_pieces_of_a_word_are_put_together(folder: Path) -> None:
    tokenizer = BertTokenizer.from_files(folder)
    assert tokenizer.decode(tokenizer.encode("Photographs, unwanted")) == "photographs , unwanted"


def test_a_comma_is_known(folder: Path) -> None:
    tokenizer = BertTokenizer.from_files(folder)
    assert tokenizer.encode(",") == [tokenizer.comma]


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "vocab.txt is missing"),
        (b"\xff\xfe", "it is not UTF-8 text"),
        (b"a\nb\n", r"lacks \[CLS\]"),
        (b"<!DOCTYPE html><html>", "web page|HTML"),
    ],
)
def test_a_broken_vocabulary_is_named(folder: Path, content: bytes | None, message: str) -> None:
    file = folder / "vocab.txt"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        BertTokenizer.from_files(folder)
