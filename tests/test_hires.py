"""The second pass over an enlarged picture, and windows in a request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Command
from PIL import Image

import sdgen as package
from sdgen.batch.outcomes import steps_left_out
from sdgen.diffusion.noise import ImageNoise
from sdgen.errors import ExitCode, InputError
from sdgen.pipeline.enlarging import _enlarged
from sdgen.pipeline.enlarging_models import EnlargingModels
from sdgen.pipeline.results import Progress
from sdgen.request import Request
from sdgen.request.hires_fields import HIRES_METHODS, Enlargement
from sdgen.request.upscale_methods import MODELS

SMALL = Request(prompt="a red heart", steps=4, width=64, height=64, seed=7)
HIRES = SMALL.replace(hires="128x128", hires_strength=0.5)


@pytest.fixture
def sdgen(mini_graph: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, which draws with the bundled model."""
    command = Command(tmp_path, monkeypatch, real=True)
    monkeypatch.setitem(vars(package), "load", lambda model, **options: mini_graph)
    return command


@pytest.mark.parametrize(
    ("asked", "held"),
    [
        (2, "2"),
        (1.5, "1.5"),
        ("2x", "2"),
        (" 2.50 ", "2.5"),
        ("1536 x 1024", "1536x1024"),
        ("64X64", "64x64"),
    ],
)
def test_a_factor_or_a_size_has_one_form(asked: Any, held: str) -> None:
    assert Enlargement().check("hires", asked) == held


@pytest.mark.parametrize(
    "asked",
    [1, 0, -2, 8.5, "1x", "", "two", "512x", "4x4", "9999x64", True, "1e3", "٢", "9" * 5000, None, []],
)
def test_other_enlargements_are_refused(asked: Any) -> None:
    with pytest.raises(InputError, match=r"^hires must be"):
        Enlargement().check("hires", asked)


