"""The families of models: one file each, and a registry that tells them apart.

A family says which networks its models have, how their text is encoded, what they are for, what no file
says of them, and how they are recognised. A new one is a file here and a row of ``registry.REGISTRY``.
"""

from __future__ import annotations

from sdgen.checkpoints.families.family import Config, Family, Network, TextEncoding
from sdgen.checkpoints.families.registry import REGISTRY, Registry
from sdgen.checkpoints.families.stable_diffusion_1 import SD1
from sdgen.checkpoints.families.stable_diffusion_2 import SD2
from sdgen.checkpoints.families.stable_diffusion_x4_upscaler import X4_UPSCALER

__all__ = ["REGISTRY", "SD1", "SD2", "X4_UPSCALER", "Config", "Family", "Network", "Registry", "TextEncoding"]
