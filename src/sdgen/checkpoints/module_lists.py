"""The networks of Stable Diffusion as lists of modules, under diffusers' and the original (LDM) names.

A network is walked in the order of its computation, which is also the order in which keras_cv stores its
layers. Each step is a ``Module``: a layer or a block of a known kind, with its two names. What is inside a
block of one kind is the same everywhere and is listed once, in ``PARTS``.

Sources: CompVis/stable-diffusion, ldm/modules/diffusionmodules/{openaimodel,model}.py and
ldm/modules/attention.py; diffusers, models/unets/unet_2d_condition.py and
models/autoencoders/autoencoder_kl.py; mlfoundations/open_clip, transformer.py.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple


class Module(NamedTuple):
    """A step of a network. ``kind`` is a key of ``PARTS`` or a layer kind (see ``Layer``)."""

    diffusers: str
    ldm: str
    kind: str


class Layer(NamedTuple):
    """A layer with a weight and, but for attention's projections, a bias.

    ``kind`` is "conv" (weight OIHW), "linear" (out, in), "projection" (one or the other: see
    ``UNetLayout``), "pointwise" (linear in diffusers, a 1x1 convolution elsewhere) or "norm".
    """

    diffusers: str
    ldm: str
    kind: str
    bias: bool = True


_RESNET = (
    Layer("norm1", "in_layers.0", "norm"),
    Layer("conv1", "in_layers.2", "conv"),
    Layer("time_emb_proj", "emb_layers.1", "linear"),
    Layer("norm2", "out_layers.0", "norm"),
    Layer("conv2", "out_layers.3", "conv"),
    Layer("conv_shortcut", "skip_connection", "conv"),
)

_VAE_RESNET = (
    Layer("norm1", "norm1", "norm"),
    Layer("conv1", "conv1", "conv"),
    Layer("norm2", "norm2", "norm"),
    Layer("conv2", "conv2", "conv"),
    Layer("conv_shortcut", "nin_shortcut", "conv"),
)

_VAE_ATTENTION = (
    Layer("group_norm", "norm", "norm"),
    Layer("to_q", "q", "pointwise"),
    Layer("to_k", "k", "pointwise"),
    Layer("to_v", "v", "pointwise"),
    Layer("to_out.0", "proj_out", "pointwise"),
)


def _same(name: str, kind: str, bias: bool = True) -> Layer:
    return Layer(name, name, kind, bias)


def _attention(name: str) -> tuple[Layer, ...]:
    projections = (_same(f"{name}.{part}", "linear", bias=False) for part in ("to_q", "to_k", "to_v"))
    return (*projections, _same(f"{name}.to_out.0", "linear"))


_BLOCK = "transformer_blocks.0"

_TRANSFORMER = (
    _same("norm", "norm"),
    _same("proj_in", "projection"),
    _same(f"{_BLOCK}.norm1", "norm"),
    *_attention(f"{_BLOCK}.attn1"),
    _same(f"{_BLOCK}.norm2", "norm"),
    *_attention(f"{_BLOCK}.attn2"),
    _same(f"{_BLOCK}.norm3", "norm"),
    _same(f"{_BLOCK}.ff.net.0.proj", "linear"),
    _same(f"{_BLOCK}.ff.net.2", "linear"),
    _same("proj_out", "projection"),
)

_SELF_ATTENTION = (
    Layer("group_norm", "norm", "norm"),
    Layer("qkv", "qkv", "qkv"),
    Layer("to_out.0", "proj_out", "pointwise"),
)
"""What a UNet without text attends with; diffusers has the three projections of ``qkv`` apart."""

PARTS = {
    "resnet": _RESNET,
    "self-attention": _SELF_ATTENTION,
    "transformer": _TRANSFORMER,
    "vae resnet": _VAE_RESNET,
    "vae attention": _VAE_ATTENTION,
}
"""The layers of each kind of block, in the order of computation."""


def layers(module: Module) -> Iterator[Layer]:
    """The layers of a module under their full names; a resnet's shortcut, its last, may be absent."""
    if module.kind not in PARTS:
        yield Layer(module.diffusers, module.ldm, module.kind)
        return
    for part in PARTS[module.kind]:
        yield Layer(f"{module.diffusers}.{part.diffusers}", f"{module.ldm}.{part.ldm}", part.kind, part.bias)


