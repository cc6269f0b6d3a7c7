"""The gallery page: what is in it, and how it behaves in a browser."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import browser
import numpy as np
import pytest
from browser import Browser
from command import Command
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from stand_in import DETAILS, draw

from sdgen.errors import ExitCode
from sdgen.images import gallery, image_files, pictures
from sdgen.pipeline import pipeline
from sdgen.request import Request

HOSTILE = "<!-- <script > </script x><script>document.title='x'</script><img src=x onerror=alert(1)>&amp;"
REQUESTS = [
    Request(
        prompt="a red fox in the snow", seed=1, sampler="ddim", model="mini", steps=10, width=64, height=64
    ),
    Request(prompt=HOSTILE, seed=2**53 + 1, sampler="euler-a", model="mini", steps=20, width=128, height=64),
    Request(
        prompt="富士山, très beau", seed=3, sampler="ddim", model="sd2.1-base", steps=30, width=64, height=128
    ),
    Request(prompt="it's $(x)\ntwo lines", seed=4, sampler="heun", model="sd2.1-base", width=64, height=64),
]


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


@pytest.fixture
def folder(sdgen: Command) -> Path:
    """Four images of sdgen, one that says nothing and has an odd name, one in a folder below."""
    target = image_files.Output(Path("images"), template="{n}-{seed}")
    target.prepare(1, 1)
    for request in REQUESTS:
        target.save(
            pipeline.Image(request, draw(request), 0.5, None, (), {**DETAILS, "model": request.model})
        )
    Image.fromarray(draw(REQUESTS[0])).save(Path("images", "odd #%?&'\" <name>.png"))
    Path("images", "below").mkdir()
    Image.fromarray(draw(REQUESTS[0])).save(Path("images", "below", "photo.jpg"))
    return Path("images")


class Page(HTMLParser):
    """What a browser would make of the page: elements with their attributes, and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self._inside: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in self.raw:
            self._inside = tag
            self.raw[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = None if tag == self._inside else self._inside

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw[self._inside][-1] += data

    @property
    def items(self) -> list[dict[str, Any]]:
        return list(json.loads(self.raw["script"][0]))


def made(sdgen: Command, *arguments: str) -> Page:
    result = sdgen.run("gallery", *arguments)
    assert result.exit_code == 0, result.stderr
    return Page(Path(result.stdout.strip()).read_text("utf-8"))


def test_every_image_is_listed_with_what_it_says(sdgen: Command, folder: Path) -> None:
    items = made(sdgen, "images").items
    assert [item["name"] for item in items] == [
        "0001-1.png",
        f"0002-{2**53 + 1}.png",
        "0003-3.png",
        "0004-4.png",
        "odd #%?&'\" <name>.png",
        "below/photo.jpg",
    ]
    assert [item["prompt"] for item in items[:4]] == [request.prompt for request in REQUESTS]
    assert items[1]["seed"] == str(2**53 + 1)
    assert dict(items[0]["fields"])["size"] == "64x64"
    assert items[0]["command"].startswith("sdgen draw 'a red fox in the snow' --model mini --seed 1")
    assert (items[4]["prompt"], items[4]["command"], items[4]["fields"]) == ("", "", [])


def test_an_image_is_decoded_once(sdgen: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, original = [], pictures.open_picture
    monkeypatch.setattr(pictures, "open_picture", lambda path: opened.append(path) or original(path))
    items = made(sdgen, "images").items
    assert len(opened) == len(set(opened)) == len(items)


def test_a_time_beyond_the_calendar_does_no_harm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = Path.stat

    def far(path: Path, **options: Any) -> os.stat_result:
        return os.stat_result([*stat(path, **options)[:8], 10**12, 0])

    monkeypatch.setattr(Path, "stat", far)
    assert gallery.item(folder / "below" / "photo.jpg", folder)["created"] == ""


def test_a_transparent_palette_is_no_warning(folder: Path, recwarn: pytest.WarningsRecorder) -> None:
    picture = Image.new("P", (8, 8))
    picture.save(folder / "p.png", transparency=b"\x80\x00")
    gallery.item(folder / "p.png", folder)
    assert not recwarn.list


def test_links_are_relative_and_lead_to_the_files(sdgen: Command, folder: Path) -> None:
    for target in ("images/gallery.html", "elsewhere.html"):
        for item in made(sdgen, "images", "-o", target).items:
            assert not re.search(r"[#?<>\"' ]", item["link"])
            assert (Path(target).parent / unquote(item["link"])).is_file()


def test_thumbnails_are_small_webp_of_the_images(sdgen: Command, folder: Path) -> None:
    large = Request(prompt="x", width=1024, height=512)
    Image.fromarray(draw(large)).save(folder / "z.png")
    items = {item["name"]: item for item in made(sdgen, "images").items}
    thumbnail = Image.open(io.BytesIO(base64.b64decode(items["z.png"]["thumbnail"])))
    assert (thumbnail.format, thumbnail.size) == ("WEBP", (320, 160))
    wanted = np.asarray(Image.open(folder / "z.png").resize((320, 160)), np.float64)
    assert np.abs(np.asarray(thumbnail.convert("RGB")) - wanted).mean() < 8


def test_nothing_of_an_image_becomes_markup(sdgen: Command, folder: Path) -> None:
    page = made(sdgen, "images", "--title", "<b>&\"'</b>")
    plain = made(sdgen, "images", "--title", "x", "-o", "other.html")
    assert page.elements == plain.elements
    assert [tag for tag, _ in page.elements].count("script") == 2
    assert HOSTILE in page.items[1]["prompt"]
    # A parser that knows all of HTML's rules for scripts finds nothing there to apply them to.
    assert not set("<>&") & set(page.raw["script"][0])


def test_the_policy_allows_the_pages_own_style_and_script_alone(sdgen: Command, folder: Path) -> None:
    page = made(sdgen, "images")
    (policy,) = (
        attributes["content"] or ""
        for tag, attributes in page.elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    style, script = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (page.raw["style"][0], page.raw["script"][1])
    )
    assert rules == {
        "default-src": "'none'",
        "style-src": f"'sha256-{style}'",
        "script-src": f"'sha256-{script}'",
        "img-src": "'self' file: data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    for _, attributes in page.elements:
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "data:,").startswith("data:")
    assert "http://" not in (text := page.raw["script"][1] + page.raw["style"][0]) and "https://" not in text


def test_a_page_is_replaced_and_nothing_else_is(sdgen: Command, folder: Path) -> None:
    made(sdgen, "images")
    made(sdgen, "images")
    Path("notes.html").write_text("mine")
    result = sdgen.run("gallery", "images", "-o", "notes.html")
    assert result.exit_code == ExitCode.NONE_DRAWN
    assert "notes.html is there and is no gallery of sdgen" in result.stderr
    assert Path("notes.html").read_text() == "mine"
    assert not list(Path(".").rglob(".sdgen-*"))


def test_a_broken_image_is_left_out_and_named(sdgen: Command, folder: Path) -> None:
    Path("images", "broken.png").write_bytes(b"no image")
    result = sdgen.run("gallery", "images")
    assert result.exit_code == ExitCode.SOME_FAILED
    assert result.stderr == "error: images/broken.png is not a PNG, WebP or JPEG image\n"
    assert len(Page(Path("images/gallery.html").read_text("utf-8")).items) == 6


@pytest.mark.parametrize(
    "arguments", [["missing"], ["a" * 300], ["empty"], ["file.png"], ["empty", "-o", "empty"]]
)
def test_wrong_use_is_a_sentence(sdgen: Command, arguments: list[str]) -> None:
    Path("empty").mkdir()
    Image.new("RGB", (8, 8)).save("file.png")
    result = sdgen.run("gallery", *arguments)
    assert (result.exit_code, len(result.stderr.splitlines())) == (ExitCode.USAGE, 1)


def test_text_that_is_no_unicode_does_no_harm(sdgen: Command) -> None:
    Path("images").mkdir()
    info = PngInfo()
    info.add_text("parameters", '{"sui_image_params": {"prompt": "\\ud800", "x": "\\ud800\\u0000"}}')
    Image.new("RGB", (8, 8)).save("images/a.png", pnginfo=info)
    Image.new("RGB", (8, 8)).save(b"images/\xff.png")
    assert len(made(sdgen, "images").items) == 2


@pytest.fixture
def page(sdgen: Command, folder: Path, tmp_path: Path) -> Iterator[tuple[Browser, str]]:
    if browser.find() is None:
        pytest.skip("no Chromium here")
    made(sdgen, "images")
    with Browser(tmp_path / "profile") as opened:
        yield opened, (folder / "gallery.html").absolute().as_uri()


NAMES = "[...document.querySelectorAll('.card')].map((card) => card.dataset.name)"
FOX, HEAVY, FUJI, ITS = "0001-1.png", f"0002-{2**53 + 1}.png", "0003-3.png", "0004-4.png"


@pytest.mark.slow
def test_search_filters_and_viewer_in_a_browser(page: tuple[Browser, str]) -> None:
    chromium, url = page
    for state, names in (
        ("", [FOX, HEAVY, FUJI, ITS, "below/photo.jpg", "odd #%?&'\" <name>.png"]),
        ("#query=FOX%20snow", [FOX]),
        ("#query=tres", [FUJI]),
        ("#query=onerror", [HEAVY]),
        ("#query=steps+30", [FUJI]),
        ("#model=sd2.1-base", [FUJI, ITS]),
        ("#sampler=ddim&model=mini", [FOX]),
        (f"#seed={2**53 + 1}", [HEAVY]),
        (f"#seed={2**53}", []),
        ("#order=seed&query=0", [FOX, FUJI, ITS, HEAVY]),
    ):
        chromium.open(url + state)
        assert chromium.run(NAMES) == names, state
    assert chromium.run("document.title") == "images"

    # By keyboard: / goes to the search, Tab and Enter to the first image, arrows through those that fit.
    chromium.open(url)
    chromium.press("/")
    chromium.type("sd2.1")
    assert chromium.run(NAMES) == [FUJI, ITS]
    assert chromium.run("document.getElementById('count').textContent") == "2 of 6 images"
    assert chromium.run("location.hash") == "#query=sd2.1"
    chromium.run("document.querySelector('.card').focus()")
    chromium.press("Enter")
    chromium.wait("document.getElementById('viewer').open")
    chromium.wait("document.getElementById('picture').complete")
    assert chromium.run("document.getElementById('picture').naturalHeight") == 128
    chromium.press("ArrowRight")
    assert chromium.run("document.getElementById('prompt').textContent") == "it's $(x)\ntwo lines"
    command = chromium.run("document.getElementById('command').textContent")
    assert command.startswith(r"sdgen draw $'it\'s $(x)\ntwo lines' --model sd2.1-base --seed 4")
    assert chromium.run("document.getElementById('next').disabled")
    assert f"image={ITS}" in chromium.run("decodeURIComponent(location.hash)")
    chromium.press("Escape")
    chromium.wait(f"document.activeElement.dataset.name === '{ITS}'")
    chromium.run("document.querySelector('[type=reset]').click()")
    chromium.wait(f"{NAMES}.length === 6")
    assert chromium.run("location.hash") == ""
    assert chromium.complaints == []


@pytest.mark.slow
def test_odd_names_open_and_the_command_is_copied(page: tuple[Browser, str]) -> None:
    chromium, url = page
    chromium.open(url)
    chromium.run("[...document.querySelectorAll('.card')].at(-1).click()")
    chromium.wait("document.getElementById('picture').complete")
    assert chromium.run("document.getElementById('picture').naturalWidth") == 64
    assert chromium.run("document.getElementById('again').hidden")
    chromium.run("document.getElementById('close').click()")
    chromium.run("document.querySelector('.card').click()")
    # What a page without the right to the clipboard does is of no use to a test: listen instead.
    chromium.run(
        "document.addEventListener('copy', () => { window.copied = String(getSelection()); });"
        "navigator.clipboard.writeText = async (text) => { window.copied = text; };"
    )
    chromium.run("document.getElementById('copy').click()")
    chromium.wait("document.getElementById('copied').textContent === 'Copied'")
    assert chromium.run("window.copied") == chromium.run("document.getElementById('command').textContent")
    assert chromium.complaints == []


@pytest.mark.slow
@pytest.mark.skipif(browser.find() is None, reason="no Chromium here")
def test_light_and_dark(sdgen: Command, folder: Path, tmp_path: Path) -> None:
    made(sdgen, "images")
    brightness = {}
    for dark in (False, True):
        with Browser(tmp_path / f"profile{dark}", dark) as chromium:
            chromium.open((folder / "gallery.html").absolute().as_uri())
            chromium.screenshot(tmp_path / "page.png")
            corner = np.asarray(Image.open(tmp_path / "page.png").convert("L"))[-40:, -40:]
            brightness[dark] = corner.mean()
    assert brightness[False] > 200
    assert brightness[True] < 60


@pytest.mark.slow
@pytest.mark.skipif(browser.find() is None, reason="no Chromium here")
def test_thousands_of_images_are_added_as_they_are_scrolled_to(sdgen: Command, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save("a.png")
    items = [{**gallery.item(Path("a.png"), Path(".")), "name": f"{i}.png"} for i in range(3000)]
    Path("many.html").write_text(gallery.page(items, "many"), "utf-8")
    with Browser(tmp_path / "profile") as chromium:
        chromium.open(Path("many.html").absolute().as_uri())
        assert chromium.run("document.getElementById('count').textContent") == "3000 images"
        assert chromium.run(f"{NAMES}.length") == 120
        chromium.run("scrollTo(0, document.body.scrollHeight)")
        chromium.wait(f"{NAMES}.length > 120")


@pytest.fixture
def edited(sdgen: Command) -> Path:
    """An image that was started from a picture, in a folder of its own."""
    Image.new("RGB", (64, 48), "red").save("start.png")
    sdgen.drawn("a fox", "--init-image", "start.png", "--strength", "0.5", "-o", "edited/fox.png")
    return Path("edited")


def test_what_an_image_was_started_from_is_shown_while_it_is_to_be_found(
    sdgen: Command, edited: Path
) -> None:
    (item,) = made(sdgen, "edited").items
    with Image.open(io.BytesIO(base64.b64decode(item["before"]))) as before:
        assert before.size == (64, 48)
        red, green, blue = before.convert("RGB").getpixel((20, 20))
        assert red > 240 and max(green, blue) < 16
    assert ["init_image", "start.png"] in item["fields"]
    Image.new("RGB", (64, 48), "blue").save("start.png")
    (item,) = made(sdgen, "edited").items
    assert item["before"] is None


@pytest.mark.slow
@pytest.mark.skipif(browser.find() is None, reason="no Chromium here")
def test_before_and_after_in_a_browser(sdgen: Command, edited: Path, tmp_path: Path) -> None:
    sdgen.drawn("a cat", "-o", "edited/cat.png")
    made(sdgen, "edited")
    with Browser(tmp_path / "profile") as chromium:
        url = (edited / "gallery.html").absolute().as_uri()
        for name, hidden in (("fox.png", False), ("cat.png", True)):
            chromium.open(f"{url}#image={name}")
            chromium.wait("document.getElementById('viewer').open")
            assert chromium.run("document.getElementById('before').hidden") is hidden
        chromium.open(f"{url}#image=fox.png")
        chromium.wait("document.getElementById('before-picture').naturalWidth === 64")
        assert chromium.complaints == []
