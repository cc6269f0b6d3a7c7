"""sdgen PROMPT, with a pipeline that stands in for the real one."""

from __future__ import annotations

import dataclasses
import io
import json
import os
from pathlib import Path

import pytest
from command import Command
from PIL import Image

from sdgen.cli.options import DRAWING
from sdgen.errors import ExitCode
from sdgen.request import MAX_SEED, Request


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def outputs(sdgen: Command) -> list[str]:
    folder = sdgen.folder / "outputs"
    return sorted(os.listdir(folder)) if folder.exists() else []


def test_a_picture_is_drawn_and_its_path_alone_is_printed(sdgen: Command) -> None:
    result = sdgen.draw("a red fox", "--seed", "7")
    assert (result.exit_code, result.stdout) == (0, "outputs/0001-a-red-fox-7.png\n")
    assert outputs(sdgen) == ["0001-a-red-fox-7.json", "0001-a-red-fox-7.png"]
    assert "1 image drawn" in result.stderr


def test_draw_is_the_same_command(sdgen: Command) -> None:
    assert (
        sdgen.run("draw", "doctor", "--model", "mini", "--seed", "7").stdout == "outputs/0001-doctor-7.png\n"
    )


def test_after_two_dashes_a_prompt_may_begin_with_one(sdgen: Command) -> None:
    result = sdgen.run("--model", "mini", "--seed", "7", "--", "-a dash")
    assert result.stdout == "outputs/0001-a-dash-7.png\n"


