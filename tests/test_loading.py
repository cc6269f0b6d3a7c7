"""``sdgen.load``: what is refused before anything is drawn, and LoRAs that prompts name."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

import sdgen
from sdgen import CheckpointError, InputError, Request, models
from sdgen.prompts import prompt_loras

SMALL = Request(prompt="a red heart", steps=2, width=64, height=64, seed=7)
MODULE = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.fixture
def lora_folder(tmp_path, monkeypatch):
    """A models folder with one LoRA, ``style``, for the bundled model."""
    monkeypatch.setenv("SDGEN_MODELS_DIR", str(tmp_path))
    prompt_loras.folder().mkdir(parents=True)
    rng = np.random.default_rng(0)
    save_file(
        {
            f"unet.{MODULE}.lora_A.weight": rng.standard_normal((4, 64)).astype(np.float32),
            f"unet.{MODULE}.lora_B.weight": rng.standard_normal((64, 4)).astype(np.float32),
        },
        prompt_loras.folder() / "style.safetensors",
    )
    return prompt_loras.folder()


def test_a_lora_named_in_a_prompt_changes_the_picture(small, small_model, lora_folder):
    request = SMALL.replace(prompt="a red heart <lora:style:0.8>")
    found = prompt_loras.named([request, request])
    assert found == [(lora_folder / "style.safetensors", (0.8, 0.8))]
    merged = sdgen.load(str(small_model), device="cpu", loras=found)
    (with_lora,), (without,) = merged.generate([request]), small.generate([SMALL])
    assert not np.array_equal(with_lora.pixels, without.pixels)
    assert with_lora.details["changes"] == [f"LoRA {lora_folder / 'style.safetensors'} at 0.8"]
    assert with_lora.details["weights_sha256"] != without.details["weights_sha256"]


def test_another_prediction_type_draws_otherwise_and_is_recorded(small, small_model):
    pipeline = sdgen.load(str(small_model), device="cpu", prediction_type="sample")
    (other,), (usual,) = pipeline.generate([SMALL]), small.generate([SMALL])
    assert not np.array_equal(other.pixels, usual.pixels)
    assert other.details["changes"] == ["prediction sample"]


def test_a_prompt_that_names_a_lora_which_is_not_merged_is_refused(mini):
    with pytest.raises(InputError, match=r"names the LoRA 'style' at 0.8, which is not merged"):
        list(mini.generate([SMALL.replace(prompt="a red heart <lora:style:0.8>")]))


def test_prompts_of_one_run_name_the_same_loras(lora_folder):
    requests = [SMALL, SMALL.replace(prompt="a red heart <lora:style:1>")]
    with pytest.raises(InputError, match="name different LoRAs"):
        prompt_loras.named(requests)


def test_a_lora_that_is_not_there_says_where_it_belongs(lora_folder):
    with pytest.raises(InputError, match=r"there is no other.safetensors in"):
        prompt_loras.named([SMALL.replace(prompt="a heart <lora:other:1>")])


def test_a_lora_is_found_through_links_to_folders(lora_folder, tmp_path):
    (tmp_path / "elsewhere" / "inks").mkdir(parents=True)
    (tmp_path / "elsewhere" / "inks" / "ink.safetensors").touch()
    (lora_folder / "linked").symlink_to(tmp_path / "elsewhere")
    assert prompt_loras.find("ink") == lora_folder / "linked" / "inks" / "ink.safetensors"


def test_a_folder_that_several_links_lead_to_counts_once(lora_folder):
    (lora_folder / "real").mkdir()
    (lora_folder / "real" / "ink.safetensors").touch()
    (lora_folder / "a link").symlink_to(lora_folder / "real")
    (lora_folder / "real" / "cycle").symlink_to(lora_folder)
    (lora_folder / "real" / "itself").symlink_to("itself")
    assert prompt_loras.find("ink") == lora_folder / "real" / "ink.safetensors"


def test_a_lora_at_two_scales_is_refused(lora_folder):
    with pytest.raises(InputError, match="names the LoRA 'style' at several scales"):
        prompt_loras.named([SMALL.replace(prompt="a heart <lora:style:1> <lora:style:0.5>")])


def test_a_plain_prompt_names_no_lora(lora_folder):
    assert prompt_loras.named([SMALL.replace(prompt="<lora:none:1>", prompt_syntax="plain")]) == []


def test_an_inpainting_model_is_refused_with_the_reason(tmp_path):
    folder = tmp_path / "inpainting"
    shutil.copytree(models.locate("mini"), folder)
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "in_channels": 9}))
    with pytest.raises(InputError, match="changes a picture that it is given"):
        sdgen.load(str(folder))


@pytest.fixture
def mixed(tmp_path):
    """A copy of the bundled model, to be put together wrongly."""
    folder = tmp_path / "mixed"
    shutil.copytree(models.locate("mini"), folder)
    return folder


def edit(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_a_tokenizer_with_longer_rows_than_the_text_encoder_takes_is_refused(mixed):
    edit(mixed / "tokenizer" / "tokenizer_config.json", model_max_length=200)
    with pytest.raises(CheckpointError, match="rows of 200 tokens and its text encoder takes 77"):
        sdgen.load(str(mixed))


def test_a_text_encoder_of_another_family_is_refused(mixed):
    edit(mixed / "text_encoder" / "config.json", hidden_size=768)
    with pytest.raises(CheckpointError, match="vectors of 768 numbers and its UNet takes 256"):
        sdgen.load(str(mixed))


def test_a_token_that_the_text_encoder_lacks_is_refused(mini):
    from sdgen.pipeline.text_encoding import Conditioner

    tokenizer = copy.copy(mini.checkpoint.tokenizer)
    tokenizer.encode = lambda text: [70_000] if text else []
    conditioner = Conditioner(mini.networks, tokenizer, {}, jit=False, keep=False)
    with pytest.raises(InputError, match="a token of the model's tokenizer that its text encoder lacks"):
        conditioner.tokenize("a red heart", "plain")


@pytest.mark.parametrize(
    ("part", "change", "sentence"),
    [
        ("unet", {"block_out_channels": "abc"}, "the UNet's config.json has block_out_channels = 'abc'"),
        ("unet", {"attention_head_dim": 7}, "divides 96 channels by 7"),
        ("unet", {"attention_head_dim": [1, 2]}, r"has 2 attention_head_dim for \d blocks"),
        ("unet", {"norm_num_groups": 0}, "norm_num_groups = 0, where a whole number above 0 belongs"),
        ("unet", {"down_block_types": 5}, "down_block_types = 5, where a list of 1 to 10 belongs"),
        ("unet", {"up_block_types": ["UpBlock2D"]}, "3 widths for 3 down and 1 up blocks"),
        ("vae", {"block_out_channels": 5}, "the VAE's config.json has block_out_channels = 5"),
        ("text_encoder", {"num_hidden_layers": "x"}, "the text encoder's .* num_hidden_layers = 'x'"),
    ],
)
def test_a_malformed_configuration_is_told_with_its_field(mixed, part, change, sentence):
    edit(mixed / part / "config.json", **change)
    with pytest.raises(CheckpointError, match=sentence):
        sdgen.load(str(mixed))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"dtype": "int8"}, "the dtype must be"),
        ({"device": "gpu:7"}, "sees no device 'gpu:7'"),
        ({"engine": "other"}, "the engine must be"),
    ],
)
def test_what_cannot_run_here_is_refused(options, sentence):
    with pytest.raises(sdgen.BackendError, match=sentence):
        sdgen.load("mini", **options)


def test_a_textual_inversion_is_used_by_name(small, small_model, tmp_path):
    file = tmp_path / "sparkle.safetensors"
    save_file({"emb_params": np.random.default_rng(0).standard_normal((2, 32)).astype(np.float32)}, file)
    pipeline = sdgen.load(str(small_model), device="cpu", embeddings=[file])
    request = SMALL.replace(prompt="a sparkle heart")
    (named,), (word,) = pipeline.generate([request]), small.generate([request])
    assert not np.array_equal(named.pixels, word.pixels)


def test_two_textual_inversions_of_one_name_are_refused(tmp_path):
    files = [tmp_path / name for name in ("sparkle.safetensors", "Sparkle.safetensors")]
    for file in files:
        save_file({"emb_params": np.zeros((1, 256), np.float32)}, file)
    with pytest.raises(InputError, match=r"Sparkle.safetensors is another .* called 'Sparkle'"):
        sdgen.load("mini", embeddings=files)


def test_the_graph_runtime_draws_what_xla_draws(small, small_model):
    graph = sdgen.load(str(small_model), device="cpu", jit=False)
    (by_graph,), (by_xla,) = graph.generate([SMALL]), small.generate([SMALL])
    assert (by_graph.details["compiler"], by_xla.details["compiler"]) == ("graph", "xla")
    error = np.mean((by_graph.pixels.astype(float) - by_xla.pixels) ** 2)
    assert error == 0 or 10 * np.log10(255**2 / error) > 50


def test_long_jobs_compile_and_short_ones_do_not(tmp_path, monkeypatch):
    monkeypatch.setenv("SDGEN_CACHE_DIR", str(tmp_path))
    pipeline = sdgen.load("mini", device="cpu")
    short = Request(prompt="a red heart")
    assert not pipeline.pays_to_compile([short])
    assert pipeline.pays_to_compile([short] * 7)
    assert pipeline.pays_to_compile(iter([short]))


def test_a_short_job_takes_what_an_earlier_process_has_compiled(small, small_model, tmp_path, monkeypatch):
    monkeypatch.setenv("SDGEN_CACHE_DIR", str(tmp_path))
    pipeline = sdgen.load(str(small_model), device="cpu")
    assert not pipeline.pays_to_compile([SMALL])
    compiled = sdgen.Pipeline(small.checkpoint, small.entry, "float32", "cpu:0", jit=True)
    (expected,) = compiled.generate([SMALL])
    other = SMALL.replace(steps=40, guidance=3.0, sampler="unipc", prompt="a panda")
    assert pipeline.pays_to_compile([SMALL, other])
    assert not pipeline.pays_to_compile([SMALL.replace(sampler="euler-a")])
    assert not pipeline.pays_to_compile([SMALL.replace(width=96)])
    assert pipeline.pays_to_compile([SMALL] * 2, batch_size=2)  # They are drawn one by one.
    (image,) = pipeline.generate([SMALL])
    assert image.details["compiler"] == "xla"
    assert np.array_equal(image.pixels, expected.pixels)


def test_a_checkpoint_without_its_scheduler_settings_keeps_request_defaults(mini):
    resolved = dataclasses.asdict(mini.resolve(Request(prompt="x")))
    assert resolved["schedule"] is None


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"sample_size": [32, 48]}, (256, 384)),
        ({"sample_size": 32, "_diffusers_version": "0.6.0"}, (512, 512)),
        ({"sample_size": 32, "_diffusers_version": "0.27.0"}, (256, 256)),
    ],
)
def test_the_size_of_pictures_is_that_of_diffusers(mini, changes, size):
    """Height and width of ``sample_size``; 64 for a smaller number of diffusers before 0.9."""
    pipeline = copy.copy(mini)
    pipeline.entry = dataclasses.replace(mini.entry, size=None)
    vae = mini.checkpoint.vae
    factor = 1 << len(vae.config["block_out_channels"]) - 1
    unet = dataclasses.replace(mini.checkpoint.unet, config={**mini.checkpoint.unet.config, **changes})
    pipeline.checkpoint = mini.checkpoint.with_components({"unet": unet})
    resolved = pipeline.resolve(Request(prompt="a fox"))
    assert (resolved.height * 8 // factor, resolved.width * 8 // factor) == size


def test_the_folder_of_loras_is_read_once_however_many_are_named(lora_folder, monkeypatch):
    for number in range(200):
        shutil.copy(lora_folder / "style.safetensors", lora_folder / f"l{number}.safetensors")
    walks = []
    walk = prompt_loras.os.walk
    monkeypatch.setattr(prompt_loras.os, "walk", lambda place: walks.append(place) or walk(place))
    prompt = "".join(f"<lora:l{number}:0.5>" for number in range(200))
    assert len(prompt_loras.named([Request(prompt=prompt)])) == 200
    assert len(walks) == 1
