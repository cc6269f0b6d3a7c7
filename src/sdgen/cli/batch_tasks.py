"""From prompts files to tasks: every entry is expanded and numbered, and this shard's tasks are taken."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import os
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from sdgen import prompts
from sdgen.batch.tasks import Rejected, Task
from sdgen.cli.prompts_needed import takes_prompts
from sdgen.errors import InputError
from sdgen.prompts import Line
from sdgen.prompts import pictures as captioned
from sdgen.prompts.expansion import Expansion, expand_line
from sdgen.request import Picture, Request

STDIN = "-"
MOST_TASKS = 1_000_000
"""Images of one command that reads its files first; they take about 1 GB of memory."""

MOST_REJECTED = 100_000
"""Wrong entries after which such a command reads no further."""


class Entries:
    """What prompts files ask for.

    Args:
        files: paths; ``-`` is stdin.
        format: a name of ``prompts.FORMATS``; None goes by the ending.
        defaults: fields of ``Request`` for what an entry leaves out.
        expansion: what is done to every entry.
        shard: which share of the tasks this run has, and of how many: (1, 1) is all.
        pictures: of each, every entry is drawn that names none of its own. Without files, their captions are
            the entries.

    Attributes:
        repeats: entries left out because an equal one came before; it would be the same image.
        elsewhere: tasks of the other shards.

    Raises:
        InputError: a file cannot be opened, or its format is unknown.
    """

    def __init__(
        self,
        files: Sequence[str],
        format: str | None,
        defaults: Mapping[str, Any],
        expansion: Expansion,
        shard: tuple[int, int] = (1, 1),
        pictures: Sequence[Picture] = (),
    ) -> None:
        self._pictures: Sequence[Picture] = pictures if files else ()
        # Of a kind with the others, and yet no other: what an entry names is never it.
        self._each = dataclasses.replace(pictures[0]) if self._pictures else None
        if self._each is not None:
            defaults = {**defaults, "init_image": self._each}
        self._takes_prompts = functools.cache(takes_prompts)  # Which reads the catalogue each time.
        self._readers: list[Iterator[Line]] = [
            prompts.read(_stdin() if file == STDIN else file, format, defaults, self._takes_prompts)
            for file in files
        ]
        if pictures and not files:
            self._readers = [captioned.lines(pictures, defaults, self._takes_prompts)]
        self._files, self._expansion, self._shard = files, expansion, shard
        self.repeats = self.of_other_shards = 0

    @property
    def live(self) -> bool:
        """Whether entries come as somebody writes them."""
        return any(map(_is_stream, self._files))

    def __iter__(self) -> Iterator[Task | Rejected]:
        share, shards = self._shard
        seen: set[bytes] = set()
        chance = _Chance()
        for reader in self._readers:
            for line in reader:
                requests, problems = expand_line(chance.seeded(line), self._expansion)
                yield from (Rejected(str(problem), again=n > 0) for n, problem in enumerate(problems))
                if any(self._lacks_prompt(each) for each in requests):
                    yield Rejected(f"{line.file}:{line.line}: the prompt is blank")
                    continue
                for request in self._started(requests):
                    number = self._number(request, seen)
                    if number and number % shards == share % shards:
                        yield Task(request, number, f"{line.file}:{line.line}")
                    elif number:
                        self.of_other_shards += 1

    def _lacks_prompt(self, request: Request) -> bool:
        """Whether it says nothing where it has to; a picture that is enlarged may do without."""
        if request.prompt.strip() or request.upscale is not None:
            return False
        return self._takes_prompts(request.model)

    def _started(self, requests: Sequence[Request]) -> Iterator[Request]:
        """The requests, those without a picture of their own from each of the pictures."""
        for request in requests:
            if self._each is None or request.init_image is not self._each:
                yield request
            else:
                yield from (request.replace(init_image=picture) for picture in self._pictures)

    def all(self, rejected: Callable[[Rejected], None]) -> list[Task]:
        """All of the tasks.

        Args:
            rejected: is given what is no task, as it comes.

        Raises:
            InputError: there are more than ``MOST_TASKS``, or more than ``MOST_REJECTED`` that are none.
        """
        found: list[Task] = []
        wrong = 0
        files = ", ".join(self._files) or "--init-image"
        for item in self:
            if isinstance(item, Task):
                found.append(item)
            else:
                wrong += 1
                rejected(item)
            if len(found) > MOST_TASKS:
                raise InputError(
                    f"{files} asks for more than {MOST_TASKS:,} images; split it, take a "
                    "--shard of it, or pipe it in: a stream has no such limit"
                )
            if wrong >= MOST_REJECTED:
                raise InputError(
                    f"{files} has {MOST_REJECTED:,} entries that cannot be drawn, and was not read further; "
                    "is it of another format (--input-format)?"
                )
        return found

    def _number(self, request: Request, seen: set[bytes]) -> int | None:
        """A request's place among those that differ; None for one that came before."""
        digest = bytes.fromhex(request.digest())
        if digest in seen:
            self.repeats += 1
            return None
        seen.add(digest)
        return len(seen)


class _Chance:
    """Draws seeds for entries that ask for a random one.

    Each has another, equal entries too, and all have the same when the batch is read again: otherwise a
    batch that goes on, or whose shards are drawn apart, would be another one.
    """

    def __init__(self) -> None:
        self._drawn: Counter[str] = Counter()

    def seeded(self, line: Line) -> Line:
        """The entry, with a random seed where it asks for one: below 2**32, as in other tools."""
        if line.request is None or not line.random_seed:
            return line
        name = line.request.digest()
        self._drawn[name] += 1
        digest = hashlib.sha256(f"{name} {self._drawn[name]}".encode()).digest()
        request = line.request.replace(seed=int.from_bytes(digest[:4], "big"))
        return dataclasses.replace(line, request=request)


def _stdin() -> BinaryIO:
    """Stdin, as a file of its own that a thread may be reading when the process ends."""
    try:
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    except (OSError, ValueError, io.UnsupportedOperation):
        return sys.stdin.buffer


def _is_stream(file: str) -> bool:
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode if file == STDIN else os.stat(file).st_mode
    except (OSError, ValueError, io.UnsupportedOperation):
        return file == STDIN
    return not stat.S_ISREG(mode)
