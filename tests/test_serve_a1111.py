"""AUTOMATIC1111's API, driven by webuiapi, and by the calls of Open WebUI, SillyTavern and LibreChat."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import requests
import stand_in
import webuiapi
from PIL import Image
from served_app import Served, served
from serving import PATIENCE, Held

from sdgen.serve.settings import Limits, Settings

LIMITS = Limits(waiting=8, pictures=4, pixels=1024 * 1024, steps=60)
MODELS = ("mini", "second")


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(Settings(models=MODELS, limits=LIMITS)) as running:
        yield running


@pytest.fixture
def held() -> Iterator[Served]:
    """A server whose engine waits for permits."""
    with served(Settings(models=MODELS, limits=LIMITS), Held()) as running:
        yield running


@pytest.fixture(autouse=True)
def _as_at_the_start(server: Served) -> None:
    server.engine.requests.clear()
    post(server, "options", {"sd_model_checkpoint": "mini", "CLIP_stop_at_last_layers": 1})


def client(server: Served, **options: Any) -> webuiapi.WebUIApi:
    return webuiapi.WebUIApi(baseurl=f"{server.url}/sdapi/v1", **options)


def get(server: Served, name: str, **options: Any) -> Any:
    answer = requests.get(f"{server.url}/sdapi/v1/{name}", timeout=PATIENCE, **options)
    assert answer.status_code == 200
    return answer.json()


def post(server: Served, name: str, values: Any, **options: Any) -> requests.Response:
    return requests.post(f"{server.url}/sdapi/v1/{name}", json=values, timeout=PATIENCE, **options)


def text_of(picture: Image.Image) -> str:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


RED = Image.new("RGB", (64, 64), "red")


def test_webuiapi_draws(server: Served) -> None:
    result = client(server).txt2img(
        prompt="fox", negative_prompt="blurry", seed=5, steps=6, cfg_scale=4.5, width=64, height=64
    )
    assert np.array_equal(
        np.asarray(result.image), stand_in.draw(stand_in.REQUEST.replace(seed=5, width=64, height=64))
    )
    assert (result.info["seed"], result.info["width"], result.info["steps"]) == (5, 64, 6)
    assert result.info["infotexts"][0].startswith("fox\nNegative prompt: blurry\nSteps: 6, Sampler: Euler a")
    assert result.parameters["cfg_scale"] == 4.5
    (drawn,) = server.engine.requests
    assert (drawn.sampler, drawn.schedule, drawn.guidance) == ("euler-a", "normal", 4.5)
    assert drawn.hires is None and drawn.eta == 0


def test_webuiapi_draws_several_with_seeds_that_follow(server: Served) -> None:
    result = client(server).txt2img(prompt="fox", seed=5, batch_size=2, n_iter=2, width=64, height=64)
    assert len(result.images) == 4
    assert result.info["all_seeds"] == [5, 6, 7, 8]


def test_variations_have_the_seed_and_the_variations_seed(server: Served) -> None:
    result = client(server).txt2img(
        prompt="fox", seed=5, subseed=90, subseed_strength=0.3, batch_size=2, width=64, height=64
    )
    assert [(each.seed, each.variation_of, each.variation) for each in server.engine.requests] == [
        (90, 5, 0.3),
        (91, 5, 0.3),
    ]
    assert (result.info["all_seeds"], result.info["all_subseeds"]) == ([5, 5], [90, 91])


@pytest.mark.parametrize(
    ("fields", "hires", "method", "steps"),
    [
        ({"hr_scale": 2}, "128x128", "latents", None),
        ({"hr_scale": 1.5, "hr_upscaler": "Lanczos", "hr_second_pass_steps": 7}, "96x96", "lanczos", 7),
        ({"hr_resize_x": 192, "hr_resize_y": 96, "hr_upscaler": "None"}, "192x96", "lanczos", None),
        ({"hr_resize_x": 128, "hr_upscaler": "R-ESRGAN 4x+"}, "128x128", "lanczos", None),
    ],
)
def test_the_second_pass_is_that_of_hires(
    server: Served, fields: Any, hires: str, method: str, steps: int | None
) -> None:
    client(server).txt2img(
        prompt="fox", enable_hr=True, denoising_strength=0.5, width=64, height=64, **fields
    )
    (drawn,) = server.engine.requests
    assert (drawn.hires, drawn.hires_method, drawn.hires_steps) == (hires, method, steps)
    assert drawn.hires_strength == 0.5


def test_webuiapi_starts_from_a_picture(server: Served) -> None:
    result = client(server).img2img(
        images=[RED], prompt="fox", denoising_strength=0.4, resize_mode=1, width=64, height=64
    )
    (drawn,) = server.engine.requests
    assert (drawn.strength, drawn.resize, drawn.masked) == (0.4, "fill", False)
    assert drawn.init_image.pixels()[0, 0].tolist() == [255, 0, 0, 255]
    assert result.parameters["init_images"] is None
    assert result.info["denoising_strength"] == 0.4


def test_webuiapi_repaints_what_is_white_in_the_mask(server: Served) -> None:
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 20, 20))
    client(server).img2img(
        images=[RED],
        mask_image=mask,
        mask_blur=2,
        prompt="fox",
        inpaint_full_res=True,
        inpaint_full_res_padding=16,
        inpainting_mask_invert=1,
        inpainting_fill=1,
        width=64,
        height=64,
    )
    (drawn,) = server.engine.requests
    assert drawn.mask.pixels()[0, 0, 0] == 255 and drawn.mask.pixels()[63, 63, 0] == 0
    assert (drawn.mask_blur, drawn.only_masked, drawn.mask_invert) == (2, 16, True)


def test_webuiapi_asks_what_there_is(server: Served) -> None:
    api = client(server)
    assert api.util_get_model_names() == ["mini", "second"]
    assert "Euler a" in api.util_get_sampler_names() and "DPM++ 2M" in api.util_get_sampler_names()
    assert {"automatic", "karras", "sgm_uniform"} <= set(api.util_get_scheduler_names())
    assert api.get_upscalers()[0]["name"] == "None"
    assert api.get_latent_upscale_modes()[0]["name"] == "Latent"
    assert api.get_scripts() == {"txt2img": [], "img2img": []}
    assert api.get_cmd_flags()["api"]
    ram = api.get_memory()["ram"]
    assert ram["total"] >= ram["free"] > 0
    for empty in (api.get_sd_vae, api.get_loras, api.get_hypernetworks, api.get_face_restorers):
        assert empty() == []
    assert api.get_realesrgan_models() == [] and api.get_prompt_styles() == []
    assert api.refresh_checkpoints() is None


@pytest.mark.parametrize("end", ["samplers", "schedulers"])
def test_every_sampler_and_schedule_that_is_told_can_be_drawn_with(server: Served, end: str) -> None:
    field = {"samplers": "sampler_name", "schedulers": "scheduler"}[end]
    for each in get(server, end):
        for name in (each["name"], each.get("label") or each["name"]):
            answer = post(server, "txt2img", {"prompt": "fox", field: name, "width": 64, "height": 64})
            assert answer.status_code == 200, name


def test_webuiapi_changes_the_model(server: Served) -> None:
    api = client(server)
    api.util_set_model("second")
    assert api.util_get_current_model() == "second"
    api.txt2img(prompt="fox", width=64, height=64)
    api.txt2img(prompt="fox", width=64, height=64, override_settings={"sd_model_checkpoint": "mini"})
    assert [drawn.model for drawn in server.engine.requests] == ["second", "mini"]


def test_webuiapi_reads_what_is_inside_a_picture(server: Served) -> None:
    api = client(server)
    drawn = api.txt2img(prompt="fox", seed=5, steps=6, width=64, height=64).image
    found = api.png_info(drawn)
    assert found.info.startswith("fox\nSteps: 6")
    assert found.parameters["seed"] == 5 and found.parameters["steps"] == 6
    assert api.png_info(RED).info == ""


@pytest.mark.parametrize("name", ["Lanczos", "Nearest", "None"])
def test_webuiapi_enlarges_a_picture(server: Served, name: str) -> None:
    result = client(server).extra_single_image(image=RED, upscaler_1=name, upscaling_resize=3)
    assert result.image.size == ((64, 64) if name == "None" else (192, 192))
    assert np.array_equal(np.asarray(result.image)[0, 0], [255, 0, 0])


def test_a_picture_is_enlarged_to_a_size(server: Served) -> None:
    result = client(server).extra_single_image(
        image=RED, upscaler_1="Lanczos", resize_mode=1, upscaling_resize_w=200, upscaling_resize_h=100
    )
    assert result.image.size == (200, 100)


def test_progress_tells_of_the_picture_that_forms_and_interrupt_ends_it(held: Served) -> None:
    assert get(held, "progress")["progress"] == 0
    assert get(held, "progress")["state"]["job_count"] == 0
    answers: list[requests.Response] = []
    call = {"prompt": "fox", "steps": 20, "width": 64, "height": 64}
    thread = threading.Thread(target=lambda: answers.append(post(held, "txt2img", call)), daemon=True)
    thread.start()
    held.engine.began()
    told = get(held, "progress")
    assert told["progress"] == 0.01 and told["state"]["job_count"] == 1
    held.engine.hold_again = True
    held.engine.permits.release()
    held.engine.began()
    told = get(held, "progress")
    assert told["progress"] == pytest.approx(0.05)
    assert (told["state"]["sampling_step"], told["state"]["sampling_steps"]) == (1, 20)
    assert Image.open(io.BytesIO(base64.b64decode(told["current_image"]))).size == (64, 64)
    assert get(held, "progress", params={"skip_current_image": "true"})["current_image"] is None
    assert client(held).interrupt() == {}
    thread.join(PATIENCE)
    assert answers[0].status_code == 409
    assert "interrupted" in answers[0].json()["detail"]
    held.engine.permits.release(100)
    held.until(lambda: get(held, "progress")["progress"] == 0)


def test_skip_leaves_out_one_picture_of_a_call(held: Served) -> None:
    answers: list[requests.Response] = []
    call = {"prompt": "fox", "seed": 1, "batch_size": 2, "width": 64, "height": 64}
    thread = threading.Thread(target=lambda: answers.append(post(held, "txt2img", call)), daemon=True)
    thread.start()
    held.engine.began()
    assert client(held).skip() == {}
    held.engine.permits.release(100)
    thread.join(PATIENCE)
    assert answers[0].status_code == 200
    assert json.loads(answers[0].json()["info"])["all_seeds"] == [2]
    assert client(held).skip() == {} and client(held).interrupt() == {}


def test_open_webuis_calls(server: Served) -> None:
    """backend/open_webui/routers/images.py: an empty authorization header, options back whole, txt2img."""
    headers = {"authorization": ""}
    options = get(server, "options", headers=headers)
    assert options["sd_model_checkpoint"] == "mini"
    options["sd_model_checkpoint"] = "second"
    assert post(server, "options", options, headers=headers).status_code == 200
    assert get(server, "options", headers=headers)["sd_model_checkpoint"] == "second"
    models = get(server, "sd-models", headers=headers)
    assert [(model["title"], model["model_name"]) for model in models] == [(name, name) for name in MODELS]
    data = {"prompt": "fox", "batch_size": 2, "width": 64, "height": 64, "steps": 4, "negative_prompt": "x"}
    answer = post(server, "txt2img", data, headers=headers).json()
    assert len(answer["images"]) == 2
    assert Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))).size == (64, 64)
    assert answer["info"]


def test_open_webuis_calls_of_openais_api(server: Served) -> None:
    data = {"model": "dall-e-2", "prompt": "fox", "n": 1, "size": "64x64", "response_format": "b64_json"}
    url = f"{server.url}/v1/images/generations?api-version=2025-01-01"
    answer = requests.post(url, json=data, headers={"Authorization": "Bearer "}, timeout=PATIENCE)
    assert base64.b64decode(answer.json()["data"][0]["b64_json"]).startswith(b"\x89PNG")


def test_sillytaverns_calls(server: Served) -> None:
    """src/endpoints/stable-diffusion.js: its body goes on whole, with the server's own address in it."""
    headers = {"Authorization": "Basic Og=="}
    for end, field in (("upscalers", "name"), ("latent-upscale-modes", "name"), ("sd-models", "title")):
        assert all(isinstance(each[field], str) for each in get(server, end, headers=headers))
    assert get(server, "upscalers")[0]["name"] == "None"
    assert get(server, "sd-vae", headers=headers) == []
    assert requests.get(f"{server.url}/sdapi/v1/sd-modules", timeout=PATIENCE).status_code == 404
    assert post(server, "options", {"sd_model_checkpoint": "second"}, headers=headers).status_code == 200
    told = get(server, "progress", headers=headers)
    assert (told["progress"], told["state"]["job_count"]) == (0.0, 0)
    body = {
        "url": server.url,
        "auth": "",
        "prompt": "fox",
        "negative_prompt": "blurry",
        "sampler_name": "DPM++ 2M",
        "scheduler": "karras",
        "steps": 10,
        "cfg_scale": 7,
        "width": 64,
        "height": 64,
        "restore_faces": False,
        "enable_hr": False,
        "hr_upscaler": "Latent",
        "hr_scale": 1,
        "hr_additional_modules": [],
        "denoising_strength": 0.7,
        "hr_second_pass_steps": 0,
        "seed": -1,
        "override_settings": {"CLIP_stop_at_last_layers": 2, "sd_vae": "Automatic"},
        "override_settings_restore_afterwards": True,
        "clip_skip": 1,
        "save_images": True,
        "send_images": True,
        "do_not_save_grid": False,
        "do_not_save_samples": False,
    }
    answer = post(server, "txt2img", body, headers=headers)
    assert answer.status_code == 200
    assert base64.b64decode(answer.json()["images"][0]).startswith(b"\x89PNG")
    (drawn,) = server.engine.requests
    assert (drawn.sampler, drawn.schedule, drawn.clip_skip) == ("dpmpp-2m", "karras", 1)
    assert requests.post(f"{server.url}/sdapi/v1/interrupt", headers=headers, timeout=PATIENCE).json() == {}


