"""Models of the latent diffusion paper at small widths, with weights made from names, in folders."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
import make_bert_tokenizer
import numpy as np
from small_networks import normal, weight

TEXT_UNET: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": "0.0.4",
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [32, 64],
    "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "norm_num_groups": 8,
    "cross_attention_dim": 32,
    "attention_head_dim": 4,
    "sample_size": 32,
}
BERT: dict[str, Any] = {
    "architectures": ["LDMBertModel"],
    "model_type": "ldmbert",
    "vocab_size": len(make_bert_tokenizer.vocabulary()),
    "max_position_embeddings": 77,
    "encoder_layers": 2,
    "encoder_ffn_dim": 64,
    "encoder_attention_heads": 2,
    "head_dim": 12,
    "d_model": 32,
}
VAE: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": [16, 16, 32, 32],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
SCHEDULER: dict[str, Any] = {
    "_class_name": "DDIMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "trained_betas": None,
}
TEXT_CASES: tuple[Mapping[str, Any], ...] = (
    {"prompt": "a painting of a red fox", "seed": 7, "steps": 6, "guidance": 5.0, "eta": 0.0},
    {"prompt": "an oil painting of a castle", "seed": 8, "steps": 5, "guidance": 10.0, "eta": 1.0},
    {"prompt": "snow", "seed": 9, "steps": 4, "guidance": 1.0, "eta": 0.0},
)
"""Requests of 64 x 64 pixels; figure 5 has guidance 10 and eta 1."""


UNCONDITIONAL_UNET: dict[str, Any] = {
    "_class_name": "UNet2DModel",
    "_diffusers_version": "0.1.3",
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [32, 64],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "norm_num_groups": 8,
    "attention_head_dim": 16,
    "sample_size": 16,
}
VQ_VAE: dict[str, Any] = {
    "_class_name": "VQModel",
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 3,
    "block_out_channels": [16, 32, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "num_vq_embeddings": 64,
    "vq_embed_dim": 3,
}
"""As CompVis/ldm-celebahq-256 has it, without a scaling factor: there is none (``VAEConfig``)."""

UNCONDITIONAL_CASES: tuple[Mapping[str, Any], ...] = (
    {"seed": 7, "steps": 6, "eta": 0.0},
    {"seed": 8, "steps": 5, "eta": 1.0},
)
"""Requests without a prompt, of 64 x 64 pixels."""


FACES_CASES = (
    {"seed": 7, "steps": 5, "eta": 0.0},
    {"seed": 8, "steps": 4, "eta": 1.0},
)
"""The same from CompVis's file, which takes as many steps as are asked for where that divides 1,000."""

CLASS_UNET: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [32, 64, 64],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "norm_num_groups": 32,
    "cross_attention_dim": 24,
    "attention_head_dim": 1,
    "sample_size": 64,
}
CLASS_VQ_VAE: dict[str, Any] = VQ_VAE | {"block_out_channels": [32, 32, 64], "norm_num_groups": 32}
CLASS_ROWS = 1001
CLASS_CASES: tuple[Mapping[str, Any], ...] = (
    {"prompt": "1", "label": 1, "seed": 7, "steps": 5, "guidance": 3.0, "eta": 0.0},
    {"prompt": "toilet paper", "label": 999, "seed": 8, "steps": 8, "guidance": 1.5, "eta": 1.0},
    {"prompt": "Great white shark", "label": 2, "seed": 9, "steps": 4, "guidance": 1.0, "eta": 0.0},
)
"""Requests of 64 x 64 pixels; CompVis takes as many steps as are asked for where that divides 1,000."""


def pixels() -> np.ndarray[Any, Any]:
    """A picture to encode, float32 (1, 32, 48, 3), -1 to 1."""
    return np.tanh(normal(5, 1, 32, 48, 3))


FACES_UNET: dict[str, Any] = UNCONDITIONAL_UNET | {"norm_num_groups": 32, "attention_head_dim": 32}


def write_class_model(path: Path) -> Path:
    """A pickled file laid out as CompVis's cin256-v2 is."""
    tensors = original_tensors(CLASS_UNET)
    tensors["cond_stage_model.embedding.weight"] = weight("classes", (CLASS_ROWS, 24))
    return _write_original(path, tensors)


def write_faces_model(path: Path) -> Path:
    """A pickled file laid out as CompVis's unconditional models are, to be drawn with by the averages."""
    tensors = original_tensors(FACES_UNET)
    for name in [name for name in tensors if name.startswith("model.")]:
        tensors["model_ema." + name.removeprefix("model.").replace(".", "")] = tensors[name]
        tensors[name] = np.zeros_like(tensors[name])
    tensors["model_ema.decay"] = np.float32([0.9999])
    return _write_original(path, tensors)


