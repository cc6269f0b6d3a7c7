"""The fields of an entry: their names, how text is read to their types, and from an entry to a request."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any

from sdgen.diffusion.sampler_names import is_automatic, read_sampler, read_schedule
from sdgen.errors import InputError
from sdgen.prompts.entries import Entry, Line, Problem, Unusable
from sdgen.request import FIELDS, RANDOM_SEED, Request, check
from sdgen.request.kinds import Kind, Real, Text, Whole

MAX_COUNT = 100_000
"""Most images that one entry may ask for."""

MAX_PROBLEMS = 20
"""Problems of one entry that are told one by one."""

COUNT, SIZE = "count", "size"
_KINDS: Mapping[str, Kind] = {
    **{name: field.kind for name, field in FIELDS.items()},
    COUNT: Whole(1, MAX_COUNT),
    SIZE: Text(),
}
REAL = frozenset(name for name, kind in _KINDS.items() if isinstance(kind, Real))
"""Fields that may have decimals."""

_ALIASES: Mapping[str, str] = {
    **{alias: name for name, field in FIELDS.items() for alias in field.aliases},
    **dict.fromkeys(("n", "n_iter", "num_images"), COUNT),
}
"""Names that other tools have for a field."""

_FOREIGN = (
    "outpath_samples",
    "outpath_grids",
    "prompt_for_display",
    "styles",
    "subseed",
    "subseed_strength",
    "seed_resize_from_h",
    "seed_resize_from_w",
    "sampler_index",
    "batch_size",
    "restore_faces",
    "do_not_save_samples",
    "do_not_save_grid",
)
"""What AUTOMATIC1111's prompts files may set and nothing here corresponds to."""

_NAMES: Mapping[str, str] = {**{name: name for name in _KINDS}, **_ALIASES}
_SIZE = re.compile(r"([0-9]{1,5})\s*[x×]\s*([0-9]{1,5})", re.IGNORECASE)


def canonical(name: str) -> str | None:
    """The field that a file's name for it means, or None. Case, spaces and hyphens do not matter."""
    return _NAMES.get(re.sub(r"[\s-]+", "_", name.strip().lower()))


class Spelling:
    """Finds the field that a misspelt name may mean.

    A search takes a millisecond, so that there is one for each name, and for the first names of a file alone.
    """

    MOST = 20

    def __init__(self) -> None:
        self._found: dict[str, str | None] = {}

    def __call__(self, name: str) -> str | None:
        """The field's name, or None where none is close or enough was searched."""
        name = name.strip().lower()[:60]
        if name not in self._found and len(self._found) < self.MOST:
            close = difflib.get_close_matches(name, _NAMES, n=1, cutoff=0.7)
            self._found[name] = close[0] if close else None
        return self._found.get(name)


def unknown(name: str, kind: str = "field", spelling: Spelling | None = None) -> str:
    """What to say about a name that ``canonical`` does not know."""
    if name in _FOREIGN:
        return f"AUTOMATIC1111's {kind} {name!r} has no counterpart here; leave it out"
    shown = repr(name) if len(name) <= 60 else repr(name[:60]) + "..."
    close = (spelling or Spelling())(name)
    advice = f"did you mean {close!r}?" if close else f"the fields are {', '.join(_KINDS)}"
    return f"unknown {kind} {shown}; {advice}"


def read_value(field: str, value: Any, typed: bool = False, folder: str = "") -> dict[str, Any]:
    """The fields of ``Request`` (and ``count``) that one field of a file sets, checked.

    Args:
        field: as ``canonical`` gives it.
        value: of a JSON type if ``typed``, else text.
        folder: what paths in it are relative to; by default, the current one.

    Returns:
        One field; two for a size and for a sampler that names its schedule, "DPM++ 2M Karras"; none for an
        automatic schedule. A seed may be ``RANDOM_SEED``.

    Raises:
        InputError: it is of the wrong type or out of range; the sentence begins with ``field``.
    """
    if isinstance(value, list) or (isinstance(value, dict) and _KINDS[field].json != "object"):
        raise InputError(f"{field} must be one value, not a {'list' if isinstance(value, list) else 'map'}")
    if field == SIZE:
        values: dict[str, Any] = _size(value)
    elif field == "sampler" and isinstance(value, str):
        values = _sampler(value)
    elif field == "schedule" and isinstance(value, str):
        values = {} if is_automatic(value) else {field: read_schedule(value) or value}
    else:
        values = {field: _KINDS[field].located(value if typed else _from_text(field, value), folder)}
        if field == "seed" and values[field] == RANDOM_SEED:
            return values
    if COUNT in values:
        count = values[COUNT]
        if isinstance(count, float) and count.is_integer():
            count = int(count)
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_COUNT:
            raise InputError(f"{COUNT} must be a whole number of 1 to {MAX_COUNT}, not {count!r}")
        return {COUNT: count}
    return {name: check(name, value) for name, value in values.items()}