def test_options_reach_the_request(sdgen: Command) -> None:
    arguments = "--negative blur --steps 9 --guidance 3.5 --sampler ddim --eta 0.5 --schedule karras"
    more = (
        "--size 128x64 --seed 5 --rng torch --prompt-syntax plain --clip-skip 2 --guidance-rescale 0.7 "
        "--spacing trailing --zero-snr --fast"
    )
    (record,) = sdgen.drawn("a fox", *arguments.split(), *more.split())
    expected = {
        "prompt": "a fox",
        "negative_prompt": "blur",
        "steps": 9,
        "guidance": 3.5,
        "sampler": "ddim",
        "eta": 0.5,
        "schedule": "karras",
        "width": 128,
        "height": 64,
        "seed": 5,
        "rng": "torch",
        "prompt_syntax": "plain",
        "clip_skip": 2,
        "guidance_rescale": 0.7,
        "spacing": "trailing",
        "zero_snr": True,
        "fast": True,
        "model": "mini",
    }
    assert {name: record[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("arguments", "settings", "schedule"),
    [
        (["--sampler", "dpmpp_2m_k"], "", "karras"),
        (["--sampler", "DPM++ 2M Karras", "--schedule", "Exponential"], "", "exponential"),
        (["--sampler", "DPM++ 2M Karras"], 'schedule = "normal"', "karras"),
        (["--schedule", "sgm_uniform"], 'sampler = "DPM++ 2M Karras"', "sgm-uniform"),
    ],
)
def test_a_sampler_under_another_tools_name_brings_its_schedule(
    sdgen: Command, arguments: list[str], settings: str, schedule: str
) -> None:
    (sdgen.config / "config.toml").write_text(settings)
    (sidecar,) = sdgen.drawn("a fox", *arguments)
    assert (sidecar["sampler"], sidecar["schedule"]) == ("dpmpp-2m", schedule)


def test_every_field_of_a_request_has_an_option_but_those_of_enlarging() -> None:
    fields = {field.name for field in dataclasses.fields(Request)}
    options = {"prompt", "model", *(str(option.name) for option in DRAWING)} - {"negative"}
    assert fields - options == {"negative_prompt", "upscale", "noise_level"}


def test_options_reach_the_pipeline(sdgen: Command) -> None:
    for name in ("a.safetensors", "b.safetensors", "c:1"):
        Path(name).touch()
    sdgen.draw("x", "--backend", "jax", "--dtype", "float16", "--device", "gpu:1", "--engine", "keras-cv")
    sdgen.draw("x", "--vae", "a.safetensors", "--variant", "fp16", "--prediction", "v_prediction")
    sdgen.draw("x", "--lora", "a.safetensors:0.5", "--lora", "b.safetensors", "--lora", "c:1")
    sdgen.draw("x", "--embedding", "a.safetensors", "--embedding", "b.safetensors")
    sdgen.draw("x", "--backend", "auto", "--dtype", "auto", "--device", "auto")
    sdgen.draw("x", "--low-memory")
    sdgen.draw("x")
    plain = {
        "model": "mini",
        "backend": None,
        "dtype": None,
        "device": None,
        "engine": "sdgen",
        "vae": None,
        "loras": (),
        "embeddings": (),
        "variant": None,
        "prediction_type": None,
        "low_memory": False,
    }
    assert sdgen.loads == [
        {**plain, "backend": "jax", "dtype": "float16", "device": "gpu:1", "engine": "keras-cv"},
        {**plain, "vae": "a.safetensors", "variant": "fp16", "prediction_type": "v_prediction"},
        {**plain, "loras": (("a.safetensors", 0.5), ("b.safetensors", 1.0), ("c:1", 1.0))},
        {**plain, "embeddings": ("a.safetensors", "b.safetensors")},
        {**plain, "backend": "auto"},
        {**plain, "low_memory": True},
        plain,
    ]


def test_count_draws_consecutive_seeds(sdgen: Command) -> None:
    assert [record["seed"] for record in sdgen.drawn("a fox", "-n", "4", "--seed", "7")] == [7, 8, 9, 10]


def test_each_prompt_gets_the_same_seeds(sdgen: Command) -> None:
    drawn = sdgen.drawn("a fox", "a cat", "-n", "2", "--seed", "7")
    assert [(record["prompt"], record["seed"]) for record in drawn] == [
        ("a fox", 7),
        ("a fox", 8),
        ("a cat", 7),
        ("a cat", 8),
    ]


@pytest.mark.parametrize("arguments", [[], ["--seed", "-1"]])
def test_a_random_seed_is_reported_and_differs(sdgen: Command, arguments: list[str]) -> None:
    results = [sdgen.draw("a fox", *arguments) for _ in range(2)]
    seeds = [int(Path(result.stdout.strip()).stem.split("-")[-1]) for result in results]
    assert seeds[0] != seeds[1]
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert f"seed {seeds[0]}\n" in results[0].stderr


def test_guidance_that_is_off_is_recorded_as_it_was_asked_for(sdgen: Command) -> None:
    (record,) = sdgen.drawn("a fox", "--guidance", "0", "--seed", "18446744073709551615")
    assert (record["guidance"], record["seed"]) == (0.0, 2**64 - 1)


def test_stdin_is_one_prompt(sdgen: Command) -> None:
    result = sdgen.draw("-", "--seed", "7", input="a red\nfox\n")
    assert result.stdout == "outputs/0001-a-red-fox-7.png\n"


@pytest.mark.parametrize(
    ("arguments", "text", "complaint"),
    [
        (["-"], b"", "the prompt on stdin is empty"),
        (["-"], b" \n ", "the prompt on stdin is empty"),
        (["-"], b"\xff\xfe", "the prompt on stdin is not UTF-8 text"),
        (["-", "-"], b"a fox", "can be given once"),
        (["-"], b"x" * 10**6, "the most is 20000"),
        (["-"], b"x" + "富".encode() * 30_000, "the most is 20000"),
    ],
)
def test_stdin_that_is_no_prompt(sdgen: Command, arguments: list[str], text: bytes, complaint: str) -> None:
    result = sdgen.draw(*arguments, input=text)
    assert result.exit_code == ExitCode.USAGE
    assert complaint in result.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--size", "64x64", "--width", "64"], "--size and --width both set the width"),
        (["--size", "64x64", "--height", "64"], "--size and --height both set the height"),
        (["--quiet", "--verbose"], "--quiet and --verbose contradict each other"),
        (["-o", "-", "--json"], "where --json writes too"),
        (["-o", "-", "-n", "2"], "-o names a place for one image, and --count asks for more"),
        (["-o", "fox.png", "-n", "2"], "-o names a place for one image, and --count asks for more"),
        (["-o", "-", "another"], "-o names a place for one image, and there are several prompts"),
        (["-o", "fox.png", "another"], "-o names a place for one image, and there are several prompts"),
        (["-o", "fox.png", "--name", "{n}"], "--name is for the files of a folder"),
        (["-o", "-", "--name", "{n}"], "--name is for the files of a folder"),
        (["-o", "fox.png", "--format", "webp"], "-o and --format name different formats"),
        (["-o", "fox.bmp"], ".bmp is not an image format"),
        (["-o", ""], "-o is empty"),
        (["--eta", "0.5", "--sampler", "euler"], "--eta is for the samplers ddim and tcd"),
        (["--steps", "0"], "steps must be 1 to 1000, not 0"),
        (["--steps", "1001"], "steps must be 1 to 1000, not 1001"),
        (["--steps", "ten"], "'ten' is not a whole number"),
        (["--steps", "2.5"], "'2.5' is not a whole number"),
        (["--steps", "9" * 5000], "is not a whole number"),
        (["--steps", ""], "'' is not a whole number"),
        (["--guidance", "0.5"], "guidance must be 0 (off) or 1 to 100, not 0.5"),
        (["--guidance", "nan"], "'nan' is not a number"),
        (["--guidance", "-inf"], "'-inf' is not a number"),
        (["--guidance", "x"], "'x' is not a number"),
        (["--eta", "1.1"], "eta must be 0 to 1, not 1.1"),
        (["--seed", "-2"], "seed must be 0 to"),
        (["--seed", str(MAX_SEED + 1)], "seed must be 0 to"),
        (["--seed", str(MAX_SEED), "-n", "2"], "go beyond"),
        (["-n", "0"], "'0' is not a whole number of 1 to"),
        (["-n", "-3"], "'-3' is not a whole number of 1 to"),
        (["--batch-size", "0"], "'0' is not a whole number of 1 to"),
        (["--size", "64"], "'64' is not a width and a height"),
        (["--size", "64x64x64"], "is not a width and a height"),
        (["--size", "-8x64"], "width must be 8 to 4096, not -8"),
        (["--size", "100x64"], "width must be a multiple of 8, not 100"),
        (["--width", "4104"], "width must be 8 to 4096, not 4104"),
        (["--sampler", "eular"], "'eular' is not one of 'ddim'"),
        (["--schedule", "x"], "'x' is not one of 'normal'"),
        (["--rng", "x"], "'x' is not one of 'philox'"),
        (["--format", "gif"], "'gif' is not one of 'png'"),
        (["--backend", "torch"], "'torch' is not one of 'auto'"),
        (["--dtype", "int8"], "'int8' is not one of 'auto'"),
        (["--engine", "x"], "'x' is not one of 'sdgen'"),
        (["--lora", "absent.safetensors:0.5"], "there is no file absent.safetensors"),
        (["--lora", "."], ". is a folder, where a file is needed"),
        (["--lora", "/dev/null:0.5"], "/dev/null is a device, where a file is needed"),
        (["--lora", "a:b"], "'b' is not a number"),
        (["--lora", "a:nan"], "is not a number"),
        (["--vae", "absent"], "'absent' does not exist"),
        (["--embedding", "."], "'.' is a directory"),
        (["--prediction", "x"], "'x' is not one of 'epsilon'"),
        (["--spacing", "x"], "'x' is not one of 'leading'"),
        (["--prompt-syntax", "x"], "'x' is not one of 'a1111'"),
        (["--clip-skip", "12"], "clip_skip must be 0 to 11, not 12"),
        (["--guidance-rescale", "2"], "guidance_rescale must be 0 to 1, not 2"),
        (["--cache-limit", "9" * 400], "is not a number of bytes"),
        (["--name", "{sed}"], "unknown field {sed}"),
        (["--name", "../x"], "no path"),
        (["--config", "absent.toml"], "there is no such settings file"),
        (["--negative", "\udcff"], "is not valid Unicode text"),
        (["\udcff"], "is not valid Unicode text"),
        (["x" * 20_001], "prompt has 20001 characters; the most is 20000"),
        (["--stpes", "3"], "--stpes"),
        (["--steps"], "--steps"),
    ],
)
def test_a_wrong_command_line_is_one_sentence_and_starts_nothing(
    sdgen: Command, arguments: list[str], complaint: str
) -> None:
    result = sdgen.draw("a fox", *arguments)
    assert result.exit_code == ExitCode.USAGE
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert complaint in result.stderr
    assert not sdgen.loads
    assert not outputs(sdgen)


