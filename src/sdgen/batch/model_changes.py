"""When a run changes the model: what has come for the loaded one goes first, within a bound."""

from __future__ import annotations

from collections.abc import Iterable

from sdgen.batch.tasks import Rejected, Task

LOOKAHEAD = 1024
"""How many places a request may overtake, and how many requests may overtake the first one."""


class AnyModel:
    """Stands for every model where a queue is asked for the next request."""


Model = str | type[AnyModel] | None


class ModelChanges:
    """Which of the waiting requests is next while a model is loaded.

    Loading a model costs more than an image, so requests for the loaded one overtake those for others. The
    first request of all is overtaken ``most`` times at most: then nothing is next for the loaded model, and
    the run changes it. Nothing overtakes what is rejected, whose turn says where it stood in the input.
    """

    def __init__(self, most: int = LOOKAHEAD) -> None:
        self._most = most
        self.overtaken = 0

    def next_place(self, waiting: Iterable[Task | Rejected], model: Model) -> int | None:
        """The place of what is next for a model; None where that is nothing."""
        for place, item in enumerate(waiting):
            if place and (isinstance(item, Rejected) or max(place, self.overtaken) >= self._most):
                return None
            if isinstance(item, Rejected) or model in (AnyModel, item.request.model):
                return place
        return None

    def took(self, place: int) -> None:
        """Takes note that the request at a place of the queue was taken."""
        self.overtaken = self.overtaken + 1 if place else 0
