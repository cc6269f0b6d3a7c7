"""Decoded pictures of any mode to the pixels that are meant: upright, sRGB, eight bits, with their alpha.

Everything is done in bands of rows: beside the decoded picture there is the result, and little else.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from sdgen.files import exif

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

_BAND_PIXELS = 1 << 20
"""Pixels that are converted at once, about."""

_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
"""Modes of more than eight bits, all grey."""

_PROFILE_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
"""Colour spaces of ICC profiles, by the mode of the pixels that they are for."""

_SAME_COLOUR = 2
"""Steps of 255 by which a profile may change a colour and be sRGB: its makers round differently."""

_ORIENTATION = 274


def rgba(picture: Image.Image) -> NDArray[np.uint8]:
    """The pixels of a decoded picture, (height, width, 4): sRGB and alpha, which is not multiplied in.

    It is turned as its EXIF says. An embedded ICC profile is obeyed; a damaged one, and one for another kind
    of pixels, is ignored. Greys of 16 bits, and of 32 that need no more, are divided by 257 and rounded;
    larger ones by the largest that 31 bits hold. Floating-point greys are taken as 0..1, 0..255 or 0..65535,
    the least of these that holds them all, or are divided by the largest; what is no number is black.
    Colours of 16 bits come from Pillow with their upper eight.

    Raises:
        ValueError: the mode is one that no format of ``picture_files`` has.
    """
    import numpy as np

    width, height = picture.size
    pixels = np.empty((height, width, 4), np.uint8)
    band_of = _converter(picture)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow advises RGBA for palettes with transparency.
        for top, band in _bands(picture):
            band_of(band, pixels[top : top + band.height])
    return np.ascontiguousarray(_upright(pixels, orientation(picture)))


def orientation(picture: Any) -> int:
    """How a picture is to be turned, 1 to 8: EXIF's, or of a TIFF its own, where Pillow has not obeyed it."""
    if picture.format == "TIFF":
        value = picture.tag_v2.get(_ORIENTATION, 1)
        return value if value in range(1, 9) else 1
    block = picture.info.get("exif")
    return exif.orientation(block) if isinstance(block, bytes) else 1


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """A view of the pixels, turned (TIFF 6.0, section 8: what the first row and the first column are)."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    return pixels[:: -1 if orientation in (3, 4, 7, 8) else 1, :: -1 if orientation in (2, 3, 6, 7) else 1]


def _converter(picture: Image.Image) -> Callable[[Image.Image, NDArray[np.uint8]], None]:
    """What writes the RGBA of a band of the picture, (rows, width, 4)."""
    grey = _grey_scale(picture) if picture.mode in _DEEP else None
    base = _colour_mode(picture.mode)
    transform = _to_srgb(picture.info.get("icc_profile"), base)
    transparent = picture.info.get("transparency") if picture.mode in ("1", "L", "RGB", *_DEEP) else None

    def convert(band: Image.Image, out: NDArray[np.uint8]) -> None:
        import numpy as np
        from PIL import Image, ImageCms

        out[..., 3] = _alpha(band, transparent)
        colours = band if grey is None else Image.fromarray(grey(np.asarray(band)))
        if colours.mode != base:
            # Not at once: RGBa, of which the alpha is multiplied in, becomes nothing but RGBA.
            colours = colours.convert("RGBA").convert("RGB") if base == "RGB" else colours.convert(base)
        changed = colours if transform is None else ImageCms.applyTransform(colours, transform)
        assert changed is not None  # It is where a picture is to be changed in place.
        out[..., :3] = np.asarray(changed.convert("RGB"))

    return convert


def _colour_mode(mode: str) -> str:
    """The eight-bit mode without alpha that holds a mode's colours as they are stored."""
    if mode in ("1", "L", "LA", "La", *_DEEP):
        return "L"
    if mode in ("CMYK", "LAB", "YCbCr", "HSV"):
        return mode
    if mode in ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX"):
        return "RGB"
    raise ValueError(f"pictures of the mode {mode} are not read")


def _alpha(band: Image.Image, transparent: Any) -> Any:
    """The alpha of a band, 0..255: its own, its palette's, or 0 where it has the transparent colour."""
    import numpy as np

    if transparent is not None:
        same = np.asarray(band.convert("L") if band.mode == "1" else band) == np.asarray(transparent)
        return np.where(same if same.ndim == 2 else same.all(axis=2), 0, 255)
    if band.mode == "La":
        band = band.convert("LA")
    if band.mode in ("LA", "PA", "RGBA", "RGBa"):
        return np.asarray(band.getchannel(band.getbands()[-1]))
    if band.mode == "P":
        return np.asarray(band.convert("RGBA").getchannel("A"))
    return 255


def _grey_scale(picture: Image.Image) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    """What brings the deep greys of a picture to 0..255."""
    import numpy as np

    if picture.mode.startswith("I;16"):
        top = 65535.0
    elif picture.mode == "I":
        top = 65535.0 if _greatest(picture) <= 65535 else 2.0**31 - 1
    else:
        greatest = _greatest(picture)
        top = next((scale for scale in (1.0, 255.0, 65535.0) if greatest <= scale), greatest)

    def scale(greys: NDArray[Any]) -> NDArray[np.uint8]:
        numbers = np.nan_to_num(greys.astype(np.float64), posinf=top, neginf=0.0)
        return np.round(np.clip(numbers / top, 0, 1) * 255).astype(np.uint8)

    return scale


def _greatest(picture: Image.Image) -> float:
    """The greatest of a picture's greys that are numbers."""
    import numpy as np

    greys = (np.asarray(band) for _, band in _bands(picture))
    return max(float(np.max(band, initial=0, where=np.isfinite(band))) for band in greys)


def _bands(picture: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The rows of a picture, some at a time, with the number of the first."""
    width, height = picture.size
    rows = max(1, _BAND_PIXELS // max(width, 1))
    for top in range(0, height, rows):
        yield top, picture.crop((0, top, width, min(top + rows, height)))


def _to_srgb(profile: Any, mode: str) -> Any:
    """A transform from a mode with this ICC profile to sRGB; None where there is none to be made."""
    if not isinstance(profile, bytes) or mode not in _PROFILE_SPACES:
        return None
    return _transform(profile, mode)


@functools.lru_cache(maxsize=1)
def _srgb() -> Any:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _transform(profile: bytes, mode: str) -> Any:
    try:
        from PIL import ImageCms
    except ImportError:  # A Pillow without Little CMS.
        return None
    try:
        source: Any = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _PROFILE_SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(
            source,
            _srgb(),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return None if mode != "CMYK" and _changes_nothing(transform, mode) else transform
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _changes_nothing(transform: Any, mode: str) -> bool:
    """Whether a transform leaves every colour what it is, but for rounding: sRGB to sRGB."""
    import numpy as np
    from PIL import Image, ImageCms

    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    if mode == "L":
        colours = np.arange(256, dtype=np.uint8)[None]
    else:
        colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    after = np.asarray(ImageCms.applyTransform(Image.fromarray(colours), transform)).astype(int)
    before = colours[..., None] if mode == "L" else colours
    return bool(np.abs(after - before).max() <= _SAME_COLOUR)
