"""Textual inversion files as AUTOMATIC1111, diffusers and ComfyUI write them, and what is refused."""

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from sdgen.checkpoints.textual_inversion import read_embedding
from sdgen.errors import CheckpointError, ModelUnavailable

VECTORS = np.linspace(-1, 1, 3 * 768, dtype=np.float32).reshape(3, 768)


def write(path, **tensors):
    save_file(tensors, path)
    return path


@pytest.mark.parametrize("key", ["emb_params", "clip_l", "*"])
def test_nameless_tensor_takes_the_files_name(tmp_path, key):
    name, vectors = read_embedding(write(tmp_path / "EasyNegative.safetensors", **{key: VECTORS}))
    assert name == "EasyNegative"
    np.testing.assert_array_equal(vectors, VECTORS)


def test_diffusers_file_names_its_token(tmp_path):
    path = write(tmp_path / "learned_embeds.safetensors", **{"<cat-toy>": VECTORS[0]})
    name, vectors = read_embedding(str(path), width=768)
    assert name == "<cat-toy>"
    np.testing.assert_array_equal(vectors, VECTORS[:1])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_values_come_as_float32(tmp_path, dtype):
    stored = VECTORS.astype(dtype)
    _, vectors = read_embedding(write(tmp_path / "x.safetensors", emb_params=stored))
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, stored.astype(np.float32))


def test_other_width_is_refused(tmp_path):
    path = write(tmp_path / "x.safetensors", emb_params=VECTORS)
    with pytest.raises(CheckpointError, match=r"x.safetensors has vectors of 768 .* takes 1024"):
        read_embedding(path, width=1024)


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".PT", ".ckpt"])
def test_a_pickle_that_is_cut_off_is_told(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"\x80\x04")
    with pytest.raises(CheckpointError, match="truncated or altered"):
        read_embedding(path)


def test_other_suffix_is_refused(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"\x89PNG")
    with pytest.raises(CheckpointError, match=r"neither a .safetensors file"):
        read_embedding(path)


def test_missing_file_is_unavailable(tmp_path):
    with pytest.raises(ModelUnavailable, match="there is no textual inversion file"):
        read_embedding(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"clip_l": VECTORS, "clip_g": VECTORS}, "for SDXL"),
        ({"a": VECTORS, "b": VECTORS}, "holds 2 tensors"),
        ({}, "holds 0 tensors"),
        ({"emb_params": np.zeros((76, 768), np.float32)}, "not 1 to 75 vectors"),
        ({"emb_params": np.zeros((0, 768), np.float32)}, "not 1 to 75 vectors"),
        ({"emb_params": np.zeros((1, 2, 768), np.float32)}, "not 1 to 75 vectors"),
        ({"emb_params": np.full((1, 768), np.nan, np.float32)}, "finite"),
    ],
)
def test_what_is_no_textual_inversion_is_refused(tmp_path, tensors, reason):
    path = write(tmp_path / "x.safetensors", **tensors)
    with pytest.raises(CheckpointError, match=reason):
        read_embedding(path)
