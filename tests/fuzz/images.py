"""Images and sidecars: what reads them, and damaged ones."""

from __future__ import annotations

import io
import json
import random
import struct
import tempfile
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fuzz.mutations import STRANGE_NUMBERS, STRANGE_TEXT, altered, damaged
from sdgen.cli import show
from sdgen.errors import InputError
from sdgen.files import json_text
from sdgen.images import contact_sheet, gallery, metadata, pictures, records, sheet_layout
from sdgen.request import Request
from sdgen.request.pictures import read_picture

FORMATS = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}
REQUEST = Request(
    prompt="a (red:1.2) fox, 富士山",
    negative_prompt="blurry",
    seed=7,
    steps=20,
    guidance=7.5,
    sampler="dpmpp-2m",
    schedule="karras",
    width=64,
    height=32,
    model="mini",
)
PIXELS = np.arange(64 * 32 * 3, dtype=np.uint8).reshape(32, 64, 3)
PARAMETERS = (
    "a fox, [blurry]\nNegative prompt: ugly\nSteps: 20, Sampler: DPM++ 2M Karras, Schedule type: Automatic, "
    'CFG scale: 7, Seed: 5, Size: 512x768, Lora hashes: "a: 1, b: 2", Clip skip: 2, RNG: CPU, Eta DDIM: 0.5, '
    'Civitai resources: [{"modelName":"Seed: 9"}], Raw prompt: a fox, Version: Fooocus v2.4'
)
JSON_TEXTS: dict[str, Any] = {
    "invokeai_metadata": {"positive_prompt": "a", "seed": 5, "scheduler": "euler_k", "model": {"name": "m"}},
    "sd-metadata": {"model_weights": "m", "image": {"prompt": [{"prompt": "a [b]"}], "seed": 5}},
    "parameters": {"sui_image_params": {"prompt": "a", "cfgscale": 7, "clipstopatlayer": -2}},
    "Comment": {"base_model": "m", "resolution": "(512, 768)", "sampler": "ddim", "scheduler": "karras"},
    "prompt": {"3": {"class_type": "KSampler"}},
    "sdgen": REQUEST.to_dict(),
}
DREAM = '"a fox [blurry]" -s 50 -S 7 -W 512 -H 512 -C 7.5 -A k_euler_a'
CHUNKS = b"tEXt zTXt iTXt eXIf iCCP PLTE tRNS IDAT acTL fcTL fdAT prVt".split()


MOST = 4_000_000
"""Bytes of an input, about."""


def read(folder: Path) -> None:
    """Everything that sdgen does with images and sidecars that it is shown, short of drawing.

    Raises:
        InputError: one could not be read; the others were tried.
        Warning: a library has something to say, which would reach the user.
    """
    warnings.simplefilter("error")
    refused = None
    for path in sorted(folder.iterdir()):
        for use in (_show, _list, _put_on_a_sheet, _start_from):
            try:
                use(path)
            except InputError as error:
                assert "\n" not in str(error).strip()
                refused = error
    if refused is not None:
        raise refused


def show_each(folder: Path) -> None:
    """What ``sdgen show`` does."""
    for path in folder.iterdir():
        _show(path)


def _show(path: Path) -> None:
    record = records.read(path)
    unchanged = records.unchanged(record)
    shown = show._text(record, unchanged)
    assert all(char.isprintable() or char == "\n" for char in shown)
    json.loads(json_text.write(show._object(record, unchanged)), parse_constant=_refuse)


def _list(path: Path) -> None:
    if path.suffix != ".json":
        page = gallery.page([gallery.item(path, path.parent)], "images")
        assert page.count("<script") == 2


def _put_on_a_sheet(path: Path) -> None:
    if path.suffix == ".json":
        return
    assert pictures.is_sheet(path) in (True, False)
    layout = sheet_layout.arrange([sheet_layout.entry(path)])
    contact_sheet.encode(contact_sheet.draw(layout, 32), "png", None)


def _start_from(path: Path) -> None:
    """What ``--init-image`` does."""
    if path.suffix != ".json":
        read_picture(path, "init_image").pixels()


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def make(rng: random.Random, folder: Path) -> None:
    """One input: a sidecar, the text of another tool, or an image whose bytes or parts are damaged."""
    kind = rng.randrange(6)
    if kind == 0:
        _sidecar(rng, folder)
        return
    format = rng.choice(list(FORMATS))
    data = _drawn(rng, format)
    if kind in (1, 2):
        data = damaged(rng, data, most=12)
    elif kind == 3:
        format, data = "png", _with_strange_chunks(rng, _drawn(rng, "png"))
    elif kind == 4:
        format, data = "jpeg", _with_strange_segments(rng, _drawn(rng, "jpeg"))
    (folder / f"a{FORMATS[format]}").write_bytes(data)


def _sidecar(rng: random.Random, folder: Path) -> None:
    values = metadata.sidecar(REQUEST, PIXELS, file_name="a.png", format="png", seconds=0.5)
    for _ in range(rng.randint(1, 3)):
        values = altered(rng, values)
    text = json.dumps(values).encode()
    if rng.random() < 0.3:
        text = damaged(rng, text)
    if rng.random() < 0.05:
        text = b'{"a":' * rng.choice((50, 500, 100_000)) + text
    (folder / "a.json").write_bytes(text)
    (folder / "a.png").write_bytes(metadata.encode(PIXELS, "png", REQUEST))


