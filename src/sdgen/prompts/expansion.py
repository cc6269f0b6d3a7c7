"""From one request to several: templates, sweeps, seeds and counts."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdgen.errors import InputError
from sdgen.prompts import Line, Problem, fields
from sdgen.prompts.frames import frames
from sdgen.request import MAX_SEED, Request

if TYPE_CHECKING:
    from sdgen.prompts.dynamic import Templates

MAX_REQUESTS = 100_000
"""Most requests that one entry may become."""

DYNAMIC: Mapping[str, str] = {
    "combinatorial": "every prompt that a template makes",
    "random": "one prompt for each seed, chosen at random",
}
"""Ways to expand templates, with a line about each."""

_UNSWEPT: Mapping[str, str] = {
    "prompt": "write several prompts, or a template with --dynamic",
    "negative_prompt": "write it in the prompts file, or a template with --dynamic",
    "prompt_to": "write it in the prompts file, or a template with --dynamic",
    "seed": "give --seeds",
    "count": "give --count",
    "model": "run sdgen once for each model",
}
"""Fields that no sweep takes, and what to do instead."""

_TEXTS = ("prompt", "negative_prompt", "prompt_to")
_SEEDS = re.compile(r"([0-9]{1,20})(?:-([0-9]{1,20}))?")


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Values that each request is drawn with, one after the other.

    Attributes:
        field: its name, ``size`` for width and height.
        values: for each value the fields of ``Request`` that it sets.
    """

    field: str
    values: tuple[Mapping[str, Any], ...]


@dataclasses.dataclass(frozen=True)
class Expansion:
    """What is done to every request. With its defaults, nothing.

    Attributes:
        dynamic: a name of ``DYNAMIC``; None takes prompts as they are, braces included.
        dynamic_seed: with the template and the image's seed, it determines the choice of ``random``. Order,
            count, sweeps and sharding have no influence.
        wildcards: folder of the files that ``__name__`` in a template stands for.
        sweeps: every combination of their values is drawn. They replace what a request says.
        seeds: seeds in place of a request's own; none keeps it.
        count: images of a request whose entry does not say, with successive seeds; unused with ``seeds``.
        frames: pictures on the way between the two prompts or seeds of a request; None draws it as it is.

    Raises:
        InputError: there is no such folder or way to expand.
    """

    dynamic: str | None = None
    dynamic_seed: int = 0
    wildcards: Path | None = None
    sweeps: tuple[Sweep, ...] = ()
    seeds: tuple[int, ...] = ()
    count: int = 1
    frames: int | None = None

    def __post_init__(self) -> None:
        if self.dynamic is not None and self.dynamic not in DYNAMIC:
            raise InputError(f"dynamic must be one of {', '.join(DYNAMIC)}, not {self.dynamic!r}", "dynamic")
        if self.wildcards is not None and not os.path.isdir(self.wildcards):
            raise InputError(f"there is no wildcards folder {str(self.wildcards)!r}", "wildcards")

    @functools.cached_property
    def templates(self) -> Templates:
        """What expands templates; wildcards are read once."""
        from sdgen.prompts.dynamic import Templates

        return Templates(self.wildcards)


def parse_sweeps(texts: Sequence[str]) -> tuple[Sweep, ...]:
    """Read ``FIELD=VALUE,VALUE...``, one text a sweep: ``steps=10,20``, ``size=512x512,512x768``.

    Raises:
        InputError: a text is no sweep, its field is unknown, not one to sweep or swept twice, or a value is
            wrong.
    """
    sweeps: list[Sweep] = []
    swept: set[str] = set()
    for text in texts:
        sweep = _parse_sweep(text)
        targets = {target for value in sweep.values for target in value}
        if both := sorted(targets & swept):
            raise InputError(f"the sweep {text!r} and one before it both set {both[0]}", "sweep")
        swept |= targets
        sweeps.append(sweep)
    return tuple(sweeps)


