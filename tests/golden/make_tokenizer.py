"""Write tokenizer.json beside this file: what transformers' CLIPTokenizer makes of 6,600 strings.

The strings come from ``strings()``, which the test calls as well; stored are a sha256 for every 50 of them
and the token numbers of the first of each category. Needs transformers 5:

    PYTHONPATH=src python tests/golden/make_tokenizer.py
"""

from __future__ import annotations

import hashlib
import json
import random
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).with_name("tokenizer.json")
MINI = Path(__file__).parents[2] / "src/sdgen/models/data/sd-mini/tokenizer"
BLOCK = 50
BOS, EOS = "<|startoftext|>", "<|endoftext|>"

_TEXT = """
a an the of in on with photo photograph painting portrait landscape highly detailed oil watercolor Studio
Ghibli Van Gogh's 8k 4K HDR f/1.4 35mm trending artstation fox snow castle don't it's we'll they've I'm you're
he'd naïve café Zürich jalapeño supercalifragilisticexpialidocious 1girl 2boys sunset
"""
WORDS = _TEXT.split()
ENDINGS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "’s", "'", "''", "'x", "'ſ"]
SPACES = (
    " \t\n\v\f\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u180e\u2000\u2003\u2009\u200b\u2028\u2029\u202f\u205f"
    "\u3000\ufeff"
)
EMOJI = "😀😂🥰👍🏽👩🚀🏳️🌈❤️👨👧🇩🇪🫠✨☃️🐱#️⃣1️⃣\u200d\ufe0f\u200d"
SPECIAL = [BOS, EOS, "<|StartOfText|>", "<|ENDOFTEXT|>", "<|", "|>", "<|end|>", "endoftext", "!", "!!"]
BLOCKS = (
    (0x00A0, 0x024F), (0x0370, 0x052F), (0x0530, 0x06FF), (0x0900, 0x0DFF), (0x0E00, 0x109F),
    (0x1100, 0x11FF), (0x1E00, 0x1FFF), (0x2000, 0x2BFF), (0x3000, 0x30FF), (0x4E00, 0x9FFF),
    (0xA640, 0xABFF), (0xAC00, 0xD7A3), (0xE000, 0xFAFF), (0xFB00, 0xFFFF), (0x10000, 0x1FFFF),
    (0x20000, 0x3FFFF), (0xE0000, 0xE01FF), (0x0000, 0xD7FF), (0x10000, 0x10FFFF),
)  # fmt: skip
MARK_BLOCKS = (
    (0x300, 0x36F), (0x591, 0x5BD), (0x64B, 0x655), (0x8CA, 0x8E1), (0x93C, 0x94D), (0x1AB0, 0x1ACE),
    (0x3099, 0x309A), (0x11382, 0x113D0), (0x1161, 0x1175), (0x11A8, 0x11C2),
)  # fmt: skip
MARKS = [chr(code) for low, high in MARK_BLOCKS for code in range(low, high + 1)]


