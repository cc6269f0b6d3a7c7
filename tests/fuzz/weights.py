"""Makers and the target of the weights' fuzzer: models, LoRAs, embeddings and VAEs in files of every kind.

Models are of a few channels, and the numbers in ``.safetensors`` files are a hole of the file system, so that
an input is written in milliseconds and most of its bytes say something.
"""

from __future__ import annotations

import json
import math
import random
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import checkpoint_files as files
import h5py
import numpy as np
from safetensors.numpy import save_file

from fuzz.mutations import STRANGE_TEXT, altered, damaged, strange_value
from sdgen.checkpoints import open_checkpoint
from sdgen.checkpoints.keras_hdf5 import read_layers
from sdgen.checkpoints.lora import apply_loras
from sdgen.checkpoints.tensors import Shape
from sdgen.checkpoints.textual_inversion import read_embedding
from sdgen.checkpoints.vae_file import with_vae
from sdgen.errors import SdgenError
from sdgen.networks.config import TextEncoderConfig, UNetConfig, VAEConfig
from sdgen.pipeline.checkpoint_sampler import own_sampler
from sdgen.pipeline.loading import check_parts
from sdgen.pipeline.sampler_tables import request_table
from sdgen.pipeline.weight_shapes import decoder_shapes, encoder_shapes, text_encoder_shapes, unet_shapes
from sdgen.request import Request
from sdgen.text.tokenizer_files import byte_letters

MAX_MESSAGE = 4000
"""Characters of an error's message."""

UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [8, 16],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "layers_per_block": 1,
    "attention_head_dim": [2, 4],
    "cross_attention_dim": 8,
    "norm_num_groups": 4,
    "norm_eps": 1e-5,
    "freq_shift": 0,
    "sample_size": 32,
    "use_linear_projection": True,
}
TEXT_ENCODER = {
    "vocab_size": 600,
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 77,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
}
VAE = {
    "block_out_channels": [8, 16],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 4,
    "scaling_factor": 0.18215,
}
_PLACES = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}

Header = dict[str, Any]


