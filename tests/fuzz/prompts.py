"""Prompts files and wildcards: what reads them, and damaged, strange and swollen ones."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
from pathlib import Path

from fuzz.mutations import STRANGE_NUMBERS, STRANGE_TEXT, altered, damaged
from sdgen.batch.tasks import Task
from sdgen.cli.batch_tasks import Entries
from sdgen.errors import InputError
from sdgen.prompts import (  # noqa: F401
    FORMATS,
    dynamic,  # noqa: F401(imported before the limits are set)
    yaml_entries,
)
from sdgen.prompts.expansion import Expansion
from sdgen.text.prompt_tokens import tokenize_prompt
from sdgen.text.tokenizer import ClipTokenizer

EXAMPLES = Path(__file__).parents[2] / "prompts"
MOST_TASKS = 5000
"""Tasks of an input that are looked at: each costs what it costs."""
MOST_TOKENIZED = 20
MOST = 300_000
"""Bytes of an input: 60,000 of the shortest prompts, each of which costs what it costs."""

ENDINGS = {"text": ".txt", "jsonl": ".jsonl", "json": ".json", "csv": ".csv", "tsv": ".tsv", "yaml": ".yaml"}
_TOKENIZER = ClipTokenizer.clip()

PIECES = (
    b'{"prompt":', b'"a"', b'"requests":[', b'{', b'}', b'[', b']', b',', b':', b';', b'"', b"'",
    b'\\', b'--', b'--prompt ', b'--steps ', b'--seed -1 ', b' --w 512 ', b' --ar 16:9 ', b' --n ',
    b'- ', b': ', b'? ', b'>', b'#', b'%', b'__', b'__w__', b'__*__', b'$$', b'${', b'${a=!{', b'${a}',
    b'2$$', b'::', b'../../x', b'512x512', b'NaN', b'1e999', b'null', b'true', b'&a ', b'*a', b'<<: ',
    b'prompt: ', b'steps: ', b'prompt,steps\n', b'prompt;cfg\n', b'sep=;\n', b'---\n', b'%YAML 1.1\n',
    b'!!python/object:os.system ', b'\\ud800', b'\n', b'\r\n', b'\r', b'\t', b' ', b'\x00', b'\xff',
    b'\xef\xbb\xbf', b'\xe2\x80\xa8', b'\xc2\x85', b'99999999999999999', b'(', b')', b':1.3)',
    b'BREAK', b'<lora:x:1>', b'\x1b[2J',
)  # fmt: skip
"""What prompts files and templates are made of."""


def read(folder: Path) -> None:
    """Reads the files ``p.*`` of a folder as ``sdgen batch`` does; its file ``dynamic`` holds a mode."""
    how = folder / "dynamic"
    mode = how.read_text() if how.exists() else None
    for file in sorted(folder.glob("p*")):
        expand(file, mode, folder / "wild")


def expand(file: Path, mode: str | None, wildcards: Path) -> None:
    """Reads one file's entries, expands them, and cuts the first prompts into tokens."""
    expansion = Expansion(dynamic=mode, wildcards=wildcards if wildcards.is_dir() else None)
    tokenized = 0
    with contextlib.suppress(InputError):  # What ends the file.
        for item in itertools.islice(Entries([str(file)], None, {"model": "mini"}, expansion), MOST_TASKS):
            assert item.request if isinstance(item, Task) else item.message
            if isinstance(item, Task) and tokenized < MOST_TOKENIZED:
                tokenized += 1
                with contextlib.suppress(InputError):
                    tokenize_prompt(item.request.prompt, _TOKENIZER)


def make(rng: random.Random, folder: Path) -> None:
    """Writes a prompts file, and sometimes wildcards that its templates name."""
    format = rng.choice(list(FORMATS))
    how = rng.choice((_pieces, _pieces, _example, _example, _json, _swollen))
    ending = rng.choice((ENDINGS[format], ENDINGS[format], ""))
    (folder / f"p{ending}").write_bytes(how(rng, format)[:MOST])
    if rng.random() < 0.7:
        (folder / "dynamic").write_text(rng.choice(("combinatorial", "random")))
        (folder / "wild").mkdir()
        for _ in range(rng.randint(1, 4)):
            name = f"{rng.choice('vw')}{rng.choice(('.txt', '.yaml', '.yml', '.json'))}"
            (folder / "wild" / name).write_bytes(rng.choice((_pieces, _wild))(rng, format)[:MOST])


def _pieces(rng: random.Random, _: str) -> bytes:
    return b"".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 60)))


def _example(rng: random.Random, format: str) -> bytes:
    """One of the examples, damaged, with pieces between its lines."""
    choices = [path for path in sorted(EXAMPLES.iterdir()) if path.suffix == ENDINGS[format]]
    data = rng.choice(choices).read_bytes()
    lines = data.split(b"\n")
    for _ in range(rng.randrange(4)):
        lines.insert(rng.randrange(len(lines)), _pieces(rng, format))
    return damaged(rng, b"\n".join(lines), 6)


def _json(rng: random.Random, _: str) -> bytes:
    """Entries with strange values; JSON is YAML, too."""
    entry = {"prompt": "a {red|green} __w__ fox", "seed": -1, "steps": 20, "guidance": 7.5, "size": "64x64"}
    entries = [altered(rng, entry) for _ in range(rng.randint(1, 5))]
    document = entries if rng.random() < 0.5 else {"requests": entries, "x": rng.choice(STRANGE_TEXT)}
    return json.dumps(document, allow_nan=True, indent=rng.choice((None, 1))).encode()


def _wild(rng: random.Random, _: str) -> bytes:
    """Values under names, in YAML and JSON alike."""
    values = [
        rng.choice((1, 2.5, True, None, "x", "3::y", "__v__ {a|b}", "__w__", [1], {"text": "z"}))
        for _ in "abcd"
    ]
    return json.dumps(rng.choice((values, {"w": values, "v": {"deep": values}}))).encode()


def _swollen(rng: random.Random, _: str) -> bytes:
    """A short piece again and again, between others."""
    unit = b"".join(rng.choice(PIECES) for _ in range(rng.randint(1, 3))) or b" "
    number = str(rng.choice(STRANGE_NUMBERS)).encode()
    many = rng.choice((10, 1000, 100_000, MOST // len(unit)))
    differing = b"".join(unit + b"%d" % n for n in range(min(many, 100_000)))
    return b"".join([_pieces(rng, ""), rng.choice((unit * many, differing)), number, _pieces(rng, "")])
