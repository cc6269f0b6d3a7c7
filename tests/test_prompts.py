"""Prompts files: every format, every field, and everything that can be wrong, with its place."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sdgen import prompts
from sdgen.errors import InputError
from sdgen.request import Request

EXAMPLES = Path(__file__).parent.parent / "prompts"


def lines(content: str | bytes, format: str | None, **defaults: Any) -> list[prompts.Line]:
    data = content.encode() if isinstance(content, str) else content
    return list(prompts.read(io.BytesIO(data), format, defaults))


def given(line: prompts.Line) -> dict[str, Any]:
    """What an entry sets beyond ``Request``'s own defaults, and its count."""
    assert line.request is not None, line.problems
    fields = line.request.to_dict()
    plain = Request(prompt="").to_dict()
    found = {name: value for name, value in fields.items() if value != plain[name]}
    return found if line.count is None else {**found, "count": line.count}


def one(content: str | bytes, format: str, **defaults: Any) -> dict[str, Any]:
    (line,) = lines(content, format, **defaults)
    return given(line)


def problems(content: str | bytes, format: str | None, **defaults: Any) -> list[str]:
    return [str(problem) for line in lines(content, format, **defaults) for problem in line.problems]


FULL = {
    "prompt": "a red fox",
    "negative_prompt": "blurry",
    "seed": 7,
    "steps": 20,
    "guidance": 7.5,
    "sampler": "dpmpp-2m",
    "schedule": "karras",
    "width": 512,
    "height": 768,
    "zero_snr": True,
    "count": 3,
}


@pytest.mark.parametrize(
    ("format", "content"),
    [
        (
            "text",
            '--prompt "a red fox" --negative_prompt blurry --seed 7 --steps 20 --cfg_scale 7.5 --width 512 '
            '--height 768 --sampler_name "DPM++ 2M" --schedule karras --zero-snr yes --n_iter 3',
        ),
        ("jsonl", json.dumps(FULL)),
        ("json", json.dumps([FULL], indent=1)),
        ("json", json.dumps({"requests": [FULL]})),
        ("json", json.dumps(FULL)),
        ("csv", ",".join(FULL) + "\n" + ",".join(map(str, FULL.values()))),
        ("tsv", "\t".join(FULL) + "\n" + "\t".join(map(str, FULL.values()))),
        ("yaml", "- " + "\n  ".join(f"{name}: {value}" for name, value in FULL.items())),
        ("yaml", "requests:\n- " + "\n  ".join(f"{name}: {value}" for name, value in FULL.items())),
    ],
)
def test_every_format_says_the_same(format: str, content: str) -> None:
    assert one(content, format) == FULL


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"negative": "x"}, {"negative_prompt": "x"}),
        ({"cfg_scale": 5}, {"guidance": 5.0}),
        ({"guidance_scale": 5}, {"guidance": 5.0}),
        ({"num_inference_steps": 9}, {"steps": 9}),
        ({"Negative Prompt": "x", "clip-skip": 1}, {"negative_prompt": "x", "clip_skip": 1}),
        ({"size": "512x768"}, {"width": 512, "height": 768}),
        ({"size": "64 × 128"}, {"width": 64, "height": 128}),
        ({"n": 4}, {"count": 4}),
        ({"seed": 5.0, "steps": 20.0, "n": 2.0}, {"seed": 5, "steps": 20, "count": 2}),
        ({"seed": 2**64 - 1}, {"seed": 2**64 - 1}),
        ({"cfg": 0}, {"guidance": 0.0}),
        ({"steps": None}, {}),
        ({"sampler": "Euler a"}, {"sampler": "euler-a"}),
        ({"sampler_name": "DPM++ 2M Karras"}, {"sampler": "dpmpp-2m", "schedule": "karras"}),
        ({"sampler": "DPM++ 2M SDE Exponential"}, {"sampler": "dpmpp-2m-sde", "schedule": "exponential"}),
        ({"sampler": "DPM++ 2M Karras", "schedule": "normal"}, {"sampler": "dpmpp-2m", "schedule": "normal"}),
        ({"schedule_type": "SGM Uniform"}, {"schedule": "sgm-uniform"}),
        ({"scheduler": "Automatic"}, {}),
    ],
)
def test_names_and_values_of_other_tools(entry: dict[str, Any], expected: dict[str, Any]) -> None:
    assert one(json.dumps({"prompt": "a", **entry}), "jsonl") == {"prompt": "a", **expected}


def test_an_entry_wins_over_defaults() -> None:
    found = one('{"prompt": "a", "steps": 5, "size": "64x64"}', "jsonl", steps=9, seed=3, width=512, height=8)
    assert found == {"prompt": "a", "steps": 5, "seed": 3, "width": 64, "height": 64}


