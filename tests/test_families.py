"""The registry of families: what is recognised as what, and checkpoints that lack what others have."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import checkpoint_files as files
import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file

from sdgen.checkpoints import open_checkpoint
from sdgen.checkpoints.description import describe
from sdgen.checkpoints.families import REGISTRY, Family
from sdgen.checkpoints.families.networks import UNET
from sdgen.checkpoints.lora import apply_loras
from sdgen.cli.models import command
from sdgen.diffusion.choices import TASKS
from sdgen.errors import CheckpointError, InputError
from sdgen.models import catalogue
from sdgen.pipeline.loading import check_files, check_parts

STEM = "diffusion_pytorch_model"


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return files.write_model_folder(tmp_path / "model")


@pytest.fixture
def mini(tmp_path: Path) -> Path:
    """A copy of the bundled model, whose latents have 8 channels."""
    return shutil.copytree(files.MINI, tmp_path / "mini")


def made_up(configs: Any) -> bool:
    return configs["unet"].get("sample_size") == 7


MADE_UP = Family(
    name="made-up",
    tasks=("text-to-image",),
    networks={"unet": dataclasses.replace(UNET, class_name="MadeUpModel")},
    recognises=made_up,
)


@pytest.fixture
def made_up_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "made-up"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "config.json").write_text('{"sample_size": 7}')
    save_file({"conv_in.weight": files.pattern(0, (8, 4, 3, 3))}, folder / "unet" / f"{STEM}.safetensors")
    (folder / "scheduler").symlink_to(files.MINI / "scheduler")
    index = {"_class_name": "MadeUpPipeline", "unet": ["diffusers", "MadeUpModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_a_family_that_is_added_to_the_registry_is_opened(made_up_folder: Path) -> None:
    checkpoint = open_checkpoint(made_up_folder, families=REGISTRY.with_family(MADE_UP))
    assert checkpoint.family is MADE_UP
    assert list(checkpoint.components) == ["unet"]
    assert checkpoint.tokenizers == {}
    assert checkpoint.unet.tensors.shapes() == {"conv_in.weight": (8, 4, 3, 3)}
    assert checkpoint.files == (made_up_folder / "unet" / f"{STEM}.safetensors",)
    assert len(checkpoint.sha256()) == 64


def test_a_family_of_a_copy_is_not_in_the_registry(made_up_folder: Path) -> None:
    with pytest.raises(CheckpointError, match="a MadeUpPipeline whose unet is MadeUpModel; only Stable"):
        open_checkpoint(made_up_folder)


def test_a_model_without_text_is_told_the_other_parts_that_it_lacks(made_up_folder: Path) -> None:
    checkpoint = open_checkpoint(made_up_folder, families=REGISTRY.with_family(MADE_UP))
    with pytest.raises(CheckpointError) as caught:
        check_parts(checkpoint)
    assert str(caught.value) == (
        f"{made_up_folder} has no VAE, without which nothing is drawn; copy the whole model again, or take "
        "another"
    )


@pytest.mark.parametrize("part", ["text_encoder", "vae", "tokenizer"])
def test_what_asks_for_a_part_that_is_missing_is_told_its_name(made_up_folder: Path, part: str) -> None:
    checkpoint = open_checkpoint(made_up_folder, families=REGISTRY.with_family(MADE_UP))
    name = {"vae": "VAE"}.get(part, part.replace("_", " "))
    with pytest.raises(CheckpointError, match=f"made-up has no {name}; copy the whole model again"):
        getattr(checkpoint, part)


def test_a_lora_for_a_model_without_text_changes_its_unet_alone(made_up_folder: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(made_up_folder, families=REGISTRY.with_family(MADE_UP))
    save_file(
        {
            "lora_unet_conv_in.lora_down.weight": np.ones((1, 4, 3, 3), np.float32),
            "lora_unet_conv_in.lora_up.weight": np.ones((8, 1, 1, 1), np.float32),
            "lora_te_encoder_layers_0_mlp_fc1.lora_down.weight": np.ones((1, 4), np.float32),
        },
        tmp_path / "lora.safetensors",
    )
    changed = apply_loras(checkpoint, [(tmp_path / "lora.safetensors", (0.0, 2.0))])
    name = "conv_in.weight"
    assert np.array_equal(changed.unet.tensors[name], checkpoint.unet.tensors[name] + 2)
    assert changed.changes == ("lora scales 0 and 2",)
    assert "1 of its 3 keys fit nothing" in changed.warnings[0]


@pytest.mark.parametrize(
    ("config", "family"),
    [
        ({}, "sd1"),
        ({"in_channels": 9}, "sd1-inpainting"),
        ({"in_channels": 8}, "instruct-pix2pix"),
        ({"in_channels": 16, "out_channels": 16}, "sd1"),
        ({"use_linear_projection": True}, "sd2"),
        ({"use_linear_projection": True, "in_channels": 9}, "sd2-inpainting"),
        ({"use_linear_projection": True, "in_channels": 5}, "sd2-depth"),
        ({"in_channels": 7, "num_class_embeds": 1000}, "x4-upscaler"),
        ({"in_channels": 8, "out_channels": 5, "down_block_types": ["KDownBlock2D"]}, "x2-latent-upscaler"),
        ({"in_channels": 8, "out_channels": 8, "down_block_types": ["KDownBlock2D"]}, "x2-latent-upscaler"),
        ({"use_linear_projection": True, "in_channels": 7, "num_class_embeds": 1000}, "x4-upscaler"),
    ],
)
def test_a_folder_is_of_the_family_that_its_unet_says(model: Path, config: dict, family: str) -> None:
    edit(model / "unet" / "config.json", **config)
    assert open_checkpoint(model).family is REGISTRY[family]


@pytest.mark.parametrize(
    ("stored", "family"), [("sd1", "sd1"), ("sd2", "sd2-inpainting"), ("x4-upscaler", "x4-upscaler")]
)
def test_a_single_file_is_of_the_family_that_its_shapes_say(tmp_path: Path, stored: str, family: str) -> None:
    tensors = files.golden()["single_file"][stored]["stored"]
    path = files.write_stored(tmp_path / "x.safetensors", tensors)
    assert open_checkpoint(path).family is REGISTRY[family]


@pytest.mark.parametrize("config", [{"in_channels": 6}, {"in_channels": 1}])
def test_a_unet_of_no_family_is_refused_with_its_channels(model: Path, config: dict) -> None:
    edit(model / "unet" / "config.json", **config)
    sentence = f"is of no family .* takes {config['in_channels']} channels and gives 4; take"
    with pytest.raises(CheckpointError, match=sentence):
        open_checkpoint(model)


@pytest.mark.parametrize("field", ["in_channels", "out_channels", "use_linear_projection"])
@pytest.mark.parametrize("value", ["x", None, [4], {}, -1.5])
def test_a_field_of_a_wrong_type_does_not_stop_recognition(model: Path, field: str, value: Any) -> None:
    """What checks the configuration later says what is wrong with it."""
    edit(model / "unet" / "config.json", **{field: value})
    assert open_checkpoint(model).family is REGISTRY["sd1"]


@pytest.mark.parametrize("task", ["text-to-image", "inpainting"])
def test_a_model_for_what_sdgen_does_not_do_is_refused_by_its_task(mini: Path, task: str) -> None:
    edit(mini / "unet" / "config.json", in_channels=9)
    with pytest.raises(
        InputError, match=r"is for depth-to-image \(sd2-depth\): it changes a picture that it is given"
    ):
        check_files(str(mini), task=task)


def test_an_inpainting_model_is_refused_where_a_whole_picture_is_wanted(mini: Path) -> None:
    edit(mini / "unet" / "config.json", in_channels=17)
    with pytest.raises(InputError, match="fills a part of a picture and cannot draw a whole one"):
        check_files(str(mini))


@pytest.mark.parametrize("stored", ["sd1", "sd2"])
def test_a_single_file_of_a_model_is_fit_for_inpainting(tmp_path: Path, stored: str) -> None:
    """That of Stable Diffusion 2 has the mask's channels, and any other is blended."""
    path = files.write_stored(tmp_path / "x.safetensors", files.golden()["single_file"][stored]["stored"])
    checkpoint = open_checkpoint(path)
    assert checkpoint.unet.config["in_channels"] == {"sd1": 4, "sd2": 9}[stored]
    check_parts(checkpoint, "inpainting")


