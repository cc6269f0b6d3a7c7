"""The catalogue: which models have names, where their files are, and how they are best used.

Rows come from the packaged catalog.toml; a catalog.toml in the config folder adds rows and overrides
single keys. Both are checked in full, so that a mistake is reported with its file, row and key.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sdgen.diffusion.choices import DRAWN_TASKS, PREDICTION_TYPES, TASKS
from sdgen.diffusion.sampler_names import SAMPLERS, SCHEDULES
from sdgen.errors import InputError
from sdgen.files import folders, toml_text
from sdgen.models import file_names
from sdgen.request import MAX_GUIDANCE, MAX_SIZE, MAX_STEPS
from sdgen.request.upscale_methods import FILTERS

DEFAULT = "sd2.1-base"
"""The model that is drawn with where none is named."""

FAMILIES = (
    "sd1",
    "sd1-inpainting",
    "instruct-pix2pix",
    "x2-latent-upscaler",
    "x4-upscaler",
    "sd2",
    "sd2-inpainting",
    "sd2-depth",
    "ldm-sr",
    "ldm-text2im",
    "ldm-unconditional",
    "ldm-class-conditional",
)
"""The names in ``sdgen.checkpoints.families.REGISTRY``, repeated since importing that takes NumPy."""

PACKAGED = Path(__file__).parent / "catalog.toml"
"""The catalogue that comes with sdgen."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_REVISION = re.compile(r"(?!.*\.\.)\w[\w./-]*", re.ASCII)
_HUB_FILE = re.compile(rf"hf://{_REPOSITORY.pattern}(@[^/]+)?/[^?#]+", re.ASCII)
_MOST_SHOWN = 200

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """One file of a source.

    Attributes:
        name: file name in the model's folder.
        urls: https addresses, or ``hf://user/repo[@revision]/path``, tried in order.
        sha256: 64 hexadecimal digits, or None where no digest was published.
        git_blob: git's object id of the file, 40 hexadecimal digits, for the Hub's small files; or None.
        size: bytes, or None where not known.
    """

    name: str
    urls: tuple[str, ...]
    sha256: str | None = None
    git_blob: str | None = None
    size: int | None = None


@dataclasses.dataclass(frozen=True)
class Source:
    """One way to get a model: a list of files, or a diffusers repository on the Hub.

    Attributes:
        name: what ``--source`` takes.
        files: the files, empty for a repository.
        repo: ``user/repo``, or None for files.
        revision: branch, tag or commit of the repository.
        variant: preferred weight files of the repository, such as ``fp16``.
        download: bytes to fetch, approximate unless every file's size is known; None where not known.
    """

    name: str
    files: tuple[RemoteFile, ...] = ()
    repo: str | None = None
    revision: str = "main"
    variant: str | None = None
    download: int | None = None


@dataclasses.dataclass(frozen=True)
class Entry:
    """A model: a row of the catalogue, or what is known of a folder, file or repository (its name).

    Attributes:
        name: the row's name, or the text that was given for a folder, file or repository.
        summary: one line about it.
        task: a name of ``TASKS``, or None where only the checkpoint can tell.
        family: a name of ``FAMILIES``, or None where only the checkpoint can tell.
        size: training resolution in pixels, or None.
        prediction: a name of ``PREDICTION_TYPES``, or None where only the checkpoint can tell.
        sampler, schedule, steps, guidance: recommended settings, or None.
        licence, licence_url: the licence of the weights, or None.
        path: a folder or file on this machine that is the model, or None for a downloaded one.
        sources: where to get it, in order of preference; empty where ``path`` is given.
        catalogue: the catalogue file that has the row, or None.
        weightless: it is a filter, of ``FILTERS``, and there is nothing to fetch.
    """

    name: str
    summary: str = ""
    task: str | None = None
    family: str | None = None
    size: int | None = None
    prediction: str | None = None
    sampler: str | None = None
    schedule: str | None = None
    steps: int | None = None
    guidance: float | None = None
    licence: str | None = None
    licence_url: str | None = None
    path: Path | None = None
    sources: tuple[Source, ...] = ()
    catalogue: Path | None = None
    weightless: bool = False

    @property
    def usable(self) -> bool:
        """Whether sdgen can do anything with the model, as far as the catalogue tells."""
        return self.weightless or self.task is None or self.task in DRAWN_TASKS

    def source(self, name: str | None = None) -> Source:
        """The source of that name, or the preferred one.

        Raises:
            InputError: there is no source of that name, or none at all.
        """
        for source in self.sources:
            if name is None or source.name == name:
                return source
        if not self.sources:
            where = "is a filter without weights" if self.weightless else f"is at {self.path}"
            raise InputError(f"{self.name} {where}; there is nothing to download", "source")
        known = ", ".join(source.name for source in self.sources)
        raise InputError(f"{self.name} has no source {name!r}; it has {known}", "source")


