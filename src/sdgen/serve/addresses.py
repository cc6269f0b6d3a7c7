"""Which addresses are this machine's own."""

from __future__ import annotations

import contextlib
import ipaddress

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
"""What this machine is called by itself, as a Host header has it."""


def is_loopback(host: str) -> bool:
    """Whether an address, or the name of one, is reached from this machine alone."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.lower() == "localhost"
