"""Pictures that a request starts from: every mode and format to what is meant, and how they are known."""

from __future__ import annotations

import io
import os
import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from limits import within
from PIL import Image, ImageCms

from sdgen.errors import InputError
from sdgen.files import picture_files
from sdgen.request.pictures import Picture, PictureKind, read_picture

LOSSLESS = ("PNG", "WEBP", "TIFF", "BMP", "PPM")


def colours(height: int = 6, width: int = 9, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def data(picture: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format, **({"lossless": True, "exact": True} if format == "WEBP" else {}) | options)
    return stream.getvalue()


def pixels(source: Any) -> np.ndarray:
    return read_picture(source, "init_image").pixels()


def refused(source: Any) -> str:
    with pytest.raises(InputError) as raised:
        within(20, lambda: read_picture(source, "init_image"))
    message = str(raised.value)
    assert raised.value.field == "init_image"
    assert message.startswith("init_image: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("format", LOSSLESS)
def test_colours_are_what_is_in_the_file(format: str) -> None:
    drawn = colours()
    found = pixels(data(Image.fromarray(drawn), format))
    assert (found[..., :3] == drawn).all()
    assert (found[..., 3] == 255).all()


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_alpha_and_the_colours_under_it_are_what_is_in_the_file(format: str) -> None:
    drawn = colours(channels=4)
    picture = read_picture(data(Image.fromarray(drawn), format), "init_image")
    assert (picture.pixels() == drawn).all()
    assert picture.alpha


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_picture_is_turned_as_its_exif_says(orientation: int, format: str) -> None:
    """As Pillow's exif_transpose turns it."""
    drawn = Image.fromarray(np.kron(colours(2, 3), np.ones((16, 16, 1), np.uint8)))
    exif = Image.Exif()
    exif[274] = orientation
    coded = data(drawn, format, exif=exif)
    with Image.open(io.BytesIO(coded)) as opened:
        opened.load()
        from PIL import ImageOps

        expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    assert (pixels(coded)[..., :3] == expected).all()


def test_a_cameras_mpo_is_its_first_picture_upright() -> None:
    first, second = Image.new("RGB", (32, 16), "red"), Image.new("RGB", (32, 16), "blue")
    exif = Image.Exif()
    exif[274] = 6
    found = pixels(data(first, "MPO", save_all=True, append_images=[second], exif=exif))
    assert found.shape == (32, 16, 4)
    assert found[..., 0].min() > 250
    assert found[..., 2].max() < 5


def test_a_palette_with_one_transparent_colour() -> None:
    drawn = Image.fromarray(np.arange(4, dtype=np.uint8)[None]).convert("P")
    drawn.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    for format in ("PNG", "GIF"):
        found = pixels(data(drawn, format, transparency=2))
        assert found[0].tolist() == [[0, 0, 0, 255], [255, 0, 0, 255], [0, 255, 0, 0], [0, 0, 255, 255]]


def test_a_palette_with_an_alpha_for_each_colour() -> None:
    drawn = Image.fromarray(np.arange(3, dtype=np.uint8)[None]).convert("P")
    drawn.putpalette([9, 8, 7, 255, 0, 0, 0, 255, 0])
    found = pixels(data(drawn, "PNG", transparency=bytes([0, 128, 255])))
    assert found[0].tolist() == [[9, 8, 7, 0], [255, 0, 0, 128], [0, 255, 0, 255]]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_transparent_grey_of_a_png(bits: int) -> None:
    """PNG 11.3.2.1: it is a sample of the file's depth."""
    levels = 2**bits
    grey = np.linspace(0, 255, levels).round().astype(np.uint8)[None]
    coded = png(grey_rows(bits), levels, bits, 0, (levels - 1).to_bytes(2, "big"))
    found = pixels(coded)[0]
    assert found[:, 0].tolist() == grey[0].tolist()
    assert found[:, 3].tolist() == [255] * (levels - 1) + [0]


def grey_rows(bits: int) -> bytes:
    """A row of a PNG that has each level once."""
    digits = "".join(f"{level:0{bits}b}" for level in range(2**bits))
    digits += "0" * (-len(digits) % 8)
    return b"\0" + int(digits, 2).to_bytes(len(digits) // 8, "big")


def png(rows: bytes, width: int, bits: int, colour: int, transparent: bytes) -> bytes:
    import struct
    import zlib

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, colour, 0, 0, 0)),
            chunk(b"tRNS", transparent),
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        ]
    )


