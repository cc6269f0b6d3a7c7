"""Where sdgen keeps things, decided in one place. Nothing here creates a folder; whoever writes does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

from sdgen.errors import InputError
from sdgen.files.user_files import read_regular

MOST_SETTINGS = 2**19
"""Bytes that a file of the config folder may have."""

_NO_HOME = "/nonexistent"
"""The home folder, by Debian's custom, of a user that has none. What is written there fails by this name."""


def config() -> Path:
    """config.toml and the user's catalog.toml. ``SDGEN_CONFIG_DIR`` overrides it."""
    return _folder("SDGEN_CONFIG_DIR", platformdirs.user_config_dir)


def models() -> Path:
    """Downloaded weights: large and kept. ``SDGEN_MODELS_DIR`` overrides it."""
    return _folder("SDGEN_MODELS_DIR", platformdirs.user_data_dir, "models")


def cache() -> Path:
    """What can be computed again: file digests, compiled programs. ``SDGEN_CACHE_DIR`` overrides it."""
    return _folder("SDGEN_CACHE_DIR", platformdirs.user_cache_dir)


def state() -> Path:
    """What sdgen remembers between runs: licences shown. ``SDGEN_STATE_DIR`` overrides it."""
    return _folder("SDGEN_STATE_DIR", platformdirs.user_state_dir)


def expand(path: str) -> Path:
    """A path in which ``~`` is the home folder: one that is not there, for a user without any."""
    expanded = os.path.expanduser(path)
    return Path(_NO_HOME + expanded[1:]) if expanded == "~" or expanded.startswith("~/") else Path(expanded)


def read_settings(file: Path) -> bytes | None:
    """The bytes of a file in the config folder; None where it is not there.

    A folder that is not there, is no folder, or that this user may not look into holds no settings: a
    container's user often has the home folder of another, or /dev/null.

    Raises:
        InputError: the file is there and cannot be read, or is no regular file of at most MOST_SETTINGS.
    """
    try:
        os.lstat(file)
    except OSError:
        return None
    try:
        return read_regular(file, MOST_SETTINGS)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from None


def files(folder: Path) -> list[Path]:
    """Every file and link below a folder; none below one that is not there or that this user may not read."""
    return [Path(root, name) for root, _, names in os.walk(folder) for name in names]


def _folder(variable: str, default: Callable[..., str], below: str = "") -> Path:
    chosen = os.environ.get(variable)
    if chosen:
        return expand(chosen).absolute()
    try:
        return expand(default("sdgen", appauthor=False)).absolute() / below
    except RuntimeError:  # of newer platformdirs, where there is no home; older ones keep the "~"
        return Path(_NO_HOME, "sdgen", below)
