"""What fields of a request may be: the bounds of their numbers, and the ways to read prompts."""

from __future__ import annotations

from collections.abc import Mapping

from sdgen.request.kinds import MAX_TEXT

PROMPT_SYNTAXES: Mapping[str, str] = {
    "a1111": "AUTOMATIC1111's: (word:1.3), ((word)), [word], BREAK, <lora:name:0.8>; any length",
    "plain": "the prompt as it stands, cut off after 77 tokens, as diffusers reads it",
}
"""How prompts are read, with a line about each."""

MAX_SEED = 2**64 - 1
RANDOM_SEED = -1
"""What people write for a seed that is to be drawn by chance. A request holds the one that was drawn."""
MAX_STEPS = 1000
MAX_SIZE = 4096
"""Pixels of a side of what is drawn from a prompt."""

MAX_ENLARGED = 16_000
"""Pixels of a side of a picture that is enlarged; WebP has no more than 16383."""

MAX_UPSCALE = 8
"""Times as wide and high."""

MAX_DRAWN = 16_384
"""Pixels of a side that a model draws to enlarge a picture: it may need a multiple of some number."""

MAX_GUIDANCE = 100
MAX_PROMPT = MAX_TEXT
"""Longest prompt, in characters."""
