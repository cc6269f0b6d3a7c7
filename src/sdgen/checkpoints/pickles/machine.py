"""The machine that pickles are programs for: its stack, its memory and its place in the program.

Nothing is imported and nothing is called but the makers that a name is looked up as.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdgen.errors import CheckpointError

MAX_ARGUMENTS = 16
"""The most arguments of a call; calls that make tensors have up to seven."""

_MAX_LINE = 1000


class Maker:
    """What a name stands for: it can be called with arguments, which makes a record and nothing else.

    Args:
        name: the dotted name.
        make: takes the tuple of arguments.
    """

    __slots__ = ("make", "name")

    def __init__(self, name: str, make: Callable[[tuple[Any, ...]], Any]) -> None:
        self.name, self.make = name, make


class Opaque:
    """Something that no tensor needs: it takes everything that is put into it, and does nothing.

    Attributes:
        name: the dotted name of what the file asked for.
        state: what the file says it consists of, or None.
    """

    __slots__ = ("name", "state")

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: Any = None


class Machine:
    """Carries out the programs in some bytes.

    Args:
        path: what errors call the file.
        data: the programs.
        lookup: what a dotted name stands for; raises for one that is refused.
        resolve: what a persistent id stands for.
    """

    def __init__(
        self, path: Path, data: bytes, lookup: Callable[[str], Any], resolve: Callable[[Any], Any]
    ) -> None:
        self.path, self._data, self._lookup, self._resolve = path, data, lookup, resolve
        self.position = 0
        self.carried_out = 0
        self.begin()

    def begin(self) -> None:
        """Empties stack and memory for the next program."""
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def refused(self, what: str) -> CheckpointError:
        """The error for what a file may not ask for."""
        return CheckpointError(
            f"{self.path} asks for {what[:200]}, which no weights need, so nothing of it was read or "
            "run; delete it unless you know why, and take a .safetensors file"
        )

    def take(self, size: int) -> bytes:
        """The next bytes of the program."""
        start, self.position = self.position, self.position + size
        if size < 0 or self.position > len(self._data):
            raise ValueError
        return self._data[start : self.position]

    def number(self, form: str) -> Any:
        """The next number, in a format of ``struct``."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        """The bytes up to the end of the line, each as a character."""
        end = self._data.index(b"\n", self.position, self.position + _MAX_LINE)
        text = self.take(end - self.position).decode("latin-1")
        self.position += 1
        return text

    def push(self, value: Any) -> None:
        """Puts a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Takes the topmost value above the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise ValueError
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        """Takes the last mark and all above it."""
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def top(self) -> Any:
        """The topmost value above the last mark, which stays."""
        value = self.pop()
        self.stack.append(value)
        return value

    def push_name(self, module: Any, name: Any) -> None:
        """Puts what a name stands for on the stack."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError
        self.push(self._lookup(f"{module}.{name}"))

    def call(self) -> None:
        """Makes what a maker makes of the arguments on the stack."""
        arguments, made = self.pop(), self.pop()
        if not isinstance(arguments, tuple) or not isinstance(made, Maker | Opaque):
            raise ValueError
        if len(arguments) > MAX_ARGUMENTS:
            raise ValueError
        # A maker may go through what it is given, which may be the same long list in every call.
        self.carried_out += sum(len(value) for value in arguments if isinstance(value, list | tuple))
        self.push(made.make(arguments) if isinstance(made, Maker) else Opaque(made.name))

    def resolve(self) -> None:
        """Puts what the persistent id on the stack stands for in its place."""
        self.push(self._resolve(self.pop()))

    def next_code(self) -> int:
        """The next instruction's code."""
        code = self._data[self.position]
        self.position += 1
        return code
