"""Prompts files made to be slow, to fill the memory or to be told at length: every bound has its test."""

from __future__ import annotations

import difflib
import io
import itertools
import json
import tracemalloc
from typing import Any

import limits
import pytest
from test_prompts import given, lines, problems

from sdgen import prompts
from sdgen.prompts import fields, json_walk, sources, tables, yaml_nodes


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names for which a similar one is looked for."""
    found: list[str] = []
    search = difflib.get_close_matches

    def count(word: str, *arguments: Any, **options: Any) -> list[str]:
        found.append(word)
        return search(word, *arguments, **options)

    monkeypatch.setattr(difflib, "get_close_matches", count)
    return found


def test_a_name_is_looked_for_once(searches: list[str]) -> None:
    found = problems('{"prompt": "a", "stpes": 1}\n' * 500, "jsonl")
    assert searches == ["stpes"]
    assert len(found) == 500 and all("did you mean 'steps'?" in problem for problem in found)


@pytest.mark.parametrize("format", ["jsonl", "csv", "text", "yaml"])
def test_names_are_looked_for_a_few_times_in_a_file(format: str, searches: list[str]) -> None:
    names = [f"stpes{n}" for n in range(150)]
    content = {
        "jsonl": "\n".join(json.dumps({"prompt": "a", name: 1}) for name in names),
        "csv": ",".join(["prompt", *names]) + "\na",
        "text": "--prompt a " + " ".join(f"--{name} 1" for name in names),
        "yaml": "\n".join(f"- {{prompt: a, {name}: 1}}" for name in names),
    }[format]
    assert problems(content, format)
    assert len(searches) == fields.Spelling.MOST


def test_an_entry_is_told_a_few_of_its_problems() -> None:
    found = problems(json.dumps({"prompt": "a", **{f"x{n}": 1 for n in range(1000)}}), "jsonl")
    assert len(found) == fields.MAX_PROBLEMS + 1
    assert found[-1] == "stdin:1: 980 more of its fields are wrong"


def test_what_is_wrong_with_a_merged_map_is_told_once() -> None:
    found = problems("- &a {prompt: x, stpes: 1}\n- <<: *a\n- <<: *a\n  steps: z\n", "yaml")
    assert found == [
        "stdin:1: unknown field 'stpes'; did you mean 'steps'?",
        "stdin:2: the entry takes over what is wrong on line 1",
        "stdin:4: steps must be a whole number, not 'z'",
    ]


@pytest.mark.parametrize(
    "content",
    [
        "- &a {" + ",".join(f"k{n}: 1" for n in range(150)) + "}\n" + "- <<: *a\n" * 5000,
        "- &a {" + ",".join(f"k{n}: 1" for n in range(3000)) + "}\n- <<: [" + "*a ," * 5000 + "]",
        "- &a {" + ",".join(f"k{n}: 1" for n in range(150)) + "}\n" + "- *a\n" * 5000,
        "- &a0 {k: 1}\n" + "".join(f"- &a{n} {{<<: *a{n - 1}, k{n}: 1}}\n" for n in range(1, 2000)),
    ],
)
def test_merges_and_aliases_that_multiply_end(content: str) -> None:
    assert (
        f"merges and aliases make more than {yaml_nodes.MAX_TAKEN_OVER:,} fields"
        in problems(content, "yaml")[-1]
    )


def test_merges_go_over_many_maps() -> None:
    chain = "".join(f".{n}: &m{n} {{<<: *m{n - 1}}}\n" for n in range(1, 3000))
    (line,) = lines(f".0: &m0 {{steps: 1}}\n{chain}requests:\n- {{<<: *m2999, prompt: a}}", "yaml")
    assert given(line) == {"prompt": "a", "steps": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- {" + ",".join(f"k{n}: 1" for n in range(201)) + "}", "1: the map has more than 200 keys"),
        ("\n".join(["- a"] * 300_001), "300000: the file has more than 300,000 values"),
        ("- " * 5000, "1: the YAML is nested too deeply; the most is 100"),
        ("\n".join(" " * n + "a:" for n in range(500)), "101: the YAML is nested too deeply"),
        ("- a\n- *b", "2: the file is not YAML: there is no anchor &b before"),
        ("- a\n---\n- b", "2: the file holds more than one YAML document; join their lists"),
    ],
)
def test_yaml_has_bounds(content: str, message: str) -> None:
    assert problems(content, "yaml")[-1].startswith(f"stdin:{message}")


def test_lines_of_yaml_are_those_of_editors() -> None:
    assert problems('- "\u2028\u0085a"\n- {prompt: b, steps: x}', "yaml") == [
        "stdin:2: steps must be a whole number, not 'x'"
    ]


def test_a_json_document_is_decoded_an_element_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = itertools.count()

    class Counting(json.JSONDecoder):
        def raw_decode(self, s: str, idx: int = 0) -> tuple[Any, int]:
            next(calls)
            return super().raw_decode(s, idx)

    monkeypatch.setattr(json_walk, "DECODER", Counting())
    found = prompts.read(io.BytesIO(b"[" + b'"a",' * 100_000 + b'"b"]'), "json")
    assert given(next(found)) == {"prompt": "a"}
    assert next(calls) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('["a",\n[' + "[]," * 500_000 + "[]]]", "2: the entry is longer than 1,048,576 characters"),
        ('["' + "a" * 1_100_000 + '"]', "1: the entry is longer than 1,048,576 characters"),
        ("{" + '"a":1,' * 2000 + '"b":1}', "1: the file is not JSON: it has more than 1,000 members"),
        ('["a",]', "1: the file is not JSON: Expecting value at character 6 of the line"),
        ('{"prompt": "a",}', "1: the file is not JSON: Expecting property name"),
        ('{"prompt" "a"}', "1: the file is not JSON: Expecting ':' delimiter at character 11"),
        ('["a"] 1', "1: the file is not JSON: Extra data at character 7 of the line; is it JSONL"),
        ('["a", tru', "1: the file is not JSON: Expecting value at character 7"),
        ('["a", "b', "1: the file is not JSON: Unterminated string starting at at character 7"),
        ('["a"', "1: the file is not JSON: Expecting ',' delimiter at character 5"),
        ("[", "1: the file is not JSON: Expecting value at character 2"),
    ],
)
def test_json_has_bounds_and_says_where_it_ends(content: str, message: str) -> None:
    assert problems(content, "json")[-1].startswith(f"stdin:{message}")


def test_json_reads_what_the_standard_library_reads() -> None:
    """At every length, whatever is cut at the end of the first part that is decoded."""
    for length in range(1000, 1040):
        document = ["a" * length, {"prompt": "b" * 20, "seed": 12345678901, "zero_snr": True, "eta": 0.25}]
        found = lines(json.dumps(document), "json")
        assert [given(line)["prompt"] for line in found] == ["a" * length, "b" * 20]
        assert given(found[1])["seed"] == 12345678901


@pytest.mark.parametrize("format", [None, "text", "jsonl"])
def test_blank_lines_are_not_kept(format: str | None) -> None:
    content = io.BytesIO(b"\n" * 300_000 + b'"a"')
    tracemalloc.start()
    try:
        (line,) = prompts.read(content, format)
        assert line.line == 300_001
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_empty_lines_between_rows_of_a_table_are_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    entry = tables._entry
    monkeypatch.setattr(tables, "_entry", lambda number, *row: rows.append(number) or entry(number, *row))
    found = lines("prompt\n" + "\n" * 300_000 + 'a\n\n\n"b\n\nc"\n\n\nd', "csv")
    assert [given(line)["prompt"] for line in found] == ["a", "b\n\nc", "d"]
    assert rows == [300_002, 300_005, 300_010]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            ",".join(f"x{n}" for n in range(1001)) + ",prompt\na",
            f"1: the header has 1,002 columns; the most is {tables.MAX_COLUMNS:,}",
        ),
        ('prompt\n"' + "a\n" * 20_000, "2: the row cannot be read: it goes over more than 10,000 lines"),
        ("prompt\n" + '"a\n","b\n",' * 20_000, "2: the row cannot be read: it goes over more than 10,000"),
    ],
)
def test_tables_have_bounds(content: str, message: str) -> None:
    assert any(problem.startswith(f"stdin:{message}") for problem in problems(content, "csv"))


def test_a_header_names_a_field_twice_without_looking_back(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = itertools.count()
    canonical = fields.canonical
    monkeypatch.setattr(fields, "canonical", lambda name: next(calls) * 0 or canonical(name))
    assert len(problems("prompt," * 900 + "\na", "csv")) == 899
    assert next(calls) < 10 * 900


def test_a_long_line_is_not_kept() -> None:
    content = io.BytesIO(b"a" * (8 * sources.MAX_LINE) + b"\nb")
    tracemalloc.start()
    try:
        _, short = sources.lines(content)
        assert tracemalloc.get_traced_memory()[1] < 4 * sources.MAX_LINE
    finally:
        tracemalloc.stop()
    assert short == (2, "b")


class Endless(io.BytesIO):
    """What /dev/zero and the like give."""

    def read1(self, size: int | None = -1) -> bytes:
        return b"x" * (size or 0)


@pytest.mark.parametrize("format", [None, "text", "jsonl", "csv", "tsv"])
def test_a_line_without_an_end_is_given_up(format: str | None) -> None:
    tracemalloc.start()
    try:
        (line,) = limits.within(60, lambda: list(prompts.read(Endless(), format)))
        assert tracemalloc.get_traced_memory()[1] < 4 * sources.MAX_LINE
    finally:
        tracemalloc.stop()
    assert "the file was not read further" in str(line.problems[0])