def read(folder: Path) -> None:
    """Reads what is in a folder as the command does, up to where networks are built, and every number."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # Of numbers that no formula was meant for.
            _read(folder)
    except SdgenError as error:
        assert len(str(error)) <= MAX_MESSAGE, f"a message of {len(str(error))} characters"
        raise


def _read(folder: Path) -> None:
    for path in folder.glob("layers.h5"):
        for _, weights in read_layers(path):
            assert all(np.asarray(weight.read()).shape == weight.shape for weight in weights)
    for path in folder.glob("embedding.safetensors"):
        read_embedding(path)
    for path in folder.glob("model*"):
        checkpoint = open_checkpoint(path, own_vae=False)
        if (folder / "vae.safetensors").exists():
            checkpoint = with_vae(checkpoint, folder / "vae.safetensors")
        if (folder / "lora.safetensors").exists():
            checkpoint = apply_loras(checkpoint, [(folder / "lora.safetensors", 0.7)])
        check_parts(checkpoint)
        checkpoint.tokenizer.encode_row("a fox in the snow, <|endoftext|> 42")
        for part in (checkpoint.unet, checkpoint.text_encoder, checkpoint.vae):
            assert all(entry.read().shape == entry.shape for _, entry in part.tensors.items_lazy())
        own = own_sampler(checkpoint.scheduler)
        for sampler in {"ddim", "dpmpp-2m", own.sampler}:
            request_table(checkpoint.scheduler, Request(prompt="x", steps=5, sampler=sampler))


def make(rng: random.Random, folder: Path) -> None:
    """An input for ``read``: one of the kinds, damaged in one to three places."""
    maker = rng.choice((_model_folder, _model_folder, _lora, _lora, _layers, _single_file, _vae, _embedding))
    maker(rng, folder)


def write_header(path: Path, tensors: Iterable[tuple[str, Shape]], dtype: str = "F32") -> Header:
    """A ``.safetensors`` file of zeros, and its header."""
    header: Header = {}
    end = 0
    for name, shape in tensors:
        start, end = end, end + math.prod(shape) * (4 if dtype == "F32" else 1)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    put_header(path, header, end)
    return header


def put_header(path: Path, header: object, size: int) -> None:
    """Writes a header and ``size`` bytes of zeros."""
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + size)


def write_model(folder: Path) -> dict[Path, Header]:
    """A sound diffusers folder, and the headers of its weights."""
    headers = {}
    unet, text = UNetConfig.from_config(UNET), TextEncoderConfig.from_config(TEXT_ENCODER)
    vae = VAEConfig.from_config(VAE)
    tensors = {
        "unet": unet_shapes(unet).items(),
        "text_encoder": text_encoder_shapes(text).items(),
        "vae": (*encoder_shapes(vae).items(), *decoder_shapes(vae).items()),
    }
    for part, config in (("unet", UNET), ("text_encoder", TEXT_ENCODER), ("vae", VAE)):
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text(json.dumps(config))
        path = folder / part / f"{_PLACES[part]}.safetensors"
        headers[path] = write_header(path, tensors[part])
    index = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "text_encoder": "CLIPTextModel"}
    (folder / "model_index.json").write_text(json.dumps({k: ["x", v] for k, v in index.items()}))
    (folder / "scheduler").mkdir()
    scheduler = (files.MINI / "scheduler" / "scheduler_config.json").read_text()
    (folder / "scheduler" / "scheduler_config.json").write_text(scheduler)
    _write_tokenizer(folder / "tokenizer")
    return headers


def _write_tokenizer(folder: Path) -> None:
    folder.mkdir()
    letters = byte_letters().values()
    merges = [("f", "o"), ("fo", "x</w>"), ("i", "n</w>")]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: n for n, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"pad_token": "<|endoftext|>"}')


def _model_folder(rng: random.Random, folder: Path) -> None:
    headers = write_model(folder / "model")
    paths = sorted(path for path in (folder / "model").rglob("*") if path.is_file())
    small = [path for path in paths if path not in headers]
    for _ in range(rng.randint(1, 3)):
        path = rng.choice(paths if rng.random() < 0.3 else small)
        if path in headers:
            spoil(rng, path, headers[path])
        elif path.suffix == ".json" and rng.random() < 0.8:
            path.write_text(json.dumps(_altered_text(rng, path)))
        else:
            path.write_bytes(damaged(rng, path.read_bytes()))


def _altered_text(rng: random.Random, path: Path) -> object:
    """A JSON file's value with a member altered; None where an earlier step has damaged it."""
    try:
        return altered(rng, json.loads(path.read_bytes()))
    except ValueError:
        return strange_value(rng)


def spoil(rng: random.Random, path: Path, header: Header) -> None:
    """Damages a ``.safetensors`` file: its bytes, its header's members, or in ways that keep it sound."""
    header = json.loads(json.dumps(header))
    size = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    how = rng.randrange(4)
    if how == 0:
        with path.open("r+b") as file:
            start = file.read(4096)
            file.seek(0)
            file.write(damaged(rng, start))
        return
    if how == 1:
        put_header(path, altered(rng, header), size)
        return
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(list(header))
        change = rng.randrange(4)
        if change == 0:  # another shape of the same size
            shape = header[name]["shape"]
            header[name]["shape"] = rng.choice((shape[::-1], [math.prod(shape)], [1, *shape], [*shape, 1]))
        elif change == 1:
            strange = rng.choice((*STRANGE_TEXT, name * 3, f"{name}.lora_up.weight", f"{name}_scale"))
            header[strange] = header.pop(name)
        elif change == 2:  # a dtype of a size that fits
            entry = header[name]
            entry["dtype"] = rng.choice(("I32", "F8_E4M3", "BF16", "U8", "BOOL"))
            entry["shape"] = [*entry["shape"], 2 if entry["dtype"] == "BF16" else 4]
            entry["shape"] = entry["shape"][:-1] if entry["dtype"] == "I32" else entry["shape"]
        else:
            for other in [key for key in header if key.startswith(name.partition(".")[0])]:
                header[f"{other}x" if rng.random() < 0.5 else other[1:]] = header.pop(other)
    put_header(path, header, size)


