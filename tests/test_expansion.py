"""Templates, sweeps, seeds and counts."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sdgen import prompts
from sdgen.errors import InputError
from sdgen.prompts.expansion import MAX_REQUESTS, Expansion, expand, expand_line, parse_seeds, parse_sweeps
from sdgen.request import MAX_SEED, Request


@pytest.fixture
def wildcards(tmp_path: Path) -> Path:
    (tmp_path / "animals").mkdir()
    for name, text in {
        "colour.txt": "\ufeffred\n# comment\n\ngreen\nblue\n",
        "animals/cat.txt": "cat\n{big|small} cat\n",
        "animals/dog.txt": "dog\n",
        "loop.txt": "__loop__ x\n",
        "bad.txt": "{a|b\n",
        "fruit.yaml": "fruit:\n- 3::apple\n- pear\n",
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def texts(template: str, dynamic: str | None = "combinatorial", **settings: Any) -> list[str]:
    expansion = Expansion(dynamic=dynamic, **settings)
    return [request.prompt for request in expand(Request(prompt=template), expansion)]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{red|green} apple", ["red apple", "green apple"]),
        ("{2$$a|b|c}", ["a,b", "a,c", "b,a", "b,c", "c,a", "c,b"]),
        ("{1-2$$ and $$a|b}", ["a", "b", "a and b", "b and a"]),
        ("{0-1$$a|b} x", ["x", "a x", "b x"]),
        ("{a|b} {a|b}", ["a a", "a b", "b a", "b b"]),
        ("{a|a|b}", ["a", "b"]),
        ("__colour__ x", ["blue x", "green x", "red x"]),
        ("__animals/*__", ["cat", "dog", "big cat", "small cat"]),
        ("{2$$__animals/dog__|a}", ["dog,a", "a,dog"]),
        ("__fruit__", ["apple", "pear"]),
        ("${c={red|green}} ${c} ${c}", ["red red", "red green", "green red", "green green"]),
        ("({a|b}:1.3) [c] <lora:d:0.8> \\(e\\)", [f"({x}:1.3) [c] <lora:d:0.8> \\(e\\)" for x in "ab"]),
        ("50% # $5 no template", ["50% # $5 no template"]),
    ],
)
def test_every_combination(wildcards: Path, template: str, expected: list[str]) -> None:
    assert texts(template, wildcards=wildcards) == expected
    assert texts(template, "random", wildcards=wildcards)[0] in expected


def test_braces_are_text_unless_templates_are_asked_for() -> None:
    assert texts("{a|b} __c__ ${d}", None) == ["{a|b} __c__ ${d}"]


def test_negative_prompts_are_templates_too() -> None:
    request = Request(prompt="{a|b}", negative_prompt="{c|d}")
    found = expand(request, Expansion(dynamic="combinatorial"))
    assert [(each.prompt, each.negative_prompt) for each in found] == [*itertools.product("ab", "cd")]
    assert len(expand(request, Expansion(dynamic="random"))) == 1


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{a|b", r"read from character 1 on, '\{a\|b': a \{ is not closed"),
        ("x 50% {a|b}", "character 5 on, .*% has no place in a template"),
        ("a__b {c|d}", "character 2 on, .*wildcard __ is not closed"),
        ("${q} {a|b}", "Variable q is not defined"),
        ("__colours__", "no wildcard __colours__; did you mean __colour__?"),
        ("__../../etc/passwd__", "no wildcard"),
        ("__loop__", "refers to itself"),
        ("__bad__", r"wildcard value '\{a\|b' cannot be read"),
        ("# {a|b}", "makes no prompt"),
        ("{" * 300 + "a" + "}" * 300, "nested too deeply"),
        ("{a|b}" * 500, "more than 400 opening braces"),
    ],
)
@pytest.mark.parametrize("dynamic", ["combinatorial", "random"])
def test_wrong_templates_are_explained(wildcards: Path, dynamic: str, template: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^prompt: .*{message}") as caught:
        texts(template, dynamic, wildcards=wildcards)
    assert caught.value.field == "prompt"


def test_a_wildcard_without_a_folder() -> None:
    with pytest.raises(InputError, match="no wildcards folder is given"):
        texts("__colour__")


@pytest.mark.parametrize("settings", [{"wildcards": Path("nowhere")}, {"dynamic": "often"}])
def test_wrong_expansions(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"nowhere|often"):
        Expansion(**settings)


@pytest.mark.parametrize(
    ("template", "number"),
    [
        ("{a|b}" * 17, "131,072"),
        ("{a|b}" * 300, r"about 2e\+90"),
        ("{8$$" + "|".join("abcdefghijklm") + "}", "51,891,840"),
        ("{-200$$" + "|".join(map(str, range(200))) + "}", r"about 2e\+308"),
    ],
)
def test_too_many_combinations_are_counted_and_not_made(template: str, number: str) -> None:
    with pytest.raises(InputError, match=f"makes {number} prompts; there is room for 100,000"):
        texts(template)


def test_a_random_choice_depends_on_template_and_seeds_alone() -> None:
    template = "{a|b|c|d|e|f|g|h} {1|2|3|4|5|6|7|8}"
    expansion = Expansion(dynamic="random", count=20)
    together = {each.seed: each.prompt for each in expand(Request(prompt=template, seed=5), expansion)}
    assert len(set(together.values())) > 10
    for seed in (5, 9, 24):
        (alone,) = expand(Request(prompt=template, seed=seed), Expansion(dynamic="random"))
        assert alone.prompt == together[seed]
    swept = Expansion(dynamic="random", sweeps=parse_sweeps(["steps=10,20"]), seeds=(9, 7))
    assert [each.prompt for each in expand(Request(prompt=template), swept)] == [together[9], together[7]] * 2
    other = expand(Request(prompt=template, seed=5), Expansion(dynamic="random", dynamic_seed=1, count=20))
    assert [each.prompt for each in other] != [*together.values()]


def test_random_choices_do_not_change_between_releases(wildcards: Path) -> None:
    """Whoever redraws a file finds the same prompts; a dynamicprompts that fails here is to be excluded."""
    template = "{2$$ and $$a|b|c|d} {3::e|f} __animals/*__"
    assert texts(template, "random", wildcards=wildcards, count=4) == GOLDEN


GOLDEN = ["c and d e big cat", "b and d e cat", "d and b e dog", "d and b e cat"]


def test_random_choices_do_not_depend_on_the_process() -> None:
    code = (
        "from sdgen.prompts.expansion import *; from sdgen.request import Request;"
        "print([r.prompt for r in expand(Request(prompt='{a|b|c|d|e} {2$$f|g|h}'), "
        "Expansion(dynamic='random', count=8))])"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_sweeps_are_a_product_in_order() -> None:
    expansion = Expansion(
        sweeps=parse_sweeps(["steps=10,20", "guidance=3,5", "sampler=ddim,dpmpp-2m"]), count=2
    )
    found = expand(Request(prompt="a", steps=7), expansion)
    assert [(each.steps, each.guidance, each.sampler, each.seed) for each in found] == [
        *itertools.product((10, 20), (3.0, 5.0), ("ddim", "dpmpp-2m"), (0, 1))
    ]


def test_a_sweep_may_set_two_fields() -> None:
    sweeps = parse_sweeps(["size=64x128,256x64", "sampler=DPM++ 2M Karras,ddim"])
    found = expand(Request(prompt="a"), Expansion(sweeps=sweeps))
    assert [(each.width, each.height, each.sampler, each.schedule) for each in found] == [
        (64, 128, "dpmpp-2m", "karras"),
        (64, 128, "ddim", None),
        (256, 64, "dpmpp-2m", "karras"),
        (256, 64, "ddim", None),
    ]


@pytest.mark.parametrize(
    ("sweeps", "message"),
    [
        (["steps"], "is not a field and its values"),
        (["steps="], "is not a field and its values"),
        (["stps=1"], "unknown field 'stps'; did you mean 'steps'?"),
        (["steps=1,x"], "steps must be a whole number, not 'x'"),
        (["guidance=0.5"], r"guidance must be 0 \(off\) or 1 to 100"),
        (["steps=1,1"], "has 1 twice"),
        (["steps=1", "num_inference_steps=2"], "both set steps"),
        (["size=64x64", "width=64"], "both set width"),
        (["prompt=a,b"], "not swept; write several prompts"),
        (["seed=1,2"], "not swept; give --seeds"),
    ],
)
def test_wrong_sweeps(sweeps: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_sweeps(sweeps)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("7", (7,)), ("1,2,5-9", (1, 2, 5, 6, 7, 8, 9)), ("3, 1, 2-3", (3, 1, 2)), (f"{MAX_SEED}", (MAX_SEED,))],
)
def test_seeds(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["", "x", "1,,2", "5-1", "-1", "1.5", f"{MAX_SEED + 1}", "9" * 50, "0-100000"]
)
def test_wrong_seeds(text: str) -> None:
    with pytest.raises(InputError, match="seeds"):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("settings", "count", "seeds"),
    [
        ({}, None, [4]),
        ({"count": 3}, None, [4, 5, 6]),
        ({"count": 3}, 2, [4, 5]),
        ({"seeds": (9, 1), "count": 3}, 2, [9, 1]),
    ],
)
def test_counts(settings: dict[str, Any], count: int | None, seeds: list[int]) -> None:
    found = expand(Request(prompt="a", seed=4), Expansion(**settings), count)
    assert [each.seed for each in found] == seeds


def test_bounds() -> None:
    with pytest.raises(InputError, match="go beyond"):
        expand(Request(prompt="a", seed=MAX_SEED), Expansion(count=2))
    sweeps = parse_sweeps(["steps=1,2", "guidance=1,2"])
    with pytest.raises(InputError, match="make 200,000 requests of one; the most is 100,000"):
        expand(Request(prompt="a"), Expansion(sweeps=sweeps, count=MAX_REQUESTS // 2))
    with pytest.raises(InputError, match="makes 8 prompts; there is room for 5"):
        texts("{a|b}{a|b}{a|b}", count=20_000)


def test_problems_of_a_file_carry_their_place(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("{a|b}\n\n{c|d\n--prompt x --steps z\n--prompt y --n 3\n")
    expansion = Expansion(dynamic="combinatorial")
    found = [expand_line(line, expansion) for line in prompts.read(path)]
    assert [len(requests) for requests, _ in found] == [2, 0, 0, 3]
    places = [(problem.line, problem.field) for _, problems in found for problem in problems]
    assert places == [(3, "prompt"), (4, "steps")]
