"""What other tools write into images, as their own code or images of theirs have it (the source is named)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sdgen.images import a1111_text, foreign_text, records
from sdgen.request import Request

# modules/meta_parser.py of Fooocus, FooocusMetadataParser; the values are of an image in sd-parsers' tests.
FOOOCUS = {
    "adm_guidance": "(1.5, 0.8, 0.3)",
    "base_model": "juggernautXL_v8Rundiffusion",
    "base_model_hash": "aeb7e9e689",
    "clip_skip": 2,
    "full_prompt": ["cinematic still a smiling goldfish", "a smiling goldfish, deep focus"],
    "guidance_scale": 4,
    "loras": [],
    "metadata_scheme": "fooocus",
    "negative_prompt": "",
    "prompt": "a smiling goldfish",
    "resolution": "(768, 1280)",
    "sampler": "dpmpp_2m_sde_gpu",
    "scheduler": "karras",
    "seed": "6952411511246973023",
    "sharpness": 2,
    "steps": 30,
    "version": "Fooocus v2.4.3",
}
OF_FOOOCUS = {
    "prompt": "a smiling goldfish",
    "negative_prompt": "",
    "model": "juggernautXL_v8Rundiffusion",
    "clip_skip": 1,
    "guidance": 4.0,
    "width": 768,
    "height": 1280,
    "sampler": "dpmpp-2m-sde",
    "schedule": "karras",
    "seed": 6952411511246973023,
    "steps": 30,
}

# The same file, A1111MetadataParser.to_string: styles are in the prompt, what was typed is "Raw prompt".
FOOOCUS_A1111 = (
    "cinematic still a smiling goldfish, deep focus\nNegative prompt: anime, blurry\n"
    "Steps: 30, Sampler: DPM++ 2M SDE Karras, Seed: 6952411511246973023, Size: 768x1280, CFG scale: 4, "
    'Sharpness: 2, ADM Guidance: "(1.5, 0.8, 0.3)", Model: juggernautXL_v8Rundiffusion, '
    "Model hash: aeb7e9e689, Performance: Speed, Scheduler: karras, VAE: Default (model), "
    "Raw prompt: a smiling goldfish, Raw negative prompt: , Clip skip: 2, Version: Fooocus v2.4.3"
)

# An image of InvokeAI 3 in sd-parsers' tests; clip_skip and the multiplier are of CoreMetadataInvocation.
INVOKEAI = {
    "generation_mode": "txt2img",
    "positive_prompt": "oil painting",
    "negative_prompt": "grainy+",
    "width": 1024,
    "height": 768,
    "seed": 3293022630,
    "rand_device": "cpu",
    "cfg_scale": 8.0,
    "cfg_rescale_multiplier": 0.7,
    "steps": 35,
    "scheduler": "euler_k",
    "clip_skip": 1,
    "model": {"model_name": "juggernaut", "base_model": "sd-2", "model_type": "main"},
}

# An image of InvokeAI 2.3 in sd-parsers' tests.
SD_METADATA = {
    "model": "stable diffusion",
    "model_weights": "deliberateForInvoke_v08",
    "app_version": "2.3.0",
    "image": {
        "prompt": [{"prompt": "a young woman, at night [rendering, skinny]", "weight": 1.0}],
        "steps": 50,
        "cfg_scale": 5,
        "height": 768,
        "width": 512,
        "seed": 2980747362,
        "type": "txt2img",
        "sampler": "k_euler_a",
        "variations": [],
    },
}
DREAM = '"a young woman, "at night" [rendering, skinny]" -s 50 -S 2980747362 -W 512 -H 768 -C 5 -A k_euler_a'
OF_INVOKEAI_2 = {
    "negative_prompt": "rendering, skinny",
    "steps": 50,
    "guidance": 5.0,
    "width": 512,
    "height": 768,
    "seed": 2980747362,
    "sampler": "euler-a",
}

# The Comment of an image of NovelAI 3, as its novelai-image-metadata reads it.
NOVELAI = {
    "prompt": "1girl, cat ears",
    "steps": 28,
    "height": 1216,
    "width": 832,
    "scale": 5.0,
    "uncond_scale": 0.0,
    "cfg_rescale": 0.2,
    "seed": 3404161432,
    "n_samples": 1,
    "noise_schedule": "karras",
    "sampler": "k_euler_ancestral",
    "sm": False,
    "uc": "lowres",
    "request_type": "PromptGenerateRequest",
}

# examples/common/common.cpp of stable-diffusion.cpp, get_image_params.
SD_CPP = (
    "a lovely cat\nNegative prompt: blurry\nSteps: 20, CFG scale: 7.000000, Guidance: 3.500000, "
    "Eta: 1.000000, Skip layers: [7, 8, 9, ], Seed: 42, Size: 512x768, Model: v2-1.safetensors, RNG: cpu, "
    "Sampler: euler_a karras, Clip skip: 2, Version: stable-diffusion.cpp, "
    'SDCPP: {"schema":"sdcpp.image.params/v1","seed":7,"sampling":{"method":"heun, Steps: 3"}}'
)

# What civitai's generator writes into EXIF's UserComment.
CIVITAI = (
    "a fox\nNegative prompt: blurry\nSteps: 25, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 123, "
    "Size: 832x1216, Clip skip: 2, Created Date: 2024-10-01T12:00:00.123Z, Civitai resources: "
    '[{"type":"checkpoint","modelVersionId":1,"modelName":"Seed: 9, Steps: 4 \\" Sampler: DDIM"}], '
    "Civitai metadata: {}"
)

# ui/easydiffusion/utils/save_utils.py of Easy Diffusion, get_printable_request; PNGs have a chunk for each.
EASY_DIFFUSION = {
    "prompt": "a fox",
    "negative_prompt": "blurry",
    "seed": 7,
    "use_stable_diffusion_model": "sd-v2-1",
    "clip_skip": True,
    "use_vae_model": None,
    "sampler_name": "dpmpp_2m",
    "scheduler_name": "karras",
    "width": 512,
    "height": 768,
    "num_inference_steps": 25,
    "guidance_scale": 7.5,
}
OF_EASY_DIFFUSION = {
    "prompt": "a fox",
    "negative_prompt": "blurry",
    "seed": 7,
    "model": "sd-v2-1",
    "clip_skip": 1,
    "sampler": "dpmpp-2m",
    "schedule": "karras",
    "width": 512,
    "height": 768,
    "steps": 25,
    "guidance": 7.5,
}

# src/Text2Image/T2IParamInput.cs of SwarmUI.
SWARMUI = {
    "sui_image_params": {
        "prompt": "a fox",
        "negativeprompt": "blurry",
        "model": "v2-1",
        "seed": 3,
        "steps": 20,
        "cfgscale": 7.0,
        "width": 512,
        "height": 512,
        "sampler": "euler_ancestral",
        "scheduler": "normal",
        "clipstopatlayer": "-2",
        "swarm_version": "0.9.3.1",
    },
}

CASES: list[tuple[dict[str, str], str, dict[str, Any]]] = [
    ({"parameters": json.dumps(FOOOCUS), "fooocus_scheme": "fooocus"}, "Fooocus", OF_FOOOCUS),
    ({"Comment": json.dumps(FOOOCUS)}, "Fooocus", OF_FOOOCUS),
    ({"parameters": FOOOCUS_A1111, "fooocus_scheme": "a1111"}, "Fooocus", OF_FOOOCUS),
    (
        {"invokeai_metadata": json.dumps(INVOKEAI)},
        "InvokeAI",
        {
            "prompt": "oil painting",
            "negative_prompt": "grainy+",
            "width": 1024,
            "height": 768,
            "seed": 3293022630,
            "rng": "torch",
            "guidance": 8.0,
            "guidance_rescale": 0.7,
            "steps": 35,
            "sampler": "euler",
            "schedule": "karras",
            "clip_skip": 1,
            "model": "juggernaut",
        },
    ),
    (
        {"sd-metadata": json.dumps(SD_METADATA), "Dream": DREAM},
        "InvokeAI",
        {**OF_INVOKEAI_2, "prompt": "a young woman, at night", "model": "deliberateForInvoke_v08"},
    ),
    ({"Dream": DREAM}, "InvokeAI", {**OF_INVOKEAI_2, "prompt": 'a young woman, "at night"'}),
    (
        {"Software": "NovelAI", "Description": "1girl", "Comment": json.dumps(NOVELAI)},
        "NovelAI",
        {
            "prompt": "1girl, cat ears",
            "negative_prompt": "lowres",
            "steps": 28,
            "height": 1216,
            "width": 832,
            "guidance": 5.0,
            "guidance_rescale": 0.2,
            "seed": 3404161432,
            "sampler": "euler-a",
            "schedule": "karras",
        },
    ),
    (
        {"parameters": SD_CPP},
        "stable-diffusion.cpp",
        {
            "prompt": "a lovely cat",
            "negative_prompt": "blurry",
            "steps": 20,
            "guidance": 7.0,
            "seed": 42,
            "width": 512,
            "height": 768,
            "model": "v2-1.safetensors",
            "rng": "torch",
            "sampler": "euler-a",
            "schedule": "karras",
            "clip_skip": 1,
        },
    ),
    (
        {"parameters": CIVITAI},
        "civitai",
        {
            "prompt": "a fox",
            "negative_prompt": "blurry",
            "steps": 25,
            "sampler": "dpmpp-2m",
            "schedule": "karras",
            "guidance": 7.0,
            "seed": 123,
            "width": 832,
            "height": 1216,
            "clip_skip": 1,
        },
    ),
    (
        # nodes.py of ComfyUI-Image-Saver: the graph is there, too.
        {
            "parameters": "a fox\nSteps: 20, Sampler: dpmpp_2m_karras, CFG scale: 7.0, Seed: 3, "
            "Size: 512x512, Model: v2-1, Version: ComfyUI",
            "prompt": '{"3": {"class_type": "KSampler"}}',
        },
        "ComfyUI",
        {
            "prompt": "a fox",
            "negative_prompt": "",
            "steps": 20,
            "sampler": "dpmpp-2m",
            "schedule": "karras",
            "guidance": 7.0,
            "seed": 3,
            "width": 512,
            "height": 512,
            "model": "v2-1",
        },
    ),
    ({name: str(value) for name, value in EASY_DIFFUSION.items()}, "Easy Diffusion", OF_EASY_DIFFUSION),
    ({"parameters": json.dumps(EASY_DIFFUSION)}, "Easy Diffusion", OF_EASY_DIFFUSION),
    (
        {
            **{
                "Prompt": "a fox",
                "Negative Prompt": "blurry",
                "Seed": "7",
                "Stable Diffusion model": "sd-v2-1",
            },
            **{"Clip Skip": "True", "Sampler": "dpmpp_2m", "Scheduler": "karras", "Width": "512"},
            **{"Height": "768", "Steps": "25", "Guidance Scale": "7.5", "VAE model": "None"},
        },
        "Easy Diffusion",
        OF_EASY_DIFFUSION,
    ),
    (
        {"parameters": json.dumps(SWARMUI)},
        "SwarmUI",
        {
            "prompt": "a fox",
            "negative_prompt": "blurry",
            "model": "v2-1",
            "seed": 3,
            "steps": 20,
            "guidance": 7.0,
            "width": 512,
            "height": 512,
            "sampler": "euler-a",
            "schedule": "normal",
            "clip_skip": 1,
        },
    ),
]


@pytest.mark.parametrize(("chunks", "tool", "settings"), CASES)
def test_settings_of_a_tool(chunks: dict[str, str], tool: str, settings: dict[str, Any]) -> None:
    found = foreign_text.read(chunks)
    assert found is not None
    assert (found.tool, found.settings) == (tool, settings)


@pytest.mark.parametrize("format", ["jpeg", "webp"])
@pytest.mark.parametrize("scheme", ["fooocus", "a1111"])
def test_fooocus_exif_is_in_the_first_folder(tmp_path: Path, format: str, scheme: str) -> None:
    """modules/meta_parser.py, get_exif."""
    exif = Image.Exif()
    exif[0x9286] = json.dumps(FOOOCUS) if scheme == "fooocus" else FOOOCUS_A1111
    exif[0x0131] = "Fooocus v2.5.5"
    exif[0x927C] = scheme
    Image.new("RGB", (8, 8)).save(tmp_path / "a", format, exif=exif)
    record = records.read(tmp_path / "a")
    assert (record.tool, record.settings) == ("Fooocus", OF_FOOOCUS)


def test_a_jpegs_comment_is_read(tmp_path: Path) -> None:
    """Fooocus before 2.2, as stable-diffusion-prompt-reader reads it."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", comment=json.dumps(FOOOCUS))
    assert records.read(tmp_path / "a.jpg").settings == OF_FOOOCUS


