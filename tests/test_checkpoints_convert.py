"""Checkpoints written in another format."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import checkpoint_files as files
import ml_dtypes
import numpy as np
import pytest

from sdgen.checkpoints import Checkpoint, open_checkpoint
from sdgen.checkpoints.convert import write_folder, write_single_file
from sdgen.checkpoints.tensors import from_array
from sdgen.errors import CheckpointError, InputError, OutputError

PARTS = ("unet", "vae", "text_encoder")


@pytest.fixture(scope="module", params=["sd1", "sd2"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return single_file(request.param, tmp_path_factory.mktemp("convert"))


def single_file(family: str, folder: Path) -> Checkpoint:
    stored = files.golden()["single_file"][family]["stored"]
    return open_checkpoint(files.write_stored(folder / f"{family}.safetensors", stored))


def assert_same(one: Checkpoint, other: Checkpoint) -> None:
    for part in PARTS:
        left, right = getattr(one, part), getattr(other, part)
        assert files.digests(left.tensors) == files.digests(right.tensors)
        assert left.config == right.config
    assert one.scheduler == other.scheduler
    assert one.tokenizer.vocab == other.tokenizer.vocab
    assert one.tokenizer.pad == other.tokenizer.pad
    assert one.tokenizer.encode("a red fox's den, 2!") == other.tokenizer.encode("a red fox's den, 2!")


def test_single_file_to_folder_and_back(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_folder(checkpoint, tmp_path / "folder")
    folder = open_checkpoint(tmp_path / "folder")
    assert_same(folder, checkpoint)
    write_single_file(folder, tmp_path / "file.safetensors")
    assert_same(open_checkpoint(tmp_path / "file.safetensors"), checkpoint)


def test_folder_names_what_diffusers_needs(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_folder(checkpoint, tmp_path / "folder")
    index = json.loads((tmp_path / "folder/model_index.json").read_text())
    inpainting = checkpoint.unet.config["in_channels"] == 9
    assert index["_class_name"] == "StableDiffusion" + ("InpaintPipeline" if inpainting else "Pipeline")
    assert index["unet"] == ["diffusers", "UNet2DConditionModel"]
    assert index["scheduler"] == ["diffusers", "PNDMScheduler"]
    assert index["tokenizer"] == ["transformers", "CLIPTokenizer"]


def test_the_upscalers_folder_has_the_schedule_of_the_small_pictures_noise(tmp_path: Path) -> None:
    upscaler = single_file("x4-upscaler", tmp_path)
    write_folder(upscaler, tmp_path / "folder")
    index = json.loads((tmp_path / "folder/model_index.json").read_text())
    assert index["low_res_scheduler"] == ["diffusers", "DDPMScheduler"]
    folder = open_checkpoint(tmp_path / "folder")
    assert_same(folder, upscaler)
    assert folder.low_res_scheduler == upscaler.low_res_scheduler


def test_mini_to_folder(tmp_path: Path) -> None:
    write_folder(open_checkpoint(files.MINI), tmp_path / "mini")
    assert_same(open_checkpoint(tmp_path / "mini"), open_checkpoint(files.MINI))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16), ("float32", np.float32)],
)
def test_dtype_can_be_chosen(tmp_path: Path, dtype: str, expected: type) -> None:
    write_folder(open_checkpoint(files.MINI), tmp_path / "mini", dtype)
    vae = open_checkpoint(tmp_path / "mini").vae.tensors
    stored = open_checkpoint(files.MINI).vae.tensors
    name = "decoder.conv_in.weight"
    assert vae[name].dtype == expected
    assert np.array_equal(vae[name], stored[name].astype(expected))


@pytest.mark.parametrize(
    ("prediction", "zero_snr"),
    [("v_prediction", False), ("epsilon", False), ("sample", False), ("v_prediction", True)],
)
def test_single_file_keeps_the_prediction_type(
    checkpoint: Checkpoint, tmp_path: Path, prediction: str, zero_snr: bool
) -> None:
    scheduler = {**checkpoint.scheduler, "prediction_type": prediction, "rescale_betas_zero_snr": zero_snr}
    write_single_file(dataclasses.replace(checkpoint, scheduler=scheduler), tmp_path / "x.safetensors")
    again = open_checkpoint(tmp_path / "x.safetensors").scheduler
    assert again["prediction_type"] == prediction
    assert again.get("rescale_betas_zero_snr", False) is zero_snr


def test_mini_has_no_single_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be one file: its unet has attention_head_dim"):
        write_single_file(open_checkpoint(files.MINI), tmp_path / "x.safetensors")


def with_tensors(checkpoint: Checkpoint, part: str, arrays: dict[str, np.ndarray]) -> Checkpoint:
    component = getattr(checkpoint, part)
    entries = {name: from_array(array) for name, array in arrays.items()}
    changed = dataclasses.replace(component, tensors=component.tensors.replaced(entries))
    return checkpoint.with_components({part: changed})


def test_a_tensor_without_a_place_is_named(checkpoint: Checkpoint, tmp_path: Path) -> None:
    more = with_tensors(checkpoint, "unet", {"extra.weight": np.zeros(1, np.float32)})
    with pytest.raises(CheckpointError, match=r"extra.weight has no place in a single file"):
        write_single_file(more, tmp_path / "x.safetensors")


def test_a_projection_has_no_place_beside_open_clip(tmp_path: Path) -> None:
    sd2 = single_file("sd2", tmp_path)
    more = with_tensors(sd2, "text_encoder", {"text_projection.weight": np.zeros((2, 2), np.float32)})
    with pytest.raises(CheckpointError, match=r"text_projection.weight has no place in a single file"):
        write_single_file(more, tmp_path / "x.safetensors")


def test_a_layer_that_readers_leave_out_is_refused(tmp_path: Path) -> None:
    sd2 = single_file("sd2", tmp_path)
    tensors = sd2.text_encoder.tensors
    first = [name for name in tensors if name.startswith("encoder.layers.0.")]
    layers = {
        name.replace("layers.0", f"layers.{number}"): tensors[name] for name in first for number in range(24)
    }
    with pytest.raises(CheckpointError, match="readers of such files leave out its text encoder's layer 24"):
        write_single_file(with_tensors(sd2, "text_encoder", layers), tmp_path / "x.safetensors")


def test_numbers_beyond_the_dtype_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    bias = np.full_like(checkpoint.unet.tensors["conv_in.bias"], 1e6)
    with pytest.raises(CheckpointError, match=r"too large for float16"):
        write_folder(with_tensors(checkpoint, "unet", {"conv_in.bias": bias}), tmp_path / "x", "float16")
    assert not (tmp_path / "x").exists()


def test_existing_target_is_kept(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        write_folder(open_checkpoint(files.MINI), tmp_path / "x.safetensors")
    assert (tmp_path / "x.safetensors").read_text() == "mine"


def test_unknown_dtype(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dtype must be one of"):
        write_folder(open_checkpoint(files.MINI), tmp_path / "x", "int8")


def test_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail() -> np.ndarray:
        raise CheckpointError("unreadable")

    mini = open_checkpoint(files.MINI)
    entry = mini.vae.tensors.lazy("decoder.conv_in.weight")
    broken = mini.vae.tensors.replaced(
        {"decoder.conv_in.weight": type(entry)(entry.shape, entry.dtype, fail)}
    )
    checkpoint = mini.with_components({"vae": dataclasses.replace(mini.vae, tensors=broken)})
    with pytest.raises(CheckpointError, match="unreadable"):
        write_folder(checkpoint, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_unwritable_place_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_folder(open_checkpoint(files.MINI), tmp_path / "file" / "x")
