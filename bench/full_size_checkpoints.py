"""Every checkpoint format at the full size of SD 2.1 and SD 1.5, with random weights: equality, time, memory.

Stages, as keras_cv under Keras 2 and today's PyTorch libraries do not share an environment (about 25 GB
of disk, 10 GB of memory):

1. ``python bench/full_size_checkpoints.py keras WORK`` with tensorflow, tf-keras and keras-cv 0.9.0 writes
   keras_cv's networks as .h5 files, with inputs and outputs.
2. ``python bench/full_size_checkpoints.py reference WORK`` with sdgen's own dependencies, torch, diffusers
   and transformers. It prints, per format, how many tensors arrived bit for bit as the other program has
   them, the outputs' relative error, and the time and peak memory of reading every tensor. The last alone:
   ``measure WORK``.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "golden"))

MODELS = {
    "sd2.1": ("DiffusionModelV2", "TextEncoderV2", "Decoder", "ImageEncoder"),
    "sd1.5": ("DiffusionModel", "TextEncoder", "Decoder", "ImageEncoder"),
}


def keras(work: Path) -> None:
    from keras_cv_networks import make_keras

    make_keras(work, small=False)


def reference(work: Path) -> None:
    for model, networks in MODELS.items():
        print(f"== {model}", flush=True)
        check_h5(work, model, networks)
        check_keras_3(work, networks)
        check_folders_and_single_file(work, model)
    measure(work)


def measure(work: Path) -> None:
    """Time and memory of reading every UNet tensor into float32 arrays of diffusers' layout, second run."""
    for path in sorted(work.glob("*/")) + sorted(work.glob("*.safetensors")):
        if path.is_file() or (path / "model_index.json").exists() or list(path.glob("*.h5")):
            for _ in range(2):
                command = [sys.executable, "-c", MEASURE, str(path)]
                run = subprocess.run(command, capture_output=True, text=True, check=True)
            print(f"{path.name}: {run.stdout.strip()}", flush=True)


def check_h5(work: Path, model: str, networks: tuple[str, ...]) -> None:
    """keras_cv's outputs against diffusers' with the weights that sdgen read."""
    from keras_cv_networks import output_error

    folder = work / model
    folder.mkdir(exist_ok=True)
    for network in networks:
        if not (folder / f"{network}.h5").exists():
            os.link(work / f"{network}.h5", folder / f"{network}.h5")
        error = output_error(work, network)
        print(f"{network}.h5: outputs of keras_cv and diffusers differ by {error:.1e}", flush=True)


