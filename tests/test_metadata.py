"""The sidecar follows its schema; the text in images is what other tools read."""

from __future__ import annotations

import hashlib
import io
import json
from importlib import resources
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image
from sd_parsers import ParserManager
from sd_parsers.data import PromptInfo
from stand_in import DETAILS, REQUEST, draw

from sdgen.images import a1111_text, metadata
from sdgen.request import FIELDS, Request


def schema() -> dict[str, Any]:
    return json.loads((resources.files("sdgen.images") / "data" / "sidecar.schema.json").read_text("utf-8"))


def record(request: Request = REQUEST, **changes: Any) -> dict[str, Any]:
    options = {"file_name": "a.png", "format": "png", "seconds": 1.25, "details": DETAILS}
    return metadata.sidecar(request, draw(request), **{**options, **changes})


_kept: list[Image.Image] = []


def parsed(data: bytes) -> PromptInfo:
    # sd_parsers remembers the last image by its address, which a new one may have once that is gone.
    _kept.append(Image.open(io.BytesIO(data)))
    found = ParserManager().parse(_kept[-1])
    assert found is not None
    return found


def encoded(format: str, request: Request | None = REQUEST) -> bytes:
    return metadata.encode(draw(request or REQUEST), format, request, DETAILS)


@pytest.mark.parametrize("details", [DETAILS, {}])
def test_sidecar_follows_the_published_schema(details: dict[str, Any]) -> None:
    checker = jsonschema.Draft202012Validator(schema())
    checker.check_schema(schema())
    checker.validate(record(details=details))


def test_schema_describes_every_field_and_no_other() -> None:
    sparse = {name for name, field in FIELDS.items() if field.sparse}
    details = {**DETAILS, "hires_weights_sha256": "ab" * 32}
    assert list(record(job="cd" * 32, details=details)) == [
        name for name in schema()["properties"] if name not in sparse
    ]


def test_a_sidecar_has_of_the_sparse_fields_those_that_are_set() -> None:
    picture = np.zeros((8, 16, 4), np.uint8)
    found = record(REQUEST.replace(init_image=picture, strength=0.5, background="#102030"))
    jsonschema.validate(found, schema())
    assert found["init_image"] == {
        "file": None,
        "sha256": found["init_image"]["sha256"],
        "width": 16,
        "height": 8,
        "alpha": True,
    }
    assert (found["strength"], found["background"], found.get("resize")) == (0.5, "#102030", None)


def test_schema_refuses_a_sidecar_without_its_seed() -> None:
    incomplete = record()
    del incomplete["seed"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(incomplete, schema())


def test_sidecar_begins_with_what_people_look_for_and_holds_the_whole_request() -> None:
    found = record()
    assert list(found)[:3] == ["prompt", "seed", "steps"]
    assert {name: found[name] for name in REQUEST.to_dict()} == REQUEST.to_dict()


def test_sidecar_time_is_utc() -> None:
    assert record()["created"].endswith("+00:00")


def test_pixel_digest_is_that_of_the_decoded_png() -> None:
    pixels = Image.open(io.BytesIO(encoded("png"))).convert("RGB").tobytes()
    assert record()["pixels_sha256"] == hashlib.sha256(pixels).hexdigest()


@pytest.mark.parametrize("format", list(metadata.FORMATS))
@pytest.mark.parametrize(
    ("prompt", "negative"),
    [
        ("a red fox", ""),
        ("a red fox, (detailed:1.2), 8k", "blurry, low quality"),
        ("line one\nline two", "more\nlines"),
        ("富士山と桜 🌸", "très laid"),
        ('quotes " and: colons, commas', ""),
        ("Steps: 3, Seed: 9, Sampler: none", ""),
    ],
)
def test_sd_parsers_reads_the_settings(format: str, prompt: str, negative: str) -> None:
    found = parsed(encoded(format, REQUEST.replace(prompt=prompt, negative_prompt=negative)))
    (sampler,) = found.samplers
    assert [text.value for text in sampler.prompts] == [prompt]
    assert [text.value for text in sampler.negative_prompts] == ([negative] if negative else [])
    assert sampler.name == "DPM++ 2M"
    assert sampler.parameters["scheduler"] == "Karras"
    assert (sampler.parameters["steps"], sampler.parameters["seed"]) == ("20", "7")
    assert sampler.parameters["cfg_scale"] == "7.5"
    assert sampler.model is not None
    assert (sampler.model.name, sampler.model.hash) == ("mini", "ab" * 5)
    assert found.metadata["Size"] == "64x32"
    assert found.metadata["Version"].startswith("sdgen ")


def test_parameters_are_in_the_form_of_automatic1111() -> None:
    assert a1111_text.write(REQUEST, DETAILS) == (
        "a red fox\n"
        "Negative prompt: blurry\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.5, Seed: 7, Size: 64x32, "
        f"Model hash: ababababab, Model: mini, Version: sdgen {metadata.sdgen_version()}"
    )


def test_a_model_path_with_a_comma_is_quoted() -> None:
    assert 'Model: "a, b: c"' in a1111_text.write(REQUEST, {"model": "a, b: c"})


@pytest.mark.parametrize("prompt", ["a red fox", "富士山"])
def test_png_holds_the_request(prompt: str) -> None:
    request = REQUEST.replace(prompt=prompt)
    chunks = Image.open(io.BytesIO(encoded("png", request))).text
    assert Request.from_dict(json.loads(chunks["sdgen"])) == request
    # A chunk named "prompt" would make sd-prompt-reader take the file for ComfyUI's.
    assert set(chunks) == {"parameters", "sdgen", "XML:com.adobe.xmp"}


@pytest.mark.parametrize("format", ["webp", "jpeg"])
def test_webp_and_jpeg_hold_the_request(format: str) -> None:
    exif = Image.open(io.BytesIO(encoded(format))).getexif().get_ifd(0x8769)
    assert exif[0x927C] == REQUEST.to_json().encode()


def test_jpeg_with_a_prompt_too_long_for_exif_is_still_written() -> None:
    data = encoded("jpeg", REQUEST.replace(prompt="富" * 20_000))
    assert Image.open(io.BytesIO(data)).size == (64, 32)


@pytest.mark.parametrize("format", list(metadata.FORMATS))
def test_without_a_request_an_image_has_no_text(format: str) -> None:
    picture = Image.open(io.BytesIO(encoded(format, None)))
    assert not picture.getexif()
    assert not getattr(picture, "text", {})


def test_jpeg_keeps_full_colour_resolution() -> None:
    from PIL import JpegImagePlugin

    assert JpegImagePlugin.get_sampling(Image.open(io.BytesIO(encoded("jpeg")))) == 0


def test_a_name_that_is_none_has_no_version() -> None:
    assert list(metadata.versions(["numpy", "", "no such package"])) == ["numpy"]
