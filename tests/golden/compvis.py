"""The arithmetic of CompVis/latent-diffusion in PyTorch, on tensors under its names: UNet, sampler, decoder.

Written from its source: ldm/modules/diffusionmodules/{openaimodel,model,util}.py, ldm/modules/attention.py,
ldm/models/diffusion/ddim.py, and taming-transformers' VectorQuantizer2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv1d, conv2d, gelu, group_norm, interpolate, layer_norm, linear, pad, silu

GROUPS = 32
HEAD_WIDTH = 32
"""num_head_channels of the configurations of models without text."""


class Weights:
    """The tensors below a prefix."""

    def __init__(self, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
        self.tensors, self.prefix = tensors, prefix

    def __getitem__(self, name: str) -> Weights:
        return Weights(self.tensors, f"{self.prefix}{name}.")

    def __contains__(self, name: str) -> bool:
        return any(tensor.startswith(f"{self.prefix}{name}.") for tensor in self.tensors)

    def parts(self) -> Iterator[Weights]:
        """What has a number for a name, in order."""
        number = 0
        while str(number) in self:
            yield self[str(number)]
            number += 1

    @property
    def weight(self) -> Tensor:
        return self.tensors[f"{self.prefix}weight"]

    @property
    def bias(self) -> Tensor | None:
        return self.tensors.get(f"{self.prefix}bias")


def _conv(w: Weights, x: Tensor, stride: int = 1) -> Tensor:
    return conv2d(x, w.weight, w.bias, stride=stride, padding=w.weight.shape[-1] // 2)


def _norm(w: Weights, x: Tensor, eps: float) -> Tensor:
    return group_norm(x, GROUPS, w.weight, w.bias, eps)


def _linear(w: Weights, x: Tensor) -> Tensor:
    return linear(x, w.weight, w.bias)


def timestep_embedding(timesteps: Tensor, width: int) -> Tensor:
    half = width // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half)
    angles = timesteps[:, None].float() * frequencies[None]
    return torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1)


def _resblock(w: Weights, x: Tensor, embedding: Tensor) -> Tensor:
    h = _conv(w["in_layers"]["2"], silu(_norm(w["in_layers"]["0"], x, 1e-5)))
    h = h + _linear(w["emb_layers"]["1"], silu(embedding))[:, :, None, None]
    h = _conv(w["out_layers"]["3"], silu(_norm(w["out_layers"]["0"], h, 1e-5)))
    return (_conv(w["skip_connection"], x) if "skip_connection" in w else x) + h


def _attention(w: Weights, x: Tensor, context: Tensor, heads: int) -> Tensor:
    q, k, v = (_linear(w[name], given) for name, given in (("to_q", x), ("to_k", context), ("to_v", context)))
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(dim=-1)
    return _linear(w["to_out"]["0"], (weights @ v).transpose(1, 2).flatten(2))


def _spatial_transformer(w: Weights, x: Tensor, context: Tensor, heads: int) -> Tensor:
    height = x.shape[2]
    h = _conv(w["proj_in"], _norm(w["norm"], x, 1e-6)).flatten(2).transpose(1, 2)
    for block in w["transformer_blocks"].parts():

        def normed(name: str, h: Tensor, block: Weights = block) -> Tensor:
            return layer_norm(h, h.shape[-1:], block[name].weight, block[name].bias)

        n = normed("norm1", h)
        h = _attention(block["attn1"], n, n, heads) + h
        h = _attention(block["attn2"], normed("norm2", h), context, heads) + h
        values, gates = _linear(block["ff"]["net"]["0"]["proj"], normed("norm3", h)).chunk(2, dim=-1)
        h = _linear(block["ff"]["net"]["2"], values * gelu(gates)) + h
    return _conv(w["proj_out"], h.transpose(1, 2).unflatten(2, (height, -1))) + x


def _self_attention(w: Weights, x: Tensor) -> Tensor:
    """AttentionBlock, with QKVAttentionLegacy."""
    batch, width, *size = x.shape
    x = x.reshape(batch, width, -1)
    qkv = conv1d(_norm(w["norm"], x, 1e-5), w["qkv"].weight, w["qkv"].bias)
    q, k, v = qkv.reshape(batch * width // HEAD_WIDTH, 3 * HEAD_WIDTH, -1).split(HEAD_WIDTH, dim=1)
    scale = HEAD_WIDTH**-0.25
    weights = torch.einsum("bct,bcs->bts", q * scale, k * scale).softmax(dim=-1)
    h = torch.einsum("bts,bcs->bct", weights, v).reshape(batch, width, -1)
    return (x + conv1d(h, w["proj_out"].weight, w["proj_out"].bias)).reshape(batch, width, *size)


def unet(w: Weights, x: Tensor, timesteps: Tensor, context: Tensor | None = None, heads: int = 1) -> Tensor:
    """UNetModel.forward."""
    width = w["time_embed"]["0"].weight.shape[1]
    embedding = _linear(w["time_embed"]["0"], timestep_embedding(timesteps, width))
    embedding = _linear(w["time_embed"]["2"], silu(embedding))

    def run(block: Weights, h: Tensor) -> Tensor:
        for part in block.parts():
            if "in_layers" in part:
                h = _resblock(part, h, embedding)
            elif "qkv" in part:
                h = _self_attention(part, h)
            elif "transformer_blocks" in part:
                assert context is not None
                h = _spatial_transformer(part, h, context, heads)
            elif "op" in part:
                h = _conv(part["op"], h, stride=2)
            elif "conv" in part:
                h = _conv(part["conv"], interpolate(h, scale_factor=2, mode="nearest"))
            else:
                h = _conv(part, h)
        return h

    skips, h = [], x
    for block in w["input_blocks"].parts():
        h = run(block, h)
        skips.append(h)
    h = run(w["middle_block"], h)
    for block in w["output_blocks"].parts():
        h = run(block, torch.cat([h, skips.pop()], dim=1))
    return _conv(w["out"]["2"], silu(_norm(w["out"]["0"], h, 1e-5)))


def _vae_resblock(w: Weights, x: Tensor) -> Tensor:
    h = _conv(w["conv1"], silu(_norm(w["norm1"], x, 1e-6)))
    h = _conv(w["conv2"], silu(_norm(w["norm2"], h, 1e-6)))
    return (_conv(w["nin_shortcut"], x) if "nin_shortcut" in w else x) + h


def _vae_attention(w: Weights, x: Tensor) -> Tensor:
    h = _norm(w["norm"], x, 1e-6)
    q, k, v = (_conv(w[name], h).flatten(2) for name in ("q", "k", "v"))
    weights = (q.transpose(1, 2) @ k * q.shape[1] ** -0.5).softmax(dim=2)
    return x + _conv(w["proj_out"], (v @ weights.transpose(1, 2)).view_as(x))


def encode(w: Weights, pixels: Tensor) -> Tensor:
    """VQModelInterface.encode: latents that are not quantised yet."""
    h = _conv(w["encoder"]["conv_in"], pixels)
    for level in w["encoder"]["down"].parts():
        for block in level["block"].parts():
            h = _vae_resblock(block, h)
        if "downsample" in level:
            convolution = level["downsample"]["conv"]
            h = conv2d(pad(h, (0, 1, 0, 1)), convolution.weight, convolution.bias, stride=2)
    middle = w["encoder"]["mid"]
    h = _vae_resblock(middle["block_1"], h)
    h = _vae_resblock(middle["block_2"], _vae_attention(middle["attn_1"], h))
    return _conv(
        w["quant_conv"], _conv(w["encoder"]["conv_out"], silu(_norm(w["encoder"]["norm_out"], h, 1e-6)))
    )


def decode(w: Weights, latents: Tensor) -> Tensor:
    """VQModelInterface.decode: the nearest codes' picture."""
    codes = w["quantize"]["embedding"].weight
    flat = latents.permute(0, 2, 3, 1).reshape(-1, codes.shape[1])
    distances = (flat**2).sum(1, keepdim=True) + (codes**2).sum(1) - 2 * flat @ codes.T
    quantised = codes[distances.argmin(dim=1)].view(*latents.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2)
    h = _conv(w["decoder"]["conv_in"], _conv(w["post_quant_conv"], quantised))
    middle = w["decoder"]["mid"]
    h = _vae_resblock(middle["block_1"], h)
    h = _vae_resblock(middle["block_2"], _vae_attention(middle["attn_1"], h))
    for level in reversed(list(w["decoder"]["up"].parts())):
        for block in level["block"].parts():
            h = _vae_resblock(block, h)
        if "upsample" in level:
            h = _conv(level["upsample"]["conv"], interpolate(h, scale_factor=2.0, mode="nearest"))
    return _conv(w["decoder"]["conv_out"], silu(_norm(w["decoder"]["norm_out"], h, 1e-6)))