def test_librechats_call(server: Served) -> None:
    """api/app/clients/tools/structured/StableDiffusion.js."""
    payload = {"prompt": "fox", "negative_prompt": "blurry", "cfg_scale": 4.5, "steps": 22}
    answer = post(server, "txt2img", payload | {"width": 1024, "height": 1024}).json()
    assert base64.b64decode(answer["images"][0].split(",", 1)[0]).startswith(b"\x89PNG")
    info = json.loads(answer["info"])
    assert (info["width"], info["height"]) == (1024, 1024)
    assert isinstance(info["seed"], int)
    assert info["infotexts"][0].split("\n").pop().startswith("Steps: 22")


def test_what_is_not_honoured_is_named(server: Served) -> None:
    call = {"prompt": "fox", "width": 64, "height": 64, "restore_faces": True, "styles": ["a"], "zz": 1}
    call |= {"override_settings": {"eta_noise_seed_delta": 31337, "sd_vae": "Automatic"}}
    answer = post(server, "txt2img", call)
    named = answer.headers["x-sdgen-warning"].removeprefix("not honoured: ").split(", ")
    assert sorted(named) == ["override_settings.eta_noise_seed_delta", "restore_faces", "styles", "zz"]


def test_webuiapis_forty_five_fields_are_all_honoured_or_ask_for_nothing(server: Served) -> None:
    seen: list[requests.Response] = []
    api = client(server)
    api.session.hooks["response"].append(lambda response, *rest, **more: seen.append(response))
    api.txt2img(prompt="fox", width=64, height=64)
    api.img2img(images=[RED], prompt="fox", width=64, height=64)
    assert [response.headers.get("x-sdgen-warning") for response in seen] == [None, None]