def check_keras_3(work: Path, networks: tuple[str, ...]) -> None:
    """The way back: ``keras_cv_weights`` against keras_cv's networks under Keras 3 with the file loaded."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    from keras_cv.src.models.stable_diffusion import decoder, diffusion_model, image_encoder, text_encoder

    from sdgen.checkpoints.keras_cv_h5 import keras_cv_weights, read_h5

    build = {
        "DiffusionModel": lambda: diffusion_model.DiffusionModel(128, 128, 77, download_weights=False),
        "DiffusionModelV2": lambda: diffusion_model.DiffusionModelV2(128, 128, 77, download_weights=False),
        "TextEncoder": lambda: text_encoder.TextEncoder(77, download_weights=False),
        "TextEncoderV2": lambda: text_encoder.TextEncoderV2(77, download_weights=False),
        "Decoder": lambda: decoder.Decoder(128, 128, download_weights=False),
        "ImageEncoder": lambda: image_encoder.ImageEncoder(download_weights=False),
    }
    for name in networks:
        model = build[name]()
        path = work / f"{name}.h5"
        model.load_weights(str(path))
        file = read_h5(path)
        table = keras_cv_weights(file.network, file.tensors)
        layers = [layer for layer in model.layers if layer.weights]
        equal = 0
        for layer, weights in zip(layers, table, strict=True):
            for variable, weight in zip(layer.weights, weights, strict=True):
                equal += np.array_equal(np.asarray(variable), weight.read())
        print(f"{name}: {equal} of {len(model.weights)} weights equal in Keras 3's layers", flush=True)


def check_folders_and_single_file(work: Path, model: str) -> None:
    """Folders that diffusers writes, and a single file put through diffusers' converters."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders import single_file_utils
    from safetensors.torch import load_file
    from transformers import CLIPTextConfig, CLIPTextModel

    from sdgen.checkpoints import open_checkpoint
    from sdgen.checkpoints.convert import write_folder, write_single_file
    from sdgen.checkpoints.diffusers_folder import choose_weights, read_component

    checkpoint = open_checkpoint(work / model)
    classes = {"unet": UNet2DConditionModel, "vae": AutoencoderKL}
    for dtype in ("float32", "float16", "bfloat16"):
        folder = work / f"{model}-{dtype}"
        if not folder.exists():
            write_folder(checkpoint, folder, dtype)
        for part in ("unet", "vae", "text_encoder"):
            if part == "text_encoder":
                config = CLIPTextConfig.from_pretrained(folder / part)  # nosec B615 # a folder
                network = CLIPTextModel(config).to(getattr(torch, dtype))
                network.load_state_dict(
                    CLIPTextModel.from_pretrained(folder / part, dtype=getattr(torch, dtype)).state_dict()  # nosec B615
                )
            else:
                network = classes[part].from_pretrained(folder / part, torch_dtype=getattr(torch, dtype))
            sharded = work / f"{model}-{dtype}-sharded" / part
            network.save_pretrained(sharded, max_shard_size="500MB", safe_serialization=True)
            compare(
                f"{folder.name}/{part}", getattr(open_checkpoint(folder), part).tensors, network.state_dict()
            )
            kind = checkpoint.family.networks[part]
            _, weights = choose_weights(sharded, kind.weights_name, None)
            read = read_component(sharded, kind, weights)
            compare(f"{folder.name}/{part} in {len(read.files)} shards", read.tensors, network.state_dict())
            shutil.rmtree(sharded)
            del network
    path = work / f"{model}.safetensors"
    if not path.exists():
        write_single_file(checkpoint, path, "float16")
    stored = load_file(path)
    again = open_checkpoint(path)
    unet_config = UNet2DConditionModel.from_config(again.unet.config).config
    vae_config = AutoencoderKL.from_config(again.vae.config).config
    compare(
        f"{path.name} UNet",
        again.unet.tensors,
        single_file_utils.convert_ldm_unet_checkpoint(dict(stored), unet_config),
    )
    compare(
        f"{path.name} VAE",
        again.vae.tensors,
        single_file_utils.convert_ldm_vae_checkpoint(dict(stored), vae_config),
    )
    if model == "sd1.5":
        text = single_file_utils.convert_ldm_clip_checkpoint(dict(stored))
    else:
        network = CLIPTextModel(CLIPTextConfig(**again.text_encoder.config))
        text = single_file_utils.convert_open_clip_checkpoint(network, dict(stored))
    compare(f"{path.name} text encoder", again.text_encoder.tensors, text)


def compare(what: str, tensors, state) -> None:
    """Counts tensors that are equal bit for bit, and stops at the first that is not."""
    import torch

    state = {
        name.removeprefix("text_model."): value for name, value in state.items() if "position_ids" not in name
    }
    assert tensors.keys() == state.keys(), (what, sorted(tensors.keys() ^ state.keys())[:5])
    for name, value in state.items():
        array = np.ascontiguousarray(tensors[name])
        assert tuple(array.shape) == tuple(value.shape), (what, name)
        kind = {2: (np.int16, torch.int16), 4: (np.int32, torch.int32)}[array.dtype.itemsize]
        assert np.array_equal(array.view(kind[0]), value.contiguous().view(kind[1]).numpy()), (what, name)
    print(f"{what}: {len(tensors)} tensors equal", flush=True)


MEASURE = """
import sys, time
import numpy as np
import sdgen.checkpoints.diffusers_folder, sdgen.checkpoints.keras_cv_h5, sdgen.checkpoints.single_file
import h5py, ml_dtypes, safetensors
from sdgen.checkpoints import open_checkpoint
def memory():
    status = open("/proc/self/status").read()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
before = memory()
start = time.perf_counter()
checkpoint = open_checkpoint(sys.argv[1])
opened = time.perf_counter() - start
kept = []
for array in checkpoint.unet.tensors.values():
    kept.append(np.array(array, np.float32, order="C"))
total = time.perf_counter() - start
size = sum(array.nbytes for array in kept) / 2**20
peak = memory() - before
print(f"opened in {opened:.2f} s; UNet as {size:.0f} MiB of contiguous float32 in {total:.2f} s, "
      f"peak memory {peak / size:.2f} times that")
"""


if __name__ == "__main__":
    stage, work = sys.argv[1], Path(sys.argv[2])
    work.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    {"keras": keras, "reference": reference, "measure": measure}[stage](work)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{stage}: {time.perf_counter() - start:.0f} s, {peak:.1f} GiB")