def test_an_unet_and_a_vae_of_different_latents_do_not_fit(mini: Path) -> None:
    edit(mini / "unet" / "config.json", in_channels=4, out_channels=4)
    with pytest.raises(CheckpointError, match="UNet gives latents of 4 channels and its VAE takes 8"):
        check_files(str(mini))


def test_super_resolution_without_text_is_opened(tmp_path: Path) -> None:
    folder = tmp_path / "ldm-sr"
    index: dict[str, Any] = {"_class_name": "LDMSuperResolutionPipeline"}
    for part, kind in (("unet", "UNet2DModel"), ("vqvae", "VQModel")):
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text('{"in_channels": 6, "out_channels": 3}')
        save_file({"conv_in.weight": files.pattern(0, (8, 6, 3, 3))}, folder / part / f"{STEM}.safetensors")
        index[part] = ["diffusers", kind]
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "scheduler").symlink_to(files.MINI / "scheduler")
    checkpoint = open_checkpoint(folder)
    assert checkpoint.family is REGISTRY["ldm-sr"]
    assert list(checkpoint.components) == ["unet", "vqvae"]
    with pytest.raises(InputError, match="enlarges pictures and cannot draw one"):
        check_parts(checkpoint, "text-to-image")


def test_the_schedule_of_the_small_pictures_noise_is_the_folders(model: Path) -> None:
    edit(model / "unet" / "config.json", in_channels=7, num_class_embeds=1000)
    edit(model / "model_index.json", low_res_scheduler=["diffusers", "DDPMScheduler"])
    (model / "low_res_scheduler").mkdir()
    (model / "low_res_scheduler/scheduler_config.json").write_text('{"beta_end": 0.5}')
    assert open_checkpoint(model).low_res_scheduler == {"beta_end": 0.5}


