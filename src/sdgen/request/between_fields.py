"""The fields of a request whose picture lies between two others. All are sparse."""

from __future__ import annotations

import dataclasses

from sdgen.request.bounds import MAX_SEED
from sdgen.request.fields import entry
from sdgen.request.kinds import Real, Text, Whole


@dataclasses.dataclass(frozen=True, kw_only=True)
class BetweenFields:
    """Between two seeds (variations), or two prompts (interpolation)."""

    variation_of: int | None = entry(
        None,
        Whole(0, MAX_SEED),
        about="The seed whose picture this one is a variation of.",
        sparse=True,
        option=("--variation-of",),
        section="Between",
        metavar="SEED",
        help="Draw a variation of that seed's picture; --seed says which of its variations.",
        title="Variation seed",
    )
    """The noise begins with that of this seed and turns towards that of ``seed``."""

    variation: float | None = entry(
        None,
        Real(0, 1),
        about="How far the noise was turned from that seed's to this picture's own, 0 to 1.",
        sparse=True,
        needs="variation_of",
        option=("--variation",),
        section="Between",
        metavar="SHARE",
        help="How far from it, 0 to 1. Default: 0.1.",
        title="Variation seed strength",
    )
    prompt_to: str | None = entry(
        None,
        Text(),
        about="The prompt at the other end, where what was drawn lies between two.",
        sparse=True,
        option=("--prompt-to",),
        section="Between",
        metavar="TEXT",
        help="Draw what lies between PROMPT and this one.",
    )
    interpolation: float | None = entry(
        None,
        Real(0, 1),
        about="How far on the way from the prompt to the other, 0 to 1.",
        sparse=True,
        needs="prompt_to",
        option=("--interpolation",),
        section="Between",
        metavar="SHARE",
        help="How far on the way to it, 0 to 1. Default: 0.5; --frames draws all of the way.",
    )

    def between(self, share: float) -> dict[str, float]:
        """The fields of the frame at a share of the way, 0 to 1: empty where there is no way.

        It leads from prompt to prompt, and from the noise of ``variation_of`` to that of the seed where
        ``variation`` says nothing else.
        """
        found = {} if self.prompt_to is None else {"interpolation": share}
        if self.variation_of is not None and self.variation is None:
            found["variation"] = share
        return found
