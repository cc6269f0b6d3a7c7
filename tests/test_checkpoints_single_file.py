"""Single files in the original naming, and VAEs of their own."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoint_files as files
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sdgen.checkpoints import open_checkpoint
from sdgen.checkpoints.vae_file import with_vae
from sdgen.errors import CheckpointError, ModelUnavailable

PARTS = ("unet", "vae", "text_encoder")
WIDE_BIAS = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"


@pytest.fixture(scope="module", params=["sd1", "sd2", "x4-upscaler"])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def single_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("single")
    golden = files.golden()["single_file"]
    return {
        name: files.write_stored(folder / f"{name}.safetensors", golden[name]["stored"]) for name in golden
    }


def changed(path: Path, target: Path, change: dict[str, np.ndarray], metadata=None) -> Path:
    save_file(load_file(path) | change, target, metadata)
    return target


@pytest.mark.parametrize("part", PARTS)
def test_tensors_are_those_of_diffusers_converters(single_files, family: str, part: str) -> None:
    component = getattr(open_checkpoint(single_files[family]), part)
    assert files.digests(component.tensors) == files.golden()["single_file"][family]["expected"][part]
    assert component.tensors.shapes() == {name: array.shape for name, array in component.tensors.items()}


def test_config_of_sd1_comes_from_shapes_and_family(single_files) -> None:
    checkpoint = open_checkpoint(single_files["sd1"])
    unet = checkpoint.unet.config
    assert unet["block_out_channels"] == [32, 64, 128, 128]
    assert unet["layers_per_block"] == 2
    assert unet["down_block_types"] == ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
    assert unet["up_block_types"] == ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3
    assert (unet["attention_head_dim"], unet["use_linear_projection"]) == (8, False)
    assert (unet["in_channels"], unet["cross_attention_dim"]) == (4, 48)
    text = checkpoint.text_encoder.config
    assert (text["hidden_act"], text["num_hidden_layers"], text["hidden_size"]) == ("quick_gelu", 3, 48)
    vae = checkpoint.vae.config
    assert (vae["scaling_factor"], vae["block_out_channels"]) == (0.18215, [32, 64, 128, 128])
    assert checkpoint.tokenizer.pad == 49407
    assert checkpoint.scheduler["prediction_type"] == "epsilon"


def test_config_of_sd2_comes_from_shapes_and_family(single_files) -> None:
    checkpoint = open_checkpoint(single_files["sd2"])
    unet = checkpoint.unet.config
    assert (unet["attention_head_dim"], unet["use_linear_projection"]) == ([1, 1, 2, 2], True)
    assert unet["in_channels"] == 9
    assert checkpoint.text_encoder.config["hidden_act"] == "gelu"
    assert checkpoint.text_encoder.config["num_hidden_layers"] == 3
    assert checkpoint.tokenizer.pad == 0


def test_config_of_the_upscaler_comes_from_shapes_and_family(single_files) -> None:
    checkpoint = open_checkpoint(single_files["x4-upscaler"])
    unet, vae = checkpoint.unet.config, checkpoint.vae.config
    assert unet["down_block_types"] == ["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 3
    assert (unet["in_channels"], unet["num_class_embeds"], unet["attention_head_dim"]) == (7, 1000, 8)
    assert unet["only_cross_attention"] == [False, True, True, False]
    assert (vae["block_out_channels"], vae["scaling_factor"]) == ([32, 64, 128], 0.08333)
    assert checkpoint.scheduler["prediction_type"] == "v_prediction"
    assert (checkpoint.low_res_scheduler["beta_start"], checkpoint.low_res_scheduler["beta_end"]) == (
        1e-4,
        0.02,
    )


def test_sha256_is_that_of_the_file(single_files) -> None:
    import hashlib

    path = single_files["sd1"]
    assert open_checkpoint(path).sha256() == hashlib.sha256(path.read_bytes()).hexdigest()


CONV_IN = {"model.diffusion_model.input_blocks.0.0.weight": np.zeros((32, 4, 3, 3), np.float32)}
SPREAD = {WIDE_BIAS: np.array([-1, 1] * 16, np.float32)}
NARROW = {WIDE_BIAS: np.array([-0.01, 0.01] * 16, np.float32)}


@pytest.mark.parametrize(
    ("change", "metadata", "prediction"),
    [
        (CONV_IN | SPREAD, None, "v_prediction"),
        (CONV_IN | NARROW, None, "epsilon"),
        (SPREAD, None, "epsilon"),
        (CONV_IN | SPREAD, {"modelspec.prediction_type": "epsilon"}, "epsilon"),
        (CONV_IN | SPREAD, {"ss_v_parameterization": "False"}, "epsilon"),
        (NARROW, {"modelspec.prediction_type": "v"}, "v_prediction"),
        (NARROW, {"modelspec.architecture": "stable-diffusion-v2-768-v"}, "v_prediction"),
        (NARROW, {"ss_v_parameterization": "True"}, "v_prediction"),
        (NARROW | {"v_pred": np.zeros(0, np.float32)}, None, "v_prediction"),
    ],
)
def test_prediction_type_of_sd2(single_files, tmp_path, change, metadata, prediction) -> None:
    path = changed(single_files["sd2"], tmp_path / "x.safetensors", change, metadata)
    assert open_checkpoint(path).scheduler["prediction_type"] == prediction


def test_prediction_type_can_be_said(single_files) -> None:
    checkpoint = open_checkpoint(single_files["sd2"], prediction_type="v_prediction")
    assert checkpoint.scheduler["prediction_type"] == "v_prediction"


def test_mark_of_zero_terminal_snr(single_files, tmp_path) -> None:
    path = changed(single_files["sd2"], tmp_path / "x.safetensors", {"ztsnr": np.zeros(0, np.float32)})
    assert open_checkpoint(path).scheduler["rescale_betas_zero_snr"] is True


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin", ".CKPT"])
def test_a_pickle_that_is_cut_off_is_told(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"\x80\x02")
    with pytest.raises(CheckpointError, match=r"truncated or altered .its pickle ends early"):
        open_checkpoint(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lora_unet_mid_block_attentions_0_proj_in.lora_down.weight", "is a LoRA"),
        ("conditioner.embedders.0.transformer.text_model.x", "an SDXL model"),
        ("model.diffusion_model.joint_blocks.0.x", "Stable Diffusion 3 or Flux"),
        ("control_model.input_blocks.0.0.weight", "a ControlNet"),
        ("decoder.conv_in.weight", "a VAE, which is given with --vae"),
        ("emb_params", "textual inversion"),
        ("something.else", "has no UNet and no VAE and no text encoder"),
    ],
)
def test_files_that_are_no_model_are_told_apart(tmp_path: Path, name: str, message: str) -> None:
    path = tmp_path / "x.safetensors"
    save_file({name: np.zeros((2, 2), np.float32)}, path)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(path)


def test_missing_tensor_is_named(single_files, tmp_path) -> None:
    tensors = load_file(single_files["sd1"])
    del tensors["model.diffusion_model.middle_block.1.proj_in.weight"]
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"lack mid_block.attentions.0.proj_in.weight"):
        open_checkpoint(tmp_path / "x.safetensors")


@pytest.mark.parametrize("family_name", ["sd1", "sd2"])
@pytest.mark.parametrize(
    ("ending", "name"),
    [
        ("input_blocks.0.0.weight", "conv_in.weight"),
        ("diffusion_model.out.2.weight", "conv_out.weight"),
        ("token_embedding.weight", "embeddings.token_embedding.weight"),
        ("decoder.conv_in.weight", "decoder.conv_in.weight"),
    ],
)
def test_tensor_of_another_rank_is_named(
    single_files, tmp_path: Path, family_name: str, ending: str, name: str
) -> None:
    stored = next(key for key in load_file(single_files[family_name]) if key.endswith(ending))
    path = changed(single_files[family_name], tmp_path / "x.safetensors", {stored: np.zeros(8, np.float32)})
    with pytest.raises(CheckpointError, match=rf"have {name} of shape \(8,\)"):
        open_checkpoint(path)


def test_sd2_without_its_first_convolution_is_told(single_files, tmp_path: Path) -> None:
    tensors = load_file(single_files["sd2"])
    del tensors["model.diffusion_model.input_blocks.0.0.weight"]
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"lack conv_in.weight"):
        open_checkpoint(tmp_path / "x.safetensors")


def test_a_file_has_no_variants(single_files) -> None:
    with pytest.raises(CheckpointError, match="no weights of variant 'fp16'"):
        open_checkpoint(single_files["sd1"], "fp16")


def test_unknown_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(CheckpointError, match="of no known kind"):
        open_checkpoint(tmp_path / "x.txt")


@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
def test_vae_of_its_own_file(single_files, tmp_path: Path, prefix: str) -> None:
    """As vae-ft-mse-840000-ema-pruned.safetensors is: LDM names, without the rest of the model."""
    own = {
        prefix + name.removeprefix("first_stage_model."): array + 1
        for name, array in load_file(single_files["sd1"]).items()
        if name.startswith("first_stage_model.")
    }
    save_file(own | {prefix + "loss.logvar": np.zeros(1, np.float32)}, tmp_path / "vae.safetensors")
    before = open_checkpoint(single_files["sd1"])
    after = with_vae(before, tmp_path / "vae.safetensors")
    assert after.vae.tensors.keys() == before.vae.tensors.keys()
    assert all(
        np.array_equal(after.vae.tensors[name], before.vae.tensors[name] + 1) for name in before.vae.tensors
    )
    assert after.vae.config["scaling_factor"] == 0.18215
    assert after.unet is before.unet
    assert after.sha256() != before.sha256()


@pytest.fixture(scope="module")
def four_channels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder with the bundled model's VAE, cut down to Stable Diffusion's latent channels."""
    folder = tmp_path_factory.mktemp("four") / "vae"
    folder.mkdir()
    config = json.loads((files.MINI / "vae/config.json").read_text())
    cut = config | {"latent_channels": 4, "scaling_factor": 0.5}
    (folder / "config.json").write_text(json.dumps(cut))
    name = "diffusion_pytorch_model.safetensors"
    tensors = load_file(files.MINI / "vae" / name)
    for key, outputs, inputs in (
        ("encoder.conv_out", 8, None),
        ("quant_conv", 8, 8),
        ("post_quant_conv", 4, 4),
        ("decoder.conv_in", None, 4),
    ):
        weight = tensors[f"{key}.weight"][:outputs, :inputs]
        tensors |= {f"{key}.weight": weight.copy(), f"{key}.bias": tensors[f"{key}.bias"][:outputs].copy()}
    save_file(tensors, folder / name)
    return folder.parent


