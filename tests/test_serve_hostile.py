"""A thousand calls that nobody means well, each answered in a sentence; and two hundred at once."""

from __future__ import annotations

import base64
import io
import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from PIL import Image
from served_app import Served, served
from serving import PATIENCE, Held

from sdgen.request import FIELDS
from sdgen.serve.settings import Limits, Settings

CALLS = 1000
LIMITS = Limits(waiting=50, pictures=3, pixels=128 * 128, steps=12, prompt=200, body=300_000)

OPENAIS = (
    *("prompt", "n", "size", "model", "quality", "style", "response_format", "output_format", "user"),
    *("output_compression", "background", "stream", "partial_images", "moderation", "input_fidelity"),
)
A1111S = (
    *("prompt", "negative_prompt", "seed", "subseed", "subseed_strength", "sampler_name", "sampler_index"),
    *("scheduler", "batch_size", "n_iter", "steps", "cfg_scale", "width", "height", "tiling", "eta"),
    *("enable_hr", "hr_scale", "hr_upscaler", "hr_second_pass_steps", "hr_resize_x", "hr_resize_y"),
    *("denoising_strength", "override_settings", "script_name", "script_args", "alwayson_scripts", "styles"),
    *("init_images", "mask", "mask_blur", "inpainting_fill", "inpaint_full_res", "resize_mode", "image"),
    *("inpaint_full_res_padding", "inpainting_mask_invert", "upscaler_1", "upscaling_resize", "send_images"),
    *("upscaling_resize_w", "upscaling_resize_h", "upscaling_crop", "sd_model_checkpoint"),
)
PATHS = {
    "/v1/images/generations": (*OPENAIS, *FIELDS),
    "/v1/images/edits": (*OPENAIS, *FIELDS, "image", "mask"),
    **{f"/sdapi/v1/{name}": (*A1111S, *FIELDS) for name in ("txt2img", "img2img", "img2img")},
    **{f"/sdapi/v1/{name}": A1111S for name in ("options", "png-info", "extra-single-image")},
}


def picture(width: int = 16, height: int = 16, mode: str = "RGBA", format: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (width, height)).save(stream, format)
    return stream.getvalue()


PICTURES = (
    picture(),
    picture(64, 64, "RGB"),
    picture(64, 64, "L", "JPEG"),
    picture(300, 300, "L"),
    picture()[:40],
    b"\x89PNG\r\n\x1a\n",
    b"",
)
TEXTS = [base64.b64encode(data).decode() for data in PICTURES]
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 2, -1, 8, 64, 10**30, -(10**30), 0.5, 1e308, float("nan"), float("inf")),
    *("", "fox", "64x64", "0x0", "99999x99999", "auto", "1", "-1", "1e9", "nan", "Euler a", "Karras", "png"),
    *("\0", "\ud800", "\x1b[31m", "\r\nSet-Cookie: a=b", "x" * 5000, "((((", "<lora:../../x:1>", "url"),
    *("/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:1/", "data:image/png;base64,", "é" * 50),
    *([], [None], [[[]]], {}, {"a": {"b": [1]}}, {"file": "/etc/passwd"}, {"args": [1]}, [1, 2, 3]),
    *TEXTS,
    *([text] for text in TEXTS),
    *({"sd_model_checkpoint": value} for value in ("mini", "none", 5, None, [])),
)


def some_fields(chance: random.Random, names: tuple[str, ...]) -> dict[str, Any]:
    """A call that could be drawn, with a few fields that could not."""
    values: dict[str, Any] = {"prompt": "fox", "size": "64x64", "width": 64, "height": 64}
    values |= {"init_images": [TEXTS[1]], "image": TEXTS[1]}
    for name in chance.sample(names, chance.randint(1, 4)):
        values[name] = chance.choice(VALUES)
    return values


def send(session: requests.Session, server: Served, chance: random.Random) -> requests.Response:
    path = chance.choice(list(PATHS))
    values = some_fields(chance, PATHS[path])
    if path.endswith("edits") and chance.random() < 0.9:
        data = {name: str(value).encode("utf-8", "replace") for name, value in values.items()}
        files = {name: ("a.png", chance.choice(PICTURES)) for name in ("image", "mask")}
        return session.post(server.url + path, data=data, files=files, timeout=PATIENCE)
    body = json.dumps(values).encode()
    if chance.random() < 0.1:
        place = chance.randrange(len(body))
        body = body[:place] + chance.randbytes(3) + body[place + chance.randint(0, 5) :]
    return session.post(server.url + path, data=body, timeout=PATIENCE)


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(Settings(models=("mini",), limits=LIMITS)) as running:
        yield running


def test_no_call_makes_the_server_fail(server: Served) -> None:
    statuses: Counter[int] = Counter()
    with requests.Session() as session:
        for number in range(CALLS):
            answer = send(session, server, random.Random(number))
            assert answer.status_code < 500, (number, answer.text)
            assert "Traceback" not in answer.text and "/etc" not in answer.headers, number
            assert "Set-Cookie" not in answer.headers, number
            statuses[answer.status_code] += 1
            if answer.headers["content-type"] == "application/json":
                answer.json()
    assert statuses[200] > CALLS / 10 and statuses[400] + statuses[422] > CALLS / 10
    assert server.drawer.pending == 0
    assert not any(request.init_image and request.init_image.file for request in server.engine.requests)


def test_of_two_hundred_calls_at_once_each_is_drawn_once_or_told_to_come_back() -> None:
    engine = Held()
    answers: list[requests.Response] = []

    def call(number: int) -> None:
        size = ("64x64", "64x96", "96x64")[number % 3]
        values = {"prompt": "fox", "size": size, "seed": number}
        url = f"{server.url}/v1/images/generations"
        answers.append(requests.post(url, json=values, timeout=PATIENCE))

    limits = Limits(waiting=40)
    with served(Settings(models=("mini",), limits=limits), engine) as server:
        threads = [threading.Thread(target=call, args=(number,), daemon=True) for number in range(200)]
        for thread in threads:
            thread.start()
        server.until(lambda: len(answers) == 160)  # The others wait, and nothing is drawn yet.
        engine.permits.release(1000)
        for thread in threads:
            thread.join(PATIENCE)
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses == {200: 40, 429: 160}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers if answer.status_code == 429)
    seeds = [answer.json()["data"][0]["seed"] for answer in answers if answer.status_code == 200]
    assert len(set(seeds)) == 40
    drawn = [seed for batch, _ in engine.batches for seed in batch]
    assert sorted(drawn) == sorted(seeds)
    assert max(len(batch) for batch, _ in engine.batches) == 4