@pytest.mark.parametrize("prompt", ["富士山", "très beau", "naïve 🦊"])
def test_utf8_in_a_text_chunk_is_read_as_such(tmp_path: Path, prompt: str) -> None:
    """A tEXt chunk is Latin-1 by the PNG specification (11.3.3.2); NovelAI and others write UTF-8."""
    info = PngInfo()
    text = f"{prompt}\nSteps: 3, Sampler: DDIM, Seed: 1"
    info.add(b"tEXt", b"parameters\0" + text.encode())
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    assert records.read(tmp_path / "a.png").settings["prompt"] == prompt


def test_latin_1_in_a_text_chunk_is_still_read(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("parameters", "très beau\nSteps: 3, Sampler: DDIM, Seed: 1")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    assert records.read(tmp_path / "a.png").settings["prompt"] == "très beau"


@pytest.mark.parametrize(
    ("sampler", "type", "schedule"),
    [
        ("DPM++ 2M", "Automatic", "karras"),
        ("DPM++ 2M SDE", "Automatic", "exponential"),
        ("Euler a", "Automatic", None),
        ("DPM++ 2M", "Normal", "normal"),
        ("DPM++ 2M", "SGM Uniform", "sgm-uniform"),
    ],
)
def test_automatic_is_the_schedule_that_automatic1111_draws_with(
    sampler: str, type: str, schedule: str | None
) -> None:
    found = a1111_text.read(f"x\nSteps: 3, Sampler: {sampler}, Schedule type: {type}, Seed: 1")
    assert found is not None
    assert found.settings.get("schedule") == schedule


def test_eta_of_an_ancestral_sampler_is_not_that_of_ddim() -> None:
    for sampler, key, eta in (("DDIM", "Eta", 0.5), ("DDIM", "Eta DDIM", 0.5), ("Euler a", "Eta", None)):
        found = a1111_text.read(f"x\nSteps: 3, Sampler: {sampler}, {key}: 0.5, Seed: 1")
        assert found is not None
        assert found.settings.get("eta") == eta


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rng": "torch"}, "RNG: CPU"),
        ({"sampler": "ddim", "eta": 0.5}, "Eta DDIM: 0.5"),
        ({"zero_snr": True}, "Noise Schedule: Zero Terminal SNR"),
        ({"seamless": "xy"}, "Tiling: True"),
        ({"guidance": 7.5}, "CFG scale: 7.5"),
        ({"sampler": "dpmpp-2m"}, "Sampler: DPM++ 2M, Schedule type: Normal"),
        ({"sampler": "euler"}, "Sampler: Euler, Schedule type: Automatic"),
        ({"variation_of": 5, "variation": 0.1}, "Seed: 5, Variation seed: 1, Variation seed strength: 0.1"),
        (
            {"width": 64, "height": 96, "hires": "2", "hires_method": "latents", "hires_strength": 0.6},
            "Size: 64x96, Hires upscale: 2, Hires upscaler: Latent, Denoising strength: 0.6",
        ),
        (
            {"width": 64, "height": 64, "hires": "2", "hires_method": "bicubic", "hires_strength": 0.5},
            "Hires upscale: 2, Hires upscaler: Bicubic, Denoising strength: 0.5",
        ),
        (
            {"width": 64, "height": 64, "hires": "128x96", "hires_steps": 9},
            "Size: 64x64, Hires steps: 9, Hires upscaler: Lanczos, Hires resize: 128x96",
        ),
    ],
)
def test_automatic1111_is_told_what_draws_the_same(changes: dict[str, Any], text: str) -> None:
    request = Request(prompt="x", seed=1, steps=3, **changes)
    written = a1111_text.write(request)
    assert text in written
    found = a1111_text.read(written)
    assert found is not None
    assert {name: found.settings[name] for name in changes} == changes


