"""File names: safe, bounded and as the template says."""

from __future__ import annotations

import pytest

from sdgen import naming
from sdgen.errors import InputError
from sdgen.request import Request

VALUES = {"n": 7, "date": "2026-11-22", "time": "20-41-07"}


def stem(template: str, prompt: str = "a red fox", **changes: object) -> str:
    request = Request(
        prompt=prompt, seed=42, steps=20, sampler="ddim", model="mini", guidance=7.5, width=64, height=32
    )
    return naming.Template(template).stem({**naming.fields(request.replace(**changes)), **VALUES})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A red fox, in the SNOW!", "a-red-fox-in-the-snow"),
        ("Café à la crème", "cafe-a-la-creme"),
        ("../../etc/passwd", "etc-passwd"),
        ("富士山", "image"),
        ("", "image"),
        ("...---...", "image"),
        ("-rf *", "rf"),
        ("word " * 40, "word-" * 11 + "word"),
        ("x" * 500, "x" * 60),
    ],
)
def test_slug(text: str, expected: str) -> None:
    assert naming.slug(text) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{n}-{slug}-{seed}", "0007-a-red-fox-42"),
        ("{n:06}_{seed:010}", "000007_0000000042"),
        ("{model} {sampler} {steps} {guidance} {width}x{height}", "mini ddim 20 7.5 64x32"),
        ("{date} {time}", "2026-11-22 20-41-07"),
        ("{{{slug}}}", "{a-red-fox}"),
        ("..{slug}..", "a-red-fox"),
        ("con", "con_"),
        ("Nul.txt", "Nul.txt_"),
        (". .", "image"),
    ],
)
def test_template(template: str, expected: str) -> None:
    assert stem(template) == expected


@pytest.mark.parametrize("prompt", ["../up", "/etc/passwd", "a\\b", "..", "C:\\x", "a\nb\tc", "a\u202eb"])
def test_prompt_field_stays_a_plain_name(prompt: str) -> None:
    name = stem("{prompt}", prompt)
    assert name.isprintable()
    assert not set(name) & set('/\\:*?"<>|')
    assert name not in ("", ".", "..")


@pytest.mark.parametrize("prompt", ["word " * 4000, "富" * 20_000, "é" * 300])
def test_names_are_never_too_long(prompt: str) -> None:
    name = stem("a{prompt}b{prompt}c{slug}d{model}{seed}{n}", prompt, model="m" * 300, seed=2**63 - 1)
    assert len(name.encode()) <= naming.LONGEST


def test_model_field_is_the_last_part_of_a_path() -> None:
    assert stem("{model}", model="/weights/My Model v1.5.safetensors") == "my-model-v1.5"


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{sed}", "unknown field {sed}; the fields are n, slug, seed"),
        ("{}", "unknown field {}"),
        ("{seed.real}", "unknown field {seed.real}"),
        ("{seed!r}", "{seed!r}: write {seed}"),
        ("{seed", "braces"),
        ("{seed:99999}", "only numbers take a width"),
        ("{slug:10}", "only numbers take a width"),
        ("a/b", "no path"),
        ("..\\b", "no path"),
        ("", "no path"),
        ("a\nb", "no path"),
        ("x" * 201, "longer than 200 bytes"),
        ("{seed:99}{n:99}{steps:99}", "longer than 200 bytes"),
    ],
)
def test_wrong_templates_are_refused(template: str, complaint: str) -> None:
    with pytest.raises(InputError) as caught:
        naming.Template(template)
    assert complaint in str(caught.value)
    assert caught.value.field == "name"


def test_the_number_is_read_back_from_a_name() -> None:
    template = naming.Template("Fox_{seed}-{n}-{slug}")
    assert template.number("fox_42-0013-a-cat") == 13
    assert template.number("something else") is None
