"""Bounds of what a network's config.json may ask for, some ten times what any Stable Diffusion has."""

MOST_CHANNELS = 16384
MOST_BLOCKS = 10
MOST_LAYERS = 128
