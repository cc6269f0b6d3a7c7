"""What every engine promises: sdgen's own, keras_cv's at full size, and the one that stands in for them."""

from __future__ import annotations

import pickle
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

REQUEST = Request(prompt="a red heart", steps=2, width=128, height=128, seed=7)


@pytest.fixture(scope="module")
def stock(tmp_path_factory) -> Engine:
    """keras_cv's StableDiffusionV2 on its own networks, at full width, from its own files."""
    folder = tmp_path_factory.mktemp("stock")
    write_stock_files(folder)
    return sdgen.load(str(folder), engine="keras-cv", backend="tensorflow", device="cpu", dtype="float32")


@pytest.fixture(
    params=[
        pytest.param("sdgen", marks=pytest.mark.slow),
        pytest.param("keras-cv", marks=pytest.mark.slow),
        "stand-in",
    ]
)
def engine(request: Any) -> Engine:
    if request.param == "stand-in":
        return stand_in.Pipeline()
    return request.getfixturevalue("mini" if request.param == "sdgen" else "stock")


def drawn(engine: Engine, *requests: Request) -> tuple[list[Progress], Denoised]:
    """A batch of two, up to its decoder, filled up where there is one request: so one program serves all."""
    *progress, last = engine.draw(list(map(engine.read, requests)), 2, jit=True)
    assert isinstance(last, Denoised)
    return progress, last


def test_what_a_request_leaves_open_is_filled_in(engine: Engine) -> None:
    resolved = engine.resolve(REQUEST)
    assert (resolved.width, resolved.height, resolved.steps, resolved.seed) == (128, 128, 2, 7)
    assert None not in (resolved.guidance, resolved.sampler, engine.resolve(resolved).sampler)
    assert engine.resolve(resolved) == resolved


def test_a_size_that_is_no_multiple_is_refused(engine: Engine) -> None:
    assert engine.size_multiple % 8 == 0
    with pytest.raises(InputError, match="width 104 is not a multiple of"):
        engine.resolve(REQUEST.replace(width=104))


def test_jobs_and_denoised_batches_are_plain_data(engine: Engine) -> None:
    _, batch = drawn(engine, REQUEST)
    sent = pickle.loads(pickle.dumps(batch))  # nosec B301 # its own
    (here,), (there,) = engine.decode(batch), engine.decode(sent)
    np.testing.assert_array_equal(here.pixels, there.pixels)
    assert there.request == here.request


def test_a_batch_tells_of_its_steps_and_gives_an_image_for_each_job(engine: Engine) -> None:
    requests = [REQUEST, REQUEST.replace(prompt="a panda", seed=8)]
    progress, batch = drawn(engine, *requests)
    assert [p.images for p in progress] == [2] * len(progress)
    assert (progress[-1].step, progress[-1].steps) == (2, 2)
    images = list(engine.decode(batch))
    assert [image.request.seed for image in images] == [7, 8]
    for image in images:
        assert isinstance(image, Image) and image.error is None
        assert image.pixels is not None
        assert (image.pixels.shape, image.pixels.dtype) == ((128, 128, 3), np.uint8)
        assert image.details["engine"] == engine.engine
        assert image.details["batch_size"] == 2
        assert image.seconds > 0
    assert not np.array_equal(images[0].pixels, images[1].pixels)


def test_a_batch_that_is_not_full_gives_no_more_images_than_jobs(engine: Engine) -> None:
    _, batch = drawn(engine, REQUEST)
    assert len(list(engine.decode(batch))) == 1


def test_a_batch_has_an_image_at_least(engine: Engine) -> None:
    assert engine.batch_limit() >= 1
    assert 1 <= engine.batch_limit(3) <= 3
    with pytest.raises(InputError, match="batch size must be 1 or more, not 0"):
        engine.batch_limit(0)


def test_generate_gives_images_in_order(engine: Engine) -> None:
    requests = [REQUEST.replace(seed=seed) for seed in (3, 1, 2)]
    assert [image.request.seed for image in engine.generate(requests, 2)] == [3, 1, 2]


@pytest.mark.slow
def test_keras_cvs_own_class_draws_the_same_image_alone_and_in_a_batch(stock: Engine) -> None:
    """At random weights the picture is one of noise, and no other than that noise's."""
    import keras_cv

    other = REQUEST.replace(seed=8)
    assert isinstance(stock.model, keras_cv.models.StableDiffusionV2)
    (alone,) = stock.decode(drawn(stock, other)[1])
    _, together = stock.decode(drawn(stock, REQUEST, other)[1])
    difference = alone.pixels.astype(int) - together.pixels.astype(int)
    assert abs(difference).max() <= 1
    assert alone.pixels.std() > 1