@dataclass(frozen=True)
class UNetLayout:
    """What decides a UNet's module names.

    Attributes:
        attention: whether each resolution has spatial transformers, from the highest resolution down.
        layers_per_block: resnets in each down block (an up block has one more).
        class_embedding: whether there is an embedding of the noise level (the x4 upscaler).
        alone: whether self-attention alone is in place of the transformers.
    """

    attention: tuple[bool, ...] = (True, True, True, False)
    layers_per_block: int = 2
    class_embedding: bool = False
    alone: bool = False


def unet_layout(weights: Container[str]) -> UNetLayout:
    """The layout that the diffusers names of a UNet's weights show."""
    blocks = _count(weights, "down_blocks.{}.resnets.0.conv1.weight")
    return UNetLayout(
        attention=tuple(
            any(f"down_blocks.{n}.attentions.0.{norm}.weight" in weights for norm in ("norm", "group_norm"))
            for n in range(blocks)
        ),
        layers_per_block=_count(weights, "down_blocks.0.resnets.{}.conv1.weight"),
        class_embedding="class_embedding.weight" in weights,
        alone="mid_block.attentions.0.to_q.weight" in weights,
    )


def ldm_unet_layout(weights: Container[str]) -> UNetLayout:
    """The layout that the LDM names of a UNet's weights show: its downsamplers say where blocks end."""
    ends = [number for number in range(1, 64) if f"input_blocks.{number}.0.op.weight" in weights]
    layers = ends[0] - 1 if ends else 2
    starts = range(1, 1 + (len(ends) + 1) * (layers + 1), layers + 1)
    return UNetLayout(
        attention=tuple(f"input_blocks.{number}.1.norm.weight" in weights for number in starts),
        layers_per_block=layers,
        class_embedding="label_emb.weight" in weights,
        alone="middle_block.1.qkv.weight" in weights,
    )


def vae_modules(weights: Container[str]) -> list[Module]:
    """A whole VAE's modules, as many as the diffusers or LDM names of its decoder's weights show."""
    diffusers = "decoder.up_blocks.0.resnets.0.conv1.weight" in weights
    block, layer = ("up_blocks", "resnets") if diffusers else ("up", "block")
    blocks = _count(weights, f"decoder.{block}.{{}}.{layer}.0.conv1.weight")
    layers = _count(weights, f"decoder.{block}.0.{layer}.{{}}.conv1.weight") - 1
    return [*vae_encoder_modules(blocks, layers), *vae_decoder_modules(blocks, layers)]


def _count(weights: Container[str], pattern: str) -> int:
    number = 0
    while pattern.format(number) in weights:
        number += 1
    return number