_TO_Q = "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
_CONV = "down_blocks_0_resnets_0_conv1"

_LORAS: tuple[dict[str, Shape], ...] = (
    {"lora_down.weight": (2, 8), "lora_up.weight": (8, 2), "alpha": ()},
    {"lora_down.weight": (2, 8, 1, 1), "lora_mid.weight": (2, 2, 3, 3), "lora_up.weight": (8, 2, 1, 1)},
    {"hada_w1_a": (8, 2), "hada_w1_b": (2, 8), "hada_w2_a": (8, 2), "hada_w2_b": (2, 8), "alpha": ()},
    {"a1.weight": (8, 2), "a2.weight": (2, 8), "b1.weight": (8, 2), "b2.weight": (2, 8), "alpha": ()},
    {"oft_blocks": (2, 4, 4), "alpha": (), "rescale": (8, 1)},
    {"oft_blocks": (2, 2, 4, 4), "alpha": ()},
    {"weight": (8,), "on_input": ()},
    {"diff": (8, 8), "diff_b": (8,)},
    {"w_norm": (8,), "b_norm": (8,)},
)


def _lora(rng: random.Random, folder: Path) -> None:
    write_model(folder / "model")
    parts = dict(rng.choice(_LORAS))
    for _ in range(rng.randint(0, 2)):
        role = rng.choice(list(parts))
        shape = list(parts.pop(role))
        if shape and rng.random() < 0.6:
            shape[rng.randrange(len(shape))] = rng.choice((0, 1, 2, 3, 8, 64))
        elif rng.random() < 0.5:
            shape = [rng.choice((0, 1, 2, 4, 8)) for _ in range(rng.randint(0, 5))]
        role = rng.choice((role, role, role, *rng.choice(_LORAS)))
        parts[role] = tuple(shape)
    module = f"lora_unet_{rng.choice((_TO_Q, _CONV, _CONV.replace('conv1', 'norm1')))}"
    numbers = np.random.default_rng(rng.randrange(2**32))
    scale = rng.choice((0.1, 1e20, 1e37, float("nan")))
    tensors = {
        f"{module}.{role}": np.asarray(numbers.normal(0, scale, shape), np.float32)
        for role, shape in parts.items()
    }
    path = folder / "lora.safetensors"
    text = json.dumps(strange_value(rng)) if rng.random() < 0.2 else "{}"
    save_file(tensors, path, {"lora_adapter_metadata": text} if rng.random() < 0.3 else None)
    if rng.random() < 0.5:
        length = int.from_bytes(path.read_bytes()[:8], "little")
        header = json.loads(path.read_bytes()[8 : 8 + length])
        header.pop("__metadata__", None)
        spoil(rng, path, header)


def _layers(rng: random.Random, folder: Path) -> None:
    path = folder / "layers.h5"
    with h5py.File(path, "w") as file:
        names = [f"layer_{number}" for number in range(rng.randint(1, 4))]
        file.attrs["layer_names"] = [name.encode() for name in names]
        for name in names:
            group = file.create_group(name)
            group.attrs["weight_names"] = [b"kernel:0", b"bias:0"]
            group["kernel:0"] = np.ones((2, 2), np.float32)
            group["bias:0"] = group["kernel:0"] if rng.random() < 0.05 else np.ones(2, np.float32)
    path.write_bytes(damaged(rng, path.read_bytes(), 8))


def _single_file(rng: random.Random, folder: Path) -> None:
    stored = files.golden()["single_file"][rng.choice(("sd1", "sd2"))]["stored"]
    path = folder / "model.safetensors"
    spoil(rng, path, write_header(path, stored))


def _vae(rng: random.Random, folder: Path) -> None:
    write_model(folder / "model")
    path = folder / "vae.safetensors"
    config = VAEConfig.from_config(VAE)
    spoil(rng, path, write_header(path, (*encoder_shapes(config).items(), *decoder_shapes(config).items())))


def _embedding(rng: random.Random, folder: Path) -> None:
    path = folder / "embedding.safetensors"
    spoil(rng, path, write_header(path, [("emb_params", (rng.choice((0, 1, 75, 76)), 8))]))
