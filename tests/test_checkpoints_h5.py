"""keras_cv's weight files."""

from __future__ import annotations

import shutil
from pathlib import Path

import checkpoint_files as files
import h5py
import numpy as np
import pytest

from sdgen.checkpoints import open_checkpoint
from sdgen.checkpoints.keras_cv_h5 import DECODER, ENCODER, TEXT_ENCODER, UNET, keras_cv_weights, read_h5
from sdgen.checkpoints.keras_hdf5 import read_files
from sdgen.errors import CheckpointError

NETWORKS = {
    "DiffusionModel": UNET,
    "DiffusionModelV2": UNET,
    "TextEncoder": TEXT_ENCODER,
    "TextEncoderV2": TEXT_ENCODER,
    "Decoder": DECODER,
    "ImageEncoder": ENCODER,
}


@pytest.fixture(scope="module")
def h5_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("h5")
    golden = files.golden()["keras_cv"]
    return {name: files.write_keras_h5(folder / f"{name}.h5", golden[name]["layers"]) for name in NETWORKS}


def folder_of(h5_files: dict[str, Path], folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.h5").hardlink_to(h5_files[name])
    return folder


V2 = ("DiffusionModelV2", "TextEncoderV2", "Decoder", "ImageEncoder")
V1 = ("DiffusionModel", "TextEncoder", "Decoder", "ImageEncoder")


@pytest.mark.parametrize("name", NETWORKS)
def test_numbers_arrive_as_diffusers_takes_them(h5_files, name: str) -> None:
    """The golden digests are of tensors with which diffusers' network gave keras_cv's output."""
    read = read_h5(h5_files[name])
    assert read.network == NETWORKS[name]
    assert files.digests(read.tensors) == files.golden()["keras_cv"][name]["expected"]


@pytest.mark.parametrize("name", NETWORKS)
def test_way_back_gives_every_layer_its_weights_in_order(h5_files, name: str) -> None:
    weights = keras_cv_weights(NETWORKS[name], read_h5(h5_files[name]).tensors)
    with h5py.File(h5_files[name]) as file:
        stored = [
            [file[layer][weight][()] for weight in file[layer].attrs["weight_names"]]
            for layer in file.attrs["layer_names"]
            if len(file[layer].attrs["weight_names"])
        ]
    assert [len(layer) for layer in weights] == [len(layer) for layer in stored]
    for layer, expected in zip(weights, stored, strict=True):
        for weight, array in zip(layer, expected, strict=True):
            assert weight.shape == array.shape
            assert np.array_equal(weight.read(), array)


def test_way_back_names_what_is_missing(h5_files) -> None:
    tensors = read_h5(h5_files["Decoder"]).tensors
    with pytest.raises(CheckpointError, match=r"lack encoder.conv_in.weight, which keras_cv's image encoder"):
        keras_cv_weights(ENCODER, tensors)


def test_folder_of_sd2(h5_files, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(folder_of(h5_files, tmp_path, *V2))
    unet, text = checkpoint.unet.config, checkpoint.text_encoder.config
    assert unet["block_out_channels"] == [32, 64, 128, 128]
    assert (unet["use_linear_projection"], unet["attention_head_dim"]) == (True, [1, 1, 2, 2])
    assert (text["num_hidden_layers"], text["hidden_act"]) == (3, "gelu")
    assert checkpoint.tokenizer.pad == 0
    assert len(checkpoint.vae.tensors) == 140 + 108
    assert len(checkpoint.files) == 4


def test_folder_whose_text_encoder_is_of_another_family(h5_files, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="keras_cv's text encoder that goes with it"):
        open_checkpoint(folder_of(h5_files, tmp_path, *V1))


def test_diffusion_model_finds_the_others_beside_it(h5_files, tmp_path: Path) -> None:
    folder = folder_of(h5_files, tmp_path, *V2, "DiffusionModel")
    checkpoint = open_checkpoint(folder / "DiffusionModelV2.h5")
    assert checkpoint.unet.files == (folder / "DiffusionModelV2.h5",)
    assert checkpoint.text_encoder.files == (folder / "TextEncoderV2.h5",)


def test_two_diffusion_models_are_ambiguous(h5_files, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"several diffusion models .* give the path of one"):
        open_checkpoint(folder_of(h5_files, tmp_path, *V2, "DiffusionModel"))


def test_vae_may_lack_its_encoder(h5_files, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(folder_of(h5_files, tmp_path, *V2[:3]))
    assert len(checkpoint.vae.tensors) == 140


@pytest.mark.parametrize("missing", V2[:3])
def test_missing_file_is_named(h5_files, tmp_path: Path, missing: str) -> None:
    folder = folder_of(h5_files, tmp_path, *(name for name in V2 if name != missing))
    with pytest.raises(CheckpointError, match=f"keras_cv's {NETWORKS[missing]} that goes with it"):
        open_checkpoint(folder)


def test_other_files_of_a_cache_folder_do_not_matter(h5_files, tmp_path: Path) -> None:
    folder = folder_of(h5_files, tmp_path, *V2)
    (folder / "broken.h5").write_bytes(b"not HDF5")
    with h5py.File(folder / "vgg16_weights.h5", "w") as file:
        file.attrs["layer_names"] = [b"block1_conv1"]
        file.create_group("block1_conv1").attrs["weight_names"] = []
    assert len(open_checkpoint(folder).files) == 4


def test_truncated_file_is_named(h5_files, tmp_path: Path) -> None:
    folder = folder_of(h5_files, tmp_path, *V2[:2])
    (folder / "Decoder.h5").write_bytes(h5_files["Decoder"].read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"Decoder.h5 is truncated or not an HDF5 file"):
        open_checkpoint(folder)


def test_folder_in_a_file_s_place_is_told_in_one_sentence(h5_files, tmp_path: Path) -> None:
    folder = folder_of(h5_files, tmp_path, *V2[:2])
    (folder / "Decoder.h5").mkdir()
    with pytest.raises(CheckpointError) as raised:
        read_h5(folder / "Decoder.h5")
    assert str(raised.value) == (
        f"{folder / 'Decoder.h5'} is a folder where a .h5 file belongs; put the file in its place"
    )
    with pytest.raises(CheckpointError, match=r"keras_cv's decoder .* is missing; .*Decoder.h5 is a folder"):
        open_checkpoint(folder)


def test_given_file_must_be_the_diffusion_model(h5_files, tmp_path: Path) -> None:
    folder = folder_of(h5_files, tmp_path, *V2)
    with pytest.raises(CheckpointError, match=r"Decoder.h5 is not keras_cv's diffusion model"):
        open_checkpoint(folder / "Decoder.h5")


def altered(h5_files, tmp_path: Path, change) -> Path:
    path = tmp_path / "decoder.h5"
    shutil.copy(h5_files["Decoder"], path)
    with h5py.File(path, "r+") as file:
        layer = next(name for name in file.attrs["layer_names"] if len(file[name].attrs["weight_names"]))
        change(file, file[layer], file[layer].attrs["weight_names"][0])
    return path


def link_out(file, group, name) -> None:
    del group[name]
    group[name] = h5py.ExternalLink("/etc/other.h5", "/x")


def compress(file, group, name) -> None:
    data = group[name][()]
    del group[name]
    group.create_dataset(name, data=data, compression="gzip")


def store_outside(file, group, name) -> None:
    shape = group[name].shape
    del group[name]
    group.create_dataset(name, shape, "f4", external=[("/etc/passwd", 0, 64)])


def drop(file, group, name) -> None:
    del group[name]


def flatten(file, group, name) -> None:
    data = group[name][()].reshape(-1)
    del group[name]
    group[name] = data


def shorten(file, group, name) -> None:
    group.attrs["weight_names"] = [name]


def number_names(file, group, name) -> None:
    group.attrs["weight_names"] = 7


def empty_names(file, group, name) -> None:
    group.attrs["weight_names"] = h5py.Empty("f")


def name_below_a_weight(file, group, name) -> None:
    group.attrs["weight_names"] = [name + "/x"]


def name_no_text(file, group, name) -> None:
    group.attrs["weight_names"] = [b"\xff"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (number_names, "7 is missing"),
        (empty_names, "is missing"),
        (name_below_a_weight, "is missing"),
        (name_no_text, "truncated or not an HDF5 file"),
        (link_out, "leads to another file"),
        (store_outside, "not stored as plain numbers in the file"),
        (compress, "not stored as plain numbers in the file"),
        (drop, "is missing"),
        (flatten, r"has a weight of shape \(16,\) where post_quant_conv.weight belongs"),
        (shorten, "has 1 weights instead of 2"),
    ],
)
def test_altered_files_are_refused(h5_files, tmp_path: Path, change, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_h5(altered(h5_files, tmp_path, change))


def test_file_of_keras_3_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_group("layers/dense/vars")["0"] = np.zeros((2, 2), np.float32)
    with pytest.raises(CheckpointError, match="no layer_names"):
        read_h5(tmp_path / "x.h5")


def test_long_lists_of_names_are_split_over_attributes(h5_files, tmp_path: Path) -> None:
    """Keras 2 does so for more than 64 kB of names."""
    path = tmp_path / "x.h5"
    shutil.copy(h5_files["Decoder"], path)
    with h5py.File(path, "r+") as file:
        names = list(file.attrs["layer_names"])
        del file.attrs["layer_names"]
        file.attrs["layer_names0"], file.attrs["layer_names1"] = names[:9], names[9:]
    assert len(read_h5(path).tensors) == 140


def test_weights_inside_a_whole_model_file(h5_files, tmp_path: Path) -> None:
    """``Model.save`` puts the same below ``model_weights``."""
    with h5py.File(h5_files["Decoder"]) as source, h5py.File(tmp_path / "x.h5", "w") as target:
        group = target.create_group("model_weights")
        group.attrs.update(source.attrs)
        for name in source:
            source.copy(name, group)
    assert len(read_h5(tmp_path / "x.h5").tensors) == 140


def write_layers(path: Path, layers: dict[str, list[str]], make) -> Path:
    """A weight file whose layers list these names; ``make`` fills the file."""
    with h5py.File(path, "w") as file:
        make(file)
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for name, weights in layers.items():
            file.require_group(name).attrs["weight_names"] = [weight.encode() for weight in weights]
    return path


def test_many_names_of_one_weight_are_refused(tmp_path: Path) -> None:
    """4,000 names of one array of 8 MB would ask for 33 GB."""

    def make(file: h5py.File) -> None:
        file["a/0"] = np.zeros(2_000_000, np.float32)
        for number in range(1, 4000):
            file[f"a/{number}"] = file["a/0"]

    path = write_layers(tmp_path / "x.h5", {"a": [str(number) for number in range(4000)]}, make)
    with pytest.raises(CheckpointError, match="share bytes"):
        read_h5(path)


def test_many_names_of_one_layer_are_bounded(tmp_path: Path) -> None:
    names = [f"l{number}" for number in range(3000)]

    def make(file: h5py.File) -> None:
        file.create_group("l0").attrs["weight_names"] = [b"x"] * 3000
        file["l0/x"] = np.zeros(1, np.float32)
        for name in names[1:]:
            file[name] = file["l0"]
        file.attrs["layer_names"] = [name.encode() for name in names]

    with h5py.File(tmp_path / "x.h5", "w") as file:
        make(file)
    with pytest.raises(CheckpointError, match="more than 10000 names"):
        read_h5(tmp_path / "x.h5")


def test_a_long_name_is_refused(tmp_path: Path) -> None:
    path = write_layers(tmp_path / "x.h5", {"a": ["b/" * 1000]}, lambda file: None)
    with pytest.raises(CheckpointError, match="a name of 2000 characters"):
        read_h5(path)


def test_a_weight_that_ends_behind_its_file_is_refused(h5_files, tmp_path: Path) -> None:
    data = h5_files["Decoder"].read_bytes()
    (tmp_path / "x.h5").write_bytes(data)
    with h5py.File(tmp_path / "x.h5") as file:
        last = max(
            (
                file[layer][weight]
                for layer in file.attrs["layer_names"]
                for weight in file[layer].attrs["weight_names"]
            ),
            key=lambda dataset: dataset.id.get_offset(),
        )
        end = last.id.get_offset() + last.size * 4
    assert end <= len(data)
    (tmp_path / "y.h5").write_bytes(data[: end - 1])
    with pytest.raises(CheckpointError, match="truncated"):
        read_h5(tmp_path / "y.h5")


def test_files_without_a_decoder_are_read_where_a_vae_is_given(h5_files, tmp_path: Path) -> None:
    folder = folder_of(h5_files, tmp_path / "model", "DiffusionModelV2", "TextEncoderV2")
    checkpoint = open_checkpoint(folder, own_vae=False)
    assert (len(checkpoint.vae.tensors), checkpoint.vae.config["scaling_factor"]) == (0, 0.18215)
    with pytest.raises(CheckpointError, match="decoder that goes with it"):
        open_checkpoint(folder)


def test_a_file_that_ends_the_reading_process_is_named(h5_files, tmp_path: Path, monkeypatch) -> None:
    folder = folder_of(h5_files, tmp_path / "model", *V2)
    (folder / "A.h5").write_bytes(h5_files["Decoder"].read_bytes())
    monkeypatch.setattr("sdgen.checkpoints.keras_hdf5.ANSWER", "checkpoint_files:die_of_the_first")
    with pytest.raises(
        CheckpointError, match=r"A.h5 is truncated or altered .the HDF5 library cannot read it"
    ):
        open_checkpoint(folder)
    with pytest.raises(CheckpointError, match=r"A.h5 is truncated or altered"):
        read_h5(folder / "A.h5")
    assert "Decoder.h5 is not looked at" in str(
        read_files(sorted(folder.glob("*.h5")))[folder / "Decoder.h5"]
    )