def test_no_prompt_is_a_usage_error(sdgen: Command) -> None:
    result = sdgen.draw()
    assert result.exit_code == ExitCode.USAGE
    assert "PROMPT" in result.stderr


@pytest.mark.parametrize("arguments", [[], ["--model", "sd2.1-base"]])
def test_a_model_that_is_not_here_says_how_to_get_it(sdgen: Command, arguments: list[str]) -> None:
    result = sdgen.run("a red apple", "--steps", "50", *arguments)
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert result.stderr.startswith("error: sd2.1-base is not on this machine")
    assert "sdgen models pull sd2.1-base" in result.stderr
    assert "--model mini, which needs no download" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not outputs(sdgen)


def test_an_unknown_model_is_unavailable(sdgen: Command) -> None:
    result = sdgen.run("a fox", "--model", "minni")
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert "did you mean mini?" in result.stderr


def test_json_lines(sdgen: Command) -> None:
    result = sdgen.draw("a fox", "broken", "a long 富", "--seed", "7", "--json")
    assert result.exit_code == ExitCode.SOME_FAILED
    fox, broken, long = map(json.loads, result.stdout.splitlines())
    assert fox == {
        "status": "drawn",
        "path": "outputs/0001-a-fox-7.png",
        "sidecar": "outputs/0001-a-fox-7.json",
        "prompt": "a fox",
        "seed": 7,
        "steps": 4,
        "seconds": 0.5,
        "warnings": [],
        "error": None,
        "source": "prompt 1 of 3",
    }
    assert (broken["status"], broken["path"], broken["sidecar"]) == ("failed", None, None)
    assert broken["error"] == "the image came out black"
    assert long["prompt"] == "a long 富"
    assert long["warnings"] == ["the prompt was cut after 'fox'"]
    assert result.stdout.isascii()


