"""Fixtures of the tests of models: ``places`` (sdgen's folders, empty), ``server`` and ``hub``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_server import FaultServer, HubServer, Places


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """Empty folders for sdgen and for other programs' caches; nothing reaches the network."""
    made = Places(tmp_path)
    for name in ("HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "SDGEN_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, places: Places) -> Iterator[HubServer]:
    """The Hub, empty, at HF_ENDPOINT."""
    with HubServer() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        places.environment["HF_ENDPOINT"] = running.url
        yield running
