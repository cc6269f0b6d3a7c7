"""What images and sidecars say about how they were drawn."""

from __future__ import annotations

import json
import shlex
import struct
import subprocess
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from stand_in import DETAILS, REQUEST, draw

from sdgen.diffusion.sampler_names import SAMPLERS, SCHEDULES
from sdgen.errors import InputError
from sdgen.images import a1111_text, image_files, metadata, pictures, records
from sdgen.pipeline import pipeline
from sdgen.request import Request

A1111 = """a castle (on a hill:1.2), <lora:x:0.5>
second line
Negative prompt: ugly,
worse
Steps: 30, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 4294967296, Size: 512x768, Model hash: abc, \
Model: dreamy_v2, Clip skip: 2, RNG: CPU, Lora hashes: "x: 1234, y: 5", Version: v1.9.4"""


def stored(
    folder: Path, request: Request = REQUEST, format: str = "png", **details: Any
) -> image_files.Saved:
    target = image_files.Output(folder, format=format)
    target.prepare(1, 1)
    return target.save(pipeline.Image(request, draw(request), 0.5, None, (), {**DETAILS, **details}))


def png(path: Path, **chunks: str) -> Path:
    info = PngInfo()
    for name, text in chunks.items():
        info.add_itxt(name, text)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


@pytest.mark.parametrize("format", list(metadata.FORMATS))
@pytest.mark.parametrize("prompt", ["a red fox", "富士山\nline two", "-dash, it's: (a:1.2) \x1b[31m"])
def test_an_image_alone_tells_its_request(tmp_path: Path, format: str, prompt: str) -> None:
    saved = stored(tmp_path, REQUEST.replace(prompt=prompt), format)
    saved.sidecar.unlink()
    record = records.read(saved.path)
    assert (record.tool, record.sidecar, record.image) == ("sdgen", None, saved.path)
    assert record.request() == REQUEST.replace(prompt=prompt)


def test_an_image_has_the_details_of_its_sidecar(tmp_path: Path) -> None:
    saved = stored(tmp_path)
    record = records.read(saved.path)
    assert record.sidecar == saved.sidecar
    assert record.details["weights_sha256"] == DETAILS["weights_sha256"]


def test_a_sidecar_of_another_image_is_not_believed(tmp_path: Path) -> None:
    saved = stored(tmp_path)
    values = json.loads(saved.sidecar.read_text("utf-8"))
    saved.sidecar.write_text(json.dumps({**values, "seed": 8}))
    record = records.read(saved.path)
    assert (record.sidecar, record.settings["seed"]) == (None, 7)


def test_an_image_without_text_is_told_by_its_sidecar(tmp_path: Path) -> None:
    saved = stored(tmp_path)
    Image.fromarray(draw(REQUEST)).save(saved.path)
    record = records.read(saved.path)
    assert record.request() == REQUEST
    assert records.unchanged(record)


def test_changed_pixels_are_noticed(tmp_path: Path) -> None:
    saved = stored(tmp_path)
    assert records.unchanged(records.read(saved.sidecar))
    Image.new("RGB", (64, 64)).save(saved.path)
    assert records.unchanged(records.read(saved.sidecar)) is False


@pytest.mark.parametrize("image", ["../x.png", "/etc/passwd", "", "a\0b", "a" * 3000, None, 5, ".."])
def test_a_sidecar_names_no_image_elsewhere(tmp_path: Path, image: object) -> None:
    saved = stored(tmp_path)
    values = json.loads(saved.sidecar.read_text("utf-8"))
    saved.sidecar.write_text(json.dumps({**values, "image": image}))
    assert records.read(saved.sidecar).image is None


def test_automatic1111() -> None:
    found = a1111_text.read(A1111)
    assert found is not None
    assert found.tool == "AUTOMATIC1111"
    assert found.settings == {
        "prompt": "a castle (on a hill:1.2), <lora:x:0.5>\nsecond line",
        "negative_prompt": "ugly,\nworse",
        "steps": 30,
        "sampler": "dpmpp-2m",
        "schedule": "karras",
        "guidance": 7.0,
        "seed": 4294967296,
        "width": 512,
        "height": 768,
        "model": "dreamy_v2",
        "clip_skip": 1,
        "rng": "torch",
    }
    assert found.other == {"Model hash": "abc", "Lora hashes": "x: 1234, y: 5", "Version": "v1.9.4"}


