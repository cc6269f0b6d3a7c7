"""The frames of an animation: requests on the way between two prompts or two seeds."""

from __future__ import annotations

from sdgen.errors import InputError
from sdgen.request import Request


def frames(request: Request, count: int) -> list[Request]:
    """``count`` requests, evenly spaced on the way, the first and the last at its ends.

    Args:
        request: with ``prompt_to``, or with ``variation_of`` and no ``variation``, or with both.
        count: 2 or more.

    Raises:
        InputError: there is no way, or the request is a place on it.
    """
    if request.interpolation is not None:
        raise InputError(
            "frames are all of the way between two prompts, and interpolation is one place on it; give one "
            "of them",
            "frames",
        )
    if not request.between(0.0):
        raise InputError(
            "frames are what lies between two prompts or two seeds; give prompt_to, or variation_of without "
            "variation",
            "frames",
        )
    return [request.replace(**request.between(number / (count - 1))) for number in range(count)]
