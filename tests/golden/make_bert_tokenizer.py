"""Writes bert_tokenizer.json: what transformers' BertTokenizer makes of texts with a small vocabulary.

pip install -e '.[reference]' && python tests/golden/make_bert_tokenizer.py
"""

from __future__ import annotations

import json
import string
import tempfile
from pathlib import Path

GOLDEN = Path(__file__).with_name("bert_tokenizer.json")
SPECIAL = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [*string.ascii_lowercase, *string.digits, *string.punctuation, "é", "中", "你", "好"]
_WORDS = (
    "a the of in on an oil painting red fox snow castle photo graph with un want runn token zurich cafe naive"
)
WORDS = [*_WORDS.split(), "fight"]
PIECES = [
    "##s",
    "##ing",
    "##ed",
    "##able",
    "##graph",
    "##ize",
    "##r",
    *(f"##{letter}" for letter in string.ascii_lowercase),
]
TEXTS = (
    "",
    "   ",
    "a painting of a red fox in the snow",
    "UNWANTED, running; tokenizer!",
    'Photographs: an oil-painting (with "castles")',
    "café naïve Zürich ÉÉ e\u0301",
    "你好中 a中b",
    "a\tb\nc\x00d\ufffde\u00a0f\u200bg",
    "[CLS] [MASK] a[SEP]b [mask] [PAD]",
    "x" * 101 + " fox",
    "ab7 q9$%^& don't __init__ 3.14",
    "🦊 fox",
    "fi ﬁght İstanbul ß",
    " ".join(["a red fox"] * 40),
)


def vocabulary() -> list[str]:
    """The pieces, a line of vocab.txt each."""
    return list(dict.fromkeys([*SPECIAL, *LETTERS, *WORDS, *PIECES]))


def write(folder: Path) -> Path:
    """A tokenizer's folder with that vocabulary."""
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true, "model_max_length": 77}')
    return folder


if __name__ == "__main__":
    from transformers import BertTokenizer

    with tempfile.TemporaryDirectory() as folder:
        tokenizer = BertTokenizer.from_pretrained(str(write(Path(folder) / "tokenizer")))
        numbers = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
        options = {"padding": "max_length", "max_length": 77, "truncation": True}
        rows = [tokenizer(text, **options)["input_ids"] for text in TEXTS]
    GOLDEN.write_text(json.dumps({"numbers": numbers, "rows": rows}) + "\n")
