"""The emoji data set: captions and 256 x 256 pictures of the archive that build_dataset.py writes."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

HELD_OUT_EVERY = 40
"""Every 40th picture is kept from the VAE, which is measured on them."""


@dataclasses.dataclass(frozen=True)
class Emoji:
    """One picture's row of captions.jsonl."""

    file: str
    style: str
    label: str
    tags: tuple[str, ...]
    group: str
    subgroup: str
    skin_tone: str | None


def load(archive: Path, cache: Path | None = None, limit: int = 0) -> tuple[list[Emoji], Tensor]:
    """Reads the archive: the rows, and the pictures as uint8 (pictures, 256, 256, 3).

    Args:
        archive: emoji256.tar.
        cache: where the decoded pictures are kept, as .npy, for the next stage.
        limit: takes about this many pictures, every style of some labels; 0 takes all.
    """
    with tarfile.open(archive) as tar:
        members = {member.name.removeprefix("./"): member for member in tar.getmembers()}

        def content(name: str) -> bytes:
            stream = tar.extractfile(members[name])
            assert stream is not None, name
            return stream.read()

        fields = [field.name for field in dataclasses.fields(Emoji)]
        lines = [json.loads(line) for line in content("captions.jsonl").decode().splitlines()]
        if limit:
            labels = sorted({line["label"] for line in lines})
            kept = set(labels[:: max(1, len(lines) // limit)])
            lines = [line for line in lines if line["label"] in kept]
        rows = [
            Emoji(**{name: line[name] for name in fields} | {"tags": tuple(line["tags"])}) for line in lines
        ]
        if cache and cache.exists() and len(stored := np.load(cache, mmap_mode="c")) == len(rows):
            return rows, torch.from_numpy(stored)
        encoded = [content(row.file) for row in rows]

    def decode(picture: bytes) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))

    with ThreadPoolExecutor() as threads:
        pictures = np.empty((len(rows), 256, 256, 3), np.uint8)
        for index, picture in enumerate(threads.map(decode, encoded)):
            pictures[index] = picture
    if cache:
        part = cache.with_suffix(".part.npy")
        np.save(part, pictures)
        part.replace(cache)
    return rows, torch.from_numpy(pictures)


def held_out(count: int) -> Tensor:
    """(count,) bool: the pictures that the VAE never sees."""
    return torch.arange(count) % HELD_OUT_EVERY == HELD_OUT_EVERY // 2


def as_rgb(pictures: Tensor) -> Tensor:
    """uint8 (batch, h, w, 3) -> float (batch, 3, h, w) in 0..1."""
    return pictures.permute(0, 3, 1, 2).float() / 255


def jitter(rgb: Tensor, smallest: float, largest: float, flip: float) -> Tensor:
    """Scales, shifts and mirrors each picture on its white background.

    Args:
        rgb: (batch, 3, h, w) in 0..1.
        smallest: the least scale; 1 is the size in the data set (88 % of the frame).
        largest: the greatest scale.
        flip: probability of a mirror image.
    """
    batch, device = len(rgb), rgb.device

    def uniform() -> Tensor:
        return torch.rand(batch, device=device)

    scale = 1 / (smallest + (largest - smallest) * uniform())
    room = (scale - 0.9).clamp_min(0) * 0.8
    grid = torch.zeros(batch, 2, 3, device=device)
    grid[:, 0, 0] = torch.where(uniform() < flip, -scale, scale)
    grid[:, 1, 1] = scale
    grid[:, 0, 2] = (2 * uniform() - 1) * room
    grid[:, 1, 2] = (2 * uniform() - 1) * room
    sampled = F.grid_sample(
        rgb - 1, F.affine_grid(grid, list(rgb.shape), align_corners=False), align_corners=False
    )
    return sampled + 1
