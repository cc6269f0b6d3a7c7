"""How long a download puts up with a server that fails."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time

from sdgen.errors import InputError
from sdgen.models.progress import Progress


@dataclasses.dataclass(frozen=True)
class Policy:
    """How patient a download is.

    Attributes:
        attempts: failures in a row, none of which brought bytes that were not here before, after which
            an address is given up.
        delay: seconds before the second attempt; doubled for each further one.
        longest: the longest wait in seconds, also where a server asks for more.
        timeout: seconds without a byte, or with hardly any, after which a connection is given up.
    """

    attempts: int = 5
    delay: float = 1.0
    longest: float = 60.0
    timeout: float = 30.0

    @classmethod
    def from_environment(cls) -> Policy:
        """The defaults, with ``SDGEN_RETRY_DELAY`` and ``SDGEN_DOWNLOAD_TIMEOUT`` where they are set.

        Raises:
            InputError: one of them is not a number of seconds.
        """
        return cls(
            delay=_seconds("SDGEN_RETRY_DELAY", cls.delay),
            timeout=_seconds("SDGEN_DOWNLOAD_TIMEOUT", cls.timeout) or cls.timeout,
        )


class TryAgain(Exception):
    """A fault that may pass: the same address is worth another attempt.

    Args:
        message: what happened, to be put after the server's name.
        after: seconds to wait, where the server said so or no wait is needed.
        weight: how many attempts it counts for.
        crawling: whether the server sends so little that what came is no sign of better times.
    """

    def __init__(
        self, message: str, after: float | None = None, weight: int = 1, crawling: bool = False
    ) -> None:
        super().__init__(message)
        self.after = after
        self.weight = weight
        self.crawling = crawling


class NextMirror(Exception):
    """A fault that will not pass: this address is of no use.

    Args:
        message: what happened, to be put after the server's name.
        lasting: False if it is only that attempts have run out.
    """

    def __init__(self, message: str, lasting: bool = True) -> None:
        super().__init__(message)
        self.lasting = lasting


class Patience:
    """Waits between the attempts at one address.

    Args:
        policy: how long.
        label: what messages call the address.
        progress: is told of each wait.
    """

    def __init__(self, policy: Policy, label: str, progress: Progress) -> None:
        self._policy = policy
        self._label = label
        self._progress = progress
        self._failures = 0
        self._waits = 0

    def wait(self, fault: TryAgain, advanced: bool = False) -> None:
        """Wait before the next attempt; ``advanced`` if the last one brought something.

        Raises:
            NextMirror: it has been enough.
        """
        if advanced and not fault.crawling:
            self._failures = self._waits = 0
        self._failures += fault.weight
        if self._failures >= self._policy.attempts:
            raise NextMirror(str(fault), lasting=False) from None
        wait = min(self._policy.delay * 2**self._waits, self._policy.longest)
        self._waits += 1
        wait = wait if fault.after is None else fault.after
        if wait > self._policy.longest:
            raise NextMirror(f"{fault} and asks to wait for {wait:.0f} s", lasting=False) from None
        if wait:
            self._progress.note(f"{self._label} {fault}; trying again in {wait:.0f} s")
            time.sleep(wait)


def _seconds(name: str, default: float) -> float:
    text = os.environ.get(name)
    if not text:
        return default
    with contextlib.suppress(ValueError):
        if 0 <= (seconds := float(text)) < math.inf:
            return seconds
    raise InputError(f"{name} is {text!r}, not a number of seconds; mend it or leave it out")
