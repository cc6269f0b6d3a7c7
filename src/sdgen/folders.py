"""Where sdgen keeps things, decided in one place. Nothing here creates a folder; whoever writes does."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def config() -> Path:
    """config.toml and the user's catalog.toml. ``SDGEN_CONFIG_DIR`` overrides it."""
    return _folder("SDGEN_CONFIG_DIR", platformdirs.user_config_dir("sdgen", appauthor=False))


def models() -> Path:
    """Downloaded weights: large and kept. ``SDGEN_MODELS_DIR`` overrides it."""
    return _folder("SDGEN_MODELS_DIR", platformdirs.user_data_dir("sdgen", appauthor=False), "models")


def cache() -> Path:
    """What can be computed again: file digests, compiled programs. ``SDGEN_CACHE_DIR`` overrides it."""
    return _folder("SDGEN_CACHE_DIR", platformdirs.user_cache_dir("sdgen", appauthor=False))


def state() -> Path:
    """What sdgen remembers between runs: licences shown. ``SDGEN_STATE_DIR`` overrides it."""
    return _folder("SDGEN_STATE_DIR", platformdirs.user_state_dir("sdgen", appauthor=False))


def _folder(variable: str, default: str, below: str = "") -> Path:
    chosen = os.environ.get(variable)
    return Path(os.path.expanduser(chosen)).absolute() if chosen else Path(default, below)
