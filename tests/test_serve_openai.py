"""OpenAI's API, driven by OpenAI's own client and, for what that never sends, by plain requests."""

from __future__ import annotations

import base64
import io
import json
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
import requests
import stand_in
from PIL import Image
from served_app import Served, served
from serving import Held

from sdgen.serve.settings import Limits, Settings

SIZE = "64x64"
LIMITS = Limits(waiting=6, pictures=4, pixels=256 * 256, steps=60, prompt=500, body=200_000, body_seconds=20)


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(Settings(models=("mini", "second"), limits=LIMITS)) as running:
        yield running


@pytest.fixture
def held() -> Iterator[Served]:
    """A server whose engine waits for permits."""
    with served(Settings(models=("mini",), limits=LIMITS), Held()) as running:
        yield running


@pytest.fixture
def client(server: Served) -> openai.OpenAI:
    return client_of(server)


def client_of(server: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0, timeout=20)


def opened(data: str | None) -> Image.Image:
    assert data is not None
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    picture.load()
    return picture


def file_of(picture: Image.Image, name: str = "picture.png") -> tuple[str, bytes]:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return name, stream.getvalue()


def post(server: Served, values: Any, path: str = "/v1/images/generations", **options: Any) -> Any:
    return requests.post(server.url + path, json=values, timeout=20, **options)


def test_a_picture_comes_as_the_file_that_the_command_would_write(client: openai.OpenAI) -> None:
    answer = client.images.generate(model="mini", prompt="fox", size=SIZE, extra_body={"seed": 5, "steps": 3})
    assert answer.data is not None
    picture = opened(answer.data[0].b64_json)
    assert picture.format == "PNG" and picture.size == (64, 64)
    drawn = json.loads(picture.info["sdgen"])
    assert (drawn["prompt"], drawn["seed"], drawn["steps"]) == ("fox", 5, 3)
    assert np.array_equal(np.asarray(picture), stand_in.draw(stand_in.REQUEST.replace(seed=5, height=64)))


def test_several_pictures_have_seeds_that_follow_each_other(client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt="fox", n=3, size=SIZE, extra_body={"seed": 5})
    assert answer.data is not None
    seeds = [json.loads(opened(each.b64_json).info["sdgen"])["seed"] for each in answer.data]
    assert seeds == [5, 6, 7]


def test_without_a_seed_each_call_draws_another_picture(client: openai.OpenAI) -> None:
    answers = [client.images.generate(prompt="fox", size=SIZE) for _ in range(2)]
    assert len({json.loads(opened(a.data[0].b64_json).info["sdgen"])["seed"] for a in answers if a.data}) == 2


def test_size_auto_leaves_the_size_to_the_model(client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt="fox", size="auto")
    assert answer.size == "64x64"


@pytest.mark.parametrize(
    ("format", "compression"), [("jpeg", 40), ("webp", 40), ("jpeg", None), ("png", 100)]
)
def test_the_format_and_its_compression_are_honoured(
    client: openai.OpenAI, format: Any, compression: Any
) -> None:
    kwargs = {} if compression is None else {"output_compression": compression}
    answer = client.images.generate(prompt="fox", size=SIZE, output_format=format, **kwargs)
    assert answer.data is not None and answer.output_format == format
    assert opened(answer.data[0].b64_json).format == format.upper()


def test_compression_makes_files_smaller(client: openai.OpenAI) -> None:
    def length(compression: int) -> int:
        answer = client.images.generate(
            prompt="fox", size="256x256", output_format="jpeg", output_compression=compression
        )
        assert answer.data is not None
        return len(answer.data[0].b64_json or "")

    assert length(10) < length(95)


def test_a_url_leads_to_the_picture_without_a_token(client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt="fox", size=SIZE, response_format="url")
    assert answer.data is not None and answer.data[0].b64_json is None
    url = answer.data[0].url
    assert url is not None
    found = requests.get(url, timeout=20)
    assert found.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(found.content)).size == (64, 64)
    assert requests.get(url[:-1], timeout=20).status_code == 404


def test_partial_images_come_before_the_picture(client: openai.OpenAI) -> None:
    stream = client.images.generate(
        prompt="fox", size=SIZE, stream=True, partial_images=2, extra_body={"steps": 9}
    )
    events: list[Any] = list(stream)
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert [event.partial_image_index for event in events[:2]] == [0, 1]
    assert all(opened(event.b64_json).size == (64, 64) for event in events)
    assert events[2].usage.total_tokens == 0


def test_a_stream_without_partial_images_has_the_pictures_alone(client: openai.OpenAI) -> None:
    events: list[Any] = list(client.images.generate(prompt="fox", size=SIZE, stream=True, n=2))
    assert [event.type for event in events] == ["image_generation.completed"] * 2


def test_an_error_in_a_stream_reaches_the_client(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError, match="the server failed"):
        list(client.images.generate(prompt="crash", size=SIZE, stream=True))