def test_the_transparent_grey_and_colour_of_a_png_of_16_bits() -> None:
    grey = png(b"\0" + np.array([0, 0x1234, 65535], ">u2").tobytes(), 3, 16, 0, b"\x12\x34")
    assert pixels(grey)[0].tolist() == [[0, 0, 0, 255], [18, 18, 18, 0], [255, 255, 255, 255]]
    colour = np.array([[0, 0, 0], [0x1234, 0x5678, 0x9ABC]], ">u2")
    found = pixels(png(b"\0" + colour.tobytes(), 2, 16, 2, colour[1].tobytes()))
    assert found[0].tolist() == [[0, 0, 0, 255], [0x12, 0x56, 0x9A, 0]]


def test_greys_of_16_bits_are_rounded_to_8() -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.round(levels / 257).astype(np.uint8)
    for source in (data(Image.fromarray(levels), "PNG"), data(Image.fromarray(levels), "TIFF")):
        found = pixels(source)
        assert (found[..., 0] == expected).all()
        assert (found[..., 0] == found[..., 2]).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 65535]], np.int32), [0, 255]),
        (np.array([[-5, 2**31 - 1, 2**30]], np.int32), [0, 255, 128]),
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[-3, 51, 255]], np.float32), [0, 51, 255]),
        (np.array([[257, 65535]], np.float32), [1, 255]),
        (np.array([[5e5, 1e6]], np.float32), [128, 255]),
        (np.array([[np.nan, np.inf, -np.inf, 1]], np.float32), [0, 255, 0, 255]),
        (np.array([[np.nan, np.inf]], np.float32), [0, 255]),
        (np.array([[0, -1]], np.float32), [0, 0]),
    ],
)
def test_deep_greys_are_scaled_by_their_range(values: np.ndarray, expected: list[int]) -> None:
    assert pixels(data(Image.fromarray(values), "TIFF"))[0, :, 1].tolist() == expected


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "PA", "I", "F"]
)
def test_each_of_pillows_modes_is_taken_from_memory(mode: str) -> None:
    drawn = Image.new("RGB", (5, 3), (255, 255, 255))
    if mode in ("1", "LAB", "PA", "I", "F"):
        drawn = {
            "PA": drawn.convert("P"),
            "LAB": drawn,
            "I": drawn.convert("L"),
            "F": drawn.convert("L"),
        }.get(mode, drawn)
    if mode == "LAB":
        profiles = (ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"))
        picture = ImageCms.profileToProfile(drawn, *profiles, outputMode="LAB")
    elif mode == "I":
        picture = Image.fromarray(np.full((3, 5), 65535, np.int32))
    else:
        picture = drawn.convert(mode)
    found = pixels(picture)
    assert found.shape == (3, 5, 4)
    assert (found >= 254).all()


@pytest.mark.parametrize("quality", [90, 95])
def test_a_jpeg_of_cmyk_is_not_a_negative(quality: int) -> None:
    """Adobe's are stored inverted."""
    cmyk = Image.fromarray(np.full((16, 16, 4), (0, 255, 255, 0), np.uint8), "CMYK")
    assert abs(pixels(data(cmyk, "JPEG", quality=quality))[8, 8].astype(int) - [255, 0, 0, 255]).max() < 6


def profile(name: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


def test_a_profile_of_srgb_changes_no_pixel() -> None:
    drawn = colours(64, 64)
    assert (pixels(data(Image.fromarray(drawn), "PNG", icc_profile=profile("sRGB")))[..., :3] == drawn).all()


@pytest.mark.parametrize("broken", [b"", b"no profile", profile("sRGB")[:200], bytes(5000), profile("LAB")])
def test_a_profile_that_is_damaged_or_for_other_pixels_is_ignored(broken: bytes) -> None:
    drawn = colours()
    assert (pixels(data(Image.fromarray(drawn), "PNG", icc_profile=broken))[..., :3] == drawn).all()


def swapped_profile() -> bytes:
    """SRGB's with red and blue changed about."""
    return profile("sRGB").replace(b"rXYZ", b"tXYZ").replace(b"bXYZ", b"rXYZ").replace(b"tXYZ", b"bXYZ")


def test_another_profile_is_brought_to_srgb() -> None:
    found = pixels(data(Image.new("RGB", (4, 4), (255, 0, 0)), "PNG", icc_profile=swapped_profile()))
    assert abs(found[0, 0].astype(int) - [0, 0, 255, 255]).max() <= 2


def test_alpha_and_palettes_go_with_a_profile() -> None:
    drawn = Image.new("RGBA", (4, 4), (255, 0, 0, 7))
    found = pixels(data(drawn, "PNG", icc_profile=swapped_profile()))
    assert abs(found[0, 0].astype(int) - [0, 0, 255, 7]).max() <= 2
    found = pixels(
        data(Image.new("RGB", (4, 4), (255, 0, 0)).convert("P"), "PNG", icc_profile=swapped_profile())
    )
    assert abs(found[0, 0].astype(int) - [0, 0, 255, 255]).max() <= 2


def test_bands_join() -> None:
    drawn = colours(1100, 1000)
    assert (pixels(drawn) == pixels(data(Image.fromarray(drawn), "PNG", compress_level=0))).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 20_000), (20_000, 1), (20_000, 3)])
