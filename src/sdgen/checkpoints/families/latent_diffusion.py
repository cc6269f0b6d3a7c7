"""What the files of CompVis/latent-diffusion's models have in common: schedule, autoencoder, attention.

Source: configs/latent-diffusion/{celebahq-ldm-vq-4,ffhq-ldm-vq-4,lsun_bedrooms-ldm-vq-4,cin256-v2}.yaml,
models/ldm/bsr_sr/config.yaml, and ldm/models/diffusion/ddim.py, whose steps are those of this scheduler.
"""

from __future__ import annotations

SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "beta_end": 0.0195,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.0015,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "trained_betas": None,
}

VQ_VAE_CONFIG = {
    "_class_name": "VQModel",
    "act_fn": "silu",
    "in_channels": 3,
    "norm_num_groups": 32,
    "sample_size": 256,
    "scaling_factor": 1.0,
}

HEAD_WIDTH = 32
"""Channels of an attention head of the UNets without text."""

UNCONDITIONAL_UNET_CONFIG = {
    "_class_name": "UNet2DModel",
    "act_fn": "silu",
    "attention_head_dim": HEAD_WIDTH,
    "center_input_sample": False,
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-5,
    "norm_num_groups": 32,
    "sample_size": 64,
}
