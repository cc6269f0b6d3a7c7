"""The latent diffusion paper's models, written as safetensors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import checkpoint_files as files
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from golden import ldm_models as ldm

from sdgen.checkpoints import Checkpoint, open_checkpoint
from sdgen.checkpoints.convert import write_folder, write_single_file
from sdgen.checkpoints.vae_file import with_vae
from sdgen.errors import CheckpointError
from sdgen.pipeline.loading import check_parts


def assert_same(one: Checkpoint, other: Checkpoint) -> None:
    assert one.components.keys() == other.components.keys()
    for name, component in one.components.items():
        assert files.digests(component.tensors) == files.digests(other.components[name].tensors)
        assert component.config == other.components[name].config
    assert (one.family, one.scheduler) == (other.family, other.scheduler)


def test_compviss_pickle_becomes_one_safetensors_file(tmp_path: Path) -> None:
    pickled = open_checkpoint(ldm.write_class_model(tmp_path / "model.ckpt"))
    write_single_file(pickled, tmp_path / "model.safetensors")
    written = open_checkpoint(tmp_path / "model.safetensors")
    check_parts(written, "text-to-image")
    assert_same(written, pickled)


def test_a_model_that_diffusers_has_no_folder_for_is_told_to_be_a_file(tmp_path: Path) -> None:
    pickled = open_checkpoint(ldm.write_class_model(tmp_path / "model.ckpt"))
    with pytest.raises(CheckpointError, match=r"no folder for model .*; write a \.safetensors file"):
        write_folder(pickled, tmp_path / "folder")


@pytest.mark.parametrize("write", [ldm.write_text_model, ldm.write_unconditional_model])
def test_a_folder_becomes_a_folder(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    first = open_checkpoint(write(tmp_path / "first"))
    write_folder(first, tmp_path / "second")
    second = open_checkpoint(tmp_path / "second")
    check_parts(second, "text-to-image")
    assert_same(second, first)


def test_a_folder_without_text_cannot_be_one_file(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(ldm.write_unconditional_model(tmp_path / "folder"))
    with pytest.raises(CheckpointError, match="cannot be one file"):
        write_single_file(checkpoint, tmp_path / "file.safetensors")


def test_another_vae_takes_the_place_of_the_text_models_own(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(ldm.write_text_model(tmp_path / "text"))
    other = tmp_path / "text" / "vqvae"
    changed = with_vae(checkpoint, other)
    assert changed.vae.source == str(other)
    assert changed.components.keys() == checkpoint.components.keys()