def test_a_side_may_be_one_pixel_or_twenty_thousand(shape: tuple[int, int]) -> None:
    drawn = colours(*shape)
    assert (pixels(data(Image.fromarray(drawn)))[..., :3] == drawn).all()


def test_too_many_pixels_are_refused_by_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_files, "MOST_PIXELS", 50)
    message = refused(data(Image.new("RGB", (10, 6))))
    assert message == "init_image: the picture is 10x6, too many pixels; the most is 50"


# What it is known by


def test_pictures_are_equal_that_show_the_same(tmp_path: Path) -> None:
    drawn = Image.fromarray(colours())
    path = tmp_path / "a.png"
    drawn.save(path)
    drawn.save(tmp_path / "b.bmp")
    every = {read_picture(source, "x") for source in (path, str(path), tmp_path / "b.bmp", drawn, colours())}
    assert len(every) == 1
    assert read_picture(Image.fromarray(colours()[:, ::-1]), "x") not in every


def test_pictures_of_other_shapes_are_unequal() -> None:
    drawn = colours()
    assert read_picture(drawn, "x") != read_picture(drawn.reshape(9, 6, 3), "x")


def test_a_picture_goes_to_another_process_and_to_json_and_back(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(colours(channels=4)).save(path)
    for source in (path, path.read_bytes(), colours(channels=4)):
        picture = read_picture(source, "x")
        again = pickle.loads(pickle.dumps(picture))
        assert again == picture
        assert (again.pixels() == picture.pixels()).all()
    picture = read_picture(path, "x")
    assert picture.to_dict() == {
        **{"file": str(path), "sha256": picture.sha256},
        **{"width": 9, "height": 6, "alpha": True},
    }
    again = read_picture(picture.to_dict(), "x")
    assert again == picture
    assert (again.pixels() == picture.pixels()).all()


def test_a_record_is_read_though_its_picture_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(colours()).save(path)
    plain = read_picture(path, "x").to_dict()
    path.unlink()
    picture = read_picture(plain, "x")
    with pytest.raises(InputError, match=r"a\.png is not there"):
        picture.pixels()


def test_a_file_that_shows_something_else_than_it_did_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(colours()).save(path)
    picture = read_picture(path, "x")
    Image.fromarray(colours()[::-1]).save(path)
    with pytest.raises(InputError, match="shows another picture than before"):
        picture.pixels()
    assert read_picture(path, "x") != picture


def test_a_file_and_a_sha256_alone_are_compared_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(colours()).save(path)
    picture = read_picture({"file": str(path)}, "x")
    assert read_picture({"file": str(path), "sha256": picture.sha256}, "x") == picture
    assert "shows another picture" in refused({"file": str(path), "sha256": "0" * 64})


def test_a_file_is_decoded_once_for_all_its_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(colours()).save(path)
    decode, calls = picture_files.decode, []
    monkeypatch.setattr(picture_files, "decode", lambda *a, **k: calls.append(a) or decode(*a, **k))
    assert len({read_picture(path, "x") for _ in range(10)}) == 1
    assert len(calls) == 1


def test_pixels_are_not_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        pixels(colours())[0] = 0


def test_the_callers_array_may_change_afterwards() -> None:
    drawn = colours()
    picture = read_picture(drawn, "x")
    before = picture.pixels().copy()
    drawn[:] = 0
    assert (picture.pixels() == before).all()


def test_the_kind_of_field_takes_what_is_a_picture_and_describes_it() -> None:
    kind = PictureKind()
    picture = kind.check("init_image", colours())
    assert isinstance(picture, Picture)
    assert kind.check("init_image", picture) is picture
    assert kind.identity(picture) == picture.sha256
    import jsonschema

    jsonschema.validate(kind.plain(picture), kind.schema())


# What is no picture


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.png", b"", "is empty"),
        ("a.png", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a Git LFS pointer"),
        ("a.png", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "is an SVG drawing"),
        ("a.jpg", b'<?xml version="1.0"?>\n<!-- x -->\n<svg/>', "is an SVG drawing"),
        ("a.jpg", b"\n<!DOCTYPE html><html>", "is a web page"),
        ("a.png", b"%PDF-1.7", "is a PDF"),
        ("a.png", b"%!PS-Adobe-3.0 EPSF-3.0", "is PostScript"),
        ("a.jpg", b"\0\0\0\x18ftypheic\0\0\0\0", "is a HEIC photograph"),
        ("a.png", b"\0\0\0\x18ftypmp42", "is a film"),
        ("a.png", b'{"prompt": "a fox"}', "is JSON"),
        ("a.png", b"PK\x03\x04", "is an archive"),
        ("a.png", b"nothing at all", "is not a PNG, JPEG, WebP"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    message = refused(tmp_path / name)
    assert message.startswith(f"init_image: {tmp_path / name} {sentence}")


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_is_refused(format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    message = refused(data(frames[0], format, save_all=True, append_images=frames[1:]))
    assert ("has several pages" if format == "TIFF" else "is an animation") in message


@pytest.mark.parametrize("format", [*LOSSLESS, "JPEG", "GIF"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.97])
def test_a_truncated_file_is_refused(format: str, share: float) -> None:
    coded = data(Image.fromarray(colours(64, 64)), format)
    assert "the picture" in refused(coded[: int(len(coded) * share)])


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    socket.socket(socket.AF_UNIX).bind(os.path.relpath(path))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "is not there"),
        (Path.mkdir, "is a folder"),
        (_pipe, "is a named pipe"),
        (_socket, "is a socket"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device"),
        (lambda path: path.symlink_to(path), "cannot be read"),
    ],
)
def test_what_is_no_file_is_named_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "a.png")
    assert f"a.png {sentence}" in refused(tmp_path / "a.png")


@pytest.mark.parametrize(
    "source",
    [
        5,
        None,
        [],
        {},
        {"file": 5},
        {"sha256": "x"},
        {"sha256": "0" * 64},
        {"sha256": "0" * 64, "width": 0, "height": 1},
        {"file": "a.png", "pixels": 1},
        "a\0.png",
        "x" * 5000,
        np.zeros((2, 2, 3), np.float32),
        np.zeros((2, 2, 5), np.uint8),
        np.zeros((0, 2, 3), np.uint8),
        np.zeros(3, np.uint8),
    ],
)
def test_what_no_picture_can_be_made_of_is_refused(source: Any) -> None:
    refused(source)


def test_names_are_shown_printable(tmp_path: Path) -> None:
    assert r"a\x1b[31m\n.png is not there" in refused(tmp_path / "a\x1b[31m\n.png")


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_libraries_write_nothing_of_a_damaged_tiff(
    compression: str, capfd: pytest.CaptureFixture[str]
) -> None:
    coded = bytearray(data(Image.fromarray(colours(64, 64)), "TIFF", compression=compression))
    coded[100:400] = b"\xff" * 300
    refused(bytes(coded))
    assert capfd.readouterr() == ("", "")


def test_a_damaged_file_of_a_format_that_is_read_is_called_damaged() -> None:
    assert "is a damaged PNG and cannot be decoded" in refused(b"\x89PNG\r\n\x1a\n" + bytes(100))
