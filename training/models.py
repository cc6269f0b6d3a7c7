"""The networks of the mini model: their configurations, and weights in and out of files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

LATENT_CHANNELS = 8
LATENT_SIZE = 32

VAE: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": LATENT_CHANNELS,
    "block_out_channels": (32, 64, 128, 128),
    "layers_per_block": 2,
    "norm_num_groups": 8,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "sample_size": 256,
    "scaling_factor": 1.0,
}
UNET: dict[str, Any] = {
    "sample_size": LATENT_SIZE,
    "in_channels": LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "layers_per_block": 1,
    "block_out_channels": (96, 192, 256),
    "attention_head_dim": (3, 6, 8),  # heads: diffusers' historical name
    "cross_attention_dim": 256,
    "use_linear_projection": True,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
}
TEXT_ENCODER: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 77,
    "hidden_act": "gelu",
}
SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}


def tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer of a diffusers folder."""
    return CLIPTokenizer.from_pretrained(str(folder / "tokenizer"))  # nosec B615 # a folder


def vae(latent_channels: int = LATENT_CHANNELS) -> AutoencoderKL:
    """A fresh VAE whose last resnets begin as the identity, so that a shallower one can be grafted on."""
    model = AutoencoderKL(**VAE | {"latent_channels": latent_channels})
    _start_as_identity(model)
    return model


def unet(latent_channels: int = LATENT_CHANNELS) -> UNet2DConditionModel:
    """A fresh UNet."""
    return UNet2DConditionModel(**UNET | {"in_channels": latent_channels, "out_channels": latent_channels})


def text_encoder(tokens: CLIPTokenizer) -> CLIPTextModel:
    """A fresh text encoder over a tokenizer's vocabulary."""
    special = {
        "bos_token_id": tokens.bos_token_id,
        "eos_token_id": tokens.eos_token_id,
        "pad_token_id": tokens.eos_token_id,
    }
    return CLIPTextModel(CLIPTextConfig(**TEXT_ENCODER, vocab_size=len(tokens), **special))


def scheduler() -> DDIMScheduler:
    """The noise schedule: scaled linear, rescaled to zero terminal SNR, v-prediction."""
    return DDIMScheduler(**SCHEDULER)


def _start_as_identity(model: nn.Module) -> None:
    for name, module in model.named_modules():
        extra = name.endswith("resnets.2") or (name.endswith("resnets.1") and ".down_blocks." in f".{name}")
        if extra and "mid_block" not in name:
            nn.init.zeros_(module.conv2.weight)
            nn.init.zeros_(module.conv2.bias)


@torch.no_grad()
def graft(model: nn.Module, weights: dict[str, Tensor], rest: float = 1.0) -> int:
    """Copies tensors of the same name, and returns how many.

    Of a tensor that grew, the overlapping corner is copied and what is new is multiplied by ``rest``.
    """
    copied = 0
    for name, own in model.state_dict().items():
        given = weights.get(name.removeprefix("text_model."))
        if given is None or given.dim() != own.dim():
            continue
        corner = tuple(slice(min(a, b)) for a, b in zip(own.shape, given.shape, strict=True))
        if own.shape != given.shape:
            own *= rest
        own[corner] = given[corner].to(own)
        copied += 1
    return copied


def read(file: Path) -> dict[str, Tensor]:
    """Weights in float32, named as diffusers and the newer transformers name them."""
    return {name.removeprefix("text_model."): tensor.float() for name, tensor in load_file(file).items()}


def load(model: nn.Module, file: Path) -> None:
    """Loads all of a model's weights from a file, whatever prefix this version of transformers gives them."""
    weights = read(file)
    model.load_state_dict(
        {
            name: weights[name.removeprefix("text_model.")]
            for name in model.state_dict()
            if "position_ids" not in name
        },
        strict=False,
    )


def save(weights: dict[str, Tensor], file: Path, dtype: torch.dtype = torch.float16) -> None:
    """Writes a file whole or not at all."""
    part = file.with_name(f".{file.name}")
    save_file({name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in weights.items()}, part)
    os.replace(part, file)


FILES = {
    "vae": "diffusion_pytorch_model.safetensors",
    "unet": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
}


def weights_of(folder: Path, part: str) -> Path:
    """A part's weights in a diffusers folder."""
    return folder / part / FILES[part]


def device() -> torch.device:
    """The accelerator if there is one; also lets float32 matrix products use TF32."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 arithmetic on an accelerator, float32 on the CPU."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