def _drawn(rng: random.Random, format: str) -> bytes:
    """An image with the text of sdgen or of another tool, which may be strange."""
    if rng.random() < 0.3:
        return metadata.encode(PIXELS, format, REQUEST)
    stream = io.BytesIO()
    name, text = _text(rng)
    mode = rng.choice(("RGB", "RGBA", "L", "P", "I;16", "1")) if format == "png" else "RGB"
    picture = Image.new(mode, (rng.choice((1, 8, 64)), rng.choice((1, 9))))
    if format == "png":
        info = PngInfo()
        rng.choice((info.add_text, info.add_itxt))(name, text.encode("latin-1", "replace").decode("latin-1"))
        picture.save(stream, format, pnginfo=info)
        return stream.getvalue()
    fields = Image.Exif()
    place = rng.choice((fields, fields.get_ifd(0x8769)))
    place[0x9286] = rng.choice((b"UNICODE\0", b"ASCII\0\0\0", b"", b"JIS\0\0\0\0\0")) + text.encode(
        rng.choice(("utf-8", "utf-16-be", "utf-16-le")), "replace"
    )
    place[0x927C] = rng.choice(("fooocus", "a1111", "{}", text[:1000]))
    more = {"comment": text.encode("utf-8", "replace")[:60_000]} if format == "jpeg" else {}
    data = fields.tobytes()
    if format == "jpeg" and len(data) > 65_000:
        data = b""
    picture.save(stream, format, exif=data, **more)
    return stream.getvalue()


def _text(rng: random.Random) -> tuple[str, str]:
    """A name and a text that some tool could have written."""
    kind = rng.randrange(4)
    if kind == 0:
        name = rng.choice(list(JSON_TEXTS))
        value = JSON_TEXTS[name]
        for _ in range(rng.randint(0, 3)):
            value = altered(rng, value)
        return name, json.dumps(value)
    if kind == 1:
        text, name = damaged(rng, DREAM.encode()).decode("utf-8", "replace"), "Dream"
    else:
        text, name = damaged(rng, PARAMETERS.encode(), most=8).decode("utf-8", "replace"), "parameters"
    if rng.random() < 0.2:
        text = text.replace("Seed: 5", f"Seed: {rng.choice(STRANGE_NUMBERS)}, {rng.choice(STRANGE_TEXT)}: [")
    if rng.random() < 0.1:
        part = rng.choice(("a: [", '"', "[", "Steps: 1, ", "\n", "-s ", "((", "\\", "x: {", "Size: 1x1, "))
        text += part * rng.choice((100, 10_000, 300_000))
    return name, text


def _with_strange_chunks(rng: random.Random, data: bytes) -> bytes:
    """A PNG with chunks put in, left out, doubled or of another length; their checksums are right."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(chunks))
        how = rng.randrange(5)
        name, body = chunks[place]
        if how == 0:
            del chunks[place]
        elif how == 1:
            chunks[place] = (name, damaged(rng, body))
        elif how == 2:
            chunks[place : place + 1] *= min(rng.choice((2, 1000, 100_000)), MOST // (len(body) + 12))
        elif how == 3:
            chunks[place] = (rng.choice(CHUNKS), body)
        else:
            packed = zlib.compress(bytes(rng.choice((10, 2_000_000, 100_000_000))))
            head = rng.choice((b"k\0\0", b"k\0\1\0\0\0", b"k\0", b""))
            chunks.insert(place, (rng.choice(CHUNKS), head + packed))
        if not chunks:
            break
    parts = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    return data[:8] + b"".join(parts)


def _with_strange_segments(rng: random.Random, data: bytes) -> bytes:
    """A JPEG with segments put in behind its beginning, or its last scan doubled."""
    if rng.random() < 0.3:
        start = data.rindex(b"\xff\xda")
        return data[:-2] + data[start:-2] * rng.choice((1, 10, 1000, 10_000)) + data[-2:]
    if rng.random() < 0.1:
        return data[:2] + rng.choice((b"\xff\xd0", b"\xff", b"\xff\x00", b"x")) * 1_000_000 + data[2:]
    body = rng.choice(
        (b"", b"Exif\0\0MM\0*\0\0\0\x08", b"ICC_PROFILE\0\1\1", b"MPF\0II*\0", b"Photoshop 3.0\0")
    )
    body += rng.randbytes(rng.choice((0, 20, 60_000)))
    marker = rng.choice((0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE, 0xC0, 0xC2, 0xC4, 0xDB, 0xDD))
    segment = b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body
    count = rng.choice((1, 1, 3, 100, 10_000))
    return data[:2] + segment * (count if len(body) < 1000 else min(count, 500)) + data[2:]


def _warm_up() -> None:
    """Reads an image of each format, so that what Pillow loads when it is needed is loaded once."""
    with tempfile.TemporaryDirectory() as folder:
        for format, ending in FORMATS.items():
            Path(folder, f"a{ending}").write_bytes(metadata.encode(PIXELS, format, REQUEST))
        with warnings.catch_warnings():
            read(Path(folder))


_warm_up()
