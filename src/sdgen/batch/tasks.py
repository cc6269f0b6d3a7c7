"""``Task``: one image that somebody asks for; ``Rejected``: something that is none."""

from __future__ import annotations

import dataclasses

from sdgen.request import Request


@dataclasses.dataclass(frozen=True)
class Rejected:
    """Something in the input that is no task, with a sentence that says where and why.

    Attributes:
        message: the sentence.
        again: whether it is one thing more that is wrong with the entry before.
        number: the task's, where the input was well and the model cannot draw it; else 0.
        field: of the request, where one is to blame.
    """

    message: str
    again: bool = False
    number: int = 0
    field: str | None = None


@dataclasses.dataclass(frozen=True)
class Task:
    """One image that a run is asked for.

    Attributes:
        request: as it was asked for; what is None is the model's to decide.
        number: its place in the whole job, from 1; no other task of a queue has it.
        source: file and line that it comes from, or which of several prompts it is for.
    """

    request: Request
    number: int = 1
    source: str = ""

    def rejected(self, error: Exception) -> Rejected:
        """Why the task cannot be drawn."""
        message = f"{self.source}: {error}" if self.source else str(error)
        return Rejected(message, number=self.number, field=getattr(error, "field", None))


@dataclasses.dataclass(frozen=True)
class Cancelled:
    """A task that was cancelled while it waited in a queue."""

    task: Task


Item = Task | Rejected | Cancelled
"""What comes out of a queue."""
