"""Diffusers folders."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import checkpoint_files as files
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sdgen.checkpoints import check_shapes, open_checkpoint
from sdgen.checkpoints.diffusers_folder import read_component
from sdgen.checkpoints.families.networks import VAE
from sdgen.errors import CheckpointError, InputError, ModelUnavailable

UNET = "diffusion_pytorch_model"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return files.write_model_folder(tmp_path / "model")


def shard(model: Path, weight_map: dict[str, str] | None = None, variant: str = "") -> Path:
    """Splits the UNet's file into two with an index."""
    whole = model / "unet" / f"{UNET}.safetensors"
    names = [f"{UNET}{variant}-0000{number}-of-00002.safetensors" for number in (1, 2)]
    tensors = load_file(whole)
    for name, key in zip(names, sorted(tensors), strict=True):
        save_file({key: tensors[key]}, model / "unet" / name)
    whole.unlink()
    weight_map = weight_map or dict(zip(sorted(tensors), names, strict=True))
    index = model / "unet" / f"{UNET}.safetensors.index{variant}.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_mini_gives_the_tensors_of_its_files(part: str) -> None:
    component = getattr(open_checkpoint(files.MINI), part)
    stored = load_file(component.files[0])
    assert component.tensors.keys() == stored.keys()
    assert component.tensors.shapes() == {name: array.shape for name, array in stored.items()}
    assert all(np.array_equal(component.tensors[name], stored[name]) for name in stored)
    assert component.config == json.loads((files.MINI / part / "config.json").read_text())


def test_mini_brings_its_tokenizer_and_schedule() -> None:
    checkpoint = open_checkpoint(files.MINI)
    assert checkpoint.name == "sd-mini"
    assert (checkpoint.tokenizer.bos, checkpoint.tokenizer.pad) == (8190, 8191)
    assert checkpoint.scheduler["prediction_type"] == "v_prediction"


def test_tensors_are_mapped_not_read(model: Path) -> None:
    array = open_checkpoint(model).unet.tensors["conv_in.weight"]
    assert not array.flags.owndata
    assert not array.flags.writeable


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ml_dtypes.bfloat16])
def test_tensors_keep_their_dtype(tmp_path: Path, dtype: type) -> None:
    array = open_checkpoint(files.write_model_folder(tmp_path / "m", dtype)).unet.tensors["conv_in.weight"]
    assert array.dtype == dtype
    assert np.array_equal(array, files.pattern(0, (8, 4, 3, 3)).astype(dtype))


def test_text_encoder_of_earlier_transformers_loses_its_prefix(tmp_path: Path) -> None:
    model = files.write_model_folder(tmp_path / "model", prefix="text_model.")
    assert list(open_checkpoint(model).text_encoder.tensors) == ["final_layer_norm.weight"]


@pytest.mark.parametrize("name", ["text_model.embeddings.position_ids", "text_projection.weight"])
def test_what_the_text_encoder_does_not_compute_with_is_left_out(model: Path, name: str) -> None:
    path = model / "text_encoder" / "model.safetensors"
    save_file(load_file(path) | {name: np.arange(77)[None]}, path)
    assert list(open_checkpoint(model).text_encoder.tensors) == ["final_layer_norm.weight"]


def test_attention_names_of_old_vae_files_are_read_as_diffusers_does(tmp_path: Path) -> None:
    golden = files.golden()["old_vae"]
    (tmp_path / "config.json").write_text("{}")
    path = files.write_stored(tmp_path / f"{UNET}.safetensors", golden["stored"])
    assert files.digests(read_component(tmp_path, VAE, path).tensors) == golden["expected"]


def test_shards_are_joined(model: Path) -> None:
    whole = files.arrays_of(open_checkpoint(model).unet.tensors)
    shard(model)
    unet = open_checkpoint(model).unet
    assert len(unet.files) == 2
    assert all(np.array_equal(unet.tensors[name], whole[name]) for name in whole)


