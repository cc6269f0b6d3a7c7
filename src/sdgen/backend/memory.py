"""How much memory there is, how much was used, and whether it ran out."""

from __future__ import annotations

import sys

from sdgen.backend.framework import framework


def free_memory(device: str) -> int | None:
    """Bytes of a device's memory that are free, or None where the backend does not say."""
    kind, index = device.split(":")
    return None if kind == "cpu" else framework().free_memory(kind, int(index))


def peak_memory(device: str) -> int | None:
    """The most bytes of a device's memory that this process has used at once; None where nobody knows.

    For the CPU it is the process's resident memory.
    """
    kind, index = device.split(":")
    if kind != "cpu":
        return framework().peak_memory(kind, int(index))
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, of Python or the active backend, says that memory ran out."""
    if isinstance(error, MemoryError):
        return True
    text = f"{type(error).__name__}: {error}"
    return "RESOURCE_EXHAUSTED" in text or "ResourceExhausted" in text or "Out of memory" in text