@pytest.mark.parametrize("scale", [{}, {"scaling_factor": 0.18215}])
def test_the_upscalers_latents_have_its_own_scale_whatever_a_config_says(model: Path, scale: dict) -> None:
    edit(model / "unet" / "config.json", in_channels=7, num_class_embeds=1000)
    edit(model / "vae" / "config.json", **scale)
    assert open_checkpoint(model).vae.config["scaling_factor"] == 0.08333


def without(folder: Path, part: str) -> None:
    shutil.rmtree(folder / part)
    edit(folder / "model_index.json", **{part: [None, None]})


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        (["text_encoder"], "has no text encoder, without which nothing is drawn"),
        (["tokenizer"], "has no tokenizer, without which nothing is drawn"),
        (["text_encoder", "tokenizer"], "has no text encoder and no tokenizer, without which"),
    ],
)
def test_a_folder_that_says_it_has_no_text_parts_is_opened_and_not_drawn_with(
    mini: Path, parts: list[str], sentence: str
) -> None:
    for part in parts:
        without(mini, part)
    checkpoint = open_checkpoint(mini)
    assert checkpoint.family is REGISTRY["sd2"]
    assert not {*parts} & {*checkpoint.components, *checkpoint.tokenizers}
    with pytest.raises(CheckpointError, match=sentence):
        check_files(str(mini))


@pytest.mark.parametrize(
    ("part", "sentence"),
    [("text_encoder", "has no model.safetensors; fetch or copy"), ("tokenizer", "vocab.json is missing")],
)
def test_a_folder_that_lacks_what_it_names_is_incomplete(mini: Path, part: str, sentence: str) -> None:
    shutil.rmtree(mini / part)
    with pytest.raises(CheckpointError, match=sentence):
        open_checkpoint(mini)


def test_identity_does_not_depend_on_the_order_of_components(model: Path) -> None:
    checkpoint = open_checkpoint(model)
    turned = dict(reversed(checkpoint.components.items()))
    assert dataclasses.replace(checkpoint, components=turned).sha256() == checkpoint.sha256()


def test_the_prediction_of_an_inpainting_file_is_not_guessed_from_its_weights(tmp_path: Path) -> None:
    stored = files.write_stored(tmp_path / "x.safetensors", files.golden()["single_file"]["sd2"]["stored"])
    bias = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
    save_file(load_file(stored) | {bias: np.array([-9, 9] * 16, np.float32)}, tmp_path / "y.safetensors")
    assert open_checkpoint(tmp_path / "y.safetensors").scheduler["prediction_type"] == "epsilon"


