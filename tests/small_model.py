"""A whole model of few channels and layers, in a diffusers folder: it takes half the time to compile.

For tests of what does not depend on the model: batches, programs, processes. Its pictures show nothing; they
change with every number that the bundled model's change with.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import checkpoint_files as files
from golden.small_networks import weight
from safetensors.numpy import save_file

from sdgen.networks.config import TextEncoderConfig, UNetConfig, VAEConfig
from sdgen.pipeline.weight_shapes import decoder_shapes, encoder_shapes, text_encoder_shapes, unet_shapes

UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [32, 64],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "attention_head_dim": [2, 4],
    "cross_attention_dim": 32,
    "norm_num_groups": 8,
    "norm_eps": 1e-5,
    "freq_shift": 0,
    "sample_size": 8,
    "use_linear_projection": True,
}
TEXT_ENCODER = {
    "vocab_size": 8192,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 77,
    "hidden_act": "gelu",
}
VAE = {
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [16, 16, 16, 16],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 4,
    "scaling_factor": 1.0,
}


def write_small_model(folder: Path) -> Path:
    """Writes the model, in float32: 1.5 MB."""
    vae = VAEConfig.from_config(VAE)
    unet = unet_shapes(UNetConfig.from_config(UNET))
    text = text_encoder_shapes(TextEncoderConfig.from_config(TEXT_ENCODER))
    _write(folder / "unet", UNET, "diffusion_pytorch_model", unet)
    _write(folder / "text_encoder", TEXT_ENCODER, "model", text)
    _write(folder / "vae", VAE, "diffusion_pytorch_model", {**encoder_shapes(vae), **decoder_shapes(vae)})
    for part in ("tokenizer", "scheduler", "model_index.json"):
        (folder / part).symlink_to(files.MINI / part)
    return folder


def _write(folder: Path, config: dict[str, Any], stem: str, shapes: Any) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: weight(name, shape) for name, shape in shapes.items()}, folder / f"{stem}.safetensors")
