"""Fits the linear decoder that shows how a picture forms: pixels from 3 x 3 latent positions, least squares.

    python -m training.linear_decoder --data emoji256.tar --base src/sdgen/models/data/sd-mini \
        --out src/sdgen/checkpoints/families/data/sd_mini_linear_decoder.npy

Every so many-th picture of the archive is encoded; the aim is what the VAE decodes from that. The last of
them are left out of the fit and measured. 7 minutes on two cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from sdgen.checkpoints.families.linear_decoder import LinearDecoder, neighbourhoods
from training import data

SIDE = 3
RIDGE = 1e-3
"""Times the number of positions: keeps weights small that the data hardly determine."""


def main() -> None:
    """Fit, measure, store as float16."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--left-out", type=int, default=12)
    args = parser.parse_args()
    rows, pictures = data.load(args.data, limit=600)
    vae = AutoencoderKL.from_pretrained(args.base / "vae").float().eval()
    factor, channels = 2 ** (len(vae.config.block_out_channels) - 1), vae.config.latent_channels
    pairs = []
    with torch.no_grad():
        for picture in pictures[:: len(rows) // args.pictures][: args.pictures]:
            rgb = picture.permute(2, 0, 1)[None].float() / 127.5 - 1
            latents = vae.encode(rgb).latent_dist.mean
            decoded = vae.decode(latents).sample.clip(-1, 1)
            latents = latents * vae.config.scaling_factor
            pairs.append([tensor[0].permute(1, 2, 0).numpy() for tensor in (latents, decoded)])
    fitted, measured = pairs[: -args.left_out], pairs[-args.left_out :]
    a = np.concatenate([neighbourhoods(latents, SIDE) for latents, _ in fitted]).astype(np.float64)
    b = np.concatenate([blocks(decoded, factor) for _, decoded in fitted]).astype(np.float64)
    ridge = RIDGE * len(a) * np.eye(a.shape[1])
    ridge[-1, -1] = 0
    weights = np.linalg.solve(a.T @ a + ridge, a.T @ b).astype(np.float16)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    np.save(args.out, weights)
    decoder = LinearDecoder(weights.astype(np.float32), channels, SIDE, factor)
    squares = [np.mean((decoder(latents) - (decoded + 1) * 127.5) ** 2) for latents, decoded in measured]
    mean = np.mean(10 * np.log10(255**2 / np.array(squares)))
    print(f"PSNR of {len(measured)} pictures that were left out: {mean:.1f} dB")


def blocks(pixels: np.ndarray, factor: int) -> np.ndarray:
    """(factor h, factor w, 3) as (h w, factor² 3)."""
    height, width, _ = pixels.shape
    parts = pixels.reshape(height // factor, factor, width // factor, factor, 3)
    return parts.swapaxes(1, 2).reshape(-1, factor * factor * 3)


if __name__ == "__main__":
    main()