@pytest.mark.parametrize("family", list(REGISTRY), ids=lambda family: family.name)
def test_every_row_of_the_registry_is_sound(family: Family) -> None:
    assert {*family.tasks} <= {*TASKS}
    assert {text.component for text in family.text} <= {*family.networks}
    assert {*family.configs} <= {*family.networks}
    assert all(text.original in ("clip", "open_clip", "bert") for text in family.text)


def test_the_catalogue_knows_the_families_of_the_registry() -> None:
    assert REGISTRY.names == catalogue.FAMILIES
    for entry in catalogue.load().values():
        assert entry.family is None or entry.task in REGISTRY[entry.family].tasks


def test_a_model_without_text_is_described(made_up_folder: Path) -> None:
    checkpoint = open_checkpoint(made_up_folder, families=REGISTRY.with_family(MADE_UP))
    assert describe(checkpoint) == {
        "family": "made-up",
        "task": "text-to-image",
        "usable": True,
        "prediction": "v_prediction",
        "parameters": {"unet": 8 * 4 * 3 * 3},
        "pickles": [],
        "lacks": [],
    }


def shown(*arguments: str) -> str:
    return CliRunner().invoke(command, ["show", *arguments], catch_exceptions=False).stdout


def test_show_tells_what_a_folder_is_and_what_it_lacks(mini: Path) -> None:
    without(mini, "text_encoder")
    facts = json.loads(shown(str(mini), "--json"))
    assert (facts["family"], facts["task"], facts["usable"]) == ("sd2", "text-to-image", False)
    assert facts["lacks"] == ["text encoder"]
    assert list(facts["parameters"]) == ["unet", "vae"]
    assert "lacks        text encoder\n" in shown(str(mini))


def test_show_tells_that_nothing_is_drawn_with_a_folder_for_another_task(mini: Path) -> None:
    edit(mini / "unet" / "config.json", in_channels=9)
    text = shown(str(mini))
    assert "family       sd2-depth\n" in text
    assert f"usable       {mini} is for depth-to-image, which sdgen cannot do yet\n" in text


def test_show_tells_why_a_folder_cannot_be_read(mini: Path) -> None:
    (mini / "unet" / "config.json").write_text("{")
    text = shown(str(mini))
    assert f"unreadable   {mini / 'unet' / 'config.json'}" in text
    assert json.loads(shown(str(mini), "--json"))["usable"] is False


def test_a_single_file_of_a_conditional_unet_is_not_taken_for_super_resolution(tmp_path: Path) -> None:
    """Both take three channels more; what embeds no noise level is neither."""
    stored = files.golden()["single_file"]["x4-upscaler"]["stored"]
    tensors = [(name, shape) for name, shape in stored if "label_emb" not in name]
    assert len(tensors) == len(stored) - 1
    path = files.write_stored(tmp_path / "x.safetensors", tensors)
    with pytest.raises(CheckpointError, match=r"is of no family .* takes 7 channels and gives 4"):
        open_checkpoint(path)


def test_a_family_of_two_text_encoders_may_be_added(model: Path) -> None:
    edit(model / "model_index.json", text_encoder_2=["transformers", "CLIPTextModel"])
    sd1 = REGISTRY["sd1"]
    both = {**sd1.networks, "text_encoder_2": sd1.networks["text_encoder"]}
    two = dataclasses.replace(sd1, name="two", networks=both)
    shutil.copytree(model / "text_encoder", model / "text_encoder_2")
    checkpoint = open_checkpoint(model, families=REGISTRY.with_family(two))
    assert checkpoint.family is two
    assert list(checkpoint.components) == ["unet", "text_encoder", "vae", "text_encoder_2"]
    with pytest.raises(CheckpointError, match="two text encoders"):
        open_checkpoint(model)


def test_a_model_without_a_unet_is_told_so_whatever_else_it_has(model: Path) -> None:
    edit(
        model / "model_index.json",
        _class_name="FluxPipeline",
        unet=[None, None],
        text_encoder_2=["transformers", "T5EncoderModel"],
    )
    with pytest.raises(CheckpointError, match="a FluxPipeline whose unet is absent"):
        open_checkpoint(model)
