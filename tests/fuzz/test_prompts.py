"""Prompts files that may be anything: read, or told what is wrong, within bounds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fuzz import prompts, runner

READ = "fuzz.prompts:read"
MIB = 1 << 20


def test_damaged_and_swollen_prompts_files(fuzz: Callable[[str, runner.Maker], None]) -> None:
    fuzz(READ, prompts.make)


def _merges(keys: int, entries: int) -> bytes:
    base = ",".join(f"k{n}: 1" for n in range(keys))
    return f"- &a {{{base}}}\n".encode() + b"- <<: *a\n" * entries


FOUND: dict[str, tuple[str, Callable[[], bytes]]] = {
    # Name: the file's name, and what is in it.
    "merges of wrong fields": ("p.yaml", lambda: _merges(150, 150)),
    "merges of thousands of keys": ("p.yaml", lambda: _merges(3000, 3000)),
    "merges that fill the file": ("p.yaml", lambda: _merges(150, 400_000)),
    "aliases that fill the file": ("p.yaml", lambda: b"- &a {prompt: x}\n" + b"- *a\n" * 600_000),
    "plain yaml": ("p.yaml", lambda: b"- prompt: a fox\n  steps: 20\n" * 18_000),
    "empty maps in yaml": ("p.yaml", lambda: b"[" + b"{}," * 1_390_000 + b"{}]"),
    "lists in lists in yaml": ("p.yaml", lambda: b"[" * 1_000_000),
    "lists in yaml to just below the bound": ("p.yaml", lambda: b"[" * 95 + b"a," * 2_000_000),
    "a name for each entry": (
        "p.jsonl", lambda: b"".join(b'{"prompt": "a", "stpes%d": 1}\n' % n for n in range(25_000))
    ),
    "blank lines": ("p.txt", lambda: b"\n" * 20 * MIB),
    "blank lines without an ending": ("p", lambda: b"\r\n" * 10 * MIB),
    "empty objects in json": ("p.json", lambda: b"[" + b"{}," * 21_000_000 + b"{}]"),
    "an entry of empty lists in json": ("p.json", lambda: b"[[" + b"[]," * 21_000_000 + b"[]]]"),
    "flags without end": ("p.txt", lambda: b"--prompt a " + b"--x y " * 170_000),
    "one column again and again": ("p.csv", lambda: b"prompt," * 149_000 + b"\na"),
    "a quotation mark that is not closed": ("p.csv", lambda: b'prompt\n"' + b"a\n" * 2 * MIB),
    "options without end": ("p.txt", lambda: b"{" + b"a|" * 9900 + b"}"),
    "many options in every order": ("p.txt", lambda: b"{-900$$" + b"a|b|" * 450 + b"}"),
    "brackets without end": ("p.txt", lambda: b"(" * 19_000),
    "commas without end": ("p.txt", lambda: b"," * 19_000),
}  # fmt: skip
"""Inputs that took longer or more memory than they may, ended in a traceback, or once might have."""


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_is_answered_in_bounds(
    try_out: Callable[[str, Callable[[Path], object]], str], name: str
) -> None:
    file, content = FOUND[name]

    def write(folder: Path) -> None:
        (folder / file).write_bytes(content())
        (folder / "dynamic").write_text("combinatorial")

    assert try_out(READ, write) == "read"


WILDCARDS: dict[str, tuple[str, dict[str, bytes]]] = {
    # Name: a template, and files of wildcards.
    "values that double": (
        "__w0__", {f"w{n}.txt": f"__w{n + 1}__ __w{n + 1}__".encode() for n in range(30)} | {"w30.txt": b"x"}
    ),
    "a weight of a billion": ("__w__ {2$$__w__}", {"w.yaml": b"- 1000000000::a\n- b"}),
    "thousands of values in braces": ("{__w__}", {"w.txt": b"".join(b"v %d\n" % n for n in range(4000))}),
    "maps that double": (
        "__w__", {"w.yaml": b".0: &m0 {}\n" + b"".join(
            b".%d: &m%d {a: *m%d, b: *m%d}\n" % (n, n, n - 1, n - 1) for n in range(1, 60))}
    ),
    "a map in itself": ("__w__", {"w.yaml": b"&a {w: *a}"}),
    "a value without end": ("__w__", {"w.txt": b"{" + b"a|" * 500_000 + b"}"}),
}  # fmt: skip


@pytest.mark.parametrize("mode", ["combinatorial", "random"])
@pytest.mark.parametrize("name", WILDCARDS)
def test_wildcards_that_were_found_are_answered_in_bounds(
    try_out: Callable[[str, Callable[[Path], object]], str], name: str, mode: str
) -> None:
    template, files = WILDCARDS[name]

    def write(folder: Path) -> None:
        (folder / "p.txt").write_text(template)
        (folder / "dynamic").write_text(mode)
        (folder / "wild").mkdir()
        for file, content in files.items():
            (folder / "wild" / file).write_bytes(content)

    assert try_out(READ, write) == "read"