def strings() -> dict[str, list[str]]:
    """The same strings at every call, by category."""
    rng = random.Random(20221122)

    def joined(between: str, alphabet: Iterable[str], low: int, high: int) -> str:
        choices = list(alphabet)
        return between.join(rng.choice(choices) for _ in range(rng.randint(low, high)))

    def block(low: int, high: int) -> str:
        codes = (rng.randint(low, high) for _ in range(rng.randint(1, 30)))
        return "".join(chr(code) for code in codes if not 0xD800 <= code <= 0xDFFF)

    printable = [chr(code) for code in range(32, 127)]
    makers: dict[str, tuple[int, Callable[[], str]]] = {
        "words": (800, lambda: joined(" ", WORDS, 0, 40)),
        "ascii": (800, lambda: joined("", printable, 0, 60)),
        "prompts": (
            500,
            lambda: joined(", ", [" ".join(WORDS[at : at + 3]) for at in range(len(WORDS))], 1, 40),
        ),
        "blocks": (1500, lambda: block(*rng.choice(BLOCKS))),
        "emoji": (600, lambda: joined("", [*EMOJI, " ", "a"], 0, 20)),
        "space": (400, lambda: joined("", [*SPACES, "a", "B", "1", "."], 0, 30)),
        "endings": (400, lambda: joined("", [*WORDS[:20], *ENDINGS, " "], 1, 20)),
        "punctuation": (400, lambda: joined("", "!?.,;:-_()[]{}<>|/\\'\"`~@#$%^&*+=…—“”。、 a1", 0, 40)),
        "control": (400, lambda: joined("", [*map(chr, range(32)), "\x7f", "\x80", "\x9f", "a", " "], 0, 20)),
        "marks": (400, lambda: joined("", [*MARKS, "a", "e", "O", "Ω", "\u1112", "か", " "], 0, 20)),
        "special": (395, lambda: joined("", [*SPECIAL, "a", " ", "Z"], 0, 12)),
    }
    made = {name: [make() for _ in range(count)] for name, (count, make) in makers.items()}
    made["long"] = [
        "",
        "a" * 10_000,
        " ".join(WORDS * 40)[:10_000],
        "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(10_000)),
        "".join(chr(rng.randrange(0x20, 0xD800)) for _ in range(10_000)),
    ]
    return made


def digests(encode: Callable[[str], list[int]]) -> dict[str, list[str]]:
    """By category, the sha256 of each block's token numbers as JSON."""
    return {
        name: [
            hashlib.sha256(json.dumps([encode(text) for text in texts[at : at + BLOCK]]).encode()).hexdigest()
            for at in range(0, len(texts), BLOCK)
        ]
        for name, texts in strings().items()
    }


def _token(content: str, normalized: bool, **more: Any) -> dict[str, Any]:
    plain = {"lstrip": False, "rstrip": False, "single_word": False}
    return {"content": content, "normalized": normalized, **plain, **more}


def folders() -> dict[str, dict[str, Any]]:
    """Tokenizer folders as they are found in the world, on mini's vocabulary: file name -> contents."""
    vocab = json.loads((MINI / "vocab.json").read_text(encoding="utf-8"))
    merges = (MINI / "merges.txt").read_text(encoding="utf-8")
    pairs = [line for line in merges.split("\n") if line and not line.startswith("#version")]
    split_pairs = [pair.split(" ") for pair in pairs]
    size = len(vocab)
    slow = {"vocab.json": vocab, "merges.txt": merges}
    old_config = {
        "bos_token": _token(BOS, True, __type="AddedToken"),
        "eos_token": _token(EOS, True, __type="AddedToken"),
        "unk_token": _token(EOS, True, __type="AddedToken"),
        "pad_token": EOS,
        "model_max_length": 77,
        "tokenizer_class": "CLIPTokenizer",
    }
    names = {"bos_token": BOS, "eos_token": EOS, "unk_token": EOS, "model_max_length": 77}
    old_map = {"bos_token": _token(BOS, True), "eos_token": _token(EOS, True), "unk_token": _token(EOS, True)}
    special = [
        _token(BOS, False, special=True, id=vocab[BOS]),
        _token(EOS, False, special=True, id=vocab[EOS]),
    ]
    fast = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": {
            "type": "RobertaProcessing",
            "sep": [EOS, vocab[EOS]],
            "cls": [BOS, vocab[BOS]],
            "trim_offsets": False,
            "add_prefix_space": False,
        },
        "decoder": None,
        "model": {"type": "BPE", "dropout": None, "unk_token": EOS, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "</w>", "fuse_unk": False, "vocab": vocab, "merges": pairs},
    }  # fmt: skip
    listed = {str(vocab[token]): _token(token, token != "!", special=True) for token in ("!", BOS, EOS)}
    learned = [
        *special,
        _token("<cat-toy>", True, special=False, id=size),
        _token("DogToy", False, id=size + 1),
    ]
    return {
        "bare": slow,
        "sd1": {**slow, "tokenizer_config.json": old_config,
                "special_tokens_map.json": {**old_map, "pad_token": EOS}},
        "sd2": {**slow, "tokenizer_config.json": old_config,
                "special_tokens_map.json": {**old_map, "pad_token": "!"}},
        "decoder": {**slow,
                    "tokenizer_config.json": {**names, "pad_token": "!", "added_tokens_decoder": listed},
                    "special_tokens_map.json": {**old_map, "pad_token": EOS}},
        "dict-pad": {**slow, "tokenizer_config.json": {"pad_token": _token("!", True, __type="AddedToken")}},
        "added": {**slow, "tokenizer_config.json": {**names, "pad_token": EOS},
                  "added_tokens.json": {"<cat-toy>": size, EOS: vocab[EOS]}},
        "json": {"tokenizer.json": fast, "tokenizer_config.json": {**names, "pad_token": "!"}},
        "json-pairs": {"tokenizer.json": {**fast, "model": {**fast["model"], "merges": split_pairs}}},
        "json-learned": {"tokenizer.json": {**fast, "added_tokens": learned},
                         "tokenizer_config.json": {**names, "pad_token": EOS}},
    }  # fmt: skip


