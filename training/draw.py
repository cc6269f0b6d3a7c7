"""Draws with a model in PyTorch: DDIM over trailing timesteps with guidance, as sdgen draws by default."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training import models
from training.denoiser import Denoiser, schedule
from training.examples import Encoder

STEPS, GUIDANCE = 25, 5.0


class Painter:
    """A diffusers folder, ready to draw. Networks run in bfloat16, on the CPU too, so that scores agree."""

    def __init__(self, folder: Path, device: torch.device, steps: int = STEPS) -> None:
        config = models.AutoencoderKL.load_config(str(folder / "vae"))
        channels = config["latent_channels"]
        tokens = models.tokenizer(folder)
        self._encode = Encoder(tokens)
        self._device = device
        self._steps = steps
        self._channels = channels
        self._denoiser = Denoiser(tokens, channels)
        models.load(self._denoiser.unet, models.weights_of(folder, "unet"))
        models.load(self._denoiser.text_encoder, models.weights_of(folder, "text_encoder"))
        self.vae = models.AutoencoderKL.from_config(config)
        models.load(self.vae, models.weights_of(folder, "vae"))
        self._denoiser.to(device).eval()
        self.vae.to(device).eval()

    @torch.no_grad()
    def __call__(self, prompts: list[str], seed: int = 0) -> Tensor:
        """Pictures of the prompts, (n, 3, 256, 256) in 0..1 on the CPU; the noise of seed + place."""
        batch = 128 if self._device.type == "cuda" else 16
        starts = range(0, len(prompts), batch)
        return torch.cat([self._draw(prompts[start : start + batch], seed + start) for start in starts])

    def _draw(self, prompts: list[str], seed: int) -> Tensor:
        device = self._device
        shape = (self._channels, models.LATENT_SIZE, models.LATENT_SIZE)
        generators = [torch.Generator().manual_seed(seed + k) for k in range(len(prompts))]
        latents = torch.stack([torch.randn(shape, generator=own) for own in generators]).to(device)
        tokens = torch.tensor(
            [self._encode("")] * len(prompts) + [self._encode(text) for text in prompts], device=device
        )
        signal, noise = schedule(device)
        timesteps = np.round(np.arange(1000, 0, -1000 / self._steps)).astype(int) - 1
        for k, timestep in enumerate(timesteps):
            told = torch.full((2 * len(prompts),), int(timestep), device=device)
            with torch.autocast(device.type, torch.bfloat16):
                predicted = self._denoiser(torch.cat([latents, latents]), told, tokens)
            without, given = predicted.float().chunk(2)
            velocity = without + GUIDANCE * (given - without)
            clean = signal[timestep] * latents - noise[timestep] * velocity
            random = signal[timestep] * velocity + noise[timestep] * latents
            last = k + 1 == len(timesteps)
            latents = clean if last else signal[timesteps[k + 1]] * clean + noise[timesteps[k + 1]] * random
        scale = self.vae.config.scaling_factor
        with torch.autocast(device.type, torch.bfloat16):
            pictures = [self.vae.decode(part / scale).sample for part in latents.split(32)]
        return (torch.cat(pictures).float() / 2 + 0.5).clamp(0, 1).cpu()
