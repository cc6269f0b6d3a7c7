"""sdgen replay."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

import pytest
from command import Command
from PIL import Image

import sdgen as package
from sdgen.errors import ExitCode

SIDECAR = "outputs/0001-a-red-fox-7.json"
IMAGE = "outputs/0001-a-red-fox-7.png"


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def change(path: str, **values: object) -> None:
    record = json.loads(Path(path).read_text("utf-8"))
    Path(path).write_text(json.dumps({**record, **values}))


def files(sdgen: Command) -> list[str]:
    return sorted(str(path.relative_to(sdgen.folder)) for path in sdgen.folder.rglob("*.*"))


def test_what_comes_out_the_same_is_identical_and_nothing_is_stored(sdgen: Command) -> None:
    sdgen.drawn("a red fox", "--seed", "7")
    before = files(sdgen)
    result = sdgen.run("replay", SIDECAR, IMAGE)
    assert (result.exit_code, result.stdout) == (0, f"identical  {SIDECAR}\nidentical  {IMAGE}\n")
    assert files(sdgen) == before
    assert "2 identical, in" in result.stderr


def test_another_picture_is_different_and_the_status_says_so(sdgen: Command) -> None:
    sdgen.drawn("a red fox", "--seed", "7")
    result = sdgen.run("replay", SIDECAR, "--seed", "200")
    assert result.exit_code == ExitCode.NONE_DRAWN
    assert re.fullmatch(rf"different  \d+\.\d dB  {SIDECAR}\n", result.stdout)


def test_a_small_change_is_close(sdgen: Command) -> None:
    sdgen.drawn("a red fox", "--seed", "7")
    result = sdgen.run("replay", SIDECAR, "--seed", "8", "--json")
    (line,) = map(json.loads, result.stdout.splitlines())
    assert (result.exit_code, line["verdict"], line["error"], line["path"]) == (0, "close", None, None)
    assert line["psnr"] == pytest.approx(52.9, abs=0.1)


def test_what_was_recorded_is_used_and_the_command_line_wins(sdgen: Command) -> None:
    sdgen.drawn("a red fox", "--seed", "7", "--steps", "9")
    change(SIDECAR, compiler="graph", dtype="bfloat16", engine="keras-cv")
    (sdgen.config / "config.toml").write_text('dtype = "float16"\nsteps = 3\nseed = 1\nsampler = "heun"\n')
    result = sdgen.run("replay", SIDECAR, "--guidance", "2", "--device", "cpu:0", "--save", "--json")
    assert result.exit_code == 0, result.stderr
    load = sdgen.loads[-1]
    assert (load["model"], load["dtype"], load["engine"], load["jit"]) == (
        "mini",
        "bfloat16",
        "keras-cv",
        False,
    )
    assert load["device"] == "cpu:0"
    stored = json.loads(Path(json.loads(result.stdout)["sidecar"]).read_text("utf-8"))
    assert (stored["steps"], stored["seed"], stored["guidance"], stored["sampler"]) == (9, 7, 2.0, "ddim")


@pytest.mark.parametrize(("compiler", "jit"), [("xla", True), ("graph", False), (None, None)])
def test_the_recorded_compiler_draws(sdgen: Command, compiler: str | None, jit: bool | None) -> None:
    sdgen.drawn("a red fox", "--seed", "7")
    change(SIDECAR, compiler=compiler)
    assert sdgen.run("replay", SIDECAR).exit_code == 0
    assert sdgen.loads[-1]["jit"] is jit


def test_images_of_one_model_share_it(sdgen: Command) -> None:
    sdgen.drawn("a red fox", "--seed", "7", "-n", "3")
    sdgen.loads.clear()
    records = sorted(map(str, Path("outputs").glob("*.json")))
    assert sdgen.run("replay", *records).exit_code == 0
    assert len(sdgen.loads) == 1


def test_saving_never_touches_the_original(sdgen: Command) -> None:
    sdgen.drawn("a red fox", "--seed", "7")
    before = Path(IMAGE).read_bytes()
    result = sdgen.run("replay", SIDECAR, "-o", IMAGE)
    assert result.exit_code == ExitCode.NONE_DRAWN
    assert "is not overwritten" in result.stderr
    result = sdgen.run("replay", SIDECAR, "--save")
    assert result.stdout == f"identical  {SIDECAR} -> outputs/0002-a-red-fox-7.png\n"
    assert sdgen.run("replay", SIDECAR, "-o", "new.webp").exit_code == 0
    assert Image.open("new.webp").size == (64, 64)
    assert Path(IMAGE).read_bytes() == before


def test_a_settings_file_does_not_make_it_store(sdgen: Command) -> None:
    sdgen.drawn("a red fox", "--seed", "7")
    (sdgen.config / "config.toml").write_text('output = "elsewhere/"\n')
    assert sdgen.run("replay", SIDECAR).exit_code == 0
    assert not Path("elsewhere").exists()


@pytest.mark.parametrize(
    "arguments", [["-o", "-"], ["-o", "x.png", "other.json"], ["--size", "64x64", "--width", "8"]]
)
def test_wrong_use(sdgen: Command, arguments: list[str]) -> None:
    sdgen.drawn("a red fox", "--seed", "7")
    assert sdgen.run("replay", SIDECAR, *arguments).exit_code == ExitCode.USAGE


def test_other_weights_are_told(sdgen: Command) -> None:
    sdgen.drawn("a red fox", "--seed", "7")
    change(SIDECAR, weights_sha256="cd" * 32)
    result = sdgen.run("replay", SIDECAR)
    assert "the weights differ: cdcdcdcdcd was recorded, and here they are ababababab" in result.stderr


def test_other_circumstances_are_told_where_the_pixels_differ(sdgen: Command) -> None:
    sdgen.drawn("a red fox", "--seed", "7")
    change(SIDECAR, device="gpu:0", pixels_sha256="0" * 64)
    result = sdgen.run("replay", SIDECAR)
    assert "its device was gpu:0 and is now cpu:0" in result.stderr
    assert f"{IMAGE} has changed since it was recorded" in result.stderr


def test_loras_and_vae_are_found_again_or_asked_for(sdgen: Command) -> None:
    sdgen.drawn("a red fox", "--seed", "7")
    change(SIDECAR, changes=["VAE vae.safetensors", "LoRA style.safetensors at 0.8"])
    result = sdgen.run("replay", SIDECAR)
    assert result.exit_code == ExitCode.USAGE
    assert f"{SIDECAR} was drawn with vae.safetensors, which is not there; use --vae" in result.stderr
    assert len(sdgen.loads) == 1
    for name in ("vae.safetensors", "style.safetensors", "mine.safetensors"):
        Path(name).touch()
    assert sdgen.run("replay", SIDECAR).exit_code == 0
    assert (sdgen.loads[-1]["vae"], sdgen.loads[-1]["loras"]) == (
        "vae.safetensors",
        (("style.safetensors", 0.8),),
    )
    assert sdgen.run("replay", SIDECAR, "--lora", "mine.safetensors:0.5").exit_code == 0
    assert sdgen.loads[-1]["loras"] == (("mine.safetensors", 0.5),)


def test_variant_and_prediction_are_those_of_the_record_or_the_command_line(sdgen: Command) -> None:
    def loaded(*arguments: str) -> tuple[str | None, str | None]:
        assert sdgen.run("replay", SIDECAR, *arguments).exit_code == 0
        return sdgen.loads[-1]["variant"], sdgen.loads[-1]["prediction_type"]

    sdgen.drawn("a red fox", "--seed", "7")
    (sdgen.config / "config.toml").write_text('variant = "mine"\nprediction = "sample"\n')
    change(SIDECAR, changes=["variant fp16", "prediction v_prediction"])
    assert loaded() == ("fp16", "v_prediction")
    assert loaded("--prediction", "epsilon") == ("fp16", "epsilon")
    change(SIDECAR, changes=[])
    assert loaded() == (None, None)


def test_files_that_cannot_be_replayed_do_not_stop_the_others(sdgen: Command) -> None:
    sdgen.drawn("a red fox", "--seed", "7")
    Path("no.json").write_text("{}")
    Image.new("RGB", (8, 8)).save("plain.png")
    change_model = json.loads(Path(SIDECAR).read_text("utf-8"))
    Path("far.json").write_text(json.dumps({**change_model, "model": "nobody"}))
    result = sdgen.run("replay", "no.json", SIDECAR, "plain.png", "far.json", "missing.json", "--json")
    assert result.exit_code == ExitCode.SOME_FAILED
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(line["file"], line["verdict"]) for line in lines] == [
        ("no.json", None),
        ("plain.png", None),
        ("far.json", None),
        ("missing.json", None),
        (SIDECAR, "identical"),
    ]
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("content", "status"),
    [("{}", ExitCode.USAGE), ('{"schema": "sdgen-sidecar-1", "prompt": "x", "model": "nobody"}', 4)],
)
def test_the_status_where_nothing_could_be_drawn(sdgen: Command, content: str, status: int) -> None:
    Path("a.json").write_text(content)
    assert sdgen.run("replay", "a.json").exit_code == status
    assert not sdgen.loads


def test_an_image_that_does_not_come_out(sdgen: Command) -> None:
    sdgen.drawn("a red fox", "--seed", "7")
    result = sdgen.run("replay", SIDECAR, "--prompt", "a broken fox")
    assert (result.exit_code, result.stdout) == (ExitCode.NONE_DRAWN, "")
    assert "the image came out black" in result.stderr


def test_out_of_memory_halves_the_batch_and_goes_on(sdgen: Command) -> None:
    sdgen.drawn("a hungry fox", "--seed", "7", "-n", "5")
    records = sorted(map(str, Path("outputs").glob("*.json")))
    for record in records:
        change(record, batch_size=4)
    result = sdgen.run("replay", *records)
    assert result.exit_code == 0
    assert result.stdout == "".join(f"identical  {record}\n" for record in records)
    assert "out of memory with 4 images at once; going on with 2" in result.stderr


def test_an_image_that_no_memory_is_enough_for_stops_no_other(sdgen: Command) -> None:
    sdgen.drawn("a red fox", "--seed", "7", "-n", "3")
    records = sorted(map(str, Path("outputs").glob("*.json")))
    change(records[1], prompt="exhaust")
    result = sdgen.run("replay", *records)
    assert result.exit_code == ExitCode.SOME_FAILED
    assert result.stdout == f"identical  {records[0]}\nidentical  {records[2]}\n"
    assert f"{records[1]}: out of memory" in result.stderr


def test_an_unforeseen_error_costs_its_own_image(sdgen: Command) -> None:
    sdgen.drawn("a red fox", "--seed", "7", "-n", "4")
    records = sorted(map(str, Path("outputs").glob("*.json")))
    for record in records:
        change(record, batch_size=4)
    change(records[1], prompt="crash")
    result = sdgen.run("replay", *records)
    assert result.exit_code == ExitCode.SOME_FAILED
    assert result.stdout.count("identical") == 3
    assert f"{records[1]}: RuntimeError: this should not happen" in result.stderr


def test_errors_without_end_end_the_run(sdgen: Command) -> None:
    sdgen.drawn("a red fox", "--seed", "7", "-n", "9")
    records = sorted(map(str, Path("outputs").glob("*.json")))
    for record in records:
        change(record, prompt="crash")
    result = sdgen.run("replay", *records)
    assert result.exit_code == ExitCode.NONE_DRAWN
    assert result.stderr.count("RuntimeError") == 4


@functools.cache
def load_once(**options: object) -> object:
    from sdgen.pipeline.loading import load

    return load(**options)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["png", "webp"])
def test_a_real_model_draws_the_same_pixels_again(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    sdgen = Command(tmp_path, monkeypatch, real=True)
    sdgen.model = str(small_model)
    monkeypatch.setitem(vars(package), "load", lambda model, **options: load_once(model=model, **options))
    size = ("--size", "64x64", "--steps", "3", "--seed", "7", "--sampler", "euler-a", "--format", format)
    records = sdgen.drawn("a red fox", "a panda", *size)
    named = [f"outputs/{record['image']}" for record in records]
    assert sdgen.run("replay", *named).stdout == "".join(f"identical  {name}\n" for name in named)
    for name in named:
        Path(name).with_suffix(".json").unlink()
    assert sdgen.run("replay", *named).stdout == "".join(f"identical  {name}\n" for name in named)
    result = sdgen.run("replay", *named, "--steps", "2")
    assert result.exit_code == ExitCode.NONE_DRAWN
    assert result.stdout.count("different") == 2


def edited(sdgen: Command) -> Path:
    """A picture in the folder, and a drawing that was started from it."""
    picture = sdgen.folder / "start.png"
    Image.new("RGB", (64, 64), "red").save(picture)
    sdgen.drawn("a red fox", "--seed", "7", "--init-image", "start.png", "--strength", "0.5")
    return picture


def test_a_picture_that_was_started_from_is_found_beside_the_record(sdgen: Command) -> None:
    picture = edited(sdgen)
    assert sdgen.run("replay", SIDECAR).stdout == f"identical  {SIDECAR}\n"
    picture.rename(sdgen.folder / "outputs" / "start.png")
    assert sdgen.run("replay", SIDECAR).stdout == f"identical  {SIDECAR}\n"


def test_a_picture_that_has_gone_or_changed_is_told_before_anything_is_loaded(sdgen: Command) -> None:
    picture = edited(sdgen)
    loads = len(sdgen.loads)
    Image.new("RGB", (64, 64), "blue").save(picture)
    changed = sdgen.run("replay", SIDECAR)
    picture.unlink()
    gone = sdgen.run("replay", SIDECAR)
    assert changed.exit_code == gone.exit_code == ExitCode.USAGE
    assert "init_image start.png shows another picture than outputs/" in changed.stderr
    assert "init_image start.png is not there; give the one with --init-image" in gone.stderr
    assert len(sdgen.loads) == loads


def test_settings_of_edited_pictures_wait_for_one(sdgen: Command) -> None:
    (sdgen.config / "config.toml").write_text('strength = 0.25\nresize = "fit"\n')
    sdgen.drawn("a red fox", "--seed", "7")
    assert "strength" not in json.loads(Path(SIDECAR).read_text("utf-8"))
    edited(sdgen)
    record = json.loads(Path("outputs/0002-a-red-fox-7.json").read_text("utf-8"))
    assert (record["strength"], record["resize"]) == (0.5, "fit")
    result = sdgen.run("a red fox", "--strength", "0.5")
    assert result.exit_code == ExitCode.USAGE
    assert "strength means nothing without init_image" in result.stderr
