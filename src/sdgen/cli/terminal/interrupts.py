"""SIGINT and SIGTERM: the first finishes nothing new and keeps what is whole, the second leaves at once."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator


class Interrupts:
    """What signals have asked for.

    A thread takes them, because Python's own handlers wait for the main thread, which may be inside a
    compiler for a minute.

    Attributes:
        received: the first signal, or None. Whoever draws looks at it between steps.
        nothing_to_keep: while it is true, the first signal already leaves at once.
    """

    def __init__(self, leave: Callable[[signal.Signals], None]) -> None:
        self.received: signal.Signals | None = None
        self.nothing_to_keep = True
        self._leave = leave

    def take(self, number: int) -> None:
        """React to one signal."""
        first, self.received = self.received is None, self.received or signal.Signals(number)
        if not first or self.nothing_to_keep:
            self._leave(self.received)


@contextlib.contextmanager
def watched(interrupts: Interrupts) -> Iterator[None]:
    """Let ``interrupts`` take the signals until the block ends. Only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    before = {number: signal.signal(number, _pass) for number in (signal.SIGINT, signal.SIGTERM)}
    wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=_listen, args=(ours, interrupts), daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        theirs.close()
        thread.join()
        ours.close()


def _listen(ours: socket.socket, interrupts: Interrupts) -> None:
    while number := ours.recv(1):
        if number[0] in (signal.SIGINT, signal.SIGTERM):
            interrupts.take(number[0])


def _pass(number: int, frame: object) -> None:
    """The wakeup descriptor has told the thread already."""


def leave(status: int) -> None:
    """End the process now; what is whole on the disk stays."""
    os._exit(status)