def test_strength_is_the_second_passes_where_there_is_one() -> None:
    text = "a fox\nSteps: 20, Sampler: Euler a, Seed: 1, Size: 512x512, Denoising strength: 0.7, "
    found = a1111_text.read(f"{text}Hires upscale: 2, Hires steps: 10, Hires upscaler: R-ESRGAN 4x+")
    assert found is not None
    assert found.other["Hires upscaler"] == "R-ESRGAN 4x+"
    expected = {"hires": "2", "hires_steps": 10, "hires_strength": 0.7}
    assert {name: found.settings.get(name) for name in expected} == expected
    alone = a1111_text.read(text)
    assert alone is not None and "hires_strength" not in alone.settings


def test_a_variation_without_a_strength_is_none() -> None:
    found = a1111_text.read("a fox\nSteps: 20, Sampler: Euler a, Seed: 1, Variation seed: 3")
    assert found is not None
    assert found.settings["seed"] == 1 and "variation_of" not in found.settings


def test_guidance_that_is_off_is_no_scale_of_0_there() -> None:
    """AUTOMATIC1111 (modules/sd_samplers_cfg_denoiser.py) draws the negative prompt alone at 0."""
    assert "CFG scale: 1," in a1111_text.write(Request(prompt="x", guidance=0))
    found = a1111_text.read("x\nSteps: 3, Sampler: DDIM, CFG scale: 0, Seed: 1")
    assert found is not None
    assert "guidance" not in found.settings and found.other["CFG scale"] == "0"


