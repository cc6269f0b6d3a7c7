"""TOML of any kind is read, or refused in a sentence, in a time that its length bounds."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sdgen import models
from sdgen.cli import settings
from sdgen.cli.options import DRAWING
from sdgen.errors import InputError
from sdgen.files import folders, toml_text

MOST = folders.MOST_SETTINGS - 100
HOSTILE = {
    "a dotted key without an end": "a." * (MOST // 2) + "a = 1",
    "a table's name without an end": "[" + "a." * (MOST // 2) + "a]",
    "as many dots as a line may have": f"{'a.' * toml_text.MOST_DOTS}b = 1\n" * (MOST // 410),
    "lists in lists": "a = " + "[" * MOST,
    "objects in objects": "a = " + "{a=" * (MOST // 3),
    "a long key": "a" * MOST + " = 1",
    "a long name": f'["{"a" * MOST}"]\n',
    "a long value": f'[x]\nsteps = "{"a" * (MOST - 20)}"',
    "a long number": "steps = " + "9" * MOST,
    "many keys": "".join(f"k{number} = 1\n" for number in range(MOST // 14)),
    "many tables": "".join(f"[t.u{number}.v]\n" for number in range(MOST // 16)),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_settings_are_refused_in_a_sentence(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDGEN_CONFIG_DIR", str(tmp_path))
    for name in ("catalog.toml", "config.toml"):
        (tmp_path / name).write_text(text)
    began = time.process_time()
    with pytest.raises(InputError) as of_catalogue:
        models.names()
    with pytest.raises(InputError) as of_settings:
        settings.read(None, DRAWING)
    assert len(str(of_catalogue.value)) < 1000
    assert len(str(of_settings.value)) < 2000
    assert time.process_time() - began < 30  # a hundred times that without the bound on dots


def test_usual_toml_is_read() -> None:
    text = '["sd2.1-base"]\nsteps = 30\n# a comment that goes on and on' + ".\n" * 1000
    assert toml_text.parse('a.b = 1 # "..."', Path("x")) == {"a": {"b": 1}}
    with pytest.raises(InputError, match="x is not valid TOML"):
        toml_text.parse(text, Path("x"))


def test_the_line_with_too_many_dots_is_named() -> None:
    with pytest.raises(InputError, match="x: line 2 has more than 200 dots"):
        toml_text.parse("a = 1\n" + "." * 201, Path("x"))
