"""Wildcard files: values as they are written, and what is wrong in them, with its place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from sdgen.errors import InputError
from sdgen.prompts import dynamic, wildcards
from sdgen.prompts.expansion import Expansion, expand
from sdgen.request import Request


def texts(folder: Path | None, template: str, dynamic: str = "combinatorial", **settings: Any) -> list[str]:
    expansion = Expansion(dynamic=dynamic, wildcards=folder, **settings)
    return [request.prompt for request in expand(Request(prompt=template), expansion)]


def files(folder: Path, **contents: str | bytes) -> Path:
    for name, content in contents.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / name.replace("_", ".")).write_bytes(data)
    return folder


@pytest.mark.parametrize(
    ("ending", "content"),
    [
        ("yaml", 'w:\n- 1\n- 2.50\n- 007\n- true\n- off\n- 2024-01-01\n- 1:30\n- "x"\n- null\n- ""\n'),
        ("yml", "w: [1, 2.50, 007, true, off, 2024-01-01, '1:30', x]"),
        ("json", '{"w": [1, 2.50, "007", true, "off", "2024-01-01", "1:30", "x", null, ""]}'),
    ],
)
def test_values_are_text_as_it_is_written(tmp_path: Path, ending: str, content: str) -> None:
    found = texts(files(tmp_path, **{f"a_{ending}": content}), "__w__")
    assert sorted(found) == sorted(["1", "2.50", "007", "true", "off", "2024-01-01", "1:30", "x"])


def test_a_list_of_numbers_alone_is_a_wildcard(tmp_path: Path) -> None:
    assert texts(files(tmp_path, n_yaml="- 1\n- 2", m_json="[3, 4.0]"), "__n__ __m__") == [
        "1 3", "1 4.0", "2 3", "2 4.0",
    ]  # fmt: skip


def test_names_and_single_values_may_be_of_any_kind(tmp_path: Path) -> None:
    folder = files(tmp_path, a_yaml="2024: [a]\non: 5\nx: {y: {z: deep}}\n.b: &b {m: [p]}\nq:\n  <<: *b\n")
    assert texts(folder, "__2024__ __on__ __x/y/z__ __q/m__") == ["a 5 deep p"]


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"w_yaml": "- a\n- b: c"}, r"w\.yaml:2: a value is a map; quote text that has ': '"),
        ({"w_yaml": "- a\n- [b]"}, r"w\.yaml:2: a value is a list; write it as text"),
        ({"w_yaml": "- a\n- !x b"}, r"w\.yaml:2: a value has the tag '!x'; leave the tag out"),
        ({"w_json": '["a",\n\n{"b": "c"}]'}, r"w\.json:3: a value is a map"),
        ({"w_json": '[\n"a",\n]'}, r"w\.json:3: the file is not JSON: Expecting value"),
        ({"w_json": '["a"] x'}, r"w\.json:1: the file is not JSON: Extra data"),
        ({"w_json": "[" * 500}, r"w\.json:1: the JSON is nested too deeply"),
        ({"w_yaml": "- a\n- b: c: d"}, r"w\.yaml:2: the file is not YAML: mapping values"),
        ({"w_yaml": "text"}, r"w\.yaml:1: the file is neither a list nor a map of lists"),
        ({"w_yaml": "- {text: a, weight: x}"}, r"w\.yaml:1: a weight must be a number above 0, up to 1000"),
        ({"w_yaml": "- 1000000000::a"}, r"w\.yaml:1: a weight must be a number above 0, up to 1000"),
        ({"w_yaml": "&a w: &x {y: *x}"}, r"w\.yaml:1: the maps are nested too deeply"),
        ({"w_txt": b"a\n\xff\n"}, r"w\.txt:2: byte 1 of the line, 0xff, is not UTF-8"),
        ({"w_yaml": b"- a\n- \xff\n"}, r"w\.yaml:2: the line has a byte 0xff that is not UTF-8"),
        ({"w_txt": "# nothing\n"}, "the wildcard __w__ of .* has no values"),
    ],
)
@pytest.mark.parametrize("how", ["combinatorial", "random"])
def test_what_is_wrong_is_said_with_its_place(
    tmp_path: Path, how: str, contents: dict[str, str | bytes], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        texts(files(tmp_path, **contents), "__w__", how)


def test_a_broken_file_matters_where_its_names_may_be_meant(tmp_path: Path) -> None:
    folder = files(tmp_path, a_txt="x", b_yaml="- [")
    assert texts(folder, "__a__") == ["x"]
    for template in ("__c__", "__*__"):
        with pytest.raises(InputError, match=r"b\.yaml:2: the file is not YAML"):
            texts(folder, template)


def test_maps_that_multiply_end(tmp_path: Path) -> None:
    doubled = "".join(f".{n}: &m{n} {{a: *m{n - 1}, b: *m{n - 1}}}\n" for n in range(1, 60))
    with pytest.raises(InputError, match="more than 100,000 lists and maps"):
        texts(files(tmp_path, w_yaml=f".0: &m0 {{}}\n{doubled}"), "__w__")


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    files(tmp_path, a_txt="x")
    for name in ("one", "two", "three"):
        (tmp_path / name).symlink_to(tmp_path, target_is_directory=True)
    assert texts(tmp_path, "__*__") == ["x"]


@pytest.mark.usefixtures("bounded")
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.txt")
    with pytest.raises(InputError, match="is a named pipe"):
        texts(tmp_path, "__w__")


def test_every_combination_has_each_value_once_whatever_its_weight(tmp_path: Path) -> None:
    folder = files(tmp_path, w_yaml="- 0.5::a\n- 900::b\n- {text: c, weight: 3}")
    assert texts(folder, "__w__") == ["a", "b", "c"]
    chosen = texts(folder, "__w__", "random", count=50)
    assert chosen.count("b") > 40


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("${c=!{red|blue}} ${c} ${c}", ["red red", "blue blue"]),
        ("${c=!{r|b}}${d=!{x|y}}${c}${d}${c}", ["rxr", "ryr", "bxb", "byb"]),
        ("${c=!{r|b}}${c} {1|2}", ["r 1", "r 2", "b 1", "b 2"]),
        ("${c=!red}${c} ${c}", ["red red"]),
        ("${c} ${c=!{r|b}}", ["r", "b"]),
        ("${c} ${c={r|b}}", ["r", "b"]),
        ("${c=!{~r|r}}${c}", ["r"]),
    ],
)
def test_a_variable_that_is_chosen_once_takes_each_value(template: str, expected: list[str]) -> None:
    assert texts(None, template) == expected


def test_a_long_list_takes_one_look_at_each_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dynamicprompts.commands import LiteralCommand

    compared = []
    monkeypatch.setattr(LiteralCommand, "__eq__", lambda self, other: compared.append(1) or self is other)
    folder = files(tmp_path, w_txt="\n".join(f"v{n}" for n in range(3000)))
    assert len(texts(folder, "{__w__}")) == 3000
    assert len(compared) < 10 * 3000


@pytest.mark.parametrize(
    ("contents", "template", "how", "message"),
    [
        (
            {f"w{n}_txt": f"__w{n + 1}__ __w{n + 1}__" for n in range(30)} | {"w30_txt": "x"},
            "__w0__", "random", "asks for a wildcard more than 1,000 times",
        ),
        (
            {f"w{n}_txt": f"__w{n + 1}__ __w{n + 1}__" for n in range(30)} | {"w30_txt": "x"},
            "__w0__", "combinatorial", "more than 100,000 parts",
        ),
        ({}, "{" + "a|" * 500 + "b}", "combinatorial", None),
        ({}, "{" + "a|" * 3000 + "b}", "combinatorial", "more than 2,000 options"),
        ({}, "{-500$$" + "".join(f"a{n}|" for n in range(499)) + "b}", "combinatorial", "makes about"),
        ({"w_txt": "a\n{" + "a|" * 3000 + "b}"}, "__w__", "random", r"w\.txt:2: a value is too long"),
        ({}, "{a|b}" * 14 + "{x}" * 380, "combinatorial", "the most is 5,000,000 parts in all"),
        ({}, "{" + "|".join(f"{n}{'x' * 1000}" for n in range(18)) + "}" * 1 + "{a|b|c|d}" * 6,
            "combinatorial", "more than 50,000,000 characters together"),
    ],
)  # fmt: skip
def test_work_is_bounded(
    tmp_path: Path, contents: dict[str, str], template: str, how: str, message: str | None
) -> None:
    folder = files(tmp_path, **contents)
    if message is None:
        assert len(texts(folder, template, how)) == 2
    else:
        with pytest.raises(InputError, match=message):
            texts(folder, template, how)


def test_bounds_are_told_in_the_documentation() -> None:
    text = (Path(__file__).parent.parent / "docs/prompts-files.md").read_text(encoding="utf-8")
    for bound in (dynamic.MAX_WORK, dynamic.MAX_TEXT, wildcards.MAX_LOOKUPS, wildcards.MAX_FILES):
        assert f"{bound:,}" in text