@pytest.mark.parametrize(
    "text",
    [
        "Steps: 1, a: [" * 40_000,
        "Steps: 1, a: " + '["' * 100_000,
        "Steps: 1, a: " + '{"a": [1, ' * 40_000,
        "Steps: 1, a: [" + '"a: [", ' * 60_000,
        "Steps: 1, " + "a: [], " * 60_000,
    ],
)
def test_a_long_line_of_json_takes_no_long_time(text: str) -> None:
    began = time.process_time()
    a1111_text.read(f"a fox\n{text}")
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '"' * 200_000, "[]" * 100_000, "-s " * 100_000, "-a b" * 100_000]
)
def test_a_long_dream_takes_no_long_time(text: str) -> None:
    began = time.process_time()
    foreign_text.read({"Dream": f'"{text}" {text}'})
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "chunks",
    [
        {"invokeai_metadata": '{"model": {"name": 5}, "positive_prompt": ["x"], "seed": true}'},
        {"sd-metadata": '{"image": {"prompt": [1, {"prompt": 2}]}}'},
        {"sd-metadata": '{"image": 5}'},
        {"parameters": '{"sui_image_params": {"clipstopatlayer": [], "cfgscale": {}, "sampler": 5}}'},
        {"parameters": '{"sui_image_params": [1]}'},
        {"parameters": '{"base_model": [], "resolution": [1, 2, 3], "scheduler": {}}'},
        {"Dream": '"'},
        {"Software": "NovelAI", "Comment": "[1]"},
    ],
)
def test_values_of_another_kind_are_no_settings(chunks: dict[str, str]) -> None:
    found = foreign_text.read(chunks)
    assert found is None or set(found.settings) <= {"prompt", "negative_prompt"}