def masked(size: int = 64) -> Image.Image:
    """A mask that is transparent at its top left quarter."""
    mask = Image.new("RGBA", (size, size), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, size // 2, size // 2))
    return mask


def test_what_is_transparent_in_the_mask_is_repainted(client: openai.OpenAI, server: Served) -> None:
    seen = server.engine.requests
    seen.clear()
    answer = client.images.edit(
        image=file_of(Image.new("RGB", (64, 64), "red")),
        mask=file_of(masked()),
        prompt="a hat",
        n=2,
        size=SIZE,
        extra_body={"seed": 3},
    )
    assert answer.data is not None and len(answer.data) == 2
    drawn = seen[0]
    assert drawn.init_image.pixels()[0, 0].tolist() == [255, 0, 0, 255]
    mask = drawn.mask.pixels()
    assert mask[0, 0, 0] == 255 and mask[63, 63, 0] == 0
    assert not drawn.mask_alpha and drawn.prompt == "a hat" and drawn.seed == 3


def test_without_a_mask_what_is_transparent_in_the_picture_is_repainted(
    client: openai.OpenAI, server: Served
) -> None:
    server.engine.requests.clear()
    client.images.edit(image=file_of(masked()), prompt="a hat", size=SIZE)
    assert server.engine.requests[0].mask_alpha


def test_a_picture_without_mask_is_drawn_anew_as_far_as_the_strength_says(
    client: openai.OpenAI, server: Served
) -> None:
    server.engine.requests.clear()
    picture = file_of(Image.new("RGB", (64, 64), "red"))
    client.images.edit(image=[picture], prompt="a hat", size=SIZE, extra_body={"strength": 0.5})
    drawn = server.engine.requests[0]
    assert drawn.strength == 0.5 and not drawn.masked


def test_edits_stream_too(client: openai.OpenAI) -> None:
    picture = file_of(Image.new("RGB", (64, 64), "red"))
    events: list[Any] = list(
        client.images.edit(
            image=picture, prompt="a hat", size=SIZE, stream=True, partial_images=1, extra_body={"steps": 9}
        )
    )
    assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]


@pytest.mark.parametrize(
    ("files", "field"),
    [
        ({}, "image"),
        ({"image": ("a.png", b"no picture")}, "image"),
        ({"image": ("a.png", b"")}, "image"),
        ({"mask": file_of(Image.new("RGB", (64, 64)))}, "image"),
        ({"image": file_of(masked()), "mask": file_of(Image.new("RGB", (64, 64)))}, "mask"),
        ({"image": file_of(masked()), "mask": file_of(masked().resize((64, 16)))}, "mask"),
    ],
)
def test_pictures_that_cannot_be_edited_are_refused(server: Served, files: Any, field: str) -> None:
    url = f"{server.url}/v1/images/edits"
    answer = requests.post(url, data={"prompt": "hat"}, files=files or {"x": b""}, timeout=20)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field


def test_a_picture_is_never_fetched_from_a_path_or_url(server: Served) -> None:
    url = f"{server.url}/v1/images/edits"
    for text in ("/etc/passwd", "http://127.0.0.1:1/x.png", "file:///etc/passwd"):
        answer = requests.post(url, files={"image": (None, text), "prompt": (None, "hat")}, timeout=20)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "image"
    drawn = post(server, {"prompt": "fox", "size": SIZE, "init_image": "/etc/passwd", "mask": {"file": "x"}})
    assert drawn.status_code == 200
    assert drawn.headers["x-sdgen-warning"] == "not honoured: init_image, mask"


def test_unknown_fields_and_models_are_named_and_break_nothing(server: Served) -> None:
    server.engine.requests.clear()
    values = {"prompt": "fox", "size": SIZE, "model": "gpt-image-1", "quality": "hd", "user": "u", "zz": 1}
    answer = post(server, values)
    assert answer.status_code == 200
    assert answer.headers["x-sdgen-warning"] == "not honoured: quality, model, zz"
    assert server.engine.requests[0].model == "mini"
    assert "x-sdgen-warning" not in post(server, {"prompt": "fox", "size": SIZE, "quality": "auto"}).headers


def test_the_model_that_is_asked_for_draws(client: openai.OpenAI, server: Served) -> None:
    server.engine.requests.clear()
    client.images.generate(prompt="fox", model="second", size=SIZE)
    assert server.engine.requests[0].model == "second"


