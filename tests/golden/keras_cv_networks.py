"""keras_cv's networks with random weights, run under Keras 2, and the same weights run by diffusers.

Under Keras 2 (tensorflow, tf-keras, keras-cv 0.9.0): ``make_keras``. With torch, diffusers, transformers and
sdgen: ``output_error``. The two do not share an environment, so files carry the weights and numbers across.
"""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path

import numpy as np

NETWORKS = ("DiffusionModel", "DiffusionModelV2", "TextEncoder", "TextEncoderV2", "Decoder", "ImageEncoder")

SMALLER = {
    # widths, then heads and head widths of the spatial transformers
    "DiffusionModel": (("1280", "128"), ("640", "64"), ("320", "32"), ("768", "48")),
    "TextEncoder": (
        ("768, 12", "64, 1"),
        ("768", "64"),
        ("1024, 16", "64, 1"),
        ("1024", "64"),
        ("range(12)", "range(2)"),
        ("range(23)", "range(3)"),
    ),
    "Decoder": (("128", "32"), ("256", "64"), ("512", "128")),
    "ImageEncoder": (("128", "32"), ("256", "64"), ("512", "128")),
}
TRANSFORMERS = (
    ("(8, 40", "(8, 4"), ("(8, 80", "(8, 8"), ("(8, 160", "(8, 16"),
    ("(5, 64", "(1, 32"), ("(10, 64", "(1, 64"), ("(20, 64", "(2, 64"), ("1024", "64"),
)  # fmt: skip


def make_keras(work: Path, small: bool = True) -> None:
    """Writes each network's weights (NAME.h5), and inputs with their output (NAME.npz).

    Args:
        work: folder to write to.
        small: whether widths are a tenth of the real ones; the structure is the same.
    """
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    from keras_cv.src.models.stable_diffusion import decoder, diffusion_model, image_encoder, text_encoder

    rng = np.random.default_rng(0)
    for name in NETWORKS:
        module = {
            "DiffusionModel": diffusion_model,
            "DiffusionModelV2": diffusion_model,
            "TextEncoder": text_encoder,
            "TextEncoderV2": text_encoder,
            "Decoder": decoder,
            "ImageEncoder": image_encoder,
        }[name]
        source = re.sub(r"@keras_cv_export\(.*?\)\n", "", inspect.getsource(module))
        kind = name.removesuffix("V2")
        if small:
            for old, new in (*(TRANSFORMERS if kind == "DiffusionModel" else ()), *SMALLER[kind]):
                source = source.replace(old, new)
        space: dict = {}
        exec(compile(source, name, "exec"), space)
        if kind == "DiffusionModel":
            model = space[name](64, 64, 77, download_weights=False)
            inputs = [(1, *tensor.shape[1:]) for tensor in model.inputs]
        elif kind == "TextEncoder":
            model = space[name](77, vocab_size=100 if small else 49408, download_weights=False)
            inputs = []
        else:
            model = (
                space[name](64, 64, download_weights=False)
                if kind == "Decoder"
                else space[name](download_weights=False)
            )
            inputs = [(1, 8, 8, 4) if kind == "Decoder" else (1, 64, 64, 3)]
        for weight in model.weights:
            fan_in = np.prod(weight.shape[:-1]) if len(weight.shape) > 1 else 16
            value = rng.normal(0, 1.2 * fan_in**-0.5, weight.shape)
            weight.assign(value + 1 if "gamma" in weight.name else value)
        arrays = [rng.normal(size=shape).astype("float32") for shape in inputs]
        if kind == "TextEncoder":
            arrays = [rng.integers(0, 100, (1, 77)).astype("int32"), np.arange(77, dtype="int32")[None]]
        model.save_weights(str(work / f"{name}.h5"))
        output = model(arrays if len(arrays) > 1 else arrays[0]).numpy()
        np.savez(work / f"{name}.npz", *arrays, output=output)
        print(name, len(model.weights), output.shape, float(np.std(output)))


def output_error(work: Path, name: str) -> float:
    """Relative L2 distance of keras_cv's output and diffusers' with the weights that sdgen reads."""
    import torch

    from sdgen.checkpoints import families, keras_cv_h5

    read = keras_cv_h5.read_h5(work / f"{name}.h5")
    arrays = np.load(work / f"{name}.npz")
    inputs = [torch.from_numpy(arrays[key]) for key in arrays.files if key != "output"]
    state = {key: torch.from_numpy(np.array(value)) for key, value in read.tensors.items()}
    family = families.SD2 if name.endswith("V2") else families.SD1
    with torch.no_grad():
        output = _output(name, family, read.tensors.shapes(), state, inputs)
    return float(np.linalg.norm(output - arrays["output"]) / np.linalg.norm(arrays["output"]))


def _output(name, family, shapes, state, inputs):
    """The output of the torch network with keras_cv's departures from the reference switched on."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.models.activations import GEGLU
    from transformers import CLIPTextConfig, CLIPTextModel

    from sdgen.checkpoints.families import shape_config

    def nchw(x):
        return x.permute(0, 3, 1, 2)

    if name.startswith("DiffusionModel"):
        config = shape_config.unet_config(family, shapes)
        unet = UNet2DConditionModel.from_config(config).eval()
        unet.load_state_dict(state)
        latent, time, context = inputs
        unet.time_proj.forward = lambda timesteps: time
        for module in unet.modules():
            if isinstance(module, GEGLU):
                module.gelu = lambda gate: torch.nn.functional.gelu(gate, approximate="tanh")
        _set_group_norm_eps(unet)
        return unet(nchw(latent), 0, context).sample.permute(0, 2, 3, 1).numpy()
    if name.startswith("TextEncoder"):
        config = shape_config.text_encoder_config(family, shapes)
        act = "gelu_pytorch_tanh" if config["hidden_act"] == "gelu" else config["hidden_act"]
        model = CLIPTextModel(CLIPTextConfig(**{**config, "hidden_act": act})).eval()
        model.load_state_dict(state)
        return model(inputs[0].long()).last_hidden_state.numpy()
    width = shapes[f"{name.removeprefix('Image').lower()}.mid_block.resnets.0.conv1.weight"][0]
    vae = AutoencoderKL.from_config(vae_config(width)).eval()
    missing, unexpected = vae.load_state_dict(state, strict=False)
    assert not unexpected
    half = ("decoder.", "post_quant") if name == "Decoder" else ("encoder.", "quant_conv")
    assert not [key for key in missing if key.startswith(half)]
    _set_group_norm_eps(vae)
    if name == "Decoder":
        return vae.decode(nchw(inputs[0]) / 0.18215).sample.permute(0, 2, 3, 1).numpy()
    return vae.encode(nchw(inputs[0])).latent_dist.mean.permute(0, 2, 3, 1).numpy() * 0.18215


def vae_config(width: int) -> dict:
    """The configuration of SD's VAE, at any width."""
    return {
        "block_out_channels": [width // 4, width // 2, width, width],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
        "latent_channels": 4,
        "norm_num_groups": 32,
    }


def _set_group_norm_eps(model):
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.eps = 1e-5