def _write_original(path: Path, tensors: Mapping[str, np.ndarray[Any, Any]]) -> Path:
    import pickled_files

    # One of several tables that such files have, too.
    tensors = {"betas": np.zeros(1000, np.float32), **tensors}
    pickled_files.write_zip(path, {"epoch": 3, "state_dict": tensors})
    return path


def original_tensors(config: dict[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """A UNet of a configuration and a VQ-VAE under CompVis's names."""
    from sdgen.checkpoints import module_lists
    from sdgen.networks.config import UNetConfig, VAEConfig
    from sdgen.pipeline.weight_shapes import decoder_shapes, encoder_shapes, unet_shapes

    unet, vae = unet_shapes(UNetConfig.from_config(config)), VAEConfig.from_config(CLASS_VQ_VAE)
    vae_shapes = {**decoder_shapes(vae), **encoder_shapes(vae)}
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for prefix, shapes, modules in (
        ("model.diffusion_model.", unet, module_lists.unet_modules(module_lists.unet_layout(unet))),
        ("first_stage_model.", vae_shapes, module_lists.vae_modules(vae_shapes)),
    ):
        layers = {layer.diffusers: layer for module in modules for layer in module_lists.layers(module)}
        dimensions = (1,) if prefix.startswith("model") else (1, 1)
        for name, shape in shapes.items():
            module, _, kind = name.rpartition(".")
            layer = layers.get(module, module_lists.Layer(module, module, "embedding"))
            pointwise = layer.kind == "pointwise" and kind == "weight"
            stored = (*shape, *dimensions) if pointwise else shape
            tensors[f"{prefix}{layer.ldm}.{kind}"] = weight(name, shape).reshape(stored)
        for block in [name for name in layers if name.endswith(".qkv")]:
            for kind in ("weight", "bias"):
                names = [f"{block.removesuffix('qkv')}{part}.{kind}" for part in ("to_q", "to_k", "to_v")]
                heads = [weight(name, shapes[name]).reshape(-1, 32, *shapes[name][1:]) for name in names]
                rest = shapes[names[0]][1:]
                joined = np.stack(heads, axis=1).reshape(-1, *rest, *(dimensions if kind == "weight" else ()))
                tensors[f"{prefix}{layers[block].ldm}.{kind}"] = joined
                for name in names:
                    del tensors[f"{prefix}{name}"]
    return tensors


def write_text_model(folder: Path) -> Path:
    """A folder laid out as CompVis/ldm-text2im-large-256 is."""
    from sdgen.networks.config import UNetConfig, VAEConfig
    from sdgen.networks.text_networks import text_config
    from sdgen.pipeline.weight_shapes import (
        decoder_shapes,
        encoder_shapes,
        text_encoder_shapes,
        unet_shapes,
    )

    vae = VAEConfig.from_config(VAE)
    parts = {
        "unet": (TEXT_UNET, unet_shapes(UNetConfig.from_config(TEXT_UNET)), "diffusion_pytorch_model"),
        "bert": (BERT, text_encoder_shapes(text_config(BERT)), "model"),
        "vqvae": (VAE, {**decoder_shapes(vae), **encoder_shapes(vae)}, "diffusion_pytorch_model"),
    }
    folder.mkdir(parents=True)
    make_bert_tokenizer.write(folder / "tokenizer")
    index = {
        "_class_name": "LDMTextToImagePipeline",
        "bert": ["latent_diffusion", "LDMBertModel"],
        "tokenizer": ["transformers", "BertTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vqvae": ["diffusers", "AutoencoderKL"],
    }
    return _write_model(folder, index, parts)


def write_unconditional_model(folder: Path) -> Path:
    """A folder laid out as CompVis/ldm-celebahq-256 is."""
    from sdgen.networks.config import UNetConfig, VAEConfig
    from sdgen.pipeline.weight_shapes import decoder_shapes, unet_shapes

    unet = UNetConfig.from_config(UNCONDITIONAL_UNET)
    parts = {
        "unet": (UNCONDITIONAL_UNET, unet_shapes(unet), "diffusion_pytorch_model"),
        "vqvae": (VQ_VAE, decoder_shapes(VAEConfig.from_config(VQ_VAE)), "diffusion_pytorch_model"),
    }
    index = {
        "_class_name": "LDMPipeline",
        "unet": ["diffusers", "UNet2DModel"],
        "vqvae": ["diffusers", "VQModel"],
    }
    return _write_model(folder, index, parts)


def _write_model(folder: Path, index: Mapping[str, Any], parts: Mapping[str, tuple[Any, Any, str]]) -> Path:
    for name, (config, shapes, stem) in parts.items():
        _write(folder / name, config, shapes, stem)
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER))
    index = {**index, "scheduler": ["diffusers", "DDIMScheduler"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def _write(folder: Path, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], stem: str) -> None:
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: weight(name, shape) for name, shape in shapes.items()}, folder / f"{stem}.safetensors")
