"""Models, LoRAs, VAEs and embeddings that are pickles: as their safetensors, and taken after them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import checkpoint_files as files
import lora_files
import numpy as np
import pytest
from click.testing import CliRunner
from pickled_files import WRITERS, Name, write_zip
from safetensors.numpy import load_file, save_file

from sdgen import models
from sdgen.checkpoints import open_checkpoint
from sdgen.checkpoints.checkpoint import Checkpoint, file_sha256
from sdgen.checkpoints.lora import apply_loras
from sdgen.checkpoints.textual_inversion import read_embedding
from sdgen.checkpoints.vae_file import with_vae
from sdgen.cli.models import command
from sdgen.prompts import prompt_loras

GOLDEN = files.GOLDEN / "pickles"
UNET = "diffusion_pytorch_model"
PICKLED = {f"{UNET}.safetensors": f"{UNET}.bin", "model.safetensors": "pytorch_model.bin"}


def pickle_folder(folder: Path) -> None:
    """Puts a pickle in the place of each file of weights."""
    for path in sorted(folder.rglob("*.safetensors")):
        write_zip(path.with_name(PICKLED[path.name]), load_file(path))
        path.unlink()


def same(first: Checkpoint, second: Checkpoint) -> bool:
    """Whether all tensors and configurations are equal."""
    return first.components.keys() == second.components.keys() and all(
        component.config == second.components[name].config
        and component.tensors.keys() == second.components[name].tensors.keys()
        and all(
            np.array_equal(array, second.components[name].tensors[k])
            for k, array in component.tensors.items()
        )
        for name, component in first.components.items()
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return files.write_model_folder(tmp_path / "model")


@pytest.fixture
def mini(tmp_path: Path) -> Path:
    """The bundled model with pickles for weights."""
    shutil.copytree(files.MINI, tmp_path / "mini")
    pickle_folder(tmp_path / "mini")
    return tmp_path / "mini"


def test_a_folder_of_pickles_is_the_model_that_it_was(folder: Path) -> None:
    shutil.copytree(folder, folder.parent / "pickled")
    pickle_folder(folder.parent / "pickled")
    pickled = open_checkpoint(folder.parent / "pickled")
    assert same(pickled, open_checkpoint(folder))
    assert {file.name for file in pickled.files} == set(PICKLED.values())


def test_safetensors_are_taken_where_there_are_both(folder: Path) -> None:
    (folder / "unet" / f"{UNET}.bin").write_bytes(b"\x80\x02cos\nsystem\n.")
    assert open_checkpoint(folder).unet.files == (folder / "unet" / f"{UNET}.safetensors",)


def test_a_variant_of_a_pickle_is_found(folder: Path) -> None:
    pickle_folder(folder)
    shutil.copy(folder / "unet" / f"{UNET}.bin", folder / "unet" / f"{UNET}.fp16.bin")
    assert open_checkpoint(folder, "fp16").unet.files == (folder / "unet" / f"{UNET}.fp16.bin",)
    assert open_checkpoint(folder).unet.files == (folder / "unet" / f"{UNET}.bin",)


def test_pickles_in_parts_are_joined(folder: Path) -> None:
    whole = dict(open_checkpoint(folder).unet.tensors)
    parts = {}
    for number, (name, array) in enumerate(whole.items(), 1):
        parts[name] = f"{UNET}-0000{number}-of-00002.bin"
        write_zip(folder / "unet" / parts[name], {name: array})
    (folder / "unet" / f"{UNET}.bin.index.json").write_text(json.dumps({"weight_map": parts}))
    (folder / "unet" / f"{UNET}.safetensors").unlink()
    unet = open_checkpoint(folder).unet
    assert len(unet.files) == 2
    assert all(np.array_equal(unet.tensors[name], array) for name, array in whole.items())


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_a_ckpt_with_its_training_state_is_the_model(tmp_path: Path, family: str, layout: str) -> None:
    stored = files.golden()["single_file"][family]["stored"]
    plain = files.write_stored(tmp_path / "x.safetensors", stored)
    arrays = load_file(plain)
    averaged = {"model_ema.decay": np.float32([0.9]), "model_ema.diffusion_modelconv": np.ones(3, np.float32)}
    callback = Name("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
    training: dict[str, Any] = {
        "epoch": 1,
        "callbacks": {callback: {"monitor": "val"}},
        "global_step": 470000,
    }
    WRITERS[layout](tmp_path / "x.ckpt", {**training, "state_dict": {**averaged, **arrays}})
    checkpoint = open_checkpoint(tmp_path / "x.ckpt")
    assert same(checkpoint, open_checkpoint(plain))
    assert checkpoint.sha256() == file_sha256(tmp_path / "x.ckpt")
    WRITERS[layout](tmp_path / "flat.pt", arrays)
    assert same(open_checkpoint(tmp_path / "flat.pt"), checkpoint)


@pytest.mark.parametrize("layout", WRITERS)
def test_a_lora_is_merged_as_its_safetensors_are(tmp_path: Path, layout: str) -> None:
    plain = lora_files.kohya(tmp_path / "x.safetensors")
    WRITERS[layout](tmp_path / "x.pt", load_file(plain))
    model = open_checkpoint(files.MINI)
    pickled, wanted = (apply_loras(model, [(tmp_path / f"x.{end}", 0.7)]) for end in ("pt", "safetensors"))
    assert pickled.warnings == wanted.warnings == ()
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    assert np.array_equal(pickled.unet.tensors[name], wanted.unet.tensors[name])
    assert not np.array_equal(pickled.unet.tensors[name], model.unet.tensors[name])


def test_a_vae_with_its_discriminator_is_taken(tmp_path: Path) -> None:
    stored = files.golden()["single_file"]["sd1"]["stored"]
    model = open_checkpoint(files.write_stored(tmp_path / "x.safetensors", stored))
    mark = "first_stage_model."
    arrays = {
        k.removeprefix(mark): 2 * v for k, v in load_file(tmp_path / "x.safetensors").items() if mark in k
    }
    write_zip(tmp_path / "vae.pt", {"state_dict": {**arrays, "loss.logvar": np.zeros(1, np.float32)}})
    vae = with_vae(model, tmp_path / "vae.pt").vae
    assert all(np.array_equal(2 * array, vae.tensors[name]) for name, array in model.vae.tensors.items())


def test_an_embedding_has_the_word_that_its_file_says() -> None:
    for layout in WRITERS:
        word, vectors = read_embedding(GOLDEN / f"embedding-{layout}.pt")
        assert word == "cat toy" and vectors.shape == (2, 6) and vectors.dtype == np.float32


def test_an_embedding_without_a_word_has_that_of_its_file() -> None:
    word, vectors = read_embedding(GOLDEN / "module.pt")
    assert word == "module" and vectors.tolist() == [[1.0] * 3] * 2


def test_an_embedding_of_diffusers_has_the_tensors_name(tmp_path: Path) -> None:
    write_zip(tmp_path / "learned_embeds.bin", {"<cat-toy>": np.ones(768, np.float32)})
    word, vectors = read_embedding(tmp_path / "learned_embeds.bin", width=768)
    assert word == "<cat-toy>" and vectors.shape == (1, 768)


def test_show_says_which_weights_are_pickles(mini: Path) -> None:
    shutil.copy(files.MINI / "vae" / f"{UNET}.safetensors", mini / "vae")
    shown = CliRunner().invoke(command, ["show", str(mini), "--json"])
    wanted = [f"unet/{UNET}.bin", "text_encoder/pytorch_model.bin"]
    assert sorted(json.loads(shown.output)["pickles"]) == sorted(wanted)
    assert f"unet/{UNET}.bin" in CliRunner().invoke(command, ["show", str(mini)]).output
    assert (
        json.loads(CliRunner().invoke(command, ["show", str(files.MINI), "--json"]).output)["pickles"] == []
    )


def test_convert_writes_pickles_as_safetensors(mini: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["convert", str(mini), str(tmp_path / "copy")])
    assert result.exit_code == 0, result.output
    assert same(open_checkpoint(tmp_path / "copy"), open_checkpoint(files.MINI))
    assert not list((tmp_path / "copy").rglob("*.bin"))


def test_weights_of_a_folder_of_pickles_have_a_digest(folder: Path) -> None:
    plain = models.weights_sha256(folder)
    (folder / "unet" / f"{UNET}.bin").write_bytes(b"beside safetensors, it counts for nothing")
    assert models.weights_sha256(folder) == plain
    (folder / "unet" / f"{UNET}.safetensors").unlink()
    assert models.weights_sha256(folder) != plain


def test_prompts_name_a_lora_that_is_a_pickle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SDGEN_MODELS_DIR", str(tmp_path))
    (tmp_path / "loras").mkdir()
    write_zip(tmp_path / "loras" / "ink.pt", {"x": np.ones(1, np.float32)})
    assert prompt_loras.find("ink").name == "ink.pt"
    save_file({"x": np.ones(1, np.float32)}, tmp_path / "loras" / "ink.safetensors")
    assert prompt_loras.find("ink").name == "ink.safetensors"
