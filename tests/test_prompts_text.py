"""Lines of text files: their ends, flags of AUTOMATIC1111 and sd-scripts, what is refused after a prompt."""

from __future__ import annotations

import io
import random
import re
import shlex
from typing import Any

import pytest
from test_prompts import given, lines, problems

from sdgen.prompts import sources, text
from sdgen.prompts.entries import Entry

SD_SCRIPTS = "a fox --w 512 --h 768 --d 42 --s 28 --n blurry, bad hands --l 7 --ss euler_a"


def test_flags_of_sd_scripts_are_read() -> None:
    (line,) = lines(SD_SCRIPTS, "text")
    assert given(line) == {
        "prompt": "a fox",
        "width": 512,
        "height": 768,
        "seed": 42,
        "steps": 28,
        "negative_prompt": "blurry, bad hands",
        "guidance": 7.0,
        "sampler": "euler-a",
    }


@pytest.mark.parametrize(
    ("name", "sampler"),
    [
        ("ddim", "ddim"),
        ("pndm", "plms"),
        ("k_euler", "euler"),
        ("heun", "heun"),
        ("dpmsolver++", "dpmpp-2m"),
        ("dpmsingle", "dpmpp-2s"),
        ("k_dpm_2_a", "dpm2-a"),
    ],
)
def test_samplers_of_sd_scripts_are_known(name: str, sampler: str) -> None:
    (line,) = lines(f"a fox --ss {name}", "text")
    assert given(line)["sampler"] == sampler


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a fox --W 512", {"prompt": "a fox", "width": 512}),
        ("a \"quoted\" fox's tail --n it's", {"prompt": 'a "quoted" fox\'s tail', "negative_prompt": "it's"}),
        ("a fox -- b --2x c-- d--e", {"prompt": "a fox -- b --2x c-- d--e"}),
        ("--prompt --steps 20", {"prompt": "--steps 20"}),
        ('--prompt "--ar 16:9" --seed 3', {"prompt": "--ar 16:9", "seed": 3}),
        ('--prompt "a fox --ar 16:9 --v 5"', {"prompt": "a fox --ar 16:9 --v 5"}),
        ("--negative_prompt --seed --prompt x", {"prompt": "x", "negative_prompt": "--seed"}),
        ("--prompt a fox --sampler_name Euler a", {"prompt": "a fox", "sampler": "euler-a"}),
    ],
)
def test_lines_with_dashes(content: str, expected: dict[str, Any]) -> None:
    (line,) = lines(content, "text")
    assert given(line) == expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a fox --ar 16:9", "--ar follows a prompt, where only --w, --h, "),
        ("a fox --v 5", "--v follows a prompt"),
        ("a fox --q 2", "--q follows a prompt"),
        ("a fox --no cats", '--no follows a prompt, .*; leave it out, or write --prompt "... --no ..."'),
        ("a fox --tile", "--tile follows a prompt"),
        ("a fox --w 512 --ar 16:9", "--ar follows a prompt"),
        ("a fox\t--ar 16:9", "--ar follows a prompt"),
        ("a fox --steps 20", '--steps follows a prompt; write --prompt "..." --steps ...'),
        ("a fox --cfg=7", '--cfg follows a prompt; write --prompt "..." --cfg ...'),
        ("a fox --ow 64", "sd-scripts' --ow has no counterpart here"),
        ("a fox --n 4", "--n after a prompt is sd-scripts' negative prompt.*--count 4"),
        ("a fox --s", r"steps \(--s\) has no value"),
        ("a fox --s 28 x", "steps must be a whole number, not '28 x'"),
        ("a fox --w 512 --w 768", "width is given twice"),
        ("--steps --seed 5 --prompt x", "steps must be a whole number, not '--seed 5'"),
        ("a dog --w=512", "--w takes its value after a space, not after ="),
    ],
)
def test_flags_that_would_be_drawn_as_text_are_refused(content: str, reason: str) -> None:
    (found,) = problems(f"a cat\n{content}", "text")
    assert re.match(f"stdin:2: {reason}", found)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("format", "content"),
    [
        ("text", "a|# no||b"),
        ("jsonl", '"a"|||"b"'),
        ("csv", "prompt|a||b"),
        ("json", '["a",|||"b"]'),
        ("yaml", "- a|||- b"),
    ],
)
def test_lines_end_as_on_unix_windows_or_old_macs(format: str, content: str, end: str) -> None:
    found = lines(content.replace("|", end), format)
    assert [given(line)["prompt"] for line in found] == ["a", "b"]
    assert found[-1].line == 4


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64])
def test_lines_are_the_same_however_they_come(size: int) -> None:
    class Portioned(io.BytesIO):
        def read1(self, _: int | None = -1) -> bytes:
            return super().read1(size)

    rng = random.Random(9)
    for _ in range(300):
        data = b"".join(rng.choice((b"a", b"b", b"\n", b"\r", b"\r\n")) for _ in range(rng.randrange(20)))
        expected = [(number, line) for number, line in enumerate(data.decode().splitlines(), start=1) if line]
        assert list(sources.lines(Portioned(data))) == expected


def test_a_line_end_may_fall_between_two_reads() -> None:
    class Slow(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            return super().read1(1)

    found = list(text.entries(sources.lines(Slow(b"a\r\nb\rc\n\n\rd"))))
    assert [(entry.line, entry.fields) for entry in found if isinstance(entry, Entry)] == [
        (1, {"prompt": "a"}),
        (2, {"prompt": "b"}),
        (3, {"prompt": "c"}),
        (6, {"prompt": "d"}),
    ]


@pytest.mark.parametrize(
    ("format", "content"),
    [
        ("text", "\ufeffa\n\ufeff# no\n\ufeffb"),
        ("jsonl", '\ufeff"a"\n\ufeff{"prompt": "b"}'),
        ("csv", "\ufeff\ufeffprompt\n\ufeffa\nb"),
    ],
)
def test_byte_order_marks_are_left_out_of_every_line(format: str, content: str) -> None:
    assert [given(line)["prompt"] for line in lines(content, format)] == ["a", "b"]


def test_words_are_those_of_the_standard_library() -> None:
    rng = random.Random(3)
    for _ in range(3000):
        line = "".join(rng.choice("ab \\\t'\"  -é\u3000\n") for _ in range(rng.randrange(12)))
        try:
            expected: list[str] | str = shlex.split(line)
        except ValueError:
            expected = "wrong"
        try:
            found: list[str] | str = text.words(line)
        except ValueError:
            found = "wrong"
        assert found == expected, repr(line)