@pytest.mark.parametrize(
    ("prompts", "expected", "complaint"),
    [
        (["a fox", "a cat"], ExitCode.OK, ""),
        (["broken"], ExitCode.NONE_DRAWN, "error: seed 7: the image came out black"),
        (["a fox", "broken", "a cat"], ExitCode.SOME_FAILED, "2 of 3 images drawn, 1 failed"),
        (["refuse"], ExitCode.USAGE, "error: this device cannot draw it"),
        (["a fox", "refuse"], ExitCode.SOME_FAILED, "error: this device cannot draw it"),
        (["starve"], ExitCode.NONE_DRAWN, "error: out of memory; try a smaller --size"),
        (
            ["crash"],
            ExitCode.NONE_DRAWN,
            "error: RuntimeError: this should not happen; --verbose shows where",
        ),
        (["a fox", "crash"], ExitCode.SOME_FAILED, "1 of 2 images drawn, 1 not drawn"),
    ],
)
def test_exit_status(sdgen: Command, prompts: list[str], expected: ExitCode, complaint: str) -> None:
    result = sdgen.draw(*prompts, "--seed", "7")
    assert result.exit_code == expected
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr


def test_verbose_shows_the_traceback(sdgen: Command) -> None:
    result = sdgen.draw("crash", "--verbose")
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1] == "error: RuntimeError: this should not happen"
    assert "Traceback" not in sdgen.draw("crash").stderr