def test_the_models_are_those_of_the_server(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["mini", "second"]
    assert client.models.retrieve("second").id == "second"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("../etc")


@pytest.mark.parametrize(
    ("values", "status", "field"),
    [
        ({}, 400, "prompt"),
        ({"prompt": 5}, 400, "prompt"),
        ({"prompt": "a\0b"}, 400, "prompt"),
        ({"prompt": "x" * 501}, 422, "prompt"),
        ({"prompt": "fox", "n": 0}, 422, "n"),
        ({"prompt": "fox", "n": 5}, 422, "n"),
        ({"prompt": "fox", "n": "many"}, 400, "n"),
        ({"prompt": "fox", "n": True}, 400, "n"),
        ({"prompt": "fox", "size": "big"}, 400, "size"),
        ({"prompt": "fox", "size": "64x65"}, 400, "size"),
        ({"prompt": "fox", "size": "104x64"}, 400, "size"),
        ({"prompt": "fox", "size": "512x512"}, 422, "size"),
        ({"prompt": "fox", "steps": 61}, 422, "steps"),
        ({"prompt": "fox", "steps": "lots"}, 400, "steps"),
        ({"prompt": "fox", "hires": 8, "size": SIZE}, 422, "size"),
        ({"prompt": "fox", "hires": 2}, 422, "hires"),
        ({"prompt": "fox", "seed": -5}, 400, "seed"),
        ({"prompt": "fox", "n": 2, "seed": 2**64 - 1}, 400, "seed"),
        ({"prompt": "fox", "background": "transparent"}, 400, "background"),
        ({"prompt": "fox", "output_format": "gif"}, 400, "output_format"),
        ({"prompt": "fox", "output_compression": 50}, 400, "output_compression"),
        ({"prompt": "fox", "response_format": "file"}, 400, "response_format"),
        ({"prompt": "fox", "partial_images": 4}, 422, "partial_images"),
        ({"prompt": "fox", "stream": "perhaps"}, 400, "stream"),
        ({"prompt": "fox", "sampler": ["a"]}, 400, "sampler"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_its_field(
    server: Served, values: dict[str, Any], status: int, field: str
) -> None:
    answer = post(server, {"size": SIZE, **values} if "hires" not in values else values)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, field)
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"\xff\xfe", b'{"a":' * 5000, b"null", b'"x"', b"[" * 100_000]
)
def test_a_body_that_is_no_object_is_refused(server: Served, body: bytes) -> None:
    answer = requests.post(f"{server.url}/v1/images/generations", data=body, timeout=20)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "body", [b"", b"--x", b"--x\r\n\r\n\r\n--x--", b"--x\r\nContent-Disposition: x\r\n\r\n"]
)
def test_a_form_that_is_none_is_refused(server: Served, body: bytes) -> None:
    for kind in ("multipart/form-data; boundary=x", "multipart/form-data", "text/plain"):
        answer = requests.post(
            f"{server.url}/v1/images/edits", data=body, headers={"content-type": kind}, timeout=20
        )
        assert answer.status_code == 400


def test_too_large_a_body_is_refused_before_it_is_read(server: Served) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(
            b"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    chunked = requests.post(
        f"{server.url}/v1/images/generations", data=(b"x" * 50_000 for _ in range(5)), timeout=20
    )
    assert chunked.status_code == 413


def test_a_body_that_does_not_come_is_given_up() -> None:
    limits = Limits(body_seconds=0.2)
    with (
        served(Settings(models=("mini",), limits=limits)) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection,
    ):
        connection.sendall(b"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_picture_of_too_many_pixels_is_refused(server: Served) -> None:
    url = f"{server.url}/v1/images/edits"
    picture = file_of(Image.new("RGB", (600, 600)))
    answer = requests.post(url, data={"prompt": "hat"}, files={"image": picture}, timeout=20)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "over_limit"


def test_more_than_may_wait_are_told_when_to_come_back(held: Served) -> None:
    client = client_of(held)
    events = client.images.generate(prompt="fox", n=4, size=SIZE, stream=True)
    held.engine.began()
    with pytest.raises(openai.RateLimitError) as refused:
        client.images.generate(prompt="fox", n=3, size=SIZE)
    assert int(refused.value.response.headers["retry-after"]) >= 1
    held.engine.permits.release(10)
    assert len(list(events)) == 4


def test_who_has_gone_is_drawn_for_no_more(held: Served) -> None:
    for stream in (False, True):
        with socket.create_connection(("127.0.0.1", held.port), timeout=20) as connection:
            body = json.dumps({"prompt": "fox", "size": SIZE, "steps": 50, "stream": stream}).encode()
            head = f"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            held.engine.began()
            assert held.drawer.pending == 1
        held.until(lambda: held.drawer.pending == 0)
        held.engine.permits.release()
    held.engine.permits.release()
    client_of(held).images.generate(prompt="fox", size=SIZE, extra_body={"steps": 2})
    assert held.engine.steps < 20


def test_pictures_that_failed_are_told_as_such(server: Served) -> None:
    answer = post(server, {"prompt": "broken", "size": SIZE})
    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "the image came out black"
    answer = post(server, {"prompt": "crash", "size": SIZE})
    assert answer.status_code == 500
    assert "should not happen" not in answer.text and "Traceback" not in answer.text
    assert post(server, {"prompt": "starve", "size": SIZE}).status_code == 503


def test_paths_and_methods_that_there_are_not_have_openais_shape(server: Served) -> None:
    answer = requests.get(f"{server.url}/v1/images/generations", timeout=20)
    assert answer.status_code == 405 and answer.json()["error"]["message"]
    answer = requests.get(f"{server.url}/v1/chat/completions", timeout=20)
    assert answer.status_code == 404 and answer.json()["error"]["message"]
