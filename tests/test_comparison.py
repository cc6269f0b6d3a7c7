"""Identical, close or different."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdgen.images.comparison import compare
from sdgen.images.metadata import encode, pixels_sha256
from sdgen.images.records import Record

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


def record(folder: Path, ending: str = "png", digest: bool = True, there: bool = True) -> Record:
    path = folder / f"a.{ending}"
    path.write_bytes(encode(PIXELS, ending))
    details = {"pixels_sha256": pixels_sha256(PIXELS)} if digest else {}
    return Record(path, "sdgen", {}, details, image=path if there else None)


@pytest.mark.parametrize("ending", ["png", "webp", "jpeg"])
@pytest.mark.parametrize("digest", [True, False])
def test_the_same_pixels_are_identical(tmp_path: Path, ending: str, digest: bool) -> None:
    assert compare(record(tmp_path, ending, digest), PIXELS).verdict == "identical"


def test_the_digest_is_enough(tmp_path: Path) -> None:
    assert compare(record(tmp_path, there=False), PIXELS).verdict == "identical"


def test_one_step_in_one_value_is_close(tmp_path: Path) -> None:
    pixels = PIXELS.copy()
    pixels[0, 0, 0] ^= 1
    found = compare(record(tmp_path), pixels)
    assert (found.verdict, found.note) == ("close", None)
    assert found.psnr == pytest.approx(20 * math.log10(255) + 10 * math.log10(PIXELS.size))


def test_another_picture_is_different(tmp_path: Path) -> None:
    found = compare(record(tmp_path), 255 - PIXELS)
    assert found.verdict == "different"
    assert found.psnr is not None and found.psnr < 10


def test_another_size_is_different(tmp_path: Path) -> None:
    found = compare(record(tmp_path), PIXELS[:32])
    assert (found.verdict, found.psnr, found.note) == ("different", None, "it was 64x64 and is now 64x32")


def test_an_image_that_was_changed_is_told(tmp_path: Path) -> None:
    changed = record(tmp_path)
    assert changed.image is not None
    Image.fromarray(255 - PIXELS).save(changed.image)
    found = compare(changed, np.roll(PIXELS, 1))
    assert found.verdict == "different"
    assert "has changed since it was recorded" in (found.note or "")
