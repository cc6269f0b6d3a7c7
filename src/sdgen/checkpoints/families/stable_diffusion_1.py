"""Stable Diffusion 1.x (Rombach et al. 2022): CLIP's text encoder, attention in 8 heads, epsilon.

Sources: the config.json files of runwayml/stable-diffusion-v1-5, which agree with CompVis/stable-diffusion's
v1-inference.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sdgen.checkpoints.families.family import Config, Family, TextEncoding, extra_channels, latent_channels
from sdgen.checkpoints.families.networks import CLIP_TEXT_ENCODER, UNET, VAE
from sdgen.networks.k_config import has_k_blocks

UNET_CONFIG = {
    "_class_name": "UNet2DConditionModel",
    "act_fn": "silu",
    "center_input_sample": False,
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-5,
    "norm_num_groups": 32,
    "sample_size": 64,
}

TEXT_ENCODER_CONFIG = {
    "architectures": ["CLIPTextModel"],
    "attention_dropout": 0.0,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-5,
    "model_type": "clip_text_model",
}

VAE_CONFIG = {
    "_class_name": "AutoencoderKL",
    "act_fn": "silu",
    "in_channels": 3,
    "norm_num_groups": 32,
    "sample_size": 512,
    "scaling_factor": 0.18215,
}

SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "trained_betas": None,
}


def _convolves_into_transformers(unet: Config) -> bool:
    """SD 1 projects into its transformers by 1x1 convolutions, SD 2 by linear layers."""
    return unet.get("use_linear_projection") is not True and not has_k_blocks(unet)


def _draws(configs: Mapping[str, Config]) -> bool:
    return _convolves_into_transformers(configs["unet"]) and extra_channels(configs["unet"]) == 0


def _inpaints(configs: Mapping[str, Config]) -> bool:
    """The UNet takes a mask and the latents of what it leaves, too."""
    unet = configs["unet"]
    return _convolves_into_transformers(unet) and extra_channels(unet) == 1 + latent_channels(unet)


def _follows_instructions(configs: Mapping[str, Config]) -> bool:
    """The UNet takes the latents of the picture that it edits, too."""
    unet = configs["unet"]
    return _convolves_into_transformers(unet) and extra_channels(unet) == latent_channels(unet)


SD1 = Family(
    name="sd1",
    tasks=("text-to-image",),
    networks={"unet": UNET, "text_encoder": CLIP_TEXT_ENCODER, "vae": VAE},
    recognises=_draws,
    text=(TextEncoding(pad_token="<|endoftext|>", original="clip"),),
    configs={
        "unet": UNET_CONFIG,
        "text_encoder": TEXT_ENCODER_CONFIG
        | {"hidden_act": "quick_gelu", "pad_token_id": 1, "projection_dim": 768},
        "vae": VAE_CONFIG,
    },
    heads=8,
    scheduler=SCHEDULER,
    pipeline="StableDiffusionPipeline",
)

SD1_INPAINTING = replace(
    SD1,
    name="sd1-inpainting",
    tasks=("inpainting",),
    recognises=_inpaints,
    pipeline="StableDiffusionInpaintPipeline",
)

INSTRUCT_PIX2PIX = replace(
    SD1,
    name="instruct-pix2pix",
    tasks=("instructed-editing",),
    recognises=_follows_instructions,
    pipeline="StableDiffusionInstructPix2PixPipeline",
)
"""Brooks et al. 2023 (timbrooks/instruct-pix2pix)."""
