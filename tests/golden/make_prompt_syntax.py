"""Write prompt_syntax.json beside this file: what AUTOMATIC1111's web UI makes of prompts.

Runs ``parse_prompt_attention`` and ``tokenize_line`` of a checkout of AUTOMATIC1111/stable-diffusion-webui
(1.10; AGPL, so it is not part of this repository), with CLIP's tokenizer from sdgen. Needs torch:

    PYTHONPATH=src python tests/golden/make_prompt_syntax.py PATH/TO/stable-diffusion-webui
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

GOLDEN = Path(__file__).with_name("prompt_syntax.json")
EMBEDDINGS = {"EasyNegative": 8, "bad-hands-5": 2, "cat": 1, "easynegative v2": 75}
BLOCK = 25

EXAMPLES = [
    "",
    "a red fox",
    "an (important) word",
    "((very)) important",
    "[less] of [[this]]",
    "a (fox:1.3) in ((snow):0.5)",
    "a (fox: 1.3 ) and (a cat:+.5), (dog:-1)",
    "(unnecessary)(parens)",
    "(unbalanced and [open",
    "closed) too] often",
    "( crossed [ brackets ) here ]",
    "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
    r"\(literal\) \[brackets\] \\ and \lost",
    r"(escaped \) inside:1.2)",
    "time 12:30 and weight:1.2) without bracket",
    "()[]",
    "(a:)(b:1)",
    "first BREAK second",
    "BREAK first",
    "last BREAK",
    "one BREAK BREAK three BREAKER",
    ", ".join(["a very long prompt of many parts"] * 14),
    "word " * 80,
    "word " * 60 + ", " + "tail " * 19,
    "word " * 54 + ", " + "tail " * 30,
    "word " * 55 + ", " + "tail " * 30,
    "word " * 75 + ", next",
    "easynegative, (EasyNegative:1.2) cat category",
    "word " * 70 + "EasyNegative",
    "easynegative v2, bad-hands-5",
]
_PIECES = r"""
( (( ) )) [ ] :1.3) :0.5) :-1) :2 : \( \) \[ \] \\ \ cat dog fox , , red BREAKER masterpiece EasyNegative
easynegative bad-hands-5 AND [a|b] [a:b:0.5]
"""
PIECES = _PIECES.split()
TEXTS = ["cat", "a dog", ",", ",", " red fox", "masterpiece", "EasyNegative", "bad-hands-5", "\n", "it's"]


def prompts() -> list[str]:
    """The same prompts at every call. BREAK stands outside brackets, where both mean the same by it."""
    rng = random.Random(1111)

    def text(pieces: list[str]) -> str:
        length = rng.randrange(rng.choice([5, 20, 80, 200]))
        return "".join(rng.choice(pieces) + rng.choice(["", " "]) for _ in range(length))

    bracketed = (text([*PIECES, " ", "\n"]) for _ in range(300))
    broken = (" BREAK ".join(text(TEXTS) for _ in range(rng.randint(1, 5))) for _ in range(200))
    return [*bracketed, *broken]


def digest(results: list[Any]) -> str:
    """The sha256 of results as JSON."""
    return hashlib.sha256(json.dumps(results).encode()).hexdigest()


def main(checkout: Path) -> None:
    import numpy as np

    from sdgen.text.tokenizer import ClipTokenizer

    for name in (
        "lark",
        "modules",
        "modules.devices",
        "modules.sd_hijack",
        "modules.sd_emphasis",
        "modules.shared",
    ):
        sys.modules[name] = ModuleType(name)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, sys.modules[name])
    sys.modules["lark"].Lark = lambda *_, **__: None
    sys.modules["modules"].__path__ = [str(checkout / "modules")]
    sys.modules["modules.shared"].opts = SimpleNamespace(emphasis="Original", comma_padding_backtrack=20)
    from modules import prompt_parser, sd_hijack_clip

    tokenizer = ClipTokenizer.clip()
    names = [(tokenizer.encode(n), SimpleNamespace(name=n, vectors=v)) for n, v in EMBEDDINGS.items()]
    names.sort(key=lambda pair: len(pair[0]), reverse=True)

    def find(tokens: list[int], at: int) -> tuple[Any, Any]:
        found = ((e, len(ids)) for ids, e in names if tokens[at : at + len(ids)] == ids)
        return next(found, (None, None))

    class Embedder(sd_hijack_clip.FrozenCLIPEmbedderWithCustomWordsBase):
        id_start, id_end, comma_token = tokenizer.bos, tokenizer.eos, tokenizer.vocab[",</w>"]

        def tokenize(self, texts: list[str]) -> list[list[int]]:
            return [tokenizer.encode(text) for text in texts]

    embedder = Embedder(None, SimpleNamespace(embedding_db=SimpleNamespace(find_embedding_at_position=find)))

    def chunks(prompt: str) -> list[Any]:
        made, _ = embedder.tokenize_line(prompt)
        weights = np.array([chunk.multipliers for chunk in made], np.float32)
        return [[chunk.tokens for chunk in made], weights.tolist()]

    made = prompts()
    golden = {
        "segments": {prompt: prompt_parser.parse_prompt_attention(prompt) for prompt in EXAMPLES},
        "examples": [digest(chunks(prompt)) for prompt in EXAMPLES],
        "lengths": [[chunk.index(tokenizer.eos) - 1 for chunk in chunks(prompt)[0]] for prompt in EXAMPLES],
        "blocks": [
            digest([[prompt_parser.parse_prompt_attention(p), chunks(p)] for p in made[at : at + BLOCK]])
            for at in range(0, len(made), BLOCK)
        ],
    }
    GOLDEN.write_text(json.dumps(golden, indent=0) + "\n", encoding="ascii")
    print(f"{GOLDEN}: {GOLDEN.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
