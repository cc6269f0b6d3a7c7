"""``.safetensors`` files: their bounds, tensors of eight bits, and files that are something else."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import checkpoint_files as files
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from sdgen.checkpoints import open_checkpoint
from sdgen.checkpoints.keras_hdf5 import read_layers
from sdgen.checkpoints.lora import apply_loras
from sdgen.checkpoints.safetensors_file import MAX_NAME, MAX_TENSORS, read_metadata, read_safetensors
from sdgen.checkpoints.textual_inversion import read_embedding
from sdgen.checkpoints.vae_file import with_vae
from sdgen.errors import CheckpointError, ModelUnavailable
from sdgen.files.foreign_files import refuse_foreign
from sdgen.files.json_files import read_json

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"
OTHERS = {
    "pointer": (POINTER, "is a Git LFS pointer, .* run git lfs pull"),
    "page": (b"\n<!DOCTYPE HTML><html>Sign in</html>", "is a web page .* login"),
    "bare page": (b"<html>404</html>", "is a web page"),
    "gguf": (b"GGUF\x03\0\0\0", "is a GGUF file"),
    "pickle": (b"\x80\x02}q\0.", "is a pickle or a zip archive, .* put that in its place"),
    "archive": (
        b"PK\x03\x04" + bytes(26) + b"archive/data.pkl",
        "is a pickle or a zip archive, .* put that in its place",
    ),
    "empty": (b"", "is truncated or altered: it is empty"),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("name", ["x.safetensors", "x.h5", "x.json"])
def test_what_stands_in_a_files_place_is_named(tmp_path: Path, kind: str, name: str) -> None:
    data, message = OTHERS[kind]
    path = tmp_path / name
    path.write_bytes(data)
    read = {".safetensors": read_safetensors, ".h5": read_layers, ".json": read_json}[path.suffix]
    with pytest.raises(CheckpointError, match=message):
        read(path)


@pytest.mark.parametrize("read", [read_safetensors, read_metadata, read_layers, read_json, refuse_foreign])
@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
@pytest.mark.usefixtures("bounded")
def test_a_named_pipe_is_refused_at_once(tmp_path: Path, read, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="is a named pipe, where a file is needed"):
        read(path)


@pytest.mark.parametrize("name", ["x.safetensors", "x.h5", "x.ckpt"])
@pytest.mark.usefixtures("bounded")
def test_a_pipe_in_a_models_place_is_refused_at_once(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(CheckpointError, match="is a named pipe, where a file is needed"):
        open_checkpoint(tmp_path / name)
    mini = open_checkpoint(files.MINI)
    for use in (
        lambda path: with_vae(mini, path),
        lambda path: apply_loras(mini, [(path, 1)]),
        read_embedding,
    ):
        with pytest.raises(CheckpointError, match="is a named pipe, where a file is needed"):
            use(tmp_path / name)


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "scheduler/scheduler_config.json",
        "tokenizer/vocab.json",
        "tokenizer/merges.txt",
        "tokenizer/tokenizer_config.json",
    ],
)
@pytest.mark.usefixtures("bounded")
def test_a_pipe_in_a_models_folder_is_refused_at_once(tmp_path: Path, name: str) -> None:
    model = Path(shutil.copytree(files.MINI, tmp_path / "model"))
    (model / name).unlink()
    os.mkfifo(model / name)
    with pytest.raises(CheckpointError, match="is a named pipe, where a file is needed"):
        open_checkpoint(model)


@pytest.mark.usefixtures("bounded")
def test_a_pipe_beside_the_files_of_keras_cv_does_not_hold_them_up(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"x")
    os.mkfifo(tmp_path / "b.h5")
    with pytest.raises(CheckpointError, match="diffusion model that goes with it"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("use", [open_checkpoint, read_embedding, lambda path: with_vae(None, path)])
def test_a_name_that_no_file_can_have_is_a_missing_file(use) -> None:
    with pytest.raises(ModelUnavailable):
        use("x" * 5000)


def write_header(path: Path, header: object, data: bytes = b"") -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}


def test_names_of_tensors_are_bounded(tmp_path: Path) -> None:
    path = write_header(tmp_path / "x.safetensors", {"a" * MAX_NAME: EMPTY})
    assert len(read_safetensors(path)) == 1
    path = write_header(tmp_path / "x.safetensors", {"a" * (MAX_NAME + 1): EMPTY})
    with pytest.raises(CheckpointError, match=f"a tensor whose name has {MAX_NAME + 1} characters"):
        read_safetensors(path)


def test_the_number_of_tensors_is_bounded(tmp_path: Path) -> None:
    path = write_header(tmp_path / "x.safetensors", {f"{n}": EMPTY for n in range(MAX_TENSORS + 1)})
    with pytest.raises(CheckpointError, match=f"the most that is read is {MAX_TENSORS}"):
        read_safetensors(path)


@pytest.mark.parametrize("shape", [[0, 2**62], [1, 1, 1, 1, 1, 1, 1, 1, 0]])
def test_shapes_that_no_array_has_are_refused(tmp_path: Path, shape: list[int]) -> None:
    path = write_header(tmp_path / "x.safetensors", {"a": EMPTY | {"shape": shape}})
    with pytest.raises(CheckpointError, match=r"of no usable shape|truncated or altered"):
        read_safetensors(path)


def float8(code: int, exponent_bits: int) -> float:
    """The value of a byte as Micikevicius et al. 2022, table 1, define it."""
    mantissa_bits = 7 - exponent_bits
    sign = -1.0 if code & 0x80 else 1.0
    exponent, mantissa = (code & 0x7F) >> mantissa_bits, code & ((1 << mantissa_bits) - 1)
    bias, top = (1 << (exponent_bits - 1)) - 1, (1 << exponent_bits) - 1
    if exponent_bits == 5 and exponent == top:
        return float("nan") if mantissa else sign * float("inf")
    if exponent_bits == 4 and (exponent, mantissa) == (15, 7):
        return float("nan")
    fraction = mantissa / (1 << mantissa_bits)
    return sign * (
        fraction * 2.0 ** (1 - bias) if exponent == 0 else (1 + fraction) * 2.0 ** (exponent - bias)
    )


@pytest.mark.parametrize(("dtype", "exponent_bits"), [("float8_e4m3fn", 4), ("float8_e5m2", 5)])
def test_floats_of_eight_bits_are_read_exactly(tmp_path: Path, dtype: str, exponent_bits: int) -> None:
    codes = np.arange(256, dtype=np.uint8)
    save_file({"x": codes.view(getattr(ml_dtypes, dtype))}, tmp_path / "x.safetensors")
    tensors = read_safetensors(tmp_path / "x.safetensors")
    assert tensors["x"].dtype == tensors.lazy("x").dtype == np.float16
    expected = [float8(code, exponent_bits) for code in range(256)]
    np.testing.assert_array_equal(tensors["x"].astype(np.float64), expected)


@pytest.mark.parametrize(
    ("weight", "unused"), [("scale_weight", "scale_input"), ("weight_scale", "input_scale")]
)
def test_scales_are_multiplied_in_and_left_out(tmp_path: Path, weight: str, unused: str) -> None:
    stored = np.array([[1.5, -2], [0.25, 448]], ml_dtypes.float8_e4m3fn)
    save_file(
        {
            "a.weight": stored,
            f"a.{weight}": np.array(0.1, np.float32),
            f"a.{unused}": np.array(7, np.float32),
            "b.weight": stored,
            f"b.{weight}": np.array([[2], [0.5]], np.float32),
            "b.bias": np.array([1, 2], np.float16),
            "part.scaled_fp8": np.zeros(2, ml_dtypes.float8_e4m3fn),
        },
        tmp_path / "x.safetensors",
    )
    tensors = read_safetensors(tmp_path / "x.safetensors")
    assert sorted(tensors) == ["a.weight", "b.bias", "b.weight"]
    np.testing.assert_array_equal(
        tensors["a.weight"], np.array([[1.5, -2], [0.25, 448]], np.float32) * np.float32(0.1)
    )
    np.testing.assert_array_equal(tensors["b.weight"], np.array([[3, -4], [0.125, 224]], np.float32))
    assert tensors["b.bias"].dtype == np.float16


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ({"a.scale_weight": (3,)}, "of shape .3,., which is not supported"),
        ({"b.scale_weight": ()}, "without"),
    ],
)
def test_scales_that_fit_nothing_are_refused(tmp_path: Path, scale: dict, message: str) -> None:
    tensors = {"a.weight": np.zeros((2, 2), ml_dtypes.float8_e5m2)}
    tensors |= {name: np.ones(shape, np.float32) for name, shape in scale.items()}
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=message):
        read_safetensors(tmp_path / "x.safetensors")


def test_a_thousand_small_tensors_are_held_with_few_file_handles(tmp_path: Path) -> None:
    arrays = {f"x{number}": np.full(3, number, np.float32) for number in range(1200)}
    save_file(arrays, tmp_path / "x.safetensors")
    before = len(os.listdir("/dev/fd"))
    held = dict(read_safetensors(tmp_path / "x.safetensors").items())
    assert len(os.listdir("/dev/fd")) <= before + 10
    assert all(np.array_equal(held[name], array) for name, array in arrays.items())