@pytest.mark.parametrize("place", ["", "vae"])
def test_vae_of_a_diffusers_folder(single_files, four_channels: Path, place: str) -> None:
    checkpoint = with_vae(open_checkpoint(single_files["sd1"]), four_channels / place)
    assert checkpoint.vae.config["scaling_factor"] == 0.5
    assert checkpoint.vae.tensors.keys() == open_checkpoint(files.MINI).vae.tensors.keys()


def test_vae_file_with_diffusers_names(single_files, four_channels: Path) -> None:
    path = four_channels / "vae" / "diffusion_pytorch_model.safetensors"
    checkpoint = with_vae(open_checkpoint(single_files["sd1"]), path)
    assert checkpoint.vae.config["block_out_channels"] == [32, 64, 128, 128]
    assert checkpoint.vae.config["layers_per_block"] == 2


def test_the_bundled_models_vae_is_of_another_latent_space(single_files) -> None:
    with pytest.raises(CheckpointError, match="8 latent channels"):
        with_vae(open_checkpoint(single_files["sd1"]), files.MINI)


def test_vae_of_another_latent_space_is_refused(single_files, tmp_path: Path) -> None:
    path = files.MINI / "vae" / "diffusion_pytorch_model.safetensors"
    wide = {"decoder.conv_in.weight": np.zeros((128, 16, 3, 3), np.float16)}
    changed(path, tmp_path / "x.safetensors", wide)
    with pytest.raises(CheckpointError, match="16 latent channels"):
        with_vae(open_checkpoint(single_files["sd1"]), tmp_path / "x.safetensors")


