"""File names: safe, bounded and as the template says."""

from __future__ import annotations

import pytest

from sdgen.errors import InputError
from sdgen.images import naming
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


def test_a_prompt_field_leaves_out_what_the_locale_cannot_encode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "ascii")
    assert stem("{prompt}", "a fox 狐 é") == "a fox"
    assert stem("{prompt}", "富士山") == "image"


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


@pytest.mark.parametrize(
    "stem",
    [
        "2027-a-fox",
        "2026-11-25-a-red-fox-7",
        "20261125-a-red-fox-7",
        "12-a-fox-7",
        "0012345678901-a-fox-7",
        "0041-a_fox-7",
    ],
)
def test_a_date_or_another_template_s_seed_is_no_number(stem: str) -> None:
    assert naming.Template(naming.DEFAULT).number(stem) is None


@pytest.mark.parametrize(
    ("template", "stem", "number"),
    [
        (naming.DEFAULT, "0041-A-Fox-7", 41),
        (naming.DEFAULT, "2027-a-fox-7", 2027),
        (naming.DEFAULT, "00041-a-fox-7", 41),
        ("{n:02}", "07", 7),
        ("{n:6}-{date} {time}", "000007-2026-11-25 10-11-12", 7),
        ("{n}-{n}-{guidance}-{model}", "0007-0007-7.5-sd2.1-base", 7),
        ("{n}-{digest}", "0007-0123456789", 7),
        ("{n}-{digest}", "0007-0123456789abcdef", 7),
    ],
)
def test_the_number_of_a_name_that_the_template_makes(template: str, stem: str, number: int) -> None:
    assert naming.Template(template).number(stem) == number


def test_a_name_counts_only_with_what_is_recorded_of_it() -> None:
    template = naming.Template("{n}-{slug}-{seed}")
    fields = naming.fields(Request(prompt="fox 2", seed=123456, model="mini"))
    assert template.number("123456-fox-2") == 123456
    assert template.number("123456-fox-2", fields) is None
    assert template.number("2026-fox-2-123456", fields) == 2026
    dated = naming.Template("{n}-{date}-{slug}-{digest}")
    assert dated.number(f"2026-2026-11-25-fox-2-{fields['digest'][:10]}", fields) == 2026


def test_a_digest_is_never_cut_short() -> None:
    name = naming.Template("{prompt}" * 8 + "{digest}").stem(
        {"prompt": "x" * 100, "digest": "0123456789abcdef"}
    )
    assert name.endswith("x0123456789abcdef")
    assert len(name) <= naming.LONGEST


def test_old_names_are_those_of_before() -> None:
    values = {"slug": "a" * 60, "seed": 7, "digest": "0123456789abcdef"}
    assert naming.Template("{slug}-{seed}-{digest}", old=True).stem(values) == "a" * 60 + "-7-0123456789"
    long = naming.Template("x" * 150 + "{slug}{digest}", old=True)
    assert long.stem(values) == "x" * 150 + "a" * 25 + "0123456789"
