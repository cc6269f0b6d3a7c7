"""The methods that enlarge pictures: filters, which have no weights, and models; what each takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from sdgen.request.bounds import MAX_UPSCALE

FILTERS: Mapping[str, str] = {
    "lanczos": "a filter: sharp, with faint rings at hard edges",
    "bicubic": "a filter: a little softer; what papers compare with",
}
"""Each filter, with a line about it. ``sdgen.models`` finds them by these names, which no row of its
catalogue has."""

BACKEND = "pillow"
"""What computes the filters: the name of its package."""

_SAMPLING = ("steps", "seed", "rng")
_BY_PROMPT = ("prompt", "negative_prompt", "guidance")


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to enlarge pictures.

    Attributes:
        model: what ``sdgen.load`` takes.
        about: a line about it.
        factors: by which it enlarges.
        usual: the factor where none is asked for.
        takes: fields of ``Request`` that mean something to it, beside the picture and the factor.
    """

    model: str
    about: str
    factors: Sequence[int] = (2, 4)
    usual: int = 4
    takes: tuple[str, ...] = ()


METHODS: Mapping[str, Method] = {
    **{name: Method(name, about, range(2, MAX_UPSCALE + 1)) for name, about in FILTERS.items()},
    "ldm-sr": Method(
        "ldm-sr",
        "the latent diffusion paper's model: invents texture",
        takes=(*_SAMPLING, "eta", "sampler"),
    ),
    "sd-x4": Method(
        "sd-x4-upscaler",
        "Stable Diffusion's upscaler: invents more, guided by a prompt",
        takes=(*_SAMPLING, *_BY_PROMPT, "eta", "sampler", "noise_level"),
    ),
    "latent-x2": Method(
        "sd-x2-latent-upscaler",
        "for pictures of Stable Diffusion, guided by a prompt",
        factors=(2,),
        usual=2,
        takes=(*_SAMPLING, *_BY_PROMPT),
    ),
}
MODELS: Mapping[str, Method] = {name: method for name, method in METHODS.items() if method.takes}
"""Those that are no filters."""

DEFAULT = "lanczos"
"""It needs no download, invents nothing and is there at once: what a user gets who asks for no more."""


def method_of(model: str) -> str | None:
    """The method of a model's name; None of others, such as a folder or a file."""
    return next((name for name, method in METHODS.items() if method.model == model), None)
