"""``sdgen models convert``: the model arrives whole in another format."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from sdgen import models
from sdgen.checkpoints import open_checkpoint
from sdgen.cli.models import command
from sdgen.errors import CheckpointError, InputError


def convert(*arguments: str):
    return CliRunner().invoke(command, ["convert", *arguments])


def test_a_folder_holds_the_same_tensors_in_the_dtype_that_was_asked_for(tmp_path):
    folder = tmp_path / "copy"
    result = convert("mini", str(folder), "--dtype", "float32")
    assert result.exit_code == 0, result.output
    original, copy = open_checkpoint(models.locate("mini")), open_checkpoint(folder)
    for part in ("unet", "text_encoder", "vae"):
        before, after = getattr(original, part), getattr(copy, part)
        assert before.tensors.shapes() == after.tensors.shapes()
        name = next(iter(before.tensors))
        assert after.tensors[name].dtype == np.float32
        np.testing.assert_array_equal(after.tensors[name], before.tensors[name].astype(np.float32))


def test_a_model_that_the_original_format_cannot_hold_is_refused(tmp_path):
    result = convert("mini", str(tmp_path / "mini.safetensors"))
    assert isinstance(result.exception, CheckpointError)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    assert isinstance(convert("mini", str(folder)).exception, InputError)


@pytest.mark.parametrize("option", ["--vae", "--lora"])
def test_a_file_that_is_not_there_is_a_usage_error(tmp_path, option):
    assert convert("mini", str(tmp_path / "x"), option, str(tmp_path / "none")).exit_code == 2