def test_missing_shard_is_named(model: Path) -> None:
    shard(model)
    (model / "unet" / f"{UNET}-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"00002-of-00002.safetensors is missing, one of 2 parts"):
        open_checkpoint(model)


def test_shard_of_an_impossible_name_is_missing(model: Path) -> None:
    shard(model, {"conv_in.weight": "x" * 300})
    with pytest.raises(CheckpointError, match="x is missing, one of 1 parts"):
        open_checkpoint(model)


def test_shard_that_is_a_damaged_pickle_is_refused(model: Path) -> None:
    (model / "unet" / "part.bin").write_bytes(b"\x80\x02")
    shard(model, {"conv_in.weight": "part.bin"})
    with pytest.raises(CheckpointError, match=r"part.bin is truncated or altered"):
        open_checkpoint(model)


def test_shard_without_a_listed_tensor_is_named(model: Path) -> None:
    first = f"{UNET}-00001-of-00002.safetensors"
    shard(model, {"conv_in.weight": first, "conv_in.bias": first})
    with pytest.raises(CheckpointError, match=f"{first} lacks conv_in.weight"):
        open_checkpoint(model)


@pytest.mark.parametrize(
    "name", ["../vae/x.safetensors", "/etc/passwd", "a/b.safetensors", "C:x", "..", "a\\b", ""]
)
def test_index_cannot_lead_out_of_its_folder(model: Path, name: str) -> None:
    shard(model, {"conv_in.weight": name})
    with pytest.raises(CheckpointError, match="outside its own folder"):
        open_checkpoint(model)


def add_variant(model: Path, name: str, value: float) -> None:
    for part, stem in (("unet", UNET), ("vae", UNET), ("text_encoder", "model")):
        path = model / part / f"{stem}.safetensors"
        tensors = {key: np.full_like(array, value) for key, array in load_file(path).items()}
        save_file(tensors, model / part / f"{stem}.{name}.safetensors")


def test_variant_is_taken_where_asked_for(model: Path) -> None:
    add_variant(model, "fp16", 3.0)
    assert open_checkpoint(model, "fp16").unet.tensors["conv_in.bias"][0] == 3.0
    assert open_checkpoint(model).unet.tensors["conv_in.bias"][0] != 3.0


def test_only_variant_is_taken_unasked(model: Path) -> None:
    add_variant(model, "fp16", 3.0)
    for path in model.glob("*/*.safetensors"):
        if ".fp16." not in path.name:
            path.unlink()
    assert open_checkpoint(model).unet.tensors["conv_in.bias"][0] == 3.0


def test_network_without_the_variant_gives_its_plain_weights(model: Path) -> None:
    add_variant(model, "fp16", 3.0)
    (model / "vae" / f"{UNET}.fp16.safetensors").unlink()
    assert open_checkpoint(model, "fp16").vae.files[0].name == f"{UNET}.safetensors"


def test_several_variants_without_a_plain_file_are_listed(model: Path) -> None:
    add_variant(model, "fp16", 3.0)
    add_variant(model, "non_ema", 4.0)
    (model / "unet" / f"{UNET}.safetensors").unlink()
    with pytest.raises(CheckpointError, match="variants fp16, non_ema"):
        open_checkpoint(model)


def test_variant_that_no_network_has_is_an_error(model: Path) -> None:
    with pytest.raises(CheckpointError, match="no weights of variant 'fp16'"):
        open_checkpoint(model, "fp16")


def test_sharded_variant_is_found_by_its_index(model: Path) -> None:
    shard(model, variant=".fp16")
    assert len(open_checkpoint(model, "fp16").unet.files) == 2


def test_weights_under_a_name_that_nothing_reads_are_told(model: Path) -> None:
    (model / "unet" / f"{UNET}.safetensors").rename(model / "unet" / f"{UNET}.msgpack")
    with pytest.raises(CheckpointError, match=rf"only as {UNET}\.msgpack, which diffusers .* is needed"):
        open_checkpoint(model)


def test_network_without_weights_is_an_error(model: Path) -> None:
    (model / "vae" / f"{UNET}.safetensors").unlink()
    with pytest.raises(CheckpointError, match=f"vae has no {UNET}.safetensors"):
        open_checkpoint(model)


@pytest.mark.parametrize("kept", [-1, 4, 100, 0])
def test_truncated_weights_are_an_error(model: Path, kept: int) -> None:
    path = model / "unet" / f"{UNET}.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"truncated or altered.* fetch or copy it again"):
        open_checkpoint(model)


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.replace(b"F32", b"F99"),
        lambda header: header.replace(b'"data_offsets":[0', b'"data_offsets":[4'),
        lambda header: header.replace(b"{", b"[", 1),
    ],
)
def test_altered_header_is_an_error(model: Path, change) -> None:
    path = model / "unet" / f"{UNET}.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    path.write_bytes(data[:8] + change(data[8 : 8 + length]) + data[8 + length :])
    with pytest.raises(CheckpointError, match="truncated or altered"):
        open_checkpoint(model)


