"""The kinds of networks that families are made of."""

from __future__ import annotations

from collections.abc import Mapping

from sdgen.checkpoints.families.family import Network

_OLD_ATTENTION: Mapping[str, str] = {
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
}
"""Names of the VAE's attention before diffusers 0.15 -> today's."""


def _vae_name(name: str) -> str:
    head, _, layer = name.partition(".attentions.0.")
    old, _, kind = layer.rpartition(".")
    return f"{head}.attentions.0.{_OLD_ATTENTION[old]}.{kind}" if old in _OLD_ATTENTION else name


def _text_encoder_name(name: str) -> str | None:
    name = name.removeprefix("text_model.")
    # Position numbers of older files; the projection of CLIP's own task, which Stable Diffusion does without.
    return None if name in ("embeddings.position_ids", "text_projection.weight") else name


UNET = Network(
    label="UNet",
    class_name="UNet2DConditionModel",
    lora_prefixes=("lora_unet_", "oft_unet_", "diffusion_model."),  # kohya's, its OFT's, ComfyUI's
)

UNCONDITIONAL_UNET = Network(label="UNet", class_name="UNet2DModel")
"""A UNet without cross-attention."""

VAE = Network(label="VAE", class_name="AutoencoderKL", rename=_vae_name, replaceable=True)

VQ_VAE = Network(label="VQ-VAE", class_name="VQModel", rename=_vae_name)
"""An autoencoder whose latents are entries of a codebook."""

CLASS_EMBEDDER = Network(label="class embedder", class_name="ClassEmbedder", library="latent_diffusion")
"""A vector for each class (CompVis/latent-diffusion, ldm/modules/encoders/modules.py)."""

CLIP_TEXT_ENCODER = Network(
    label="text encoder",
    class_name="CLIPTextModel",
    library="transformers",
    weights_name="model",
    rename=_text_encoder_name,
    # transformers 5 reads both; earlier versions know the names with this prefix alone.
    written_prefix="text_model.",
    lora_prefixes=("lora_te_", "lora_te1_"),
    only_for_text=True,
)