def alphas_cumprod(start: float, end: float, steps: int = 1000) -> np.ndarray:
    """Of make_beta_schedule("linear", ...), which is linear in the roots."""
    betas = np.linspace(start**0.5, end**0.5, steps, dtype=np.float64) ** 2
    return np.cumprod(1.0 - betas)


def ddim(
    predict: Callable[[Tensor, Tensor], Tensor],
    alphas: np.ndarray,
    steps: int,
    eta: float,
    shape: Sequence[int],
    generator: torch.Generator,
) -> Tensor:
    """DDIMSampler.sample: latents of noise from a generator.

    Args:
        predict: latents and timesteps to the noise in them.
        alphas: cumulative products of all timesteps.
        steps: a divisor of their number.
        eta: share of fresh noise.
        shape: of the latents.
        generator: of the noise that it begins with, and then of every step's.
    """
    chosen = np.arange(0, len(alphas), len(alphas) // steps) + 1
    at, before = alphas[chosen], np.asarray([alphas[0], *alphas[chosen[:-1]]])
    sigmas = eta * np.sqrt((1 - before) / (1 - at) * (1 - at / before))
    x = torch.randn(tuple(shape), generator=generator)
    for index in reversed(range(len(chosen))):
        a, a_prev, sigma = (float(values[index]) for values in (at, before, sigmas))
        noise = predict(x, torch.full((shape[0],), int(chosen[index])))
        image = (x - math.sqrt(1 - a) * noise) / math.sqrt(a)
        direction = math.sqrt(1 - a_prev - sigma**2) * noise
        x = math.sqrt(a_prev) * image + direction + sigma * torch.randn(x.shape, generator=generator)
    return x
