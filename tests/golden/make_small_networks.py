"""Writes small_networks.npz: what diffusers and transformers compute with the networks of small_networks.py.

    pip install -e '.[reference]' && python tests/golden/make_small_networks.py

Float32 on the CPU.
"""

from __future__ import annotations

from pathlib import Path

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


def unet(name: str) -> np.ndarray:
    """The prediction (2, 16, 8, 4)."""
    x = torch.from_numpy(np.ascontiguousarray(small.latents(name).transpose(0, 3, 1, 2)))
    timesteps, text = torch.from_numpy(small.TIMESTEPS), torch.from_numpy(small.context())
    if name in small.UNETS_WITHOUT_TEXT:
        model = fill(diffusers.UNet2DModel(**small.UNETS_WITHOUT_TEXT[name]))
        return model(x, timesteps).sample.numpy().transpose(0, 2, 3, 1)
    model = fill(diffusers.UNet2DConditionModel(**small.UNETS[name]))
    options = {}
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


def vae(name: str) -> np.ndarray:
    """Mean and log variance of a picture, side by side: (1, 6, 10, 8)."""
    model = fill(diffusers.AutoencoderKL(**small.VAES[name]))
    x = torch.from_numpy(np.ascontiguousarray(small.pixels().transpose(0, 3, 1, 2)))
    posterior = model.encode(x).latent_dist
    return torch.cat([posterior.mean, posterior.logvar], 1).numpy().transpose(0, 2, 3, 1)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    found = {name: unet(name) for name in (*small.UNETS, *small.UNETS_WITHOUT_TEXT)} | {
        name: text_encoder(name) for name in small.TEXT_ENCODERS
    }
    found |= {name: vae(name) for name in small.VAES} | {name: vq(name) for name in small.VQ_MODELS}
    found |= {name: ldm_bert(name) for name in small.LDM_BERTS}
    np.savez_compressed(Path(__file__).parent / "small_networks.npz", **found)
    print({name: float(np.abs(values).mean()) for name, values in found.items()})
