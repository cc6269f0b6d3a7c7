"""The mark of AI origin: an XMP packet that other programs read."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from command import Command
from PIL import Image
from stand_in import DETAILS, REQUEST, draw

from sdgen.images import ai_mark, metadata

GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
COMPOSITE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
ENDINGS = {"png": "png", "webp": "webp", "jpeg": "jpg"}


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def source_type(data: bytes) -> str | None:
    """The property as an XML parser reads it; None where there is no packet."""
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        xmp = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp")
    if xmp is None:
        return None
    root = ElementTree.fromstring(xmp if isinstance(xmp, str) else xmp.decode())
    description = root.find(".//{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    assert root.tag == "{adobe:ns:meta/}xmpmeta" and description is not None
    return description.get("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")


@pytest.mark.parametrize("format", list(metadata.FORMATS))
def test_every_format_says_that_a_model_made_the_picture(format: str) -> None:
    assert source_type(metadata.encode(draw(REQUEST), format, REQUEST, DETAILS)) == GENERATED


@pytest.mark.parametrize("format", list(metadata.FORMATS))
def test_the_mark_stays_where_the_text_is_too_long_for_a_jpeg(format: str) -> None:
    request = REQUEST.replace(prompt="富" * 20_000, negative_prompt="士" * 20_000)
    assert source_type(metadata.encode(draw(request), format, request)) == GENERATED


@pytest.mark.parametrize("format", list(metadata.FORMATS))
def test_the_mark_changes_no_pixel(format: str) -> None:
    marked, plain = (
        np.asarray(Image.open(io.BytesIO(metadata.encode(draw(REQUEST), format, request))))
        for request in (REQUEST, None)
    )
    assert np.array_equal(marked, plain)


@pytest.mark.parametrize("format", list(metadata.FORMATS))
def test_without_metadata_there_is_no_mark(sdgen: Command, format: str) -> None:
    result = sdgen.draw("x", "--format", format, "--no-metadata", "--grid", f"sheet.{ENDINGS[format]}")
    assert result.exit_code == 0, result.stderr
    for path in (result.stdout.strip(), f"sheet.{ENDINGS[format]}"):
        assert source_type(Path(path).read_bytes()) is None


@pytest.mark.parametrize("more", [[], ["--no-metadata"]])
def test_the_same_on_stdout(sdgen: Command, more: list[str]) -> None:
    data = sdgen.draw("x", "-o", "-", *more).stdout_bytes
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        assert ("parameters" in picture.info) is not bool(more)
    assert source_type(data) == (None if more else GENERATED)


@pytest.mark.parametrize("ending", ENDINGS.values())
def test_a_runs_contact_sheet_has_it(sdgen: Command, ending: str) -> None:
    sdgen.draw("x", "-n", "2", "--grid", f"sheet.{ending}")
    assert source_type(Path(f"sheet.{ending}").read_bytes()) == GENERATED


@pytest.mark.parametrize(
    ("photos", "drawn", "more", "expected"),
    [
        (0, 2, [], GENERATED),
        (1, 1, [], COMPOSITE),
        (2, 0, [], None),
        (0, 2, ["--no-metadata"], None),
    ],
)
def test_a_sheet_of_images_says_what_they_say(
    sdgen: Command, photos: int, drawn: int, more: list[str], expected: str | None
) -> None:
    Path("in").mkdir()
    for number in range(photos):
        Image.new("RGB", (8, 8)).save(f"in/photo-{number}.png")
    for number in range(drawn):
        sdgen.draw("x", "--seed", str(number), "-o", f"in/{number}.png")
    assert sdgen.run("grid", "in", "-o", "sheet.webp", *more).exit_code == 0
    assert source_type(Path("sheet.webp").read_bytes()) == expected


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="no exiftool here")
@pytest.mark.parametrize("format", list(metadata.FORMATS))
def test_exiftool_reads_it(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"a.{ENDINGS[format]}"
    path.write_bytes(metadata.encode(draw(REQUEST), format, REQUEST, DETAILS))
    result = subprocess.run(
        ["exiftool", "-j", "-n", "-XMP-iptcExt:DigitalSourceType", "-Warning", "-Error", str(path)],
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    (found,) = json.loads(result.stdout)
    assert found["DigitalSourceType"] == ai_mark.GENERATED
    assert not {"Warning", "Error"} & found.keys()


def test_the_packet_is_one_of_the_xmp_specification() -> None:
    """Part 1, 7.3.2: it begins with a processing instruction whose id is this, and ends with another."""
    assert ai_mark.packet().startswith('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>')
    assert ai_mark.packet().endswith('<?xpacket end="r"?>')


@pytest.mark.parametrize("ending", ["png", "webp", "jpg"])
@pytest.mark.parametrize("made", [True, False])
@pytest.mark.parametrize("format", list(metadata.FORMATS))
def test_a_filter_keeps_the_mark_of_what_it_enlarges_and_makes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, made: bool, format: str
) -> None:
    sdgen = Command(tmp_path, monkeypatch, real=True)
    kind = {"jpg": "jpeg"}.get(ending, ending)
    picture = Path(f"a.{ending}")
    picture.write_bytes(metadata.encode(draw(REQUEST), kind, REQUEST if made else None, DETAILS))
    assert sdgen.run("upscale", str(picture), "--format", format, "-o", "out/").exit_code == 0
    assert (
        sdgen.run("upscale", "-", "--format", format, "-o", "out/", input=picture.read_bytes()).exit_code == 0
    )
    for name in ("a", "image"):
        stored = Path("out", f"{name}.{ENDINGS[format]}").read_bytes()
        assert source_type(stored) == (GENERATED if made else None)


def test_the_mark_of_a_sheet_stays_that_of_a_sheet(tmp_path: Path) -> None:
    options: dict[str, object] = {}
    ai_mark.mark("png", options, COMPOSITE)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", **options)
    assert ai_mark.found(tmp_path / "a.png") == COMPOSITE
    assert ai_mark.found(tmp_path / "none.png") is None
