"""The bundled model behind the server: OpenAI's client gets what the library draws."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
from PIL import Image
from served_app import served

from sdgen.request import Request
from sdgen.serve.settings import Settings

pytestmark = pytest.mark.slow

STEPS = 4


@pytest.fixture(scope="module")
def client(mini: Any) -> Iterator[openai.OpenAI]:
    with served(Settings(models=("mini",)), mini) as server:
        yield openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0, timeout=120)


def pixels(data: str | None) -> np.ndarray:
    assert data is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


@pytest.fixture(scope="module")
def heart(mini: Any) -> np.ndarray:
    (image,) = mini.generate([Request(prompt="a red heart", seed=7, steps=STEPS, model="mini")])
    assert image.pixels is not None
    return image.pixels


def test_a_picture_is_the_librarys_to_the_bit(client: openai.OpenAI, heart: np.ndarray) -> None:
    answer = client.images.generate(
        model="mini", prompt="a red heart", extra_body={"seed": 7, "steps": STEPS}
    )
    assert answer.data is not None
    assert np.array_equal(pixels(answer.data[0].b64_json), heart)


def test_partial_pictures_look_like_the_picture(client: openai.OpenAI, heart: np.ndarray) -> None:
    stream = client.images.generate(
        prompt="a red heart", stream=True, partial_images=2, extra_body={"seed": 7, "steps": STEPS}
    )
    seen = [pixels(event.b64_json) for event in stream]
    assert [each.shape for each in seen] == [(256, 256, 3)] * 3
    assert np.array_equal(seen[2], heart)
    for partial in seen[:2]:
        assert np.corrcoef(partial.ravel(), heart.ravel())[0, 1] > 0.7


def test_an_edit_changes_what_is_transparent_in_the_mask_alone(
    client: openai.OpenAI, heart: np.ndarray
) -> None:
    mask = np.full((256, 256, 4), 255, np.uint8)
    mask[64:192, 64:192, 3] = 0
    answer = client.images.edit(
        image=("heart.png", file_of(heart)),
        mask=("mask.png", file_of(mask)),
        prompt="a blue fish",
        extra_body={"seed": 3, "steps": STEPS},
    )
    assert answer.data is not None
    edited = pixels(answer.data[0].b64_json)
    changed = (edited != heart).any(-1)
    assert not changed[mask[..., 3] == 255].any()
    assert changed[96:160, 96:160].mean() > 0.5


def file_of(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()
