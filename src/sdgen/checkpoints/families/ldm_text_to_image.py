"""Latent diffusion's text model (Rombach et al. 2022, figure 5), at 256x256.

It has BERT's word pieces, a transformer that was trained on them with the UNet, and the UNet and autoencoder
that Stable Diffusion 1 has.

Sources: model_index.json and the config.json files of CompVis/ldm-text2im-large-256; diffusers'
LDMTextToImagePipeline, which takes the scheduler's settings as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

from sdgen.checkpoints.families.family import Config, Family, Network, TextEncoding, extra_channels
from sdgen.checkpoints.families.networks import UNET, VAE
from sdgen.text.bert_tokenizer import BertTokenizer


def _name(name: str) -> str | None:
    """Without the head that the transformer was trained with beside the UNet."""
    return None if name.startswith("to_logits.") else name


LDM_BERT = Network(
    label="text encoder",
    class_name="LDMBertModel",
    library="latent_diffusion",
    weights_name="model",
    rename=_name,
)


def _draws(configs: Mapping[str, Config]) -> bool:
    return extra_channels(configs["unet"]) == 0


LDM_TEXT_TO_IMAGE = Family(
    name="ldm-text2im",
    tasks=("text-to-image",),
    networks={"unet": UNET, "bert": LDM_BERT, "vqvae": VAE},
    recognises=_draws,
    text=(
        TextEncoding(
            pad_token="[PAD]",
            original="bert",
            component="bert",
            tokenizer_class=BertTokenizer,
            tokenizer_class_name="BertTokenizer",
        ),
    ),
    pipeline="LDMTextToImagePipeline",
    autoencoder="vqvae",
    native_size=256,
    forced={"clip_sample": False},
)