def test_what_a_request_does_not_take_is_shown_as_it_is() -> None:
    text = "x\nSteps: 9999999999999999999999, Sampler: LMS, CFG scale: -1, Seed: -1, Size: 513x512"
    found = a1111_text.read(text)
    assert found is not None
    assert found.settings == {"prompt": "x", "negative_prompt": "", "height": 512}
    assert set(found.other) == {"Steps", "Sampler", "guidance", "seed", "width"}


@pytest.mark.parametrize("text", ["a " * 250_000, f"Steps: 1, {'a' * 500_000}", f"Steps: 1,{' ' * 500_000}"])
def test_a_long_line_takes_no_long_time(text: str) -> None:
    began = time.process_time()
    assert a1111_text.read(f"a fox\n{text}") is None
    assert time.process_time() - began < 10


def test_what_is_written_as_parameters_is_read_back() -> None:
    for sampler in SAMPLERS:
        for schedule in SCHEDULES:
            request = REQUEST.replace(sampler=sampler, schedule=schedule)
            found = a1111_text.read(a1111_text.write(request, DETAILS))
            assert found is not None
            assert found.settings | {"prompt": request.prompt} == {
                name: value
                for name, value in request.to_dict().items()
                if name in (*found.settings, "prompt")
            }
            assert (found.tool, found.settings["sampler"], found.settings["schedule"]) == (
                "sdgen",
                sampler,
                schedule,
            )


@pytest.mark.parametrize(
    ("chunks", "tool", "settings"),
    [
        (
            {
                "invokeai_metadata": json.dumps(
                    {
                        "positive_prompt": "a fox",
                        "negative_prompt": "blur",
                        "seed": 5,
                        "steps": 12,
                        "cfg_scale": 6.5,
                        "scheduler": "dpmpp_2m_k",
                        "model": {"name": "sd-2-1", "hash": "1"},
                        "width": 512,
                    }
                )
            },
            "InvokeAI",
            {
                "prompt": "a fox",
                "negative_prompt": "blur",
                "seed": 5,
                "steps": 12,
                "guidance": 6.5,
                "sampler": "dpmpp-2m",
                "schedule": "karras",
                "model": "sd-2-1",
                "width": 512,
            },
        ),
        (
            {"parameters": json.dumps({"sui_image_params": {"prompt": "a fox", "cfgscale": 7, "seed": 3}})},
            "SwarmUI",
            {"prompt": "a fox", "guidance": 7.0, "seed": 3},
        ),
        (
            {
                "Software": "NovelAI",
                "Description": "a fox",
                "Comment": json.dumps(
                    {"steps": 28, "scale": 11.0, "uc": "bad", "sampler": "k_euler_ancestral"}
                ),
            },
            "NovelAI",
            {
                "prompt": "a fox",
                "steps": 28,
                "guidance": 11.0,
                "negative_prompt": "bad",
                "sampler": "euler-a",
            },
        ),
        (
            {"parameters": json.dumps({"prompt": "a fox", "seed": "12"}), "fooocus_scheme": "fooocus"},
            "Fooocus",
            {"prompt": "a fox", "seed": 12},
        ),
        ({"prompt": '{"3": {"class_type": "KSampler"}}', "workflow": "{}"}, "ComfyUI", {}),
    ],
)
def test_other_tools(tmp_path: Path, chunks: dict[str, str], tool: str, settings: dict[str, Any]) -> None:
    record = records.read(png(tmp_path / "a.png", **chunks))
    assert (record.tool, record.settings) == (tool, settings)


@pytest.mark.parametrize("order", ["utf-16-be", "utf-16-le"])
def test_exif_comment_in_either_byte_order(tmp_path: Path, order: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + A1111.encode(order)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=exif)
    assert records.read(tmp_path / "a.jpg").settings["seed"] == 4294967296


def test_a_photo_with_a_comment_is_no_record(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0our holiday"
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=exif)
    with pytest.raises(InputError, match="says nothing about how it was drawn"):
        records.read(tmp_path / "a.jpg")