def test_header_that_claims_a_huge_length_is_an_error(model: Path) -> None:
    path = model / "unet" / f"{UNET}.safetensors"
    path.write_bytes((1 << 60).to_bytes(8, "little") + path.read_bytes()[8:])
    with pytest.raises(CheckpointError, match="truncated or altered"):
        open_checkpoint(model)


def test_unsupported_dtype_is_named(model: Path) -> None:
    path = model / "unet" / f"{UNET}.safetensors"
    save_file({"conv_in.weight": np.ones(4, np.uint16)}, path)
    with pytest.raises(CheckpointError, match=r"conv_in.weight as U16.* fp16"):
        open_checkpoint(model)


@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json"])
def test_missing_file_is_named(model: Path, name: str) -> None:
    (model / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        open_checkpoint(model)


@pytest.mark.parametrize("text", ["{", "[]", "\xff", "[" * 100_000])
def test_malformed_config_is_named(model: Path, text: str) -> None:
    (model / "unet" / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointError, match=r"unet/config.json"):
        open_checkpoint(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unet": None, "_class_name": "FluxPipeline"}, "FluxPipeline whose unet is absent"),
        ({"vae": ["diffusers", "VQModel"]}, "whose vae is VQModel"),
        ({"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}, "two text encoders"),
    ],
)
def test_models_of_other_kinds_are_refused(model: Path, change: dict, message: str) -> None:
    path = model / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(model)


def test_prediction_type_can_be_said(model: Path) -> None:
    assert open_checkpoint(model, prediction_type="epsilon").scheduler["prediction_type"] == "epsilon"
    with pytest.raises(InputError, match="prediction_type must be one of"):
        open_checkpoint(model, prediction_type="x0")


def test_nothing_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="no model at"):
        open_checkpoint(tmp_path / "nothing")


def test_sha256_covers_every_file_once(model: Path) -> None:
    checkpoint = open_checkpoint(model)
    paths = [model / "unet" / f"{UNET}.safetensors", model / "text_encoder/model.safetensors"]
    paths.append(model / "vae" / f"{UNET}.safetensors")
    lines = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}\n" for path in paths)
    assert checkpoint.sha256() == hashlib.sha256(lines.encode()).hexdigest()
    asked: list[Path] = []
    checkpoint.sha256(lambda path: asked.append(path) or "0" * 64)
    assert asked == paths


def test_check_shapes_names_what_is_wrong(model: Path) -> None:
    unet = open_checkpoint(model).unet
    shapes = unet.tensors.shapes()
    check_shapes(unet, shapes)
    with pytest.raises(
        CheckpointError, match=r"conv_in.weight has shape \(8, 4, 3, 3\) instead of \(8, 9, 3, 3\)"
    ):
        check_shapes(unet, shapes | {"conv_in.weight": (8, 9, 3, 3)})
    with pytest.raises(CheckpointError, match=r"conv_out.bias is missing"):
        check_shapes(unet, shapes | {"conv_out.bias": (4,)})
    with pytest.raises(CheckpointError, match=r"conv_in.weight is not part of the network"):
        check_shapes(unet, {"conv_in.bias": (8,)})


def test_link_to_a_shared_file_is_followed(model: Path, tmp_path: Path) -> None:
    """The Hugging Face cache is made of links to blobs."""
    path = model / "unet" / f"{UNET}.safetensors"
    blob = tmp_path / "blob"
    shutil.move(path, blob)
    path.symlink_to(blob)
    assert "conv_in.bias" in open_checkpoint(model).unet.tensors


@pytest.mark.parametrize("lack", ["folder", "index", "weights"])
def test_a_folder_without_a_vae_is_read_where_another_is_given(model: Path, lack: str) -> None:
    if lack == "folder":
        shutil.rmtree(model / "vae")
    elif lack == "index":
        index = json.loads((model / "model_index.json").read_text())
        (model / "model_index.json").write_text(json.dumps(index | {"vae": [None, None]}))
    else:
        weights = model / "vae" / f"{UNET}.safetensors"
        weights.rename(weights.with_suffix(".msgpack"))
    checkpoint = open_checkpoint(model, own_vae=False)
    assert (len(checkpoint.vae.tensors), checkpoint.vae.config["scaling_factor"]) == (0, 0.18215)
    message = "only as .*msgpack" if lack == "weights" else "has no VAE; .* give one with --vae"
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(model)
