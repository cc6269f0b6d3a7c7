"""Fetching a model: one command at a time, source by source, file by file."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from sdgen.errors import ModelUnavailable
from sdgen.files import folders
from sdgen.models import hub, store
from sdgen.models.catalogue import Entry, RemoteFile, Source
from sdgen.models.patience import NextMirror, Policy
from sdgen.models.progress import Progress, size_text


def fetch_model(entry: Entry, source_name: str | None, offline: bool, progress: Progress) -> Path:
    """The folder or file of a model, fetched if it is not on this machine.

    Raises:
        ModelUnavailable: it cannot be fetched; what arrived is kept.
        InputError: the entry has no such source.
    """
    if source_name is not None:
        entry = dataclasses.replace(entry, sources=(entry.source(source_name),))
    with contextlib.suppress(ModelUnavailable):  # a damaged file: fetched again below
        path = store.installed(entry)
        if path is not None:
            return path
    if entry.path is not None:
        raise ModelUnavailable(f"{entry.name} is not on this machine: there is nothing at {entry.path}")
    if offline:
        raise ModelUnavailable(
            f"{entry.name} is not on this machine, and the network may not be used; "
            "--model mini needs no download"
        )
    try:
        with locked(entry, progress):
            return _fetch(entry, progress)
    except OSError as error:
        raise ModelUnavailable(
            f"{error.filename or folders.models()} cannot be written: {error.strerror or error}; "
            "SDGEN_MODELS_DIR names another folder"
        ) from None


def host(source: Source) -> str:
    """The host from which a source is fetched first."""
    return urlsplit(hub.resolved(source.files[0].urls[0]) if source.files else hub.endpoint()).netloc


@contextlib.contextmanager
def locked(entry: Entry, progress: Progress) -> Iterator[None]:
    """Hold a model against other sdgen commands, after waiting for one that has it.

    Raises:
        OSError: the lock file cannot be written.
    """
    from filelock import FileLock, Timeout

    file = folders.models() / ".locks" / f"{store.folder_of(entry).name}.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.note(f"another sdgen command is busy with {entry.name}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch(entry: Entry, progress: Progress) -> Path:
    from sdgen.models.fetch_file import NotFetched

    faults, lasting = [], True
    for source in entry.sources:
        try:
            _fetch_source(entry, source, progress)
        except NotFetched as fault:
            faults.append(str(fault))
            lasting = fault.lasting
            if not lasting:  # most of it may be here: better to go on there than to begin elsewhere
                break
            if source is not entry.sources[-1]:
                progress.note(f"{fault}; trying the source {entry.sources[len(faults)].name}")
        else:
            path = store.installed(dataclasses.replace(entry, sources=(source,)))
            if path is None:
                raise ModelUnavailable(
                    f"{entry.name} was fetched and has gone again; is its folder kept whole?"
                )
            return path
    where = host(entry.sources[len(faults) - 1])
    advice = "" if lasting else f"; see whether the network, or the proxy, lets you reach {where}"
    raise ModelUnavailable(f"{entry.name}: {'; '.join(faults)}{advice}; --model mini needs no download")


def _fetch_source(entry: Entry, source: Source, progress: Progress) -> None:
    from sdgen.models.fetch_file import NotFetched, fetch_file
    from sdgen.models.listing import list_files

    policy = Policy.from_environment()
    folder = store.folder_of(entry, source)
    files = store.wanted(entry, source)
    if files is None:
        try:
            files = list_files(source, progress, policy)
        except NextMirror as fault:
            raise NotFetched(f"{source.repo} {fault}", fault.lasting) from None
    folder.mkdir(parents=True, exist_ok=True)
    store.write_manifest(folder, files)
    lacking = [file for file in files if not _have(source, file, folder / file.name, progress)]
    _check_space(folder, source, files, lacking)
    complete = {file.name: file for file in files}
    for file in lacking:
        target = folder / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        complete[file.name] = fetch_file(file, target, progress, policy)
        store.write_manifest(folder, complete.values())


def _have(source: Source, file: RemoteFile, target: Path, progress: Progress) -> bool:
    if os.path.lexists(target):
        fault = store.wrong(target, file)
        if fault is None:
            return True
        progress.note(f"{target} {fault}; fetching it again")
    target.unlink(missing_ok=True)
    if store.adopt(source, file, target):
        progress.note(f"{file.name} is in {Path(os.path.realpath(target)).parent} already; linked")
        return True
    return False


def _check_space(
    folder: Path, source: Source, files: tuple[RemoteFile, ...], lacking: list[RemoteFile]
) -> None:
    need = sum(file.size or 0 for file in lacking)
    if source.download and any(file.size is None for file in lacking):
        here = sum((folder / file.name).stat().st_size for file in files if file not in lacking)
        need = max(need, source.download - here)
    need -= sum(part.stat().st_size for part in folder.rglob("*.part"))
    free = shutil.disk_usage(folder).free
    if need > free:
        raise ModelUnavailable(
            f"{size_text(need)} are needed in {folder}, where {size_text(free)} are free; make room, or set "
            "SDGEN_MODELS_DIR to a folder on another disk"
        )