@pytest.mark.parametrize(
    ("values", "status", "field"),
    [
        ({"sampler_name": "Restart"}, 404, "sampler_name"),
        ({"scheduler": "KL Optimal 9"}, 404, "scheduler"),
        ({"script_name": "x/y/z plot"}, 422, "script_name"),
        ({"alwayson_scripts": {"ControlNet": {"args": [{"model": "x"}]}}}, 422, "alwayson_scripts"),
        ({"alwayson_scripts": 5}, 422, "alwayson_scripts"),
        ({"override_settings": {"sd_model_checkpoint": "../../etc"}}, 404, "sd_model_checkpoint"),
        ({"override_settings": 5}, 422, "override_settings"),
        ({"steps": 61}, 422, "steps"),
        ({"steps": 0}, 422, "steps"),
        ({"width": 2048, "height": 2048}, 422, "width"),
        ({"width": 65}, 422, "width"),
        ({"batch_size": 3, "n_iter": 3}, 422, "batch_size"),
        ({"cfg_scale": "x"}, 422, "cfg_scale"),
        ({"cfg_scale": 101}, 422, "cfg_scale"),
        ({"prompt": 5}, 422, "prompt"),
        ({"seed": 2**64}, 422, "seed"),
        ({"enable_hr": True, "hr_scale": 8, "width": 256, "height": 256}, 422, "width"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_its_shape(
    server: Served, values: dict[str, Any], status: int, field: str
) -> None:
    answer = post(server, "txt2img", {"prompt": "fox", "width": 64, "height": 64, **values})
    assert (answer.status_code, answer.json()["body"]) == (status, field)
    assert answer.json()["detail"] and answer.json()["error"]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"init_images": []},
        {"init_images": "x"},
        {"init_images": [text_of(RED), text_of(RED)]},
        {"init_images": ["http://127.0.0.1:1/x.png"]},
        {"init_images": ["/etc/passwd"]},
        {"init_images": ["file:///etc/passwd"]},
        {"init_images": ["data:text/html,x"]},
        {"init_images": [base64.b64encode(b"no picture").decode()]},
        {"init_images": ["%%%"]},
        {"init_images": [text_of(RED)], "mask": "http://127.0.0.1:1/x.png"},
        {"init_images": [text_of(RED)], "mask": text_of(Image.new("L", (64, 16), 255))},
        {"init_images": [text_of(Image.new("RGB", (2000, 2000)))]},
    ],
)
def test_pictures_that_are_none_are_refused(server: Served, values: dict[str, Any]) -> None:
    answer = post(server, "img2img", {"prompt": "fox", **values})
    assert answer.status_code == 422
    assert answer.json()["detail"]
    assert not server.engine.requests


def test_an_error_says_nothing_of_the_server(server: Served) -> None:
    answer = post(server, "txt2img", {"prompt": "crash", "width": 64, "height": 64})
    assert answer.status_code == 500
    assert "should not happen" not in answer.text


def test_options_that_are_wrong_set_nothing(server: Served) -> None:
    answer = post(server, "options", {"samples_format": "webp", "sd_model_checkpoint": "none"})
    assert answer.status_code == 404
    assert get(server, "options")["samples_format"] == "png"
    answer = post(server, "options", {"samples_save": True, "zz": 1})
    assert answer.headers["x-sdgen-warning"] == "not honoured: samples_save, zz"


def test_pictures_come_in_the_format_of_the_options(server: Served) -> None:
    call = {"prompt": "fox", "width": 64, "height": 64, "override_settings": {"samples_format": "jpg"}}
    data = base64.b64decode(post(server, "txt2img", call).json()["images"][0])
    assert Image.open(io.BytesIO(data)).format == "JPEG"
    assert post(server, "txt2img", {**call, "send_images": False}).json()["images"] == []
