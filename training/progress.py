"""Wall-clock budgets and progress lines."""

from __future__ import annotations

import time


class Budget:
    """A stage's share of the wall clock; time it spent before a restart counts."""

    def __init__(self, seconds: float, spent: float = 0.0) -> None:
        self._seconds = max(seconds, 1e-9)
        self._start = time.monotonic() - spent

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    @property
    def fraction(self) -> float:
        """Share of the budget that is spent; 1 and more when it is over."""
        return self.spent / self._seconds


class Every:
    """True once every so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = time.monotonic()

    def __call__(self) -> bool:
        """Whether the time has come; if so, starts counting again."""
        if (now := time.monotonic()) - self._last < self._seconds:
            return False
        self._last = now
        return True


def log(stage: str, **values: object) -> None:
    """Prints one line: time of day, stage, name=value pairs."""
    shown = " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in values.items()
    )
    print(f"{time.strftime('%H:%M:%S')} {stage}: {shown}", flush=True)