def unet_modules(layout: UNetLayout) -> Iterator[Module]:
    """The UNet's modules, in keras_cv's order of layers."""
    blocks = len(layout.attention)
    attends = "self-attention" if layout.alone else "transformer"
    yield Module("time_embedding.linear_1", "time_embed.0", "linear")
    yield Module("conv_in", "input_blocks.0.0", "conv")
    yield Module("time_embedding.linear_2", "time_embed.2", "linear")
    if layout.class_embedding:
        yield Module("class_embedding", "label_emb", "embedding")
    number = 0
    for block, attention in enumerate(layout.attention):
        for index in range(layout.layers_per_block):
            number += 1
            yield Module(f"down_blocks.{block}.resnets.{index}", f"input_blocks.{number}.0", "resnet")
            if attention:
                name = f"down_blocks.{block}.attentions.{index}"
                yield Module(name, f"input_blocks.{number}.1", attends)
        if block < blocks - 1:
            number += 1
            yield Module(f"down_blocks.{block}.downsamplers.0.conv", f"input_blocks.{number}.0.op", "conv")
    yield Module("mid_block.resnets.0", "middle_block.0", "resnet")
    yield Module("mid_block.attentions.0", "middle_block.1", attends)
    yield Module("mid_block.resnets.1", "middle_block.2", "resnet")
    number = -1
    for block, attention in enumerate(reversed(layout.attention)):
        for index in range(layout.layers_per_block + 1):
            number += 1
            yield Module(f"up_blocks.{block}.resnets.{index}", f"output_blocks.{number}.0", "resnet")
            if attention:
                yield Module(f"up_blocks.{block}.attentions.{index}", f"output_blocks.{number}.1", attends)
        if block < blocks - 1:
            place = 2 if attention else 1
            yield Module(
                f"up_blocks.{block}.upsamplers.0.conv", f"output_blocks.{number}.{place}.conv", "conv"
            )
    yield Module("conv_norm_out", "out.0", "norm")
    yield Module("conv_out", "out.2", "conv")


def vae_encoder_modules(blocks: int = 4, layers_per_block: int = 2) -> Iterator[Module]:
    """The VAE encoder's modules, in keras_cv's order of layers."""
    yield Module("encoder.conv_in", "encoder.conv_in", "conv")
    for block in range(blocks):
        down = f"encoder.down_blocks.{block}", f"encoder.down.{block}"
        for index in range(layers_per_block):
            yield Module(f"{down[0]}.resnets.{index}", f"{down[1]}.block.{index}", "vae resnet")
        if block < blocks - 1:
            yield Module(f"{down[0]}.downsamplers.0.conv", f"{down[1]}.downsample.conv", "conv")
    yield from _vae_middle("encoder")
    yield Module("encoder.conv_norm_out", "encoder.norm_out", "norm")
    yield Module("encoder.conv_out", "encoder.conv_out", "conv")
    yield Module("quant_conv", "quant_conv", "conv")


def vae_decoder_modules(blocks: int = 4, layers_per_block: int = 2) -> Iterator[Module]:
    """The VAE decoder's modules, in keras_cv's order of layers. LDM counts its up blocks backwards."""
    yield Module("post_quant_conv", "post_quant_conv", "conv")
    yield Module("decoder.conv_in", "decoder.conv_in", "conv")
    yield from _vae_middle("decoder")
    for block in range(blocks):
        up = f"decoder.up_blocks.{block}", f"decoder.up.{blocks - 1 - block}"
        for index in range(layers_per_block + 1):
            yield Module(f"{up[0]}.resnets.{index}", f"{up[1]}.block.{index}", "vae resnet")
        if block < blocks - 1:
            yield Module(f"{up[0]}.upsamplers.0.conv", f"{up[1]}.upsample.conv", "conv")
    yield Module("decoder.conv_norm_out", "decoder.norm_out", "norm")
    yield Module("decoder.conv_out", "decoder.conv_out", "conv")


def _vae_middle(half: str) -> Iterator[Module]:
    yield Module(f"{half}.mid_block.resnets.0", f"{half}.mid.block_1", "vae resnet")
    yield Module(f"{half}.mid_block.attentions.0", f"{half}.mid.attn_1", "vae attention")
    yield Module(f"{half}.mid_block.resnets.1", f"{half}.mid.block_2", "vae resnet")


def ldm_to_diffusers(modules: Iterable[Module]) -> dict[str, str]:
    """LDM layer name -> diffusers layer name."""
    return {layer.ldm: layer.diffusers for module in modules for layer in layers(module)}


TEXT_LAYER = {
    "layer_norm1": "ln_1",
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
"""Layers of a text encoder block: transformers -> OpenCLIP. Queries, keys and values are one in OpenCLIP."""

TEXT_ENDS = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
"""Tensors outside of the blocks: transformers -> OpenCLIP."""
