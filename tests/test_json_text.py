"""JSON from anywhere."""

from __future__ import annotations

import json
import math

import pytest

from sdgen.files import json_text


@pytest.mark.parametrize("text", ["", "{", b"\xff\xfe", "[" * 200_000, "1" * 5000, '{"a": 1} x'])
def test_what_is_not_json_is_said_to_be_none(text: str | bytes) -> None:
    with pytest.raises(ValueError, match="it is not JSON text"):
        json_text.parse(text)


def test_what_is_read_can_be_written_however_deep_it_is() -> None:
    deepest = "[" * json_text.MOST_DEPTH + "]" * json_text.MOST_DEPTH
    assert json_text.write(json_text.parse(deepest)) == deepest
    with pytest.raises(ValueError, match="nested deeper than 64 levels"):
        json_text.parse(f"[{deepest}]")


def test_numbers_that_json_lacks_become_null() -> None:
    value = {"a": [math.nan, 1.5], "b": (math.inf, -math.inf), "c": json_text.parse("1e999")}
    assert json.loads(json_text.write(value)) == {"a": [None, 1.5], "b": [None, None], "c": None}


@pytest.mark.parametrize("text", ["[]", "1", '"{}"', "null"])
def test_another_value_is_no_object(text: str) -> None:
    with pytest.raises(ValueError, match="no JSON object"):
        json_text.parse_object(text)