def load() -> dict[str, Entry]:
    """Every row by name: the packaged ones, then those that the user's file adds.

    Raises:
        InputError: a catalogue file is wrong; the message names file, row and key.
    """
    rows: dict[str, dict[str, Any]] = {}
    origin: dict[str, Path] = {}
    for file in (PACKAGED, folders.config() / "catalog.toml"):
        for name, row in _read(file).items():
            _check_row(file, name, row)
            if "path" in row:
                row["path"] = str(file.parent / folders.expand(row["path"]))
            inherited = dict(rows.get(name, {}))
            if "path" in row or "sources" in row:
                inherited.pop("path", None)
                inherited.pop("sources", None)
            rows[name] = {**inherited, **row}
            origin[name] = file
    return {name: _entry(origin[name], name, row) for name, row in rows.items()}


def repository(spec: str) -> Source | None:
    """The source that ``user/repo[@revision]`` names, or None where the text has another form."""
    repo, _, revision = spec.partition("@")
    if not _REPOSITORY.fullmatch(repo) or ("@" in spec and not _REVISION.fullmatch(revision)):
        return None
    return Source("hub", repo=repo, revision=revision or "main", variant="fp16")


def allowed(url: str) -> bool:
    """Whether sdgen fetches from this address: https, ``hf://``, or http on this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:  # half an IPv6 address
        return False
    local = parts.scheme == "http" and parts.hostname in LOOPBACK
    return bool(local or (parts.scheme == "https" and parts.hostname) or _HUB_FILE.fullmatch(url))


def _read(file: Path) -> dict[str, Any]:
    data = folders.read_settings(file)
    try:
        text = (data or b"").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not valid TOML: {error}") from None
    return toml_text.parse(text, file)


def _entry(file: Path, name: str, row: Mapping[str, Any]) -> Entry:
    if ("path" in row) == ("sources" in row):
        wrong = "has both path and sources; keep one" if "path" in row else "needs path or sources"
        raise InputError(f"{file}: the row {_short(name)} {wrong}")
    if "task" not in row:
        raise InputError(f"{file}: the row {_short(name)} needs the key 'task', one of {', '.join(TASKS)}")
    values = dict(row)
    values["sources"] = tuple(_source(source) for source in values.get("sources", ()))
    values["path"] = Path(values["path"]) if "path" in values else None
    return Entry(name=name, catalogue=file, **values)


def _source(table: Mapping[str, Any]) -> Source:
    files = tuple(RemoteFile(**{**file, "urls": tuple(file["urls"])}) for file in table.get("files", ()))
    return Source(**{**table, "files": files})


def _check_row(file: Path, name: str, row: Any) -> None:
    where = f"{file}: the row {_short(name)}"
    if not isinstance(row, dict):
        raise InputError(f"{where} must be a table of keys")
    if not _NAME.fullmatch(name):
        raise InputError(f"{where}: a name has letters, digits, '.', '_' and '-' only")
    if name == "loras":
        raise InputError(f"{where}: the models folder keeps LoRAs under this name; take another")
    if name in FILTERS:
        raise InputError(f"{where}: a filter that enlarges pictures has this name; take another")
    _check_table(where, row, _ROW_KEYS, ())
    seen: set[str] = set()
    for source in row.get("sources", ()):
        _check_table(f"{where}, sources", source, _SOURCE_KEYS, ("name",))
        here = f"{where}, source {source['name']!r}"
        if source["name"] in seen:
            raise InputError(f"{here} is there twice")
        seen.add(source["name"])
        if ("files" in source) == ("repo" in source):
            raise InputError(f"{here} needs either files or repo")
        for item in source.get("files", ()):
            _check_table(f"{here}, files", item, _FILE_KEYS, ("name", "urls"))
        files = [item["name"] for item in source.get("files", ())]
        if len(set(files)) < len(files):
            raise InputError(f"{here} has two files of one name")


def _check_table(
    where: str, table: Any, checks: Mapping[str, Callable[[Any], str | None]], needed: tuple[str, ...]
) -> None:
    if not isinstance(table, dict):
        raise InputError(f"{where}: expected a table, not {_short(table)}")
    for key in needed:
        if key not in table:
            raise InputError(f"{where}: the key {key!r} is missing")
    for key, value in table.items():
        if key not in checks:
            raise InputError(f"{where}: unknown key {_short(key)}; the keys are {', '.join(checks)}")
        wrong = checks[key](value)
        if wrong:
            raise InputError(f"{where}: {key} must be {wrong}, not {_short(value)}")


def _short(value: Any) -> str:
    """A value in a message: a mistake may be as long as the file."""
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) and value.strip() else "text"


def _one_of(*names: str) -> Callable[[Any], str | None]:
    return lambda value: None if value in names else f"one of {', '.join(names)}"


def _matching(pattern: str, what: str) -> Callable[[Any], str | None]:
    return lambda value: None if isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII) else what


def _number(kind: type, low: float, high: float, what: str) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        number = isinstance(value, (int, kind)) and not isinstance(value, bool)
        return None if number and low <= value <= high else what

    return check


def _file_name(value: Any) -> str | None:
    fault = file_names.fault(value) if isinstance(value, str) else ""
    return None if fault is None else "a file name" + (fault and f" ({fault})")


def _urls(value: Any) -> str | None:
    fine = isinstance(value, list) and value and all(isinstance(url, str) and allowed(url) for url in value)
    return None if fine else "a list of https:// or hf://user/repo/path addresses"


def _tables(value: Any) -> str | None:
    return None if isinstance(value, list) and value else "a list of tables"


_ROW_KEYS: Mapping[str, Callable[[Any], str | None]] = {
    "summary": _text,
    "task": _one_of(*TASKS),
    "family": _one_of(*FAMILIES),
    "size": _number(int, 64, MAX_SIZE, f"a whole number from 64 to {MAX_SIZE}"),
    "prediction": _one_of(*PREDICTION_TYPES),
    "sampler": _one_of(*SAMPLERS),
    "schedule": _one_of(*SCHEDULES),
    "steps": _number(int, 1, MAX_STEPS, f"a whole number from 1 to {MAX_STEPS}"),
    "guidance": _number(float, 1, MAX_GUIDANCE, f"a number from 1 to {MAX_GUIDANCE}"),
    "licence": _text,
    "licence_url": _matching(r"https://\S+", "an https:// address"),
    "path": _text,
    "sources": _tables,
}
_SOURCE_KEYS: Mapping[str, Callable[[Any], str | None]] = {
    "name": _matching(_NAME.pattern, "a name of letters, digits, '.', '_' and '-'"),
    "files": _tables,
    "repo": _matching(_REPOSITORY.pattern, "user/repo"),
    "revision": _matching(_REVISION.pattern, "a branch, tag or commit"),
    "variant": _matching(_NAME.pattern, "a variant such as fp16"),
    "download": _number(int, 1, 2**60, "a number of bytes"),
}
_FILE_KEYS: Mapping[str, Callable[[Any], str | None]] = {
    "name": _file_name,
    "urls": _urls,
    "sha256": _matching(r"[0-9a-f]{64}", "64 lower-case hexadecimal digits"),
    "size": _number(int, 1, 2**60, "a number of bytes"),
}
