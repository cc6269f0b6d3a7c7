"""The text encoders by what their config.json says that they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdgen.networks.config import TextEncoderConfig
from sdgen.networks.layers import Numerics
from sdgen.networks.ldm_bert import LDMBert, LDMBertConfig
from sdgen.networks.text_encoder import TextEncoder

TextConfig = TextEncoderConfig | LDMBertConfig
TextNetwork = TextEncoder | LDMBert


def text_config(config: Mapping[str, Any]) -> TextConfig:
    """A text encoder's config.json: of latent diffusion's transformer where it says so, else of CLIP.

    Raises:
        CheckpointError: as ``from_config``.
    """
    if config.get("model_type") == "ldmbert" or config.get("architectures") == ["LDMBertModel"]:
        return LDMBertConfig.from_config(config)
    return TextEncoderConfig.from_config(config)


def text_network(config: TextConfig, numerics: Numerics) -> TextNetwork:
    """The network of a configuration."""
    return LDMBert(config, numerics) if isinstance(config, LDMBertConfig) else TextEncoder(config, numerics)
