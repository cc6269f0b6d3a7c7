"""Pictures that join themselves at their edges (--seamless): the seam is as any other column or row."""

from __future__ import annotations

import io
import itertools
import json

import numpy as np
import pytest
from test_pipeline import SMALL, psnr

from sdgen import prompts
from sdgen.errors import InputError
from sdgen.images import a1111_text
from sdgen.pipeline.keras_cv.engine import KerasCvEngine
from sdgen.pipeline.masked_size import filled_for_mask
from sdgen.pipeline.passes import Pass
from sdgen.pipeline.windows import overlapping_windows
from sdgen.request import Request

AXES = {"y": 0, "x": 1}
EVERY = (None, "x", "y", "xy")


@pytest.fixture(scope="module")
def mini(mini_graph):
    """These tests look at pictures, not at what XLA compiles."""
    return mini_graph


def seam(pixels: np.ndarray, axis: int) -> float:
    """Of a picture rolled by half: the mean difference across the seam, over that across other lines.

    They are those between two latents' pixels, as the seam is: within the pixels of one, noise is smoother.
    """
    middle = pixels.shape[axis] // 2
    rolled = np.roll(pixels.astype(float), middle, axis)
    steps = np.abs(np.diff(rolled, axis=axis)).mean(axis=(1 - axis, 2))[7::8]
    at = middle // 8 - 1
    return float(steps[at] / np.delete(steps, at).mean())


@pytest.fixture(scope="module")
def textures(mini) -> dict[str | None, np.ndarray]:
    """Latents of noise, decoded with every choice of axes: no edge of these is of one colour."""
    latents = np.random.default_rng(0).standard_normal((1, 12, 16, 8), np.float32)
    decoded = {wrap: mini._runners(wrap).decoder(latents) for wrap in EVERY}
    assert not any(error for _, error in decoded.values())
    return {wrap: pixels for wrap, (pixels, _) in decoded.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("wrap", "axis"), list(itertools.product(EVERY, AXES)))
def test_a_picture_is_joined_on_the_axes_that_are_asked_for_alone(textures, wrap, axis) -> None:
    found = seam(textures[wrap], AXES[axis])
    assert found < 1.3 if axis in (wrap or "") else found > 1.5


@pytest.mark.slow
@pytest.mark.parametrize("wrap", ["x", "y", "xy"])
def test_noise_that_is_rolled_gives_the_picture_rolled(mini, monkeypatch, wrap) -> None:
    """No place on a joined axis is an edge: the networks do not know where a picture begins."""
    from sdgen.pipeline import starting

    request = SMALL.replace(width=96, seamless=wrap)
    shift = {axis: 4 if letter in wrap else 0 for letter, axis in AXES.items()}
    (first,) = mini.generate([request])
    plain = starting.Starter._one

    def rolled(self, *given):
        return np.roll(plain(self, *given), tuple(shift.values()), tuple(shift))

    monkeypatch.setattr(starting.Starter, "_one", rolled)
    (second,) = mini.generate([request])
    expected = np.roll(first.pixels, tuple(8 * by for by in shift.values()), tuple(shift))
    assert psnr(second.pixels, expected) > 50
    assert psnr(second.pixels, first.pixels) < 30


@pytest.mark.slow
def test_requests_of_different_axes_share_no_program(graph_batching) -> None:
    requests = [SMALL.replace(width=160, seamless=wrap) for wrap in EVERY for _ in range(2)]
    before = graph_batching.compilations
    images = list(graph_batching.generate(requests, batch_size=4))
    assert [image.error for image in images] == [None] * 8
    assert [image.details["batch_size"] for image in images] == [2] * 8
    assert graph_batching.compilations == before + 4
    list(graph_batching.generate(requests, batch_size=4))
    assert graph_batching.compilations == before + 4


def test_there_is_one_copy_of_the_weights(mini) -> None:
    from sdgen.pipeline.seamless_networks import SeamlessNetworks

    seamless = SeamlessNetworks(mini.networks, "x")
    for part in ("diffusion_model", "decoder", "image_encoder"):
        own, shared = (getattr(networks, part) for networks in (seamless, mini.networks))
        assert own.arriving is shared.arriving
        assert {p.name: p.shape for p in own.network.parameters()} == own.arriving.shapes


@pytest.mark.parametrize("wrap", ["", "x", "y", "xy"])
def test_windows_go_on_at_the_opposite_edge(wrap) -> None:
    """On an axis that is joined no place is an edge: they are spread evenly, and one crosses each seam."""
    windows = overlapping_windows((48, 64), (32, 32), wrap)
    assert windows is not None
    np.testing.assert_allclose(windows.shares.sum(0), 1, rtol=1e-6)
    y, x = np.divmod(windows.positions, 64)
    for axis, places in (("y", y[:, :, 0]), ("x", x[:, 0])):
        assert (np.diff(places) < 0).any() == (axis in wrap)
        gaps = np.diff(np.unique(places[:, 0]), append=places[:, 0].min() + {"y": 48, "x": 64}[axis])
        assert (gaps.max() <= 16) == (axis in wrap)


def test_what_is_drawn_in_windows_wraps_where_a_window_has_all_of_the_picture() -> None:
    for tiles, height, expected in ((False, 64, "xy"), (True, 64, ""), (True, 32, "y")):
        windows = overlapping_windows((height, 64), (32, 32), "xy") if tiles else None
        assert Pass([], [], (height, 64, 4), windows, "xy").wrap == expected


@pytest.mark.parametrize(("side", "fields"), [(128, {"only_masked": 8}), (120, {})])
def test_a_part_of_a_picture_joins_nothing(side, fields) -> None:
    picture, mask = np.zeros((side, side, 3), np.uint8), np.full((side, side), 255, np.uint8)
    request = Request(prompt="a", init_image=picture, mask=mask, **fields)
    assert filled_for_mask(request, 64, (256, 256)).width
    with pytest.raises(InputError, match="joins itself where it is drawn as a whole, in multiples of 64"):
        filled_for_mask(request.replace(seamless="x"), 64, (256, 256))


def test_keras_cv_refuses_it(mini) -> None:
    stock = object.__new__(KerasCvEngine)
    stock.checkpoint, stock.entry = mini.checkpoint, mini.entry
    with pytest.raises(InputError, match="--engine keras-cv has no seamless xy; leave it out"):
        stock.resolve(SMALL.replace(width=128, height=128, seamless="xy"))


def test_automatic1111_is_told_of_both_axes_alone() -> None:
    """Its tiling joins both: one axis is no setting of its."""
    for wrap in ("x", "y"):
        assert "Tiling" not in a1111_text.write(Request(prompt="a", steps=3, seamless=wrap))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"seamless": "x"}, "x"),
        ({"tiling": True}, "xy"),
        ({"tiling": False}, None),
        ({"Tiling": True}, "xy"),
        ({"tiling": "y"}, "y"),
    ],
)
@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_prompts_files_may_call_it_tiling(entry, expected, form) -> None:
    (name, value), text = *entry.items(), json.dumps({"prompt": "a", **entry})
    if form == "csv":
        text = f"prompt,{name}\na,{value}\n"
    (line,) = prompts.read(io.BytesIO(text.encode()), form, {})
    assert line.request is not None, line.problems
    assert line.request.seamless == expected


def test_an_axis_that_there_is_not_is_told() -> None:
    with pytest.raises(InputError, match="seamless must be one of x, y, xy, not 'z'"):
        Request(prompt="a", seamless="z")
