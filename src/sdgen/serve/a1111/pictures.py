"""AUTOMATIC1111's calls that draw nothing: what is inside a picture, and a picture enlarged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sdgen.files import picture_files
from sdgen.images import a1111_text, metadata
from sdgen.images.pictures import texts
from sdgen.serve import pictures
from sdgen.serve.a1111.lists import UPSCALERS
from sdgen.serve.fields import Fields
from sdgen.serve.refusals import Refusal
from sdgen.serve.settings import Limits

if TYPE_CHECKING:
    from PIL import Image

_WITHOUT_EFFECT: Mapping[str, tuple[Any, ...]] = {
    "show_extras_results": (True, False),
    "gfpgan_visibility": (0,),
    "codeformer_visibility": (0,),
    "codeformer_weight": (0,),
    "upscaler_2": ("None", ""),
    "extras_upscaler_2_visibility": (0,),
    "upscale_first": (False,),
}


def png_info(values: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """What is inside a picture: its ``parameters`` text, all its texts, and the settings by name.

    Raises:
        Refusal, InputError: it is no picture.
    """
    text = Fields(values).text("image").strip()
    data = pictures.data_of_base64(text, "image")
    pictures.check_size(data, "image", limits)
    items = texts(picture_files.decode(data, "image", picture_files.OWN_FORMATS))
    info = items.get("parameters", "")
    found = a1111_text.read(info)
    settings = {} if found is None else {**found.settings, **found.other}
    return {"info": info, "items": items, "parameters": settings}


def enlarge(values: Mapping[str, Any], limits: Limits) -> tuple[dict[str, Any], Mapping[str, str]]:
    """A picture enlarged by a filter, and the headers of the answer.

    Raises:
        Refusal, InputError: it is no picture, would be too large, or is to be enlarged by what there is not.
    """
    fields = Fields(values)
    name = fields.text("upscaler_1", UPSCALERS[0]) or UPSCALERS[0]
    if name not in UPSCALERS:
        raise Refusal(422, f"upscaler {name[:80]!r} not found", "upscaler_1", "not_found")
    by_size = fields.whole("resize_mode", 0, 1, 0) == 1
    scale = fields.real("upscaling_resize", 1, 8, 2.0) or 2.0
    width, height = (fields.whole(f"upscaling_resize_{side}", 1, 8192, 512) for side in "wh")
    cut = fields.flag("upscaling_crop", True)
    for unheeded, neutral in _WITHOUT_EFFECT.items():
        value = fields.get(unheeded)
        if value is not None and value not in neutral:
            fields.unheeded(unheeded)
    picture = _image(pictures.of_base64(fields.text("image"), "image", limits))
    if name != UPSCALERS[0]:
        size = (width, height) if by_size else (round(picture.width * scale), round(picture.height * scale))
        limits.check_size(*size, "upscaling_resize")
        picture = _resized(picture, size, name, cut)
    file = metadata.encode(_array(picture), "png")
    info = f"{name}, {picture.width}x{picture.height}"
    return {"html_info": info, "image": pictures.text_of(file)}, fields.warning()


def _image(read: Any) -> Image.Image:
    from PIL import Image

    picture = Image.fromarray(read.pixels())
    return picture if read.alpha else picture.convert("RGB")


def _array(picture: Image.Image) -> Any:
    import numpy as np

    return np.asarray(picture)


def _resized(picture: Image.Image, size: tuple[int, int], name: str, cut: bool) -> Image.Image:
    """Brought to a size: filling it, what is beyond cut off, or else within it."""
    from PIL import Image, ImageOps

    method = Image.Resampling.NEAREST if name == "Nearest" else Image.Resampling.LANCZOS
    return ImageOps.fit(picture, size, method) if cut else ImageOps.contain(picture, size, method)