def _parse_sweep(text: str) -> Sweep:
    name, equals, listed = text.partition("=")
    if not equals or not listed.strip():
        raise InputError(f"the sweep {text!r} is not a field and its values, such as steps=10,20,50", "sweep")
    field = fields.canonical(name)
    if field is None:
        raise InputError(f"the sweep {text!r} has an {fields.unknown(name)}", "sweep")
    if field in _UNSWEPT:
        raise InputError(f"the sweep {text!r} is of {field}, which is not swept; {_UNSWEPT[field]}", "sweep")
    values: list[Mapping[str, Any]] = []
    for part in listed.split(","):
        try:
            value = fields.read_value(field, part.strip())
        except InputError as error:
            raise InputError(f"in the sweep {text!r}, {error}", "sweep") from None
        if value in values:
            raise InputError(f"the sweep {text!r} has {part.strip()} twice", "sweep")
        values.append(value)
    return Sweep(field, tuple(values))


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read ``1,2,5-9``; a seed that is there twice counts once.

    Raises:
        InputError: it is no list of seeds, or there are more than ``MAX_REQUESTS``.
    """
    seeds: dict[int, None] = {}
    for part in text.split(","):
        match = _SEEDS.fullmatch(part.strip())
        first = int(match[1]) if match else 0
        last = int(match[2] or first) if match else -1
        if not first <= last:
            raise InputError(f"the seeds {text!r} are not numbers and ranges such as 1,2,5-9", "seeds")
        if last > MAX_SEED:
            raise InputError(f"the seeds {text!r} go beyond {MAX_SEED}", "seeds")
        if last - first >= MAX_REQUESTS - len(seeds):
            raise InputError(f"the seeds {text!r} are more than {MAX_REQUESTS:,}", "seeds")
        seeds.update(dict.fromkeys(range(first, last + 1)))
    return tuple(seeds)


def expand(request: Request, expansion: Expansion, count: int | None = None) -> list[Request]:
    """Every request that one becomes.

    Prompts change slowest, then the sweeps in their order, then seeds, then frames.

    Args:
        request: its prompts may be templates, where ``expansion.dynamic`` is set.
        expansion: what to do.
        count: what the entry itself says, in place of ``expansion.count``.

    Raises:
        InputError: a template or wildcard is wrong, the last seed is out of range, or there are more than
            ``MAX_REQUESTS``; its ``field`` says which.
    """
    count = expansion.count if count is None else count
    if not expansion.seeds and request.seed + count - 1 > MAX_SEED:
        raise InputError(
            f"the seeds {request.seed} to {request.seed + count - 1} go beyond {MAX_SEED}", "seed"
        )
    seeds = expansion.seeds or range(request.seed, request.seed + count)
    each = len(seeds) * math.prod(len(sweep.values) for sweep in expansion.sweeps)
    each *= expansion.frames or 1
    if each > MAX_REQUESTS:
        raise InputError(
            f"seeds, sweeps and frames make {each:,} requests of one; the most is {MAX_REQUESTS:,}"
        )
    combinations = [
        {name: value for values in combination for name, value in values.items()}
        for combination in itertools.product(*(sweep.values for sweep in expansion.sweeps))
    ]
    expanded = [
        request.replace(**texts, **settings, seed=seed)
        if texts or settings or seed != request.seed
        else request
        for by_seed in _texts(request, expansion, seeds, MAX_REQUESTS // each)
        for settings in combinations
        for seed, texts in zip(seeds, by_seed, strict=True)
    ]
    if expansion.frames is None:
        return expanded
    return [frame for one in expanded for frame in frames(one, expansion.frames)]


def expand_line(line: Line, expansion: Expansion) -> tuple[list[Request], tuple[Problem, ...]]:
    """The requests of an entry of a prompts file; or none, and its own problems or what ``expand`` says."""
    if line.request is None:
        return [], line.problems
    try:
        return expand(line.request, expansion, line.count), line.problems
    except InputError as error:
        return [], (*line.problems, Problem(line.file, line.line, error.field, str(error)))


def _texts(
    request: Request, expansion: Expansion, seeds: Sequence[int], most: int
) -> Iterator[list[Mapping[str, str]]]:
    """The prompts, and for each of ``seeds`` the fields that it sets: ``most`` of them, or an error."""
    if expansion.dynamic is None:
        yield [{}] * len(seeds)
        return
    templates, chosen = expansion.templates, expansion.dynamic == "random"
    drawn: dict[str, list[str]] = {}
    for field in _TEXTS:
        template = getattr(request, field)
        if template is None:
            continue
        try:
            if chosen:
                drawn[field] = [templates.choose(template, expansion.dynamic_seed, seed) for seed in seeds]
            else:
                drawn[field] = templates.all(template, most)
                most //= len(drawn[field])
        except InputError as error:
            raise InputError(f"{field}: {error}", field) from None
    if chosen:
        yield [dict(zip(drawn, texts, strict=True)) for texts in zip(*drawn.values(), strict=True)]
    else:
        for texts in itertools.product(*drawn.values()):
            yield [dict(zip(drawn, texts, strict=True))] * len(seeds)
