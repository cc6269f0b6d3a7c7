"""The tensors that a configuration asks for, without a network: names and shapes in diffusers' layouts.

What the layers of this package ask for (``Parameter.sources``) is the same; here it is known before Keras is
imported, so that weights that do not fit are refused at once and nothing is built for them.
"""

from __future__ import annotations

from collections.abc import Iterator

from sdgen.checkpoints.checkpoint import Checkpoint, check_shapes
from sdgen.checkpoints.tensors import Shape
from sdgen.networks.config import TextEncoderConfig, UNetConfig, VAEConfig

Named = Iterator[tuple[str, Shape]]
"""Names of tensors with their shapes."""

DECODER_PARTS = ("decoder.", "post_quant_conv.")
"""What the names of the VAE decoder's tensors start with."""


def check_weights(checkpoint: Checkpoint) -> None:
    """Check that the configurations are sound and that the weights fit them: all but the VAE's encoder.

    Raises:
        CheckpointError: they are not, or do not.
    """
    unet = UNetConfig.from_config(checkpoint.unet.config)
    text_encoder = TextEncoderConfig.from_config(checkpoint.text_encoder.config)
    vae = VAEConfig.from_config(checkpoint.vae.config)
    check_shapes(checkpoint.unet, dict(unet_shapes(unet)))
    check_shapes(checkpoint.text_encoder, dict(text_encoder_shapes(text_encoder)))
    check_shapes(checkpoint.vae.only(*DECODER_PARTS), dict(decoder_shapes(vae)))


def unet_shapes(config: UNetConfig) -> Named:
    """Every tensor of a UNet."""
    channels = config.block_out_channels
    time, last = 4 * channels[0], len(channels) - 1

    def transformer(name: str, stage: int) -> Named:
        yield from _transformer(
            name,
            channels[stage],
            config.cross_attention_dim,
            config.depth[stage],
            config.use_linear_projection,
        )

    yield from _conv("conv_in", config.in_channels, channels[0])
    yield from _linear("time_embedding.linear_1", channels[0], time)
    yield from _linear("time_embedding.linear_2", time, time)
    skips, current = [channels[0]], channels[0]
    for stage, width in enumerate(channels):
        block = f"down_blocks.{stage}"
        for index in range(config.layers_per_block[stage]):
            yield from _resnet(f"{block}.resnets.{index}", current, width, time)
            if config.attention_down[stage]:
                yield from transformer(f"{block}.attentions.{index}", stage)
            current = width
            skips.append(current)
        if stage != last:
            yield from _conv(f"{block}.downsamplers.0.conv", current, current)
            skips.append(current)
    for index in range(2):
        yield from _resnet(f"mid_block.resnets.{index}", current, current, time)
    yield from transformer("mid_block.attentions.0", last)
    for number, stage in enumerate(reversed(range(len(channels)))):
        block, width = f"up_blocks.{number}", channels[stage]
        for index in range(config.layers_per_block[stage] + 1):
            yield from _resnet(f"{block}.resnets.{index}", current + skips.pop(), width, time)
            if config.attention_up[number]:
                yield from transformer(f"{block}.attentions.{index}", stage)
            current = width
        if stage:
            yield from _conv(f"{block}.upsamplers.0.conv", current, current)
    if config.labels:
        yield "class_embedding.weight", (config.labels, time)
    if config.added_inputs:
        yield from _linear("add_embedding.linear_1", config.added_inputs, time)
        yield from _linear("add_embedding.linear_2", time, time)
    yield from _norm("conv_norm_out", channels[0])
    yield from _conv("conv_out", channels[0], config.out_channels)


def text_encoder_shapes(config: TextEncoderConfig) -> Named:
    """Every tensor of a text encoder."""
    width, inner = config.hidden_size, config.intermediate_size
    yield "embeddings.token_embedding.weight", (config.vocab_size, width)
    yield "embeddings.position_embedding.weight", (config.max_position_embeddings, width)
    for number in range(config.num_hidden_layers):
        layer = f"encoder.layers.{number}"
        yield from _norm(f"{layer}.layer_norm1", width)
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _linear(f"{layer}.self_attn.{part}", width, width)
        yield from _norm(f"{layer}.layer_norm2", width)
        yield from _linear(f"{layer}.mlp.fc1", width, inner)
        yield from _linear(f"{layer}.mlp.fc2", inner, width)
    yield from _norm("final_layer_norm", width)


