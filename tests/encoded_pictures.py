"""What the bundled model's VAE encoder makes of a picture: ``python encoded_pictures.py BACKEND FILE``."""

from __future__ import annotations

import sys
from typing import Any
from unittest import mock

import numpy as np
from golden import inputs


def encoded(pipeline: Any) -> dict[str, np.ndarray]:
    """Mean and standard deviation, (1, 8, 12, 8), computed whole and a few rows at a time."""
    from sdgen.networks import feature_rows
    from sdgen.pipeline.picture_encoding import PictureEncoder

    encoder, pixels = PictureEncoder(pipeline.networks, jit=True, low_memory=False), inputs.picture(64, 96)
    found = dict(zip(("mean", "deviation"), encoder(pixels[None]), strict=True))
    with mock.patch.object(feature_rows, "MOST_VALUES", 1 << 14):
        encoder._whole = 0
        names = ("mean by rows", "deviation by rows")
        return found | dict(zip(names, encoder(pixels[None]), strict=True))


if __name__ == "__main__":
    import sdgen

    model = sdgen.load("mini", backend=sys.argv[1], device="cpu", dtype="float32", jit=True)
    np.savez(sys.argv[2], **encoded(model))
