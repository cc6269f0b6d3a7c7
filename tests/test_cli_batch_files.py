"""sdgen batch --dry-run looks at the files that the batch would be drawn with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import checkpoint_files as files
import lora_files
import numpy as np
import pytest
from command import Command
from safetensors.numpy import save_file

from sdgen.errors import ExitCode

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def dry_run(sdgen: Command, *arguments: str, text: str = "a fox\n"):
    Path("p.txt").write_text(text)
    return sdgen.run("batch", "p.txt", "--dry-run", *arguments)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.ckpt", b"\x80\x02", "is truncated or altered"),
        ("x.safetensors", POINTER, "is a Git LFS pointer"),
        ("x.safetensors", b"<!doctype html>", "is a web page"),
        ("x.safetensors", b"GGUF", "is a GGUF file"),
        ("x.safetensors", b"", "is truncated or altered"),
    ],
)
@pytest.mark.parametrize("option", ["--model", "--vae", "--lora", "--embedding"])
def test_what_is_no_weight_file_is_noticed(sdgen: Command, option: str, name: str, data, message) -> None:
    Path(name).write_bytes(data)
    more = () if option == "--model" else ("--model", "mini")
    result = dry_run(sdgen, option, f"./{name}", *more)
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert message in result.stderr and len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


@pytest.mark.parametrize("option", ["--vae", "--lora"])
def test_what_is_given_beside_a_model_that_is_not_here_is_noticed(sdgen: Command, option: str) -> None:
    Path("x.safetensors").write_bytes(POINTER)
    result = dry_run(sdgen, option, "x.safetensors", "--model", "sd1.5")
    assert (result.exit_code, "is a Git LFS pointer" in result.stderr) == (ExitCode.UNAVAILABLE, True)
    assert dry_run(sdgen, "--model", "sd1.5").exit_code == ExitCode.OK


def test_a_pointer_in_a_models_folder_is_noticed(sdgen: Command) -> None:
    shutil.copytree(files.MINI, "model")
    Path("model/unet/diffusion_pytorch_model.safetensors").write_bytes(POINTER)
    result = dry_run(sdgen, "--model", "./model")
    assert (result.exit_code, "is a Git LFS pointer" in result.stderr) == (ExitCode.UNAVAILABLE, True)


def test_weights_that_do_not_fit_are_noticed(sdgen: Command) -> None:
    shutil.copytree(files.MINI, "model")
    config = json.loads(Path("model/unet/config.json").read_text())
    Path("model/unet/config.json").write_text(json.dumps(config | {"layers_per_block": 3}))
    result = dry_run(sdgen, "--model", "./model")
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert "do not fit its configuration" in result.stderr


def test_sound_files_are_no_hindrance(sdgen: Command) -> None:
    lora_files.kohya(Path("lora.safetensors"))
    save_file({"emb_params": np.zeros((2, 256), np.float32)}, "cat.safetensors")
    result = dry_run(sdgen, "--model", "mini", "--lora", "lora.safetensors", "--embedding", "cat.safetensors")
    assert result.exit_code == ExitCode.OK, result.stderr
    assert "1 to draw" in result.stdout
