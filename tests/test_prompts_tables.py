"""CSV as spreadsheets write it: with semicolons, tabs and decimal commas."""

from __future__ import annotations

from typing import Any

import pytest
from test_prompts import given, lines, problems


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("prompt;steps\na, b;20", {"prompt": "a, b", "steps": 20}),
        ("prompt;cfg_scale\na;7,5", {"prompt": "a", "guidance": 7.5}),
        ("\ufeffsep=;\r\nprompt;steps\r\na;20\r\n", {"prompt": "a", "steps": 20}),
        ('"sep=;"\nprompt\n"a;b"', {"prompt": "a;b"}),
        ("prompt\tsteps\na\t20", {"prompt": "a", "steps": 20}),
        ("prompt\na;b", {"prompt": "a;b"}),
        ('prompt,"x;steps"\na,', {"prompt": "a"}),
        ('"prompt";"negative_prompt"\n"a;b";"c,d"', {"prompt": "a;b", "negative_prompt": "c,d"}),
        ("steps;prompt;;\n3;a;;", {"prompt": "a", "steps": 3}),
    ],
)
@pytest.mark.parametrize("format", ["csv", "tsv"])
def test_the_header_says_how_cells_are_separated(format: str, content: str, expected: dict[str, Any]) -> None:
    (line,) = [line for line in lines(content, format) if line.request]
    assert given(line) == expected


def test_empty_lines_in_a_quoted_cell_are_kept() -> None:
    found = lines('prompt\n\n\n"a\n\n\r\nb"\n\nc', "csv")
    assert [(line.line, given(line)["prompt"]) for line in found] == [(4, "a\n\n\nb"), (9, "c")]


def test_what_is_in_the_rows_does_not_decide() -> None:
    found = lines("prompt\n" + "a;b;c\td\n" * 50, "csv")
    assert {given(line)["prompt"] for line in found} == {"a;b;c\td"}


def test_a_decimal_comma_is_one_for_numbers_with_decimals_alone() -> None:
    assert problems("prompt;steps\n1,5;2,5", "csv") == ["stdin:2: steps must be a whole number, not '2,5'"]
    assert problems('prompt,cfg\na,"7,5"', "csv") == ["stdin:2: cfg must be a number, not '7,5'"]
