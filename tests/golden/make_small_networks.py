"""Writes small_networks.npz: what diffusers and transformers compute with the networks of small_networks.py.

    pip install -e '.[reference]' && python tests/golden/make_small_networks.py

Float32 on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import small_networks as small
import torch
import transformers
from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertConfig, LDMBertModel


def fill(module: torch.nn.Module) -> torch.nn.Module:
    """Give every parameter the value of its name."""
    state = {}
    for name, value in module.state_dict().items():
        plain = name.removeprefix("text_model.")
        known = "position_ids" in name
        state[name] = value if known else torch.from_numpy(small.weight(plain, tuple(value.shape)))
    module.load_state_dict(state)
    return module.eval()


def wrapped(module: torch.nn.Module, wrap: str) -> torch.nn.Module:
    """The module with convolutions that are padded circularly on some axes, as InvokeAI and others do it."""
    modes = ["circular" if axis in wrap else "constant" for axis in "xy"]

    def pad(x: torch.Tensor, widths: Sequence[int]) -> torch.Tensor:
        left, right, above, below = widths
        x = torch.nn.functional.pad(x, (left, right, 0, 0), modes[0])
        return torch.nn.functional.pad(x, (0, 0, above, below), modes[1])

    for part in module.modules():
        if isinstance(part, torch.nn.Conv2d) and part.padding != (0, 0):

            def convolve(x: Any, weight: Any, bias: Any, part: Any = part) -> torch.Tensor:
                x = pad(x, part._reversed_padding_repeated_twice)
                return torch.nn.functional.conv2d(x, weight, bias, part.stride)

            part._conv_forward = convolve
        if isinstance(part, diffusers.models.downsampling.Downsample2D) and part.padding == 0:
            # It pads with zeros itself, which nobody changes; sdgen wraps here as everywhere.
            part.forward = lambda x, *_, part=part: part.conv(pad(x, (0, 1, 0, 1)))
    return module


def unet(name: str, wrap: str = "") -> np.ndarray:
    """The prediction for ``latents``."""
    x = torch.from_numpy(np.ascontiguousarray(small.latents(name).transpose(0, 3, 1, 2)))
    timesteps, text = torch.from_numpy(small.TIMESTEPS), torch.from_numpy(small.context())
    if name in small.UNETS_WITHOUT_TEXT:
        model = fill(diffusers.UNet2DModel(**small.UNETS_WITHOUT_TEXT[name]))
        return model(x, timesteps).sample.numpy().transpose(0, 2, 3, 1)
    model = wrapped(fill(diffusers.UNet2DConditionModel(**small.ALL_UNETS[name])), wrap)
    options = {}
    if name in small.K_UNETS:
        if model.config.time_cond_proj_dim:
            options["timestep_cond"] = torch.from_numpy(small.pooled())
        found = model(x, torch.from_numpy(small.K_TIMESTEPS), text, **options).sample
        return found[:, :-1].numpy().transpose(0, 2, 3, 1)
    if model.config.num_class_embeds:
        options["class_labels"] = torch.from_numpy(small.LABELS).long()
    if model.config.addition_embed_type:
        texts, sizes = torch.from_numpy(small.pooled()), torch.from_numpy(small.SIZES)
        options["added_cond_kwargs"] = {"text_embeds": texts, "time_ids": sizes}
    return model(x, timesteps, text, **options).sample.numpy().transpose(0, 2, 3, 1)


def text_encoder(name: str) -> np.ndarray:
    """The encoding (1, 12, 32)."""
    config = transformers.CLIPTextConfig(**small.TEXT_ENCODERS[name], eos_token_id=48, bos_token_id=49)
    model = fill(transformers.CLIPTextModel(config))
    return model(torch.from_numpy(small.TOKENS).long()).last_hidden_state.numpy()


def ldm_bert(name: str) -> np.ndarray:
    """The encoding (1, 12, 32)."""
    model = fill(LDMBertModel(LDMBertConfig(**small.LDM_BERTS[name])))
    return model(torch.from_numpy(small.TOKENS).long())[0].numpy()


def vq(name: str) -> np.ndarray:
    """The picture of latents (1, 24, 20, 3)."""
    model = fill(diffusers.VQModel(**small.VQ_MODELS[name]))
    x = torch.from_numpy(np.ascontiguousarray(small.codes().transpose(0, 3, 1, 2)))
    return model.decode(x).sample.numpy().transpose(0, 2, 3, 1)


def vae(name: str, wrap: str = "") -> dict[str, np.ndarray]:
    """Mean and log variance of a picture, side by side, and what latents are decoded to; thinned."""
    model = wrapped(fill(diffusers.AutoencoderKL(**small.VAES[name])), wrap)

    def nchw(x: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))

    posterior = model.encode(nchw(small.pixels())).latent_dist
    found = {
        "encoder": torch.cat([posterior.mean, posterior.logvar], 1),
        "decoder": model.decode(nchw(small.vae_latents())).sample,
    }
    thinned = {key: small.thinned(x.numpy().transpose(0, 2, 3, 1), small.MOST) for key, x in found.items()}
    return {f"{name} {key}": values for key, values in thinned.items()}


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    found = {name: unet(name) for name in small.ALL_UNETS} | {
        name: text_encoder(name) for name in small.TEXT_ENCODERS
    }
    found |= {name: vq(name) for name in small.VQ_MODELS}
    found |= {name: ldm_bert(name) for name in small.LDM_BERTS}
    for name in small.VAES:
        found |= vae(name)
    for wrap in small.WRAPS:
        found[f"unet-sd2, {wrap} wraps"] = unet("unet-sd2", wrap)
        found |= {f"{name}, {wrap} wraps": values for name, values in vae("vae", wrap).items()}
    np.savez_compressed(Path(__file__).parent / "small_networks.npz", **found)
    print({name: float(np.abs(values).mean()) for name, values in found.items()})
