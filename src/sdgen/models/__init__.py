"""Models by name: the catalogue, what is on this machine, and how the rest is fetched.

    from sdgen import models

    models.find("sd2.1-base").steps   # 50
    models.locate("mini")             # the bundled folder
    models.pull("sd2.1-base")         # download, or return at once if it is here

A model is named by a row of the catalogue, a folder, a ``.safetensors``, ``.ckpt`` or ``.h5`` file, or a Hub
repository ``user/repo[@revision]``. A catalogue name wins over a folder of that name; write ``./name``
for the folder.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from sdgen.diffusion.choices import SERVED_BY
from sdgen.errors import InputError, ModelUnavailable
from sdgen.files import folders
from sdgen.files.foreign_files import PICKLES
from sdgen.models import catalogue, fetch_model, store
from sdgen.models.catalogue import DEFAULT, Entry, RemoteFile, Source
from sdgen.models.digests import file_sha256, weights_sha256
from sdgen.models.licences import licence_notice
from sdgen.models.progress import Progress, size_text
from sdgen.request.upscale_methods import FILTERS

__all__ = [
    "DEFAULT",
    "Entry",
    "Progress",
    "RemoteFile",
    "Source",
    "download_text",
    "file_sha256",
    "find",
    "host",
    "licence_notice",
    "locate",
    "names",
    "offline_asked",
    "pull",
    "remove",
    "require_task",
    "require_usable",
    "size_text",
    "unusable",
    "verify",
    "weights_sha256",
]

_CANNOT = {
    ("upscaling", "text-to-image"): "enlarges pictures and cannot draw one",
    ("upscaling", "inpainting"): "enlarges pictures and cannot draw one",
    ("inpainting", "text-to-image"): "fills a part of a picture and cannot draw a whole one",
    ("text-to-image", "upscaling"): "cannot enlarge pictures",
}
"""What a model for the first task is told that is asked for the second."""

_ENDINGS = (".safetensors", ".h5", ".hdf5", *PICKLES)


def names() -> tuple[str, ...]:
    """The names of the catalogue, packaged rows first.

    Raises:
        InputError: a catalogue file is wrong.
    """
    return tuple(catalogue.load())


def find(spec: str | os.PathLike[str]) -> Entry:
    """What is known of a model, whether or not it is on this machine.

    Args:
        spec: a catalogue name, a folder or file, or ``user/repo[@revision]``.

    Raises:
        ModelUnavailable: nothing of that name is known or there.
        InputError: a catalogue file is wrong.
    """
    text = os.fspath(spec)
    rows = catalogue.load()
    if text in rows:
        return rows[text]
    if text in FILTERS:
        return Entry(text, FILTERS[text], task="upscaling", weightless=True)
    path = folders.expand(text)
    if text and os.path.exists(path):
        return Entry(text, path=path)
    source = catalogue.repository(text)
    looks_like_path = text.startswith(("/", "./", "../", "~")) or "\\" in text or path.suffix in _ENDINGS
    if source is not None and not looks_like_path:
        return Entry(text, sources=(source,))
    if looks_like_path:
        raise ModelUnavailable(f"there is no model at {text}")
    near = difflib.get_close_matches(text, rows, n=1, cutoff=0.5)
    guess = f" (did you mean {near[0]}?)" if near else ""
    raise ModelUnavailable(
        f"there is no model named {text!r}{guess}; `sdgen models list` shows the names, and a folder, "
        "a .safetensors, .ckpt or .h5 file or user/repo is taken too"
    )


def locate(
    spec: str | os.PathLike[str], *, task: str | None = "text-to-image", offline: bool = False
) -> Path:
    """The folder or file of a model on this machine. Nothing is ever downloaded.

    Args:
        spec: a catalogue name, a folder or file, or ``user/repo[@revision]``.
        task: what it is wanted for, as in the catalogue; a model for another task is refused, but a model
            that draws whole pictures fills in parts of them, too. None takes any.
        offline: the user forbids the network; changes the advice alone.

    Raises:
        ModelUnavailable: it is unknown, not here or damaged; the message says how to get it.
        InputError: the model is for another task, or a filter, or a catalogue file is wrong.
    """
    entry = find(spec)
    require_task(entry, task)
    _require_weights(entry)
    path = store.installed(entry)
    if path is None:
        raise ModelUnavailable(_how_to_get(entry, offline))
    return path


def require_task(entry: Entry, task: str | None) -> None:
    """Refuse a model that is for another task, as far as the catalogue tells; arguments as for ``locate``.

    Raises:
        InputError: it is.
    """
    if task and entry.task and entry.task not in SERVED_BY.get(task, (task,)):
        verb = _CANNOT.get((entry.task, task), f"is for {entry.task}, not {task}")
        advice = "`sdgen models list` shows what each model is for"
        if entry.task == "upscaling":
            advice = "`sdgen upscale` does that with it"
        raise InputError(f"{entry.name} {verb}; {advice}", "model")


def pull(
    spec: str | os.PathLike[str],
    *,
    source: str | None = None,
    offline: bool = False,
    anyway: bool = False,
    progress: Progress | None = None,
) -> Path:
    """The folder or file of a model, fetched if it is not on this machine.

    Args:
        spec: a catalogue name, a folder or file, or ``user/repo[@revision]``.
        source: the name of one of the entry's sources; None for each in turn.
        offline: raise instead of using the network.
        anyway: fetch it even if sdgen can do nothing with it yet.
        progress: is told how far it is.

    Raises:
        ModelUnavailable: it cannot be fetched; what arrived is kept and the next call goes on from there.
        InputError: no such source, of no use yet, a filter, or a catalogue file is wrong.
    """
    entry = find(spec)
    _require_weights(entry)
    if not anyway:
        require_usable(entry)
    return fetch_model.fetch_model(entry, source, offline or offline_asked(), progress or Progress())


def require_usable(entry: Entry) -> None:
    """Raises unless sdgen can do something with a model, or the model is on this machine already.

    Raises:
        InputError: it is for a task that is still to come.
    """
    if not entry.usable and store.state(entry) != "here":
        advice = "nothing was fetched; --anyway fetches it all the same"
        raise InputError(f"{unusable(entry)}; {advice}", "model")


def unusable(entry: Entry) -> str:
    """Why sdgen can do nothing with a model that is not ``usable``."""
    return f"{entry.name} is for {entry.task}, which sdgen cannot do yet"


def download_text(entry: Entry) -> str:
    """How much ``pull`` has to fetch: ``about 5.2 GB``, ``137 MB`` or ``a download of unknown size``."""
    source = entry.source()
    lacking = store.missing(entry, source)
    if lacking and all(file.size for file in lacking):
        return size_text(sum(file.size or 0 for file in lacking))
    return f"about {size_text(source.download)}" if source.download else "a download of unknown size"


def host(entry: Entry) -> str:
    """The host from which ``pull`` begins to fetch a model."""
    return fetch_model.host(entry.source())


def verify(spec: str | os.PathLike[str]) -> list[tuple[Path, str | None]]:
    """Read a model's files again and compare them with what they should be.

    Returns:
        Each file's path and what is wrong with it, None if nothing is. A model without known digests
        (a folder or file of the user's) has no files here.

    Raises:
        ModelUnavailable: it is unknown or not on this machine.
    """
    entry = find(spec)
    _require_weights(entry)
    place = next(store.found(entry), None)
    if place is None:
        raise ModelUnavailable(_how_to_get(entry, offline=False))
    return [(path, store.wrong(path, file, again=True)) for path, file in place.files]


def remove(spec: str | os.PathLike[str], progress: Progress | None = None) -> int:
    """Delete what sdgen has downloaded of a model and return the bytes freed.

    Links into other programs' caches go, what they point at stays.

    Raises:
        InputError: sdgen has nothing of it; the message says where it is, if it is anywhere.
        ModelUnavailable: it is unknown, or cannot be deleted.
    """
    entry, progress = find(spec), progress or Progress()
    _require_weights(entry)
    folder = store.folder_of(entry) if entry.path is None else None
    if folder is not None and os.path.lexists(folder):
        if folder.is_symlink():
            progress.note(f"{folder} is a link; {os.path.realpath(folder)} stays as it is")
        try:
            with fetch_model.locked(entry, progress):
                return store.remove(entry)
        except OSError as error:
            what = error.filename or folder
            fault = f"{what} cannot be removed or written: {error.strerror or error}"
            raise ModelUnavailable(f"{entry.name} is still here, whole or in part: {fault}") from None
    place = next(store.found(entry), None)
    where = f"it is at {place.path}, which sdgen does not manage" if place else "it is not on this machine"
    raise InputError(f"there is nothing to remove of {entry.name}: {where}", "model")


def offline_asked() -> bool:
    """Whether ``SDGEN_OFFLINE`` or ``HF_HUB_OFFLINE`` forbids the network."""
    return any(
        os.environ.get(name, "").strip().lower() in ("1", "on", "yes", "true")
        for name in ("SDGEN_OFFLINE", "HF_HUB_OFFLINE")
    )


def _require_weights(entry: Entry) -> None:
    if entry.weightless:
        raise InputError(f"{entry.name} is a filter, and needs no weights: it is always here", "model")


def _how_to_get(entry: Entry, offline: bool) -> str:
    if not entry.sources:
        return f"{entry.name} is not on this machine: there is nothing at {entry.path}"
    first, *others = entry.sources
    sizes = [size_text(first.download)] if first.download else []
    sizes += [f"{size_text(s.download)} with --source {s.name}" for s in others if s.download]
    lacking = store.missing(entry, first)
    if lacking and len(lacking) < len(first.files):  # the rest is here already
        names = ", ".join(file.name for file in lacking)
        state = f"is not whole on this machine ({names} missing)"
        sizes = [size_text(sum(file.size or 0 for file in lacking))] if all(f.size for f in lacking) else []
    else:
        state = "is not on this machine"
    when = "once the network may be used, get it" if offline or offline_asked() else "get it"
    about = f" ({', or '.join(sizes)})" if sizes else ""
    other = "the method lanczos" if entry.task == "upscaling" else "--model mini"
    return (
        f"{entry.name} {state}: {when} with `sdgen models pull {entry.name}`{about}, "
        f"or use {other}, which needs no download"
    )
