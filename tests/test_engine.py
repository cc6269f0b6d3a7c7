"""What every engine promises: sdgen's own, keras_cv's at full size, and the one that stands in for them."""

from __future__ import annotations

import math
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stand_in
from stock_files import write_stock_files

import sdgen
from sdgen import InputError, Request
from sdgen.images.image import Image
from sdgen.pipeline.engine import Engine
from sdgen.pipeline.results import Denoised, Progress

REQUEST = Request(prompt="a red heart", steps=2, width=128, height=128, seed=8)
OTHER = REQUEST.replace(prompt="a panda", seed=7)

STOCK_MEMORY, STOCK_DISK = 11 * 10**9, 4 * 10**9
"""Bytes that keras_cv's networks take while they draw two images, and their files."""


@pytest.fixture(scope="module")
def stock(tmp_path_factory) -> Engine:
    """keras_cv's StableDiffusionV2 on its own networks, at full width, from its own files."""
    folder = tmp_path_factory.mktemp("stock")
    memory, disk = free_memory(), shutil.disk_usage(folder).free
    if memory < STOCK_MEMORY:
        pytest.skip(f"keras_cv's networks take 11 GB of memory at full width; {memory / 1e9:.1f} GB are free")
    if disk < STOCK_DISK:
        pytest.skip(f"keras_cv's files take 3 GB of disk at full width; {disk / 1e9:.1f} GB are free")
    write_stock_files(folder)
    return sdgen.load(str(folder), engine="keras-cv", backend="tensorflow", device="cpu", dtype="float32")


def free_memory() -> float:
    """Bytes that programs may take; infinite where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return math.inf
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), math.inf)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("sdgen", marks=pytest.mark.slow),
        pytest.param("keras-cv", marks=pytest.mark.slow),
        "stand-in",
    ],
)
def engine(request: Any) -> Engine:
    if request.param == "stand-in":
        return stand_in.Pipeline()
    return request.getfixturevalue("small" if request.param == "sdgen" else "stock")


Drawn = tuple[list[Progress], Denoised]


def drawn(engine: Engine, *requests: Request) -> Drawn:
    """A batch of two, up to its decoder, filled up where there is one request: so one program serves all."""
    *progress, last = engine.draw(list(map(engine.read, requests)), 2, jit=True)
    assert isinstance(last, Denoised)
    return progress, last


@pytest.fixture(scope="module")
def generated(engine: Engine) -> tuple[list[Image], Drawn]:
    """The images of two requests, and what the engine told while it drew them."""
    told: list[Any] = []
    draw = engine.draw

    def listened(*arguments: Any) -> Iterator[Progress | Denoised]:
        for event in draw(*arguments):
            told.append(event)
            yield event

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "batch_limit", lambda asked=None: asked or 1)  # As on an accelerator.
        patch.setattr(engine, "draw", listened)
        images = list(engine.generate([REQUEST, OTHER], 2))
    *progress, last = told
    assert isinstance(last, Denoised)
    return images, (progress, last)


@pytest.fixture(scope="module")
def together(generated: tuple[list[Image], Drawn]) -> Drawn:
    return generated[1]


@pytest.fixture(scope="module")
def alone(engine: Engine) -> Drawn:
    return drawn(engine, OTHER)


def test_what_a_request_leaves_open_is_filled_in(engine: Engine) -> None:
    resolved = engine.resolve(REQUEST)
    assert (resolved.width, resolved.height, resolved.steps, resolved.seed) == (128, 128, 2, 8)
    assert None not in (resolved.guidance, resolved.sampler, engine.resolve(resolved).sampler)
    assert engine.resolve(resolved) == resolved


def test_a_size_that_is_no_multiple_is_refused(engine: Engine) -> None:
    assert engine.size_multiple % 8 == 0
    with pytest.raises(InputError, match="width 104 is not a multiple of"):
        engine.resolve(REQUEST.replace(width=104))


def test_jobs_and_denoised_batches_are_plain_data(engine: Engine, alone: Drawn) -> None:
    sent = pickle.loads(pickle.dumps(alone[1]))  # nosec B301 # its own
    (here,), (there,) = engine.decode(alone[1]), engine.decode(sent)
    np.testing.assert_array_equal(here.pixels, there.pixels)
    assert there.request == here.request


def test_a_batch_tells_of_its_steps_and_gives_an_image_for_each_job(engine: Engine, together: Drawn) -> None:
    progress, batch = together
    assert [p.images for p in progress] == [2] * len(progress)
    assert (progress[-1].step, progress[-1].steps) == (2, 2)
    images = list(engine.decode(batch))
    assert [image.request.seed for image in images] == [8, 7]
    for image in images:
        assert isinstance(image, Image) and image.error is None
        assert image.pixels is not None
        assert (image.pixels.shape, image.pixels.dtype) == ((128, 128, 3), np.uint8)
        assert image.details["engine"] == engine.engine
        assert image.details["batch_size"] == 2
        assert image.seconds > 0
        assert image.pixels.std() > 1
    assert not np.array_equal(images[0].pixels, images[1].pixels)


def test_a_batch_that_is_not_full_gives_no_more_images_than_jobs(engine: Engine, alone: Drawn) -> None:
    assert len(list(engine.decode(alone[1]))) == 1


def test_an_image_is_the_same_alone_and_in_a_batch(engine: Engine, alone: Drawn, together: Drawn) -> None:
    (one,), (_, other) = engine.decode(alone[1]), engine.decode(together[1])
    assert abs(one.pixels.astype(int) - other.pixels.astype(int)).max() <= 1


def test_a_batch_has_an_image_at_least(engine: Engine) -> None:
    assert engine.batch_limit() >= 1
    assert 1 <= engine.batch_limit(3) <= 3
    with pytest.raises(InputError, match="batch size must be 1 or more, not 0"):
        engine.batch_limit(0)


def test_generate_gives_images_in_order(generated: tuple[list[Image], Drawn]) -> None:
    images, (_, batch) = generated
    assert [image.request.seed for image in images] == [8, 7]
    assert [job.request.seed for job in batch.jobs] == [8, 7]


@pytest.mark.slow
def test_it_is_keras_cvs_own_class_that_draws(stock: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras_cv

    kind, used = keras_cv.models.StableDiffusionV2, []

    def generate_image(model: Any, *arguments: Any, **options: Any) -> Any:
        used.append((type(model), {type(network) for network in vars(model).values()}))
        return np.zeros((2, 128, 128, 3), np.uint8)

    monkeypatch.setattr(kind, "generate_image", generate_image)
    drawn(stock, REQUEST)
    ((drawing, parts),) = used
    assert drawing is kind
    networks = {part.__name__ for part in parts if part.__module__.startswith("keras_cv.")}
    assert {"DiffusionModelV2", "TextEncoderV2", "Decoder"} <= networks