def bomb(path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    data = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.png", b"", "is empty, not a PNG, WebP or JPEG image"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "is not a PNG|damaged"),
        ("a.png", b"text", "is not a PNG, WebP or JPEG image"),
        ("a.gif", b"GIF89a\1\0\1\0\0\0\0;", "is not a PNG, WebP or JPEG image"),
        ("a.json", b"", "is not JSON"),
        ("a.json", b"\xff\xfe", "is not JSON"),
        ("a.json", b"[" * 100_000, "is not JSON"),
        ("a.json", b"[]", "is not a sidecar"),
        ("a.json", b'{"seed": 1}', "is not a sidecar"),
        ("a.json", b'{"schema": "sdgen-sidecar-1"}', "'prompt' is missing"),
        ("a.json", b'{"schema": "sdgen-sidecar-1", "prompt": "x", "seed": NaN}', "seed must be"),
    ],
)
def test_wrong_files_are_refused_in_a_sentence(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        records.read(tmp_path / name)


def test_a_truncated_png_is_refused(tmp_path: Path) -> None:
    path = stored(tmp_path).path
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(InputError, match="is damaged"):
        records.read(path)


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    bomb(tmp_path / "a.png")
    with pytest.raises(InputError, match="too many pixels"):
        pictures.open_picture(tmp_path / "a.png")


def test_a_text_bomb_is_refused(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("parameters", "x" * 50_000_000, zip=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    with pytest.raises(InputError, match="is damaged"):
        records.read(tmp_path / "a.png")


@pytest.mark.parametrize("path", [".", "missing.png", "/dev/zero"])
def test_what_is_no_file_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(InputError):
        records.read(tmp_path / path)


def test_files_of_folders_are_found_in_order(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.JPG", "a.webp", ".hidden/x.png", "b/.x.png", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in pictures.find([tmp_path])]
    assert found == ["a.webp", "b/1.JPG", "b/2.png"]


def record(**settings: Any) -> records.Record:
    return records.Record(Path("a.png"), "sdgen", settings)


@pytest.mark.parametrize(
    ("settings", "command"),
    [
        ({"prompt": "a fox", "seed": 0}, "sdgen draw 'a fox' --seed 0"),
        (REQUEST.to_dict(), None),
        ({"prompt": "-x", "steps": 3}, "sdgen draw --steps 3 -- -x"),
        ({"prompt": "-"}, "echo - | sdgen draw -- -"),
        ({"prompt": "x", "zero_snr": False, "guidance": 7.0}, "sdgen draw x --guidance 7 --no-zero-snr"),
        ({"prompt": "x", "negative_prompt": "v2.0"}, "sdgen draw x --negative v2.0"),
        ({"prompt": "x", "clip_skip": 2, "rng": "torch"}, "sdgen draw x --clip-skip 2 --rng torch"),
        ({"steps": 3}, ""),
    ],
)
def test_command(settings: dict[str, Any], command: str | None) -> None:
    expected = command
    if command is None:
        expected = (
            "sdgen draw 'a red fox' --negative blurry --model mini --seed 7 --steps 20 --guidance 7.5 "
            "--sampler dpmpp-2m --schedule karras --size 64x32"
        )
    assert record(**settings).command() == expected


def test_command_with_what_was_merged() -> None:
    changes = [
        "VAE v.safetensors",
        "LoRA a b.safetensors at 0.8",
        "LoRA n.safetensors at 0.5 and 1",
        "embedding e",
        "variant fp16",
        "prediction v_prediction",
    ]
    found = records.Record(
        Path("a.png"), "sdgen", {"prompt": "x <lora:n:0.5:1>"}, {"changes": changes, "engine": "keras-cv"}
    )
    assert found.additions.loras == (("a b.safetensors", 0.8), ("n.safetensors", (0.5, 1.0)))
    assert shlex.split(found.command())[3:] == [
        *("--engine", "keras-cv", "--vae", "v.safetensors"),
        *("--lora", "a b.safetensors:0.8", "--embedding", "e"),
        *("--variant", "fp16", "--prediction", "v_prediction"),
    ]


@pytest.mark.parametrize(
    "prompt",
    [
        "it's $(rm -rf ~) `x`",
        'a "b" \\ c',
        "two\nlines\ttab",
        "\x1b[31m red \\' x",
        "富士山 \u200b",
        "10\xa0foxes",
        "👩\u200d🚀",
    ],
)
def test_a_shell_reads_the_prompt_as_it_is(prompt: str) -> None:
    command = record(prompt=prompt).command().replace("sdgen draw ", "printf %s ", 1)
    assert subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE).stdout.decode() == prompt
    assert "\x1b" not in command
