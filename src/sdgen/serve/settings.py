"""What a server is told when it starts: its models, its limits, who may use it."""

from __future__ import annotations

import dataclasses

from sdgen.errors import InputError
from sdgen.request import Request
from sdgen.request.mask_fields import canvas_size

MIB = 1024 * 1024


class OverLimit(InputError):
    """A request is well, and more than this server draws for one."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one request may ask for.

    Attributes:
        waiting: pictures that may be asked for and not be there yet, of all clients together.
        jobs_waiting: the same of jobs.
        job_pictures: of one job.
        pictures: of one request.
        pixels: of a picture, that is drawn or that is sent.
        steps: of a picture, in both passes together.
        prompt: characters.
        body: bytes.
        body_seconds: in which a body has to come.
        send_seconds: in which a client has to take what is sent.
    """

    waiting: int = 64
    jobs_waiting: int = 10_000
    job_pictures: int = 1000
    pictures: int = 10
    pixels: int = 2048 * 2048
    steps: int = 150
    prompt: int = 8000
    body: int = 64 * MIB
    body_seconds: float = 60.0
    send_seconds: float = 60.0

    def check(self, request: Request) -> None:
        """Refuse what is more than a request may ask for.

        Raises:
            OverLimit: it is.
        """
        for field in ("prompt", "negative_prompt"):
            if len(getattr(request, field)) > self.prompt:
                raise OverLimit(f"{field} has more than {self.prompt} characters, this server's limit", field)
        steps = (request.steps or 0) + (request.hires_steps or (request.hires and request.steps) or 0)
        if steps > self.steps:
            raise OverLimit(f"{steps} steps are more than {self.steps}, this server's limit", "steps")
        if request.hires and "x" not in request.hires and request.picture_size is None:
            raise OverLimit("hires is a factor, so give width and height, too", "hires")
        for size in (request.picture_size, request.stored_size, _started(request)):
            if size is not None:
                self.check_size(*size)

    def check_size(self, width: int, height: int, field: str = "width") -> None:
        """Refuse a picture of too many pixels.

        Raises:
            OverLimit: it has.
        """
        if width * height > self.pixels:
            raise OverLimit(
                f"{width}x{height} is more than {self.pixels} pixels, this server's limit",
                field,
            )


def _started(request: Request) -> tuple[int, int] | None:
    """The size of the picture that is started from, with its borders."""
    return None if request.init_image is None else canvas_size(request.init_image, request.outpaint)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a server is told when it starts.

    Attributes:
        models: the names of those that it draws with; the first is for whoever names none of them.
        limits: what one request may ask for.
        token: what clients have to show; None for nothing.
        hosts: names by which it may be called; empty for any. A page in a browser can have a name of its own
            lead to this machine.
        origins: pages elsewhere that may use it from a browser.
    """

    models: tuple[str, ...]
    limits: Limits = Limits()
    token: str | None = None
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