@pytest.mark.parametrize(
    ("content", "defaults", "asks"),
    [
        ('{"prompt": "a", "seed": -1}', {}, True),
        ('{"prompt": "a", "seed": -1.0}', {"seed": 5}, True),
        ('{"prompt": "a"}', {"seed": -1}, True),
        ('{"prompt": "a", "seed": 5}', {"seed": -1}, False),
        ('{"prompt": "a"}', {}, False),
    ],
)
def test_a_seed_of_minus_one_asks_for_a_random_one(
    content: str, defaults: dict[str, Any], asks: bool
) -> None:
    (line,) = lines(content, "jsonl", **defaults)
    assert line.random_seed is asks
    assert line.request is not None and line.request.seed >= 0


def test_text() -> None:
    content = '\ufeff  a fox  \r\n\r\n# comment\r\n(a:1.2) "b" -- c\r\n--prompt a b  c --steps=3\n'
    content += '--prompt "\\(x\\)"'
    assert [(line.line, given(line)) for line in lines(content, "text")] == [
        (1, {"prompt": "a fox"}),
        (4, {"prompt": '(a:1.2) "b" -- c'}),
        (5, {"prompt": "a b c", "steps": 3}),
        (6, {"prompt": r"\(x\)"}),
    ]


def test_csv() -> None:
    content = 'Prompt,Steps,,CFG scale\r\n"a, ""b""",20,,\r\n\r\n"two\r\nlines",20.0,,1e1\r\nc\r\n'
    assert [(line.line, given(line)) for line in lines(content, "csv")] == [
        (2, {"prompt": 'a, "b"', "steps": 20}),
        (4, {"prompt": "two\nlines", "steps": 20, "guidance": 10.0}),
        (6, {"prompt": "c"}),
    ]


def test_json_knows_lines() -> None:
    content = '\n{"requests": [\n  "a",\n  {\n   "prompt": "b"},\n {"prompt": "c"}]}'
    assert [(line.line, given(line)["prompt"]) for line in lines(content, "json")] == [
        (3, "a"),
        (4, "b"),
        (6, "c"),
    ]


def test_yaml() -> None:
    content = (
        ".base: &base {steps: 7, guidance: 2}\nrequests:\n- <<: *base\n  prompt: a\n  steps: 8\n"
        '- on\n- prompt: 2024-01-01\n  seed:\n  steps: "9"\n- &x\n  <<: *x\n  prompt: 1:30\n'
    )
    assert [(line.line, given(line)) for line in lines(content, "yaml")] == [
        (3, {"prompt": "a", "steps": 8, "guidance": 2.0}),
        (6, {"prompt": "on"}),
        (7, {"prompt": "2024-01-01", "steps": 9}),
        (10, {"prompt": "1:30"}),
    ]


def test_yaml_merges_that_multiply_end() -> None:
    doubled = "".join(f"- &m{n + 1}\n  <<: [*m{n}, *m{n}]\n" for n in range(60))
    assert all(given(line) == {"prompt": "a"} for line in lines(f"- &m0\n  prompt: a\n{doubled}", "yaml"))