PROBES = [
    "wow!!! a fox! <|endoftext|>x",
    "a <|STARTOFTEXT|>!! <|EndOfText|>, !<|startoftext|>!!",
    "my <cat-toy>, a <Cat-Toy>! a DogToy and a dogtoy",
]


def write_folder(files: Mapping[str, Any], folder: Path) -> Path:
    """Store one of ``folders()``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, contents in files.items():
        text = contents if isinstance(contents, str) else json.dumps(contents)
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return folder


def main() -> None:
    import transformers

    from sdgen.text.tokenizer_files import clip_vocabulary

    def encoder(folder: Path, **options: Any) -> Any:
        return transformers.CLIPTokenizer.from_pretrained(folder, **options)

    def plain(tokenizer: Any) -> Callable[[str], list[int]]:
        return lambda text: tokenizer(text, add_special_tokens=False).input_ids

    golden: dict[str, Any] = {"transformers": transformers.__version__}
    with tempfile.TemporaryDirectory() as temporary:
        clip = Path(temporary, "clip")
        vocab, merges = clip_vocabulary()
        merges_txt = "#version: 0.2\n" + "".join(f"{first} {second}\n" for first, second in merges)
        write_folder({"vocab.json": dict(vocab), "merges.txt": merges_txt}, clip)
        tokenizers = {
            "clip": encoder(clip, model_max_length=77),
            "clip!": encoder(clip, model_max_length=77, pad_token="!"),
            "mini": encoder(MINI),
        }
        golden["digests"] = {name: digests(plain(tokenizer)) for name, tokenizer in tokenizers.items()}
        texts = strings()
        golden["examples"] = {
            name: {category: plain(tokenizer)(texts[category][0]) for category in texts if category != "long"}
            for name, tokenizer in tokenizers.items()
        }
        golden["rows"] = {
            name: [
                tokenizer(text, padding="max_length", max_length=77, truncation=True).input_ids
                for text in (*texts["prompts"][:6], "")
            ]
            for name, tokenizer in tokenizers.items()
        }
        decoded = random.Random(1)
        golden["decoded"] = [
            (ids, tokenizers["clip"].decode(ids))
            for ids in ([decoded.randrange(49408 if n % 2 else 400) for _ in range(12)] for n in range(40))
        ]
        golden["folders"] = {}
        for name, files in folders().items():
            tokenizer = encoder(write_folder(files, Path(temporary, name)))
            golden["folders"][name] = {
                "special": [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id],
                "size": len(tokenizer),
                "probes": [plain(tokenizer)(text) for text in PROBES],
            }
    GOLDEN.write_text(json.dumps(golden, separators=(",", ":")) + "\n", encoding="ascii")
    print(f"{GOLDEN}: {GOLDEN.stat().st_size} bytes, {sum(map(len, texts.values()))} strings")


if __name__ == "__main__":
    main()
