"""sdgen show."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import pytest
from command import Command
from limits import within
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sdgen.cli import error_messages
from sdgen.errors import ExitCode
from sdgen.images import records


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def test_an_image_and_its_sidecar_say_the_same(sdgen: Command) -> None:
    sdgen.drawn("a red fox", "--seed", "7", "--negative", "blurry")
    by_image, by_sidecar = (
        sdgen.run("show", f"outputs/0001-a-red-fox-7.{end}").stdout.splitlines() for end in ("png", "json")
    )
    assert by_image[1:] == by_sidecar[1:]
    shown = "\n".join(by_image)
    for expected in (r"prompt +a red fox", r"seed +7", r"size +64x64", r"pixels +as recorded"):
        assert re.search(f"^  {expected}$", shown, re.MULTILINE)
    assert "sdgen draw 'a red fox' --negative blurry --model mini --seed 7" in shown
    assert "eta" not in shown


def test_json(sdgen: Command) -> None:
    sdgen.drawn("a red fox", "--seed", "7", "-n", "2")
    result = sdgen.run("show", "outputs/0001-a-red-fox-7.png", "outputs/0002-a-red-fox-8.json", "--json")
    first, second = map(json.loads, result.stdout.splitlines())
    assert (first["settings"]["seed"], second["settings"]["seed"]) == (7, 8)
    assert (first["tool"], first["unchanged"], first["details"]["dtype"]) == ("sdgen", True, "float32")
    assert second["image"] == "outputs/0002-a-red-fox-8.png"


def test_the_command_draws_the_same_request(sdgen: Command) -> None:
    arguments = "--seed 9 --steps 5 --guidance 3.5 --sampler ddim --eta 0.5 --size 128x64 --clip-skip 2"
    (record,) = sdgen.drawn("it's a $fox", *arguments.split())
    shown = json.loads(sdgen.run("show", f"outputs/{record['image']}", "--json").stdout)
    result = sdgen.run(*shlex.split(shown["command"])[1:], "--json")
    again = json.loads(Path(json.loads(result.stdout)["sidecar"]).read_text("utf-8"))
    for name in ("prompt", "seed", "steps", "guidance", "sampler", "eta", "width", "clip_skip", "model"):
        assert again[name] == record[name]


def test_text_of_others_reaches_the_terminal_without_control_characters(sdgen: Command) -> None:
    info = PngInfo()
    info.add_itxt("parameters", "a \x1b[31mfox\u202e\nSteps: 3, Seed: 1, Sampler: DDIM, Evil: \x1b[2J")
    Image.new("RGB", (8, 8)).save("evil.png", pnginfo=info)
    result = sdgen.run("show", "evil.png")
    assert result.exit_code == 0
    assert r"\x1b[31mfox\u202e" in result.stdout
    assert all(char.isprintable() or char == "\n" for char in result.stdout)


def test_a_comfyui_graph_is_named(sdgen: Command) -> None:
    info = PngInfo()
    info.add_text("prompt", '{"3": {"class_type": "KSampler", "inputs": {}}}')
    Image.new("RGB", (8, 8)).save("graph.png", pnginfo=info)
    assert "ComfyUI, whose graphs are not read" in sdgen.run("show", "graph.png").stdout


def test_wrong_files_do_not_hide_the_others(sdgen: Command) -> None:
    sdgen.drawn("a red fox", "--seed", "7")
    Path("broken.png").write_bytes(b"no image")
    image = "outputs/0001-a-red-fox-7.png"
    result = sdgen.run("show", "broken.png", image, "missing.png", "outputs")
    assert result.exit_code == ExitCode.SOME_FAILED
    assert "a red fox" in result.stdout
    assert result.stderr.splitlines() == [
        "error: broken.png is not a PNG, WebP or JPEG image",
        "error: missing.png is not there",
        "error: outputs is a folder; name the files in it",
    ]
    assert sdgen.run("show", "missing.png").exit_code == ExitCode.NONE_DRAWN


def test_an_unforeseen_error_advises_no_option_that_is_not_there(
    sdgen: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(path: Path) -> None:
        raise RuntimeError("this should not happen")

    monkeypatch.setattr(records, "read", crash)
    monkeypatch.setattr(error_messages.LOG, "handlers", [])
    result = sdgen.run("show", "a.png")
    assert (result.exit_code, result.stderr) == (1, "error: RuntimeError: this should not happen\n")


def test_json_has_no_numbers_that_json_lacks(sdgen: Command) -> None:
    sidecar = {"schema": "sdgen-sidecar-1", "prompt": "x", "seconds": float("nan"), "peak": [float("inf")]}
    Path("a.json").write_text(json.dumps(sidecar))
    info = PngInfo()
    info.add_text("invokeai_metadata", '{"positive_prompt": "x", "seed": 1, "a": NaN, "b": 1e999}')
    Image.new("RGB", (8, 8)).save("b.png", pnginfo=info)

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    lines = sdgen.run("show", "a.json", "b.png", "--json").stdout.splitlines()
    first, second = (json.loads(line, parse_constant=refuse) for line in lines)
    assert (first["details"]["seconds"], first["details"]["peak"]) == (None, [None])
    assert second["other"] == {"a": None, "b": None}


def test_a_sidecar_of_deep_json_is_refused_in_a_sentence(sdgen: Command) -> None:
    deep = "[" * 500 + "]" * 500
    Path("a.json").write_text(f'{{"schema": "sdgen-sidecar-1", "prompt": "x", "changes": {deep}}}')
    for command in (["show", "a.json"], ["show", "a.json", "--json"], ["replay", "a.json"]):
        result = sdgen.run(*command)
        assert "a.json is damaged: its JSON is nested deeper than 64 levels" in result.stderr
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("command", "name"),
    [
        *((command, "a.png") for command in ("show", "replay", "grid", "gallery")),
        *((command, "a.json") for command in ("show", "replay")),
    ],
)
def test_what_would_block_is_refused_at_once(sdgen: Command, command: str, name: str) -> None:
    Path("in").mkdir()
    os.mkfifo(Path("in", name))
    arguments = {"grid": ["-o", "sheet.png"], "gallery": []}.get(command, [])
    named = "in" if command == "gallery" else f"in/{name}"
    result = within(20, lambda: sdgen.run(command, named, *arguments))
    assert result.exit_code != ExitCode.OK
    assert f"in/{name} is a named pipe" in result.stderr


def test_a_pipe_beside_the_images_of_a_folder_hides_none(sdgen: Command) -> None:
    sdgen.drawn("a red fox", "--seed", "7")
    os.mkfifo("outputs/0001-a-red-fox-8.png")
    assert within(20, lambda: sdgen.run("gallery", "outputs")).exit_code == ExitCode.SOME_FAILED
    assert "0001-a-red-fox-7.png" in Path("outputs/gallery.html").read_text("utf-8")


def test_a_pipe_in_a_sidecars_place_counts_as_none(sdgen: Command) -> None:
    sdgen.drawn("a red fox", "--seed", "7")
    Path("outputs/0001-a-red-fox-7.json").unlink()
    os.mkfifo("outputs/0001-a-red-fox-7.json")
    shown = within(20, lambda: sdgen.run("show", "outputs/0001-a-red-fox-7.png", "--json"))
    assert json.loads(shown.stdout)["sidecar"] is None
