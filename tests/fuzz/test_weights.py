"""Weight files that may be anything: read, or refused in a sentence, within bounds."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from fuzz import runner, weights

READ = "fuzz.weights:read"
CORPUS = Path(__file__).parent / "corpus"

TryOut = Callable[[str, Callable[[Path], object]], str]


def test_damaged_weight_files(fuzz: Callable[[str, runner.Maker], None]) -> None:
    fuzz(READ, weights.make)


def test_sound_files_are_read(try_out: TryOut) -> None:
    """What the fuzzer damages is read whole, so that what it finds lies deep."""
    assert try_out(READ, lambda folder: weights.write_model(folder / "model")) == "read"


def _json(name: str, value: object) -> Callable[[Path], None]:
    """A model one of whose JSON files holds another value, or text as it is; large ones are made late."""

    def write(folder: Path) -> None:
        weights.write_model(folder / "model")
        made = value() if callable(value) else value
        text = made if isinstance(made, str) else json.dumps(made)
        (folder / "model" / name).write_text(text)

    return write


def _config(part: str, **changes: Any) -> Callable[[Path], None]:
    configs = {"unet": weights.UNET, "text_encoder": weights.TEXT_ENCODER, "vae": weights.VAE}
    return _json(f"{part}/config.json", configs[part] | changes)


def _header(make: Callable[[], object]) -> Callable[[Path], None]:
    return lambda folder: weights.put_header(folder / "model.safetensors", make(), 0)


def _lora_of_one_key(folder: Path) -> None:
    weights.write_model(folder / "model")
    save_file({".dora_scale" * 100_000 + "\n": np.zeros(1, np.float32)}, folder / "lora.safetensors")


def _one_array_of_many_names(folder: Path) -> None:
    with h5py.File(folder / "layers.h5", "w") as file:
        names = [f"{number}" for number in range(4000)]
        file["layer/0"] = np.zeros(2_000_000, np.float32)
        for name in names[1:]:
            file[f"layer/{name}"] = file["layer/0"]
        file["layer"].attrs["weight_names"] = [name.encode() for name in names]
        file.attrs["layer_names"] = [b"layer"]


def _pipe(name: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        weights.write_model(folder / "model")
        path = folder / name
        path.unlink(missing_ok=True)
        os.mkfifo(path)

    return write


def _heap_without_end(folder: Path) -> None:
    packed = (CORPUS / "heap-without-end.h5.gz").read_bytes()
    (folder / "layers.h5").write_bytes(gzip.decompress(packed))


EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}

FOUND: dict[str, tuple[Callable[[Path], object], str]] = {
    "a key of 1.1 MB": (_lora_of_one_key, "whose name has"),
    "names of tensors by the hundred thousand": (
        _header(lambda: {f"{n}": EMPTY for n in range(200_000)}),
        "the most",
    ),
    "a header of 20 MB": (_header(lambda: {"x" * 20_000_000: EMPTY}), "its header would have"),
    "a header of lists": (_header(lambda: [[]] * 4_000_000), "truncated or altered"),
    "free text in a header of 15 MB": (
        _header(lambda: {"__metadata__": {"a": "x" * 15_000_000}}),
        "has no UNet",
    ),
    "one array of many names": (_one_array_of_many_names, "share bytes"),
    "a heap without end": (_heap_without_end, "the HDF5 library cannot read it"),
    "10^9 layers of a UNet": (_config("unet", layers_per_block=10**9), "layers_per_block"),
    "10^9 transformers": (_config("unet", transformer_layers_per_block=10**9), "transformer_layers"),
    "10^9 layers of a text encoder": (_config("text_encoder", num_hidden_layers=10**9), "num_hidden"),
    "as many layers as may be": (
        _config("unet", layers_per_block=16, transformer_layers_per_block=32),
        "do not fit its configuration",
    ),
    "text for a number": (_config("unet", norm_eps="x"), "norm_eps"),
    "text for a scale": (_config("vae", scaling_factor="x"), "scaling_factor"),
    "a list for a shift": (_config("unet", freq_shift=[1]), "freq_shift"),
    "a number of 5,000 digits": (
        _json("unet/config.json", '{"norm_eps": ' + "9" * 5000 + "}"),
        "not valid JSON",
    ),
    "a class of 5,000 letters": (_json("model_index.json", {"unet": ["x", "9" * 5000]}), "describes a model"),
    "lists 100,000 deep": (_json("model_index.json", "[" * 100_000), "not valid JSON"),
    "8 million lists": (_json("scheduler/scheduler_config.json", lambda: [[]] * 4_000_000), "a JSON object"),
    "a vocabulary of 16 MB": (
        _json("tokenizer/vocab.json", lambda: {f"{n}": n for n in range(900_000)}),
        "tokens and",
    ),
    "a million merges": (_json("tokenizer/merges.txt", lambda: "f o\n" * 1_000_000), "1000000 merges"),
    "a pipe for an index": (_pipe("model/model_index.json"), "is a named pipe"),
    "a pipe for weights": (_pipe("model/unet/diffusion_pytorch_model.safetensors"), "is a named pipe"),
    "a pipe for merges": (_pipe("model/tokenizer/merges.txt"), "is a named pipe"),
    "a pipe for layers": (_pipe("layers.h5"), "is a named pipe"),
    "a pipe for an embedding": (_pipe("embedding.safetensors"), "is a named pipe"),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_once_hung_swelled_or_failed_is_refused(try_out: TryOut, name: str) -> None:
    write, message = FOUND[name]
    answer = try_out(READ, write)
    assert answer.startswith("CheckpointError: ") and message in answer, answer[:500]