def encoder_shapes(config: VAEConfig) -> Named:
    """Every tensor of a VAE's encoder."""
    channels, moments = config.block_out_channels, 2 * config.latent_channels
    yield from _conv("encoder.conv_in", config.in_channels, channels[0])
    current = channels[0]
    for stage, width in enumerate(channels):
        for index in range(config.layers_per_block):
            yield from _resnet(f"encoder.down_blocks.{stage}.resnets.{index}", current, width)
            current = width
        if stage < len(channels) - 1:
            yield from _conv(f"encoder.down_blocks.{stage}.downsamplers.0.conv", current, current)
    yield from _vae_middle("encoder", current, config)
    yield from _norm("encoder.conv_norm_out", current)
    yield from _conv("encoder.conv_out", current, moments)
    if config.use_quant_conv:
        yield from _conv("quant_conv", moments, moments, 1)


def decoder_shapes(config: VAEConfig) -> Named:
    """Every tensor of a VAE's decoder."""
    channels, latent = config.block_out_channels[::-1], config.latent_channels
    if config.use_post_quant_conv:
        yield from _conv("post_quant_conv", latent, latent, 1)
    yield from _conv("decoder.conv_in", latent, channels[0])
    yield from _vae_middle("decoder", channels[0], config)
    current = channels[0]
    for stage, width in enumerate(channels):
        for index in range(config.layers_per_block + 1):
            yield from _resnet(f"decoder.up_blocks.{stage}.resnets.{index}", current, width)
            current = width
        if stage < len(channels) - 1:
            yield from _conv(f"decoder.up_blocks.{stage}.upsamplers.0.conv", current, current)
    yield from _norm("decoder.conv_norm_out", current)
    yield from _conv("decoder.conv_out", current, config.out_channels)


def _linear(name: str, inputs: int, outputs: int, bias: bool = True) -> Named:
    yield f"{name}.weight", (outputs, inputs)
    if bias:
        yield f"{name}.bias", (outputs,)


def _conv(name: str, inputs: int, outputs: int, kernel: int = 3) -> Named:
    yield f"{name}.weight", (outputs, inputs, kernel, kernel)
    yield f"{name}.bias", (outputs,)


def _norm(name: str, channels: int) -> Named:
    yield f"{name}.weight", (channels,)
    yield f"{name}.bias", (channels,)


def _resnet(name: str, inputs: int, outputs: int, time: int | None = None) -> Named:
    yield from _norm(f"{name}.norm1", inputs)
    yield from _conv(f"{name}.conv1", inputs, outputs)
    if time is not None:
        yield from _linear(f"{name}.time_emb_proj", time, outputs)
    yield from _norm(f"{name}.norm2", outputs)
    yield from _conv(f"{name}.conv2", outputs, outputs)
    if inputs != outputs:
        yield from _conv(f"{name}.conv_shortcut", inputs, outputs, 1)


def _transformer(name: str, channels: int, context: int, depth: int, linear: bool) -> Named:
    yield from _norm(f"{name}.norm", channels)
    for side in ("proj_in", "proj_out"):
        at = f"{name}.{side}"
        yield from _linear(at, channels, channels) if linear else _conv(at, channels, channels, 1)
    for number in range(depth):
        block = f"{name}.transformer_blocks.{number}"
        for attention, inputs in (("attn1", channels), ("attn2", context)):
            yield from _linear(f"{block}.{attention}.to_q", channels, channels, bias=False)
            yield from _linear(f"{block}.{attention}.to_k", inputs, channels, bias=False)
            yield from _linear(f"{block}.{attention}.to_v", inputs, channels, bias=False)
            yield from _linear(f"{block}.{attention}.to_out.0", channels, channels)
        for norm in ("norm1", "norm2", "norm3"):
            yield from _norm(f"{block}.{norm}", channels)
        yield from _linear(f"{block}.ff.net.0.proj", channels, 8 * channels)
        yield from _linear(f"{block}.ff.net.2", 4 * channels, channels)


def _vae_middle(half: str, channels: int, config: VAEConfig) -> Named:
    for index in range(2):
        yield from _resnet(f"{half}.mid_block.resnets.{index}", channels, channels)
    if config.mid_block_add_attention:
        attention = f"{half}.mid_block.attentions.0"
        yield from _norm(f"{attention}.group_norm", channels)
        for part in ("to_q", "to_k", "to_v", "to_out.0"):
            yield from _linear(f"{attention}.{part}", channels, channels)