@pytest.mark.parametrize(
    ("format", "content", "expected"),
    [
        ("jsonl", '{"prompt": "a", "steps": "20"}', ["1: steps must be a whole number, not '20'"]),
        ("jsonl", '{"prompt": "a", "steps": 20.5}', ["1: steps must be a whole number, not 20.5"]),
        ("jsonl", '{"prompt": "a", "seed": 1e17}', ["1: seed must be a whole number, not 1e+17"]),
        (
            "jsonl",
            '{"prompt": "a", "seed": 18446744073709551616}',
            [f"1: seed must be 0 to {2**64 - 1}, not {2**64}"],
        ),
        ("jsonl", '{"prompt": 5}', ["1: prompt must be text, not 5"]),
        ("jsonl", '{"prompt": ["a"]}', ["1: prompt must be one value, not a list"]),
        ("jsonl", '{"steps": 5}', ["1: there is no prompt"]),
        (
            "jsonl",
            '{"prompt": "a", "guidence": 5}',
            ["1: unknown field 'guidence'; did you mean 'guidance'?"],
        ),
        ("jsonl", '{"prompt": "a", "cfg": 0.5}', ["1: cfg must be 0 (off) or 1 to 100, not 0.5"]),
        (
            "jsonl",
            '{"prompt": "a", "cfg": 3, "guidance": 3}',
            ["1: cfg and guidance both set the same field; give one of them"],
        ),
        (
            "jsonl",
            '{"prompt": "a", "size": "8x8", "width": 8}',
            ["1: size and width both set the same field; give one of them"],
        ),
        ("jsonl", '{"prompt": "a", "prompt": "b"}', ["1: prompt is given twice"]),
        ("jsonl", '{"prompt": "a", "eta": NaN}', ["1: eta is NaN, which JSON does not have"]),
        ("jsonl", '{"prompt": "a", "guidance": 1e999}', ["1: guidance must be 0 (off) or 1 to 100, not inf"]),
        (
            "jsonl",
            '{"prompt": "a", "steps": 1%s}' % ("0" * 5000),
            ["1: steps has 5001 digits; the most is 30"],
        ),
        ("jsonl", '{"prompt": "a", "n": 0}', ["1: n must be a whole number of 1 to 100000, not 0"]),
        ("jsonl", '{"prompt": "\\ud800"}', ["1: prompt is not valid Unicode text"]),
        ("jsonl", '\n{"a"', ["2: the line is not JSON: Expecting ':' delimiter at character 5"]),
        ("jsonl", "3", ["1: the entry is neither an object nor a string"]),
        ("jsonl", "[" * 100_000, ["1: the JSON is nested too deeply"]),
        (
            "json",
            '["a",\n"b"',
            ["2: the file is not JSON: Expecting ',' delimiter at character 4 of the line"],
        ),
        ("json", '{"requests": [], "x": 1}', ["1: unknown field 'x' beside 'requests'"]),
        ("json", '{"requests": 1}', ["1: requests must be a list"]),
        ("json", "[" * 100_000, ["1: the JSON is nested too deeply"]),
        ("csv", "prompt,steps\na,x", ["2: steps must be a whole number, not 'x'"]),
        ("csv", "prompt,steps\na,1,2", ["2: the row has 3 cells, the header 2; quote cells with ','"]),
        ("csv", "prompt,\na,1", ["2: the column of the cell '1' has no name in the header"]),
        (
            "csv",
            "promt\na\nb",
            ["1: unknown column 'promt'; did you mean 'prompt'?", "1: the header has no column 'prompt'"],
        ),
        ("csv", "prompt,cfg,guidance\na,1,2", ["1: two columns set the field 'guidance'"]),
        ("csv", 'prompt\n"a"b\nc', ["2: the row cannot be read: ',' expected after '\"'"]),
        ("csv", 'prompt\n"a\nb', ["2: the row cannot be read: unexpected end of data"]),
        ("yaml", "- prompt: a\n  steps: [1]", ["2: steps must be one value, not a list"]),
        ("yaml", "- prompt: a\n  steps: 1\n  steps: 2", ["3: steps is given twice"]),
        ("yaml", "- !!python/object:os.system a", ["1: the entry is neither a map nor a string"]),
        ("yaml", "- prompt: !x a", ["1: prompt has the tag '!x'; leave the tag out"]),
        ("yaml", "text", ["1: the file is not a list of maps and strings"]),
        (
            "yaml",
            "- a\n- b: c: d",
            ["2: the file is not YAML: mapping values are not allowed in this context"],
        ),
        ("yaml", "[" * 5000, ["1: the YAML is nested too deeply; the most is 100"]),
        (
            "yaml",
            '\n- "\\UFFFFFFFF"',
            [
                "2: the file is not YAML: while parsing a quoted scalar, "
                "found invalid Unicode character escape code"
            ],
        ),
        ("yaml", "- a\n- b\x07", ["2: the line holds the character U+0007, which YAML does not allow"]),
        ("text", '--prompt "a', ["1: a quotation mark or an escape is not closed"]),
        ("text", "--prompt a --steps", ["1: steps has no value"]),
        ("text", "--prompt a --steps 1 --steps 2", ["1: steps is given twice"]),
        (
            "text",
            "--prompt a --restore_faces true",
            ["1: AUTOMATIC1111's field 'restore_faces' has no counterpart here; leave it out"],
        ),
        ("text", "a fox --steps 20", ['1: --steps follows a prompt; write --prompt "..." --steps ...']),
        ("text", "--steps 4", ["1: there is no prompt"]),
        (
            "text",
            b"a\n\xff\nb\0\n",
            [
                "2: byte 1 of the line, 0xff, is not UTF-8; save the file as UTF-8",
                "3: the line holds a NUL character; remove it",
            ],
        ),
        ("text", "a".encode("utf-16"), ["1: the file is not UTF-8; save the file as UTF-8"]),
        (
            "json",
            b'["a",\n"\xff"]',
            ["2: the line has a byte 0xff that is not UTF-8; save the file as UTF-8"],
        ),
        ("yaml", b"- a\n- \0", ["2: the line holds a NUL character; remove it"]),
        (None, "[\n", ["1: this looks like a JSON document; read it with --input-format json"]),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    format: str | None, content: str | bytes, expected: list[str]
) -> None:
    assert problems(content, format) == [f"stdin:{line}" for line in expected]


def test_everything_wrong_is_said_at_once() -> None:
    content = (
        '{"prompt": 1, "steps": "x", "foo": 2}\nnot json\n{"prompt": "fine"}\n{"prompt": "a", "eta": 2}\n'
    )
    found = lines(content, "jsonl")
    assert [(line.line, [problem.field for problem in line.problems]) for line in found] == [
        (1, ["prompt", "steps", "foo"]),
        (2, [None]),
        (3, []),
        (4, ["eta"]),
    ]
    assert [line.request is None for line in found] == [True, True, False, True]


def test_a_line_beyond_the_bound_is_skipped_and_the_rest_read() -> None:
    long = b"a" * ((1 << 20) + 1)
    content = long + b"\n" + b"b\n" + long * 3 + b"\nc"
    found = lines(content, "text")
    assert [line.line for line in found] == [1, 2, 3, 4]
    assert [bool(line.problems) for line in found] == [True, False, True, False]


def test_messages_are_bounded() -> None:
    content = json.dumps({"prompt": "a", "sampler": "x" * 500_000, "y" * 100_000: 1})
    found = problems(content, "jsonl")
    assert len(found) == 2
    assert all(len(message) < 450 for message in found)


@pytest.mark.parametrize(
    ("name", "count"), [(path.name, 1) for path in sorted(EXAMPLES.iterdir()) if path.is_file()]
)
def test_the_examples_are_valid(name: str, count: int) -> None:
    found = list(prompts.read(EXAMPLES / name))
    assert len(found) >= count
    assert not [problem for line in found for problem in line.problems]


def test_the_ending_names_the_format(tmp_path: Path) -> None:
    for ending in ("jsonl", "NDJSON"):
        path = tmp_path / f"shots.{ending}"
        path.write_text('{"prompt": "a"}')
        (line,) = prompts.read(path)
        assert (line.file, given(line)) == (str(path), {"prompt": "a"})


@pytest.mark.parametrize(
    ("content", "prompt"), [('\n{"prompt": "a"}', "a"), ("[a] fox", "[a] fox"), ("{a|b}", "{a|b}")]
)
def test_without_an_ending_the_first_line_decides(content: str, prompt: str) -> None:
    (line,) = lines(content, None)
    assert given(line) == {"prompt": prompt}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nothing.txt", "cannot be opened: No such file"),
        (".", "cannot be opened: Is a directory"),
        ("a.docx", "ending"),
        ("a\0.txt", "null"),
    ],
)
def test_a_file_that_is_none_is_an_error_at_once(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        prompts.read(f"{tmp_path}/{name}")


@pytest.mark.parametrize(
    ("format", "first", "second"),
    [
        ("text", b"a\n", b"b\n"),
        ("jsonl", b'"a"\n', b'"b"\n'),
        ("csv", b"prompt\na\n", b"b\n"),
        (None, b"a\n", b"b\n"),
    ],
)
def test_a_stream_is_read_as_it_comes(format: str | None, first: bytes, second: bytes) -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stream, os.fdopen(writer, "wb", buffering=0) as pipe:
        found = prompts.read(stream, format)
        pipe.write(first)
        assert given(next(found)) == {"prompt": "a"}
        pipe.write(second)
        assert given(next(found)) == {"prompt": "b"}


PIECES = (
    b'{"prompt":|"a"|"requests":[|{|}|[|]|,|:|"|\'|\\|--|--prompt |--steps |- |: |? |>|#|%|__|$$|${|../../x|'
    b"512x512|NaN|1e999|null|true|&a |*a|<<: |prompt: |steps: |prompt,steps\n|---\n|%YAML 1.1\n|"
    b"!!python/object:os.system |\\ud800|\n|\r\n|\r|\t| |\0|\xff|\xef\xbb\xbf|\xe2\x80\xa8|99999999999999999"
).split(b"|")


@pytest.mark.parametrize("format", [None, *prompts.FORMATS])
def test_no_content_raises(format: str | None) -> None:
    generator = random.Random(7)
    for _ in range(500):
        content = b"".join(generator.choice(PIECES) for _ in range(generator.randrange(1, 40)))
        for line in lines(content, format, seed=1):
            assert (line.request is None) == bool(line.problems)
            assert all(len(str(problem)) < 450 and problem.line >= 1 for problem in line.problems)


def test_reading_needs_no_numerical_library() -> None:
    code = (
        "import sys; from sdgen import prompts; from sdgen.prompts import expansion;"
        "print({'numpy', 'tensorflow', 'yaml', 'dynamicprompts', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
