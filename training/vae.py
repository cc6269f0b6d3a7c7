"""Trains the VAE: 256 x 256 pictures to 32 x 32 latents and back.

In place of a KL term the latent channels are batch-normalised and noise is added to them: a channel cannot
escape the noise by growing, so latents are spread out as far as the decoder needs them to be and no
further, and the decoder learns to forgive the small errors of a denoiser. Part of each batch is decoded
from latents at half size and compared with the picture at half size (scale equivariance: Kouzelis et al.
2025, "EQ-VAE"; Skorokhodov et al. 2025), which keeps detail out of the latents' high frequencies and makes
them easier to denoise.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from training import data, models
from training.progress import Budget, Every, log

NOISE = 0.1  # greatest deviation of the noise on a latent, whose own is 1
HALF_SIZE_SHARE = 4  # one in so many of a batch is decoded at half size too
EDGES, SQUARES = 0.5, 3.0
LOG_VARIANCE = 2 * math.log(0.02)  # what the exported encoder says of its own uncertainty


class Autoencoder(nn.Module):
    """AutoencoderKL with normalised, noisy latents."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae
        self.channels: int = vae.config.latent_channels
        self.normalise = nn.BatchNorm2d(self.channels, affine=False, momentum=0.02)

    def encode(self, rgb: Tensor) -> Tensor:
        """(batch, 3, h, w) in -1..1 -> latents (batch, channels, h/8, w/8), of mean 0 and deviation 1."""
        moments = self.vae.quant_conv(self.vae.encoder(rgb))
        return self.normalise(moments[:, : self.channels].float())

    def decode(self, latents: Tensor) -> Tensor:
        """The inverse of encode."""
        return self.vae.decode(latents).sample

    def forward(self, rgb: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures from noisy latents, and from noisy latents at half size."""
        latents = self.encode(rgb)
        small = F.avg_pool2d(latents[: max(1, len(rgb) // HALF_SIZE_SHARE)], 2)
        return self.decode(latents + noise), self.decode(small + F.avg_pool2d(noise[: len(small)], 2))

    @torch.no_grad()
    def folded(self) -> dict[str, Tensor]:
        """The weights of a plain AutoencoderKL: the normalisation goes into its 1x1 convolution."""
        weights = {name: tensor.clone() for name, tensor in self.vae.state_dict().items()}
        mean, deviation = (
            self.normalise.running_mean,
            (self.normalise.running_var + self.normalise.eps).sqrt(),
        )
        kernel, bias = weights["quant_conv.weight"], weights["quant_conv.bias"]
        kernel[: self.channels] /= deviation[:, None, None, None]
        bias[: self.channels] = (bias[: self.channels] - mean) / deviation
        kernel[self.channels :] = 0
        bias[self.channels :] = LOG_VARIANCE
        return weights


def _loss(decoded: Tensor, target: Tensor) -> Tensor:
    error = decoded.float() - target
    across, down = error.diff(dim=3).abs().mean(), error.diff(dim=2).abs().mean()
    return error.abs().mean() + SQUARES * error.square().mean() + EDGES * (across + down)


def psnr(vae: AutoencoderKL, pictures: Tensor) -> float:
    """Peak signal to noise, in dB, of decode(encode(x)) over uint8 (n, h, w, 3) pictures."""
    device = next(vae.parameters()).device
    total = 0.0
    with torch.no_grad():
        for part in pictures.split(32):
            rgb = data.as_rgb(part.to(device))
            decoded = vae.decode(vae.encode(rgb * 2 - 1).latent_dist.mean).sample
            total += ((decoded / 2 + 0.5).clamp(0, 1) - rgb).square().mean((1, 2, 3)).sum().item()
    return -10 * math.log10(total / len(pictures))


def train(
    pictures: Tensor,
    out: Path,
    seconds: float,
    *,
    init: Path | None = None,
    channels: int = models.LATENT_CHANNELS,
    batch: int = 64,
    rate: float = 1e-3,
    compile_step: bool = True,
) -> float:
    """Trains for some seconds, writes ``out`` (folded weights) and returns the PSNR on held-out pictures."""
    device = pictures.device
    kept_back = data.held_out(len(pictures)).to(device)
    seen, unseen = (~kept_back).nonzero()[:, 0], pictures[kept_back]
    model = Autoencoder(models.vae(channels))
    if init:
        log("vae", grafted=models.graft(model.vae, models.read(init)))
    model.to(device).to(memory_format=torch.channels_last)
    step = torch.compile(model) if compile_step else model
    weights = list(model.parameters())
    optimiser = torch.optim.AdamW(
        weights, lr=rate, betas=(0.9, 0.99), weight_decay=1e-4, fused=device.type == "cuda"
    )
    state = out.with_suffix(".state.pt")
    spent, steps = 0.0, 0
    if state.exists():
        saved = torch.load(state, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        spent, steps = saved["spent"], saved["steps"]
        log("vae", resumed_at=steps)
    budget, save_now, log_now = Budget(seconds, spent), Every(60), Every(10)
    models.save(model.folded(), out)
    while (fraction := budget.fraction) < 1:
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, (steps + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * fraction)) + 1e-6
        chosen = seen[torch.randint(len(seen), (batch,), device=device)]
        rgb = data.jitter(data.as_rgb(pictures[chosen]), 0.5, 1.08, 0.3) * 2 - 1
        rgb = rgb.contiguous(memory_format=torch.channels_last)
        side = rgb.shape[-1] // 8
        deviation = NOISE * torch.rand(batch, 1, 1, 1, device=device)
        noise = deviation * torch.randn(batch, channels, side, side, device=device)
        with models.autocast(device):
            decoded, small = step(rgb, noise)
        target = F.avg_pool2d(rgb[: len(small)], 2)
        loss = _loss(decoded, rgb) + _loss(small, target) / HALF_SIZE_SHARE
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        steps += 1
        if steps == 1 or log_now():
            log("vae", step=steps, seconds=budget.spent, loss=loss.item())
        if save_now():
            models.save(model.folded(), out)
            torch.save(
                {
                    "model": model.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "spent": budget.spent,
                    "steps": steps,
                },
                state,
            )
    models.save(model.folded(), out)
    plain = models.vae(channels).to(device)
    models.load(plain, out)
    quality = psnr(plain.eval(), unseen)
    log("vae", steps=steps, held_out_psnr=quality)
    return quality


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="emoji256.tar")
    parser.add_argument("--work", type=Path, required=True, help="folder of this run")
    parser.add_argument("--seconds", type=float, default=270)
    parser.add_argument("--init", type=Path, help="VAE weights to start from")
    parser.add_argument("--channels", type=int, default=models.LATENT_CHANNELS)
    parser.add_argument("--out", help="file name of the weights", default="vae.safetensors")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--limit", type=int, default=0, help="train on about this many pictures")
    parser.add_argument("--no-compile", action="store_true")
    arguments = parser.parse_args()
    device = models.device()
    _, pictures = data.load(arguments.data, arguments.work / "pictures.npy", arguments.limit)
    train(
        pictures.to(device),
        arguments.work / arguments.out,
        arguments.seconds,
        init=arguments.init,
        channels=arguments.channels,
        batch=arguments.batch,
        rate=arguments.rate,
        compile_step=not arguments.no_compile,
    )


if __name__ == "__main__":
    main()