def test_vae_that_is_none(single_files, tmp_path: Path) -> None:
    save_file({"x": np.zeros(1, np.float32)}, tmp_path / "x.safetensors")
    checkpoint = open_checkpoint(single_files["sd1"])
    with pytest.raises(CheckpointError, match="holds no VAE"):
        with_vae(checkpoint, tmp_path / "x.safetensors")
    with pytest.raises(ModelUnavailable, match="no VAE at"):
        with_vae(checkpoint, tmp_path / "y.safetensors")


@pytest.mark.parametrize(
    ("name", "message"),
    [("vae.ckpt", "File is not a zip file"), ("vae.png", "is neither a .safetensors file nor a pickle")],
)
def test_vae_in_a_file_of_another_kind_is_not_called_damaged(
    single_files, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04" if name.endswith(".ckpt") else b"\x89PNG")
    with pytest.raises(CheckpointError, match=message):
        with_vae(open_checkpoint(single_files["sd1"]), tmp_path / name)


def without_vae(path: Path, target: Path) -> Path:
    save_file(
        {name: array for name, array in load_file(path).items() if not name.startswith("first_stage_model.")},
        target,
    )
    return target


def test_a_file_without_a_vae_is_read_where_another_is_given(single_files, tmp_path: Path) -> None:
    path = without_vae(single_files["sd1"], tmp_path / "x.safetensors")
    whole = open_checkpoint(single_files["sd1"])
    checkpoint = with_vae(open_checkpoint(path, own_vae=False), single_files["sd1"])
    assert dict(checkpoint.vae.config) == dict(whole.vae.config)
    assert files.digests(checkpoint.vae.tensors) == files.digests(whole.vae.tensors)
    assert checkpoint.files == (path, single_files["sd1"])
    with pytest.raises(CheckpointError, match="has no VAE; give one with --vae"):
        open_checkpoint(path)


def test_a_file_that_lacks_more_than_a_vae_is_refused_all_the_same(tmp_path: Path) -> None:
    save_file({"something.else": np.zeros((2, 2), np.float32)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="has no UNet and no VAE and no text encoder"):
        open_checkpoint(tmp_path / "x.safetensors", own_vae=False)


@pytest.mark.parametrize(
    ("layers", "square"),
    [
        ({"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}, False),
        ({"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0", "norm": "group_norm"}, True),
        ({"q": "query", "k": "key", "v": "value", "proj_out": "proj_attn"}, False),
    ],
)
def test_names_of_diffusers_in_the_attention_of_an_original_vae(
    single_files, tmp_path: Path, layers: dict[str, str], square: bool
) -> None:
    """Published files have first_stage_model.decoder.mid.attn_1.to_q.weight, of two dimensions."""
    renamed = {}
    for name, array in load_file(single_files["sd1"]).items():
        block, mark, rest = name.partition(".mid.attn_1.")
        layer, _, kind = rest.rpartition(".")
        if mark and not square and array.ndim == 4:
            array = array[:, :, 0, 0].copy()
        renamed[f"{block}{mark}{layers.get(layer, layer)}.{kind}" if mark else name] = array
    assert any("attn_1.to_q" in name or "attn_1.query" in name for name in renamed)
    save_file(renamed, tmp_path / "x.safetensors")
    expected = files.golden()["single_file"]["sd1"]["expected"]["vae"]
    assert files.digests(open_checkpoint(tmp_path / "x.safetensors").vae.tensors) == expected


def test_a_file_of_eight_bits_with_scales(single_files, tmp_path: Path) -> None:
    """As ComfyUI writes it: a mark, linear layers in float8_e4m3fn with a scale each, the rest as it was."""
    stored, prefix = load_file(single_files["sd1"]), "model.diffusion_model."
    packed = {f"{prefix}scaled_fp8": np.zeros(2, ml_dtypes.float8_e4m3fn)}
    expected = {}
    for name, array in stored.items():
        if name.startswith(prefix) and name.endswith("to_q.weight"):
            small = (array / 4).astype(ml_dtypes.float8_e4m3fn)
            packed |= {name: small, name.replace(".weight", ".scale_weight"): np.array(4, np.float32)}
            expected[name] = small.astype(np.float32) * 4
        else:
            packed[name] = array
    save_file(packed, tmp_path / "x.safetensors")
    found, whole = open_checkpoint(tmp_path / "x.safetensors"), open_checkpoint(single_files["sd1"])
    assert found.unet.tensors.shapes() == whole.unet.tensors.shapes()
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    original = f"{prefix}input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
    np.testing.assert_array_equal(found.unet.tensors[name], expected[original])
    assert files.digests(found.vae.tensors) == files.digests(whole.vae.tensors)