@pytest.mark.parametrize(
    "field, value", [("hires_strength", 0.5), ("hires_steps", 9), ("hires_method", "latents")]
)
def test_what_is_of_a_second_pass_means_nothing_without_one(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{field} means nothing without hires"):
        Request(prompt="a", **{field: value})


def test_a_request_without_a_second_pass_is_known_as_before() -> None:
    assert not {"hires", "tiles"} & SMALL.to_dict().keys()


def test_a_factor_becomes_the_size_that_is_drawn(mini: Any) -> None:
    resolved = mini.resolve(SMALL.replace(hires=2))
    assert (resolved.hires, resolved.picture_size) == ("128x128", (128, 128))
    assert (resolved.width, resolved.height, resolved.hires_strength) == (64, 64, 0.4)
    assert mini.resolve(resolved) == resolved
    assert mini.resolve(Request(prompt="a", hires=1.5)).picture_size == (384, 384)
    assert mini.resolve(SMALL.replace(hires=2, hires_method="latents")).hires_strength == 0.6


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hires": "128x100"}, "hires 128x100 is not a multiple of 32 in both directions"),
        ({"hires": "32x128"}, "hires 32x128 does not enlarge the 64x64 that is drawn first"),
        ({"hires": "64x64"}, "does not enlarge"),
        ({"hires": 8, "width": 640}, "hires must be 8 to 4096 pixels each way, not 5120x512"),
        ({"hires": 2, "hires_strength": 0.2}, "with hires_strength 0.2 none of 4 steps is run"),
    ],
)
def test_a_second_pass_that_cannot_be_is_refused(mini: Any, changes: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        mini.resolve(SMALL.replace(**changes))


def test_steps_are_told_for_both_passes() -> None:
    resolved = HIRES.replace(steps=25, hires_steps=20)
    assert steps_left_out(resolved) == "25 steps, then 20 x 0.5 = 10 at 128x128"
    assert resolved.steps_run == 35


def test_latents_are_enlarged_as_torch_interpolates() -> None:
    """F.interpolate(torch.tensor([[0., 1.], [2., 4.]])[None, None], (4, 4), mode="bilinear")."""
    small = np.asarray([[0, 1], [2, 4]], np.float32)[..., None]
    expected = [
        [0, 0.25, 0.75, 1],
        [0.5, 0.8125, 1.4375, 1.75],
        [1.5, 1.9375, 2.8125, 3.25],
        [2, 2.5, 3.5, 4],
    ]
    np.testing.assert_allclose(_enlarged(small, 4, 4)[..., 0], expected, atol=1e-6)


def test_enlarged_latents_of_other_proportions_are_cut_on_both_sides() -> None:
    ramp = np.broadcast_to(np.arange(8, dtype=np.float32)[:, None, None], (8, 8, 3))
    wide = _enlarged(ramp, 32, 16)
    assert wide.shape == (16, 32, 3)
    np.testing.assert_allclose([wide[0].mean(), wide[-1].mean()], [1.625, 5.375], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", [name for name in HIRES_METHODS if name not in MODELS])
def test_the_second_pass_shows_the_first_ones_picture_enlarged(mini_graph: Any, method: str) -> None:
    """Brought back to its size, it is nearer to it than to another seed's picture."""
    base = Request(prompt="a red heart", steps=12, width=64, height=64, seed=7)
    request = base.replace(hires=2, hires_method=method)
    events = list(mini_graph.stream([request, base, base.replace(seed=8)]))
    large, first, other = (event.pixels for event in events if not isinstance(event, Progress))
    assert large.shape == (128, 128, 3)
    small = large.reshape(64, 2, 64, 2, 3).mean((1, 3))
    near, far = (np.mean((small - pixels) ** 2) for pixels in (first, other))
    assert near < far / 2, (near, far)
    steps = mini_graph.resolve(request).steps_run
    told = [event.step for event in events if isinstance(event, Progress) and event.steps == steps]
    assert told == sorted(told) and told[-1] == steps


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["ddim", "euler", "euler-a", "dpmpp-2m"])
def test_two_passes_are_text_to_image_and_image_to_image_of_diffusers(mini_graph: Any, sampler: str) -> None:
    """75 to 82 dB from tests/golden/make_hires.py, with the random numbers of one generator."""
    request = SMALL.replace(sampler=sampler, steps=8, guidance=5.0, rng="torch", hires=2, hires_strength=0.5)
    (image,) = mini_graph.generate([request])
    with np.load(Path(__file__).parent / "golden" / "hires.npz") as stored:
        error = np.mean((image.pixels.astype(float) - stored[sampler]) ** 2)
    assert error == 0 or 10 * np.log10(255**2 / error) > 60


@pytest.mark.slow
def test_pictures_of_two_passes_do_not_depend_on_their_neighbours(graph_batching: Any) -> None:
    requests = [
        HIRES,
        HIRES.replace(prompt="a panda", steps=6, hires_method="latents", seed=1),
        HIRES.replace(sampler="euler-a", hires_steps=8, seed=3),
        HIRES.replace(sampler="ddim", eta=0.5, seed=4, hires_strength=1.0),
    ]
    assert len({graph_batching.read(request).shape for request in requests}) == 1
    together = [image.pixels for image in graph_batching.generate(requests, 4)]
    before = graph_batching.compilations
    for request, pixels in zip(requests, together, strict=True):
        (alone,) = graph_batching.generate([request], 1)
        error = np.mean((alone.pixels.astype(float) - pixels) ** 2)
        assert error == 0 or 10 * np.log10(255**2 / error) > 45
    assert graph_batching.compilations - before <= 4  # Two sizes, with and without fresh noise.


@pytest.mark.slow
def test_a_picture_that_is_started_from_is_enlarged_with_its_transparency(mini_graph: Any) -> None:
    picture = np.full((64, 64, 4), (200, 40, 40, 255), np.uint8)
    picture[:32, :32, 3] = 0
    (image,) = mini_graph.generate([HIRES.replace(init_image=picture, strength=0.5, width=None, height=None)])
    assert image.pixels.shape == (128, 128, 4)
    alpha = image.pixels[..., 3]
    assert (alpha[:56, :56].max(), alpha[72:].min()) == (0, 255)


@pytest.mark.slow
def test_one_record_of_both_passes_draws_the_picture_again(sdgen: Command) -> None:
    size = ("--size", "64x64", "--steps", "3", "--seed", "7", "--hires-steps", "4")
    (record,) = sdgen.drawn("a red heart", *size, "--hires", "2", "--hires-strength", "0.5")
    assert (record["width"], record["height"], record["hires"]) == (64, 64, "128x128")
    path = f"outputs/{record['image']}"
    assert Image.open(path).size == (128, 128)
    again = sdgen.run("replay", path)
    assert again.exit_code == 0, again.stderr
    assert "identical" in again.stdout
    shown = sdgen.run("show", path)
    assert "--hires 128x128" in shown.stdout and "--hires-steps 4" in shown.stdout


@pytest.mark.slow
def test_a_large_picture_in_tiles_is_drawn_again_from_its_record(sdgen: Command) -> None:
    words = ("--size", "288x64", "--steps", "2", "--seed", "7", "--tiles")
    (record,) = sdgen.drawn("a red heart", *words)
    (whole,) = sdgen.drawn("a red heart", *words[:-1])
    assert record["tiles"] is True and record["pixels_sha256"] != whole["pixels_sha256"]
    again = sdgen.run("replay", f"outputs/{record['image']}")
    assert "identical" in again.stdout, again.stderr


def test_keras_cv_has_no_second_pass_and_no_tiles(mini: Any) -> None:
    from sdgen.pipeline.keras_cv.engine import KerasCvEngine

    stock = object.__new__(KerasCvEngine)
    stock.checkpoint, stock.entry = mini.checkpoint, mini.entry
    for field, value, named in (("hires", 2, "hires 256x256"), ("tiles", True, "--tiles")):
        request = SMALL.replace(width=128, height=128, **{field: value})
        with pytest.raises(InputError, match=f"--engine keras-cv has no {named}"):
            stock.resolve(request)


def test_draws_go_on_where_the_first_pass_would_have_ended(mini: Any) -> None:
    """A table that draws noise and scales it by 0 takes as much of the stream as one that uses it."""
    from sdgen.pipeline.passes import second_start

    class Nothing:
        def __call__(self, latents: Any, request: Request, noise: Any) -> Any:
            return np.zeros((16, 16, latents.shape[-1]), np.float32)

    request = mini.resolve(HIRES.replace(sampler="euler-a"))
    first, second = mini._passes([request])
    drawn, expected = (ImageNoise(7, "philox") for _ in range(2))
    for _ in range(int(first.tables[0].draws.sum())):
        drawn.normal(*first.shape), expected.normal(*first.shape)
    latents = np.zeros((1, *first.shape), np.float32)
    start = second_start(Nothing(), [request], first, second, [drawn], latents)  # type: ignore[arg-type]
    sigma = second.tables[0].sigma_in[0]
    np.testing.assert_allclose(start[0], sigma * expected.normal(*second.shape), rtol=1e-5)


@pytest.mark.slow
def test_a_picture_of_the_models_size_in_tiles_is_the_same_to_the_bit(small: Any) -> None:
    (plain, tiled) = small.generate([SMALL, SMALL.replace(tiles=True)])
    assert np.array_equal(plain.pixels, tiled.pixels)


@pytest.mark.slow
def test_tiles_do_not_show_in_the_bundled_models_prediction(mini_graph: Any) -> None:
    """Over a smooth gradient, with noise of the level: neighbours across a window's edge differ as others do.

    Measured: 0.9 to 1.2 times as much, and with equal weights of all windows 1.9 to 2.3 times.
    """
    from sdgen.pipeline.windows import overlapping_windows

    request = mini_graph.resolve(Request(prompt="a blue sky", steps=10, width=512, height=512, tiles=True))
    (run,) = mini_graph._passes([request])
    assert run.windows is not None and run.windows.positions.shape == (9, 32, 32)
    assert overlapping_windows((64, 64), (32, 32)).positions.shape == run.windows.positions.shape
    ratio = _seam(mini_graph, run)
    assert 0.7 < ratio < 1.35, ratio


def _seam(model: Any, run: Any) -> float:
    import dataclasses

    from sdgen.pipeline.conditioning import Conditioning

    y, x = np.mgrid[:64, :64] / 64
    waves = [np.sin(2 * x + y), np.cos(x - y), x * 2 - 1, y * 2 - 1, np.cos(2 * x + y), x * y, -x, 0.5 - y]
    gradient = np.stack(waves, -1)[None].astype(np.float32)
    table = run.tables[0].from_step(6)
    table = dataclasses.replace(table, **{name: getattr(table, name)[:1] for name in _ROWS})
    noise = ImageNoise(1, "philox").normal(64, 64, 8)
    start = np.asarray(table.alpha_in[0] * gradient + table.sigma_in[0] * noise, np.float32)
    job = model.read(Request(prompt="a blue sky", guidance=1.0))
    context = model._prompts.encode([job.prompt], 0)
    *_, last = model._runners().denoiser.run(
        [table], start, None, Conditioning(context), jit=False, windows=run.windows
    )
    steps = np.abs(np.diff(np.asarray(last.estimate), axis=2)).mean((0, 1, 3))
    edges = [15, 31, 47]  # Between the columns 15 and 16, and so on, some window begins or ends.
    others = [column for column in range(8, 55) if column not in edges]
    return float(steps[edges].mean() / steps[others].mean())


_ROWS = ("timesteps", "p", "q", "noise", "mix", "draws", "steps", "alpha_in", "sigma_in")


class Enlarging:
    """Stands for a model that enlarges: each pixel becomes four times as wide and high."""

    def __init__(self, name: str) -> None:
        self.name, self.asked = name, list[Request]()

    def generate(self, requests: list[Request]) -> Any:
        for request in requests:
            self.asked.append(request)
            pixels = request.init_image.pixels()[..., :3].repeat(4, 0).repeat(4, 1)
            yield package.Image(request, pixels, 0.1, details={"weights_sha256": self.name})


def test_a_model_between_the_passes_gets_the_picture_the_seed_and_what_else_it_takes() -> None:
    models = dict[str, Enlarging]()
    enlarge = EnlargingModels(lambda name: models.setdefault(name, Enlarging(name)))  # type: ignore[arg-type]
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    for method in ("ldm-sr", "sd-x4"):
        large = enlarge(picture, HIRES.replace(hires_method=method, negative_prompt="fog", rng="torch"))
        assert large.shape == (16, 16, 3)
    plain, prompted = (each for name in ("ldm-sr", "sd-x4-upscaler") for each in models[name].asked)
    assert (plain.prompt, plain.negative_prompt, plain.upscale, plain.seed) == ("", "", 4, 7)
    assert (prompted.prompt, prompted.negative_prompt, prompted.rng) == ("a red heart", "fog", "torch")
    assert enlarge.details(HIRES.replace(hires_method="sd-x4")) == {"hires_weights_sha256": "sd-x4-upscaler"}
    assert enlarge.details(HIRES) == {}


@pytest.mark.slow
def test_the_second_pass_begins_with_what_a_model_made_of_the_first_ones_picture(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Enlarging("ab" * 32)
    monkeypatch.setattr(small._models, "_load", lambda name: model)
    first, by_model, again = (
        image
        for request in (SMALL, HIRES.replace(hires_method="ldm-sr"), HIRES.replace(hires_method="ldm-sr"))
        for image in small.generate([request])
    )
    assert by_model.pixels.shape == (128, 128, 3) and np.array_equal(by_model.pixels, again.pixels)
    assert np.array_equal(model.asked[0].init_image.pixels()[..., :3], first.pixels)
    assert by_model.details["hires_weights_sha256"] == "ab" * 32
    (by_filter,) = small.generate([HIRES])
    assert not np.array_equal(by_filter.pixels, by_model.pixels)
    assert "hires_weights_sha256" not in by_filter.details


def test_a_model_between_the_passes_that_is_not_here_is_said_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdgen = Command(tmp_path, monkeypatch)
    Path("p.txt").write_text("a heart")
    for command in (["draw", "a heart"], ["batch", "p.txt"]):
        result = sdgen.draw(*command, "--hires", "2", "--hires-method", "ldm-sr")
        assert result.exit_code == ExitCode.UNAVAILABLE
        assert "`sdgen models pull ldm-sr`" in result.stderr and not sdgen.loads