def line_of(
    entry: Entry,
    file: str,
    defaults: Mapping[str, Any],
    takes_prompts: Callable[[str | None], bool],
    spelling: Spelling | None = None,
    folder: str = "",
) -> Line:
    """An entry as a request, or with everything that is wrong with it, ``MAX_PROBLEMS`` in full.

    Args:
        entry: as a reader found it.
        file: its file, for problems.
        defaults: valid fields of ``Request`` for what it leaves out; the seed may be ``RANDOM_SEED``.
        takes_prompts: whether the model of a name does; else, and where a picture is enlarged, it may lack.
        spelling: that of the file.
        folder: what paths in it are relative to.
    """
    problems, untold = list[Problem](), 0
    given, implied, source = dict[str, Any](), dict[str, Any](), dict[str, str]()

    def blame(name: str, message: str) -> None:
        nonlocal untold
        if len(problems) < MAX_PROBLEMS:
            problems.append(Problem(file, entry.lines.get(name, entry.line), name, message))
        else:
            untold += 1

    for name, value in entry.fields.items():
        field = canonical(name)
        if field is None:
            blame(name, unknown(name, spelling=spelling) if len(problems) < MAX_PROBLEMS else "")
            continue
        if value is None:
            continue
        if isinstance(value, Unusable):
            blame(name, f"{name} {value.reason}")
            source[field] = name
            continue
        claimed = ("width", "height") if field == SIZE else (field,)
        if rival := next((source[target] for target in claimed if target in source), None):
            blame(name, f"{rival} and {name} both set the same field; give one of them")
            continue
        source.update(dict.fromkeys(claimed, name))
        try:
            values = read_value(field, value, entry.typed, folder)
        except InputError as error:
            blame(name, name + str(error).removeprefix(field) if str(error).startswith(field) else str(error))
            continue
        for target, setting in values.items():
            (given if target in claimed else implied)[target] = setting
    if "prompt" not in source and "prompt" not in defaults:
        given["prompt"] = ""
        if "upscale" not in given and takes_prompts(given.get("model", defaults.get("model"))):
            blame("prompt", "there is no prompt")
    if untold:
        problems.append(Problem(file, entry.line, None, f"{untold:,} more of its fields are wrong"))
    if problems:
        return Line(file, entry.line, None, None, tuple(problems))
    return _line(file, entry.line, {**implied, **given}, defaults)


def _line(file: str, number: int, own: dict[str, Any], defaults: Mapping[str, Any]) -> Line:
    """An entry of a file as a request, of its own valid fields and the defaults."""
    count = own.pop(COUNT, None)
    settings = _settings(own, defaults)
    if chance := settings.get("seed") == RANDOM_SEED:
        del settings["seed"]
    return Line(file, number, Request(**settings), count, random_seed=chance)


def _settings(own: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """An entry's fields and the defaults; defaults for editing are for entries that edit a picture."""
    settings = {**defaults, **own}
    for field in defaults:
        if field not in own and FIELDS[field].lacks(settings.get):
            del settings[field]
    return settings


def _from_text(field: str, text: str) -> Any:
    kind = _KINDS[field]
    if (value := kind.read(text)) is None:
        raise InputError(f"{field} must be {kind.noun}, not {text!r}")
    return value


def _size(value: Any) -> dict[str, Any]:
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        raise InputError(f"{SIZE} must be a width and a height such as 512x768, not {value!r}")
    return {"width": int(match[1]), "height": int(match[2])}


def _sampler(text: str) -> dict[str, Any]:
    """The sampler of any tool's name for it, and the schedule where that names one."""
    if (found := read_sampler(text)) is None:
        return {"sampler": text}
    return {name: value for name, value in found._asdict().items() if value is not None}