def test_quiet_leaves_errors_alone(sdgen: Command) -> None:
    assert sdgen.draw("a long fox", "--quiet").stderr == ""
    assert (
        sdgen.draw("broken", "--quiet", "--seed", "7").stderr == "error: seed 7: the image came out black\n"
    )


def test_the_same_warning_is_shown_once(sdgen: Command) -> None:
    result = sdgen.draw("a long fox", "-n", "3")
    assert result.stderr.count("warning: the prompt was cut after 'fox'") == 1


def test_a_warning_that_hides_nothing_is_in_the_sidecar_of_every_image(sdgen: Command) -> None:
    assert [record["warnings"] for record in sdgen.drawn("a long fox", "-n", "2")] == [
        ["the prompt was cut after 'fox'"]
    ] * 2


def test_one_file(sdgen: Command) -> None:
    result = sdgen.draw("a fox", "-o", "new/fox.webp")
    assert result.stdout == "new/fox.webp\n"
    assert sorted(os.listdir("new")) == ["fox.json", "fox.webp"]


def test_one_file_that_is_there_is_refused_before_loading(sdgen: Command) -> None:
    Path("fox.png").write_text("mine")
    result = sdgen.draw("a fox", "-o", "fox.png")
    assert result.exit_code == ExitCode.NONE_DRAWN
    assert (
        result.stderr == "error: fox.png is already there and is not overwritten; give another name with -o\n"
    )
    assert not sdgen.loads


@pytest.mark.parametrize("name", ["a" * 300, f"{'a' * 300}.png"])
def test_a_place_whose_name_is_too_long_is_refused_before_loading(sdgen: Command, name: str) -> None:
    result = sdgen.draw("a fox", "-o", name)
    assert result.exit_code == ExitCode.NONE_DRAWN
    assert "is too long for its file system; give a shorter one" in result.stderr
    assert not sdgen.loads


def test_a_model_whose_name_is_too_long_is_unknown(sdgen: Command) -> None:
    result = sdgen.run("a fox", "--model", "a" * 300)
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert "there is no model named" in result.stderr


def test_a_folder_and_a_name(sdgen: Command) -> None:
    result = sdgen.draw("a fox", "-o", "new", "--name", "{model}-{width}-{n:02}", "--format", "jpeg")
    assert result.stdout == "new/mini-64-01.jpg\n"


def test_an_output_folder_that_is_a_file(sdgen: Command) -> None:
    Path("outputs").touch()
    result = sdgen.draw("a fox")
    assert result.exit_code == ExitCode.NONE_DRAWN
    assert "outputs is a file, not a folder" in result.stderr
    assert not sdgen.loads


def test_image_bytes_on_stdout(sdgen: Command) -> None:
    result = sdgen.draw("a fox", "-o", "-", "--format", "webp")
    assert Image.open(io.BytesIO(result.stdout_bytes)).format == "WEBP"
    assert outputs(sdgen) == []


def test_no_metadata(sdgen: Command) -> None:
    result = sdgen.draw("a fox", "--no-metadata")
    assert outputs(sdgen) == [Path(result.stdout.strip()).name]
    assert not Image.open(result.stdout.strip()).text


def test_a_command_that_is_not_first_is_a_prompt(sdgen: Command) -> None:
    assert sdgen.run("--model", "mini", "--seed", "7", "doctor").stdout == "outputs/0001-doctor-7.png\n"


def test_samplers_are_listed(sdgen: Command) -> None:
    shown = sdgen.run("samplers").stdout
    found = json.loads(sdgen.run("samplers", "--json").stdout)
    assert set(found) == {"samplers", "schedules"}
    for name, line in {**found["samplers"], **found["schedules"]}.items():
        assert name in shown and line in shown
