"""CompVis's original files of models without text: UNet, averages, families."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pickled_files
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from golden import ldm_models as ldm
from golden.small_networks import weight

from sdgen.checkpoints import open_checkpoint
from sdgen.checkpoints.convert import write_folder
from sdgen.errors import CheckpointError
from sdgen.pipeline.loading import check_parts

ATTENTION = "down_blocks.1.attentions.0"


@pytest.fixture(scope="module")
def faces(tmp_path_factory: Any) -> Path:
    return ldm.write_faces_model(tmp_path_factory.mktemp("original") / "faces.ckpt")


def test_the_averages_take_the_place_of_the_weights_and_heads_are_apart(faces: Path) -> None:
    tensors = open_checkpoint(faces).unet.tensors
    assert f"{ATTENTION}.to_k.bias" in tensors
    for name, values in tensors.items():
        assert np.array_equal(values, weight(name, values.shape)), name


def test_without_averages_the_weights_are_taken(tmp_path: Path) -> None:
    tensors = ldm.original_tensors(ldm.FACES_UNET)
    pickled_files.write_zip(tmp_path / "faces.ckpt", {"state_dict": tensors})
    found = open_checkpoint(tmp_path / "faces.ckpt").unet.tensors["conv_in.weight"]
    assert np.array_equal(found, weight("conv_in.weight", found.shape))


def test_an_unconditional_file_says_its_family_and_sampler(faces: Path) -> None:
    checkpoint = open_checkpoint(faces)
    check_parts(checkpoint, "text-to-image")
    assert checkpoint.family.name == "ldm-unconditional"
    assert checkpoint.scheduler["beta_end"] == 0.0195
    assert checkpoint.vae.config["_class_name"] == "VQModel"


def test_a_super_resolution_file_says_its_family(tmp_path: Path) -> None:
    tensors = ldm.original_tensors(ldm.FACES_UNET | {"in_channels": 6})
    pickled_files.write_zip(tmp_path / "sr.ckpt", {"state_dict": tensors})
    checkpoint = open_checkpoint(tmp_path / "sr.ckpt")
    check_parts(checkpoint, "upscaling")
    assert (checkpoint.family.name, checkpoint.scheduler["beta_end"]) == ("ldm-sr", 0.0155)


def test_an_original_file_becomes_a_folder_of_diffusers(faces: Path, tmp_path: Path) -> None:
    write_folder(open_checkpoint(faces), tmp_path / "folder")
    written = open_checkpoint(tmp_path / "folder")
    check_parts(written, "text-to-image")
    values = written.unet.tensors[f"{ATTENTION}.to_v.weight"]
    assert np.array_equal(values, weight(f"{ATTENTION}.to_v.weight", values.shape))


def test_the_text_models_file_has_no_word_pieces(tmp_path: Path) -> None:
    name = "cond_stage_model.transformer.token_emb.weight"
    tensors = {**ldm.original_tensors(ldm.CLASS_UNET), name: np.zeros((5, 4), np.float32)}
    pickled_files.write_zip(tmp_path / "text.ckpt", {"state_dict": tensors})
    with pytest.raises(CheckpointError, match=r"without the word pieces .* take the folder"):
        open_checkpoint(tmp_path / "text.ckpt")


def test_heads_of_another_width_are_told_by_their_tensor(tmp_path: Path) -> None:
    tensors = ldm.original_tensors(ldm.FACES_UNET)
    name = "model.diffusion_model.middle_block.1.qkv.weight"
    tensors[name] = tensors[name][:100]
    pickled_files.write_zip(tmp_path / "faces.ckpt", {"state_dict": tensors})
    with pytest.raises(CheckpointError, match=r"mid_block\.attentions\.0|lack"):
        check_parts(open_checkpoint(tmp_path / "faces.ckpt"))
