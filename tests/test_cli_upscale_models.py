"""``sdgen upscale`` and ``--hires-method`` by diffusion models of small widths."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Command
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from golden import latent_upscaling_models, upscaling_models

from sdgen.errors import ExitCode

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of models, by method."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "ldm-sr": upscaling_models.write_ldm_sr(folder / "ldm-sr"),
        "sd-x4": upscaling_models.write_x4(folder / "x4"),
        "latent-x2": latent_upscaling_models.write_x2(folder / "x2"),
    }


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: dict[str, Path]) -> Command:
    """The command, for which the models of the catalogue are the small ones."""
    command = Command(tmp_path, monkeypatch, real=True)
    (command.config / "catalog.toml").write_text(
        f'["ldm-sr"]\npath = "{models["ldm-sr"]}"\n["sd-x4-upscaler"]\npath = "{models["sd-x4"]}"\n'
        f'["sd-x2-latent-upscaler"]\npath = "{models["latent-x2"]}"\n'
    )
    picture("fox.png", (21, 13))
    return command


def picture(path: str, size: tuple[int, int], alpha: bool = False) -> None:
    values = np.random.default_rng(7).integers(0, 256, (4, 4, 4 if alpha else 3), np.uint8)
    Image.fromarray(values).resize(size, Image.Resampling.BICUBIC).save(path)


def upscaled(sdgen: Command, *arguments: str) -> dict[str, Any]:
    """The sidecar of the one picture that is enlarged, in three steps."""
    result = sdgen.run("upscale", *arguments, "--steps", "3", "--json")
    assert result.exit_code == 0, result.stderr
    (line,) = map(json.loads, result.stdout.splitlines())
    return {**json.loads(Path(line["sidecar"]).read_text()), "status": line["status"], "path": line["path"]}


def test_a_model_without_text_enlarges_a_picture_and_does_it_again(sdgen: Command) -> None:
    made = upscaled(sdgen, "fox.png", "--method", "ldm-sr", "--seed", "5", "--eta", "1")
    assert (made["model"], made["upscale"], made["steps"], made["seed"], made["eta"]) == (
        "ldm-sr",
        4,
        3,
        5,
        1,
    )
    assert (made["prompt"], made["guidance"], made["image"]) == ("", 1.0, "fox.png")
    assert Image.open(made["path"]).size == (84, 52)
    again = upscaled(sdgen, "fox.png", "--method", "ldm-sr", "--seed", "5", "--eta", "1")
    assert (again["status"], again["path"]) == ("kept", made["path"])
    replayed = sdgen.run("replay", "outputs/fox.json")
    assert replayed.exit_code == 0 and replayed.stdout.startswith("identical"), replayed.stderr
    shown = json.loads(sdgen.run("show", "outputs/fox.png", "--json").stdout)["command"]
    for words in ("sdgen upscale fox.png --scale 4 --method ldm-sr", "--seed 5", "--steps 3", "--eta 1"):
        assert words in shown


def test_half_of_what_a_model_enlarges_by_is_that_reduced(sdgen: Command) -> None:
    four = upscaled(sdgen, "fox.png", "--method", "ldm-sr")
    two = upscaled(sdgen, "fox.png", "--method", "ldm-sr", "--scale", "2")
    reduced = Image.open(four["path"]).resize((42, 26), Image.Resampling.LANCZOS)
    assert np.array_equal(Image.open(two["path"]), reduced)


def test_prompt_and_noise_level_are_a_matter_of_the_model(sdgen: Command) -> None:
    made = upscaled(sdgen, "fox.png", "--method", "sd-x4", "--prompt", "a fox", "--noise-level", "100")
    assert (made["prompt"], made["noise_level"]) == ("a fox", 100)
    shown = json.loads(sdgen.run("show", "outputs/fox.png", "--json").stdout)["command"]
    assert "--method sd-x4 " in shown and "--prompt 'a fox'" in shown and "--noise-level 100" in shown


def test_a_picture_is_enlarged_in_its_latents_and_again(sdgen: Command) -> None:
    made = upscaled(sdgen, "fox.png", "--method", "latent-x2", "--prompt", "a fox", "--seed", "3")
    assert (made["model"], made["upscale"], made["sampler"]) == ("sd-x2-latent-upscaler", 2, "euler")
    assert Image.open(made["path"]).size == (42, 26)
    replayed = sdgen.run("replay", "outputs/fox.json")
    assert replayed.exit_code == 0 and replayed.stdout.startswith("identical"), replayed.stderr
    result = sdgen.run("upscale", "fox.png", "--method", "latent-x2", "--scale", "4")
    assert result.exit_code == ExitCode.USAGE and "latent-x2" in result.stderr


def test_transparency_is_kept_as_a_filter_enlarges_it(sdgen: Command) -> None:
    picture("glass.png", (9, 11), alpha=True)
    made = upscaled(sdgen, "glass.png", "--method", "ldm-sr")
    alpha = Image.open("glass.png").getchannel("A").resize((36, 44), Image.Resampling.LANCZOS)
    large = Image.open(made["path"])
    assert large.mode == "RGBA" and np.array_equal(large.getchannel("A"), alpha)


def test_a_picture_of_one_pixel_becomes_one_of_sixteen(sdgen: Command) -> None:
    picture("dot.png", (1, 1))
    assert Image.open(upscaled(sdgen, "dot.png", "--method", "ldm-sr")["path"]).size == (4, 4)


def test_ones_own_weights_say_themselves_what_they_are(sdgen: Command, models: dict[str, Path]) -> None:
    folder = str(models["ldm-sr"])
    assert upscaled(sdgen, "fox.png", "--model", folder)["model"] == folder
    assert upscaled(sdgen, "fox.png", "--model", folder, "--method", "ldm-sr")["status"] == "kept"
    for wrong, words in (
        (["--method", "sd-x4"], "sd-x4 takes those of"),
        (["--prompt", "a fox"], "prompt"),
        (["--noise-level", "9"], "noise_level"),
        (["--scale", "8"], "enlarges by 4"),
    ):
        result = sdgen.run("upscale", "fox.png", "--model", folder, "-o", "none/", *wrong)
        assert result.exit_code != ExitCode.OK and words in result.stderr
        assert not list(Path("none").glob("*.png"))


def test_a_model_of_text_to_image_enlarges_nothing(sdgen: Command) -> None:
    result = sdgen.run("upscale", "fox.png", "--model", "mini")
    assert result.exit_code == ExitCode.USAGE and "mini cannot enlarge pictures" in result.stderr


def test_a_model_enlarges_between_the_two_passes(sdgen: Command, small_model: Path) -> None:
    sdgen.model = str(small_model)
    size = ("--size", "64x64", "--steps", "3", "--seed", "7", "--hires", "2", "--hires-strength", "0.5")
    (made,) = sdgen.drawn("a fox", *size, "--hires-method", "ldm-sr")
    assert made["hires"] == "128x128" and made["hires_weights_sha256"]
    assert Image.open(Path("outputs", made["image"])).size == (128, 128)
