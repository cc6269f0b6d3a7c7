"""The UNet of K blocks: which configurations it has, and what it keeps from one step to the next.

What it computes is compared with the reference in test_small_networks.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from golden import small_networks as small

from sdgen import backend
from sdgen.errors import CheckpointError
from sdgen.networks.config import UNetConfig

CONFIG = small.K_UNETS["unet-x2-upscaler"]
X2_UPSCALER = CONFIG | {
    "_class_name": "UNet2DConditionModel",
    "attention_head_dim": 64,
    "block_out_channels": [384, 384, 768, 768],
    "cross_attention_dim": 768,
    "cross_attention_norm": "layer_norm",
    "only_cross_attention": False,
    "sample_size": None,
    "time_cond_proj_dim": 896,
}
"""Of stabilityai/sd-x2-latent-upscaler, as far as public sources tell."""


def test_the_x2_upscaler_has_self_attention_where_it_is_deepest_alone() -> None:
    backend.activate("tensorflow")
    from sdgen.pipeline.weight_shapes import unet_shapes

    config = UNetConfig.from_config(X2_UPSCALER)
    assert config.predicted_channels == 4
    assert config.heads == (6, 6, 12, 12)
    names = [name for name in unet_shapes(config) if name.endswith("attn1.to_q.weight")]
    assert {name.rsplit(".", 4)[0] for name in names} == {
        "down_blocks.3.attentions",
        "up_blocks.0.attentions",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block_out_channels": [32, 32, 32, 64]}, "twice the first"),
        ({"block_out_channels": [32, 64, 64, 64]}, "twice the first"),
        ({"block_out_channels": [32, 40, 64, 64]}, "divides 40 channels by 32"),
        ({"block_out_channels": [64]}, "1 widths for 4 down and 4 up"),
        ({"mid_block_type": "UNetMidBlock2DCrossAttn"}, "mid_block_type"),
        ({"act_fn": "silu"}, "act_fn"),
        ({"attention_head_dim": 20}, "divides 32 channels by 20"),
        ({"attention_head_dim": [16, 16, 16, 16]}, "attention_head_dim"),
        ({"down_block_types": ["KDownBlock2D", "DownBlock2D"]}, "a block of type 'DownBlock2D'"),
        ({"down_block_types": ["KDownBlock2D"] * 4}, "no attention in its deepest blocks"),
    ],
)
def test_other_k_blocks_than_the_reference_puts_together_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        UNetConfig.from_config(CONFIG | changes)


@pytest.mark.parametrize("name", ["conv_in_kernel", "mid_block_type", "time_embedding_type"])
def test_a_setting_whose_default_is_another_networks_is_missed(name: str) -> None:
    with pytest.raises(CheckpointError, match=f"has no '{name}'"):
        UNetConfig.from_config({key: value for key, value in CONFIG.items() if key != name})


@pytest.mark.parametrize("name", small.K_UNETS)
def test_features_that_are_kept_give_the_whole_prediction(name: str) -> None:
    backend.activate("tensorflow")
    from sdgen.networks.unet_networks import unet_network

    unet = unet_network(UNetConfig.from_config(small.K_UNETS[name]), small._numerics())
    weights, latents = small.values_of(unet), small.latents(name)[:1]
    vectors = {"pooled": small.pooled()} if unet.config.condition_width else {}
    shifts = unet.embed_timesteps(weights, small.K_TIMESTEPS[None, :1], vectors)[0]
    context = unet.project_context(weights, small.context())
    features = unet.deep_features(weights, latents, shifts, context)
    assert features.shape == (2, 16, 24, unet.config.block_out_channels[0])
    np.testing.assert_allclose(
        unet.denoise_from(weights, features, latents, shifts, context),
        unet.denoise(weights, latents, shifts, context),
        rtol=1e-5,
        atol=1e-6,
    )


def test_a_network_without_a_pooled_vector_refuses_it() -> None:
    backend.activate("tensorflow")
    from sdgen.networks.unet_networks import unet_network

    unet = unet_network(UNetConfig.from_config(small.K_UNETS["unet-k-without-vectors"]), small._numerics())
    with pytest.raises(ValueError, match=r"takes \[\] beside timesteps, not \['pooled'\]"):
        unet.embed_timesteps(small.values_of(unet), small.K_TIMESTEPS[None], {"pooled": small.pooled()})


def test_a_map_of_one_position_has_none_to_mirror() -> None:
    backend.activate("tensorflow")
    from sdgen.networks.k_blocks import Doubling

    with pytest.raises(ValueError, match="one position"):
        Doubling("")(np.zeros((1, 1, 4, 2), np.float32))
