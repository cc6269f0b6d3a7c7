"""What is done about a batch that could not be drawn."""

from __future__ import annotations

import enum

from sdgen import backend
from sdgen.batch.policy import Policy
from sdgen.errors import ImageError, SdgenError


class Remedy(enum.Enum):
    """What is done about it."""

    HALVE = enum.auto()
    """Draw half as many at once."""
    ONE_AT_A_TIME = enum.auto()
    """Denoise nothing while another batch is decoded: that takes memory, too."""
    SEPARATE = enum.auto()
    """Draw each of its images alone."""
    GIVE_UP = enum.auto()
    """Its one image has failed."""
    END = enum.auto()
    """The run ends: no other image would fare better."""


class Setbacks:
    """Chooses remedies, and counts images that failed in a row for reasons that nobody foresaw."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._surprises = 0

    def remedy(self, error: Exception, images: int, size: int, overlapping: bool) -> Remedy:
        """What is to be done.

        Args:
            error: what was raised.
            images: of the batch.
            size: how many images of its kind are drawn at once.
            overlapping: whether another batch is being decoded.
        """
        endless, memory = self._policy.endless, backend.is_out_of_memory(error)
        if isinstance(error, SdgenError) and not isinstance(error, ImageError) and not endless:
            return Remedy.END
        if memory and size > 1:
            return Remedy.HALVE
        if memory and overlapping:
            return Remedy.ONE_AT_A_TIME
        if images > 1:
            return Remedy.SEPARATE
        self._surprises += not memory
        unforeseen = self._policy.unforeseen
        if not endless and (unforeseen == 0 or self._surprises > unforeseen):
            return Remedy.END
        return Remedy.GIVE_UP

    def overcome(self) -> None:
        """An image was drawn."""
        self._surprises = 0
