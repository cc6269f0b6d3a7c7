"""Windows over a picture that is larger than the model's, and the network evaluated in them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden.inputs import normal
from test_denoiser import SHAPE, conditioning, denoiser, run, tables

from sdgen.diffusion.shortcuts import Shortcuts
from sdgen.pipeline.conditioning import Conditioning, KnownLatents
from sdgen.pipeline.windows import Windows, _windows, overlapping_windows

SIZES = [(64, 64), (32, 100), (50, 33), (33, 32), (96, 160), (47, 81)]


@pytest.fixture(scope="module")
def sd2():
    return denoiser()


def windows(size: tuple[int, int], window: tuple[int, int] = (32, 32)) -> Windows:
    found = overlapping_windows(size, window)
    assert found is not None
    return found


def together(found: Windows, parts: Any) -> Any:
    """What windows (windows, rows, columns) are put together to."""
    return (found.shares * parts.ravel()[found.sources]).sum(0)


@pytest.mark.parametrize("size", SIZES)
def test_windows_cover_all_of_a_size_and_end_at_its_edges(size: tuple[int, int]) -> None:
    found = windows(size)
    assert found.positions.shape[1:] == (32, 32)
    assert np.array_equal(np.unique(found.positions), np.arange(size[0] * size[1]))


@pytest.mark.parametrize("size", SIZES)
def test_a_smooth_gradient_is_put_together_without_a_seam(size: tuple[int, int]) -> None:
    y, x = np.mgrid[: size[0], : size[1]]
    gradient = np.sin(y / 20) + x / 30
    found = windows(size)
    np.testing.assert_allclose(together(found, gradient.ravel()[found.positions]), gradient, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_shares_change_little_from_one_position_to_the_next(size: tuple[int, int]) -> None:
    """Windows that each hold one value, 0 or 1: at most a seventh of it; with equal weights half of it."""
    found = windows(size)
    values = np.random.default_rng(0).integers(0, 2, len(found.positions))
    picture = together(found, np.ones(found.positions.shape) * values[:, None, None])
    steps = [np.abs(np.diff(picture, axis=axis)).max() for axis in (0, 1)]
    assert max(steps) < 1 / 7


def test_windows_that_are_not_needed_are_none() -> None:
    assert overlapping_windows((32, 32), (32, 32)) is None
    assert overlapping_windows((16, 24), (32, 32)) is None


def test_a_narrow_picture_has_windows_of_its_height() -> None:
    assert windows((16, 100)).positions.shape[1:] == (16, 32)


def whole_in_one(size: tuple[int, int]) -> Windows:
    """One window that covers all."""
    return _windows(size, size, [np.zeros(1, np.int32)] * 2)


def fast(count: int = 2) -> list[Shortcuts]:
    return [Shortcuts(np.asarray([0, 1, 0, 1, 1], bool), np.asarray([1, 1, 1, 0, 0], bool))] * count


@pytest.mark.parametrize("shortcuts", [(), fast()], ids=["whole", "fast"])
def test_one_window_over_all_is_the_whole_evaluation_to_the_bit(sd2, shortcuts) -> None:
    whole = run(sd2, conditioning(), shortcuts=shortcuts)[-1].latents
    tiled = run(sd2, conditioning(), shortcuts=shortcuts, windows=whole_in_one(SHAPE[1:3]))[-1].latents
    np.testing.assert_array_equal(tiled, whole)


def test_predictions_of_windows_are_averaged(sd2) -> None:
    """One Euler step of 16 x 8 latents in windows of 8 x 8 against each window's own."""
    found, table = windows(SHAPE[1:3], (8, 8)), tables("euler", 1)
    (drawn,) = run(sd2, conditioning(), tables=table, windows=found)
    latents, expected = normal(4, *SHAPE), np.zeros(SHAPE)
    shares = np.zeros((len(found.positions), 16, 8))
    for source, share in zip(found.sources, found.shares, strict=True):
        np.add.at(shares.reshape(-1), source // 64 * 128 + np.arange(128).reshape(16, 8), share)
    for i, top in enumerate(found.positions[:, 0, 0] // 8):
        slices = sd2.run(table, latents[:, top : top + 8], None, conditioning(), jit=False)
        part = np.asarray(next(iter(slices)).latents)
        expected[:, top : top + 8] += shares[i, top : top + 8, :, None] * part
    np.testing.assert_allclose(drawn.latents, expected, rtol=1e-4, atol=1e-4)


def test_extra_channels_are_cut_as_the_latents_are() -> None:
    loop, channels = denoiser("unet-labels"), normal(7, 2, 16, 8, 3)
    more = {"labels": np.asarray([1, 2, 3, 4]), "channels": channels}
    whole = run(loop, conditioning(**more), windows=whole_in_one(SHAPE[1:3]))[-1].latents
    np.testing.assert_array_equal(whole, run(loop, conditioning(**more))[-1].latents)
    found = windows(SHAPE[1:3], (8, 8))
    tiled = run(loop, conditioning(**more), windows=found)[-1].latents
    other = conditioning(**more | {"channels": channels[:, ::-1].copy()})
    assert np.abs(tiled - run(loop, other, windows=found)[-1].latents).max() > 0.1


def test_known_latents_stand_in_a_tiled_picture(sd2) -> None:
    mask = np.zeros((2, 16, 8, 1), np.float32)
    mask[:, 4:9] = 1
    known = KnownLatents(normal(5, *SHAPE), mask, normal(6, *SHAPE))
    drawn = run(sd2, conditioning(known=known), windows=windows(SHAPE[1:3], (8, 8)))[-1].latents
    np.testing.assert_array_equal(drawn[:, 9:], known.latents[:, 9:])
    assert np.abs(drawn[:, 4:9] - known.latents[:, 4:9]).min() > 1e-5


@pytest.mark.parametrize("shortcuts", [False, True], ids=["whole", "fast"])
def test_a_tiled_image_does_not_depend_on_its_neighbours(sd2, shortcuts: bool) -> None:
    found, given = windows(SHAPE[1:3], (8, 8)), conditioning()
    used = [tables("euler")[0], tables("ddim")[0]]
    more = {"windows": found, "tables": used, "shortcuts": fast() if shortcuts else ()}
    both = run(sd2, given, **more)[-1].latents
    context, guidance = given.context[[1, 3]], given.guidance[1:]
    alone = sd2.run(
        used[1:],
        normal(4, *SHAPE)[1:],
        None,
        Conditioning(context, guidance),
        jit=False,
        shortcuts=fast(1) if shortcuts else (),
        windows=found,
    )
    *_, last = alone
    np.testing.assert_allclose(np.asarray(last.latents)[0], both[1], rtol=1e-4, atol=1e-4)


ON_JAX = """
import sys
import numpy as np
import test_denoiser
from sdgen import backend
activate = backend.activate
backend.activate = lambda name: activate("jax")
import test_tiled_evaluation as tiled
loop = test_denoiser.denoiser()
found = tiled.windows(test_denoiser.SHAPE[1:3], (8, 8))
drawn = {}
for name, shortcuts in (("whole", ()), ("fast", tiled.fast())):
    parts = test_denoiser.run(loop, test_denoiser.conditioning(), windows=found, shortcuts=shortcuts)
    drawn[name] = parts[-1].latents
np.savez(sys.argv[1], **drawn)
"""


@pytest.mark.slow
def test_jax_computes_the_same_in_windows(sd2, tmp_path: Path) -> None:
    pytest.importorskip("jax")
    folder = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, "-c", ON_JAX, str(tmp_path / "jax.npz")],
        env=environment,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    with np.load(tmp_path / "jax.npz") as found:
        for name, shortcuts in (("whole", ()), ("fast", fast())):
            here = run(sd2, conditioning(), windows=windows(SHAPE[1:3], (8, 8)), shortcuts=shortcuts)
            np.testing.assert_allclose(found[name], here[-1].latents, rtol=1e-3, atol=1e-3)
