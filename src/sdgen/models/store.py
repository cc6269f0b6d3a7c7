"""Models on this machine: sdgen's own folder, the Hub cache and the keras cache, checked by digest."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

from sdgen.errors import ModelUnavailable
from sdgen.files import folders, small_json
from sdgen.models import hub, hub_replies
from sdgen.models.catalogue import PACKAGED, Entry, RemoteFile, Source, repository
from sdgen.models.digests import file_sha256, git_blob

MANIFEST = "manifest.json"
"""The file in a model's folder that lists the files which belong to it, with digests and addresses."""


@dataclasses.dataclass(frozen=True)
class Found:
    """A model whose files are all on this machine, judged by names alone.

    Attributes:
        path: the file, where it is one, otherwise the folder.
        files: path of each file and what it should be; empty where that is not known.
        ours: whether sdgen downloaded it.
    """

    path: Path
    files: tuple[tuple[Path, RemoteFile], ...]
    ours: bool


def found(entry: Entry) -> Iterator[Found]:
    """The places where a model is, in the order of its sources. Files of other caches become links."""
    if entry.path is not None and os.path.exists(entry.path):
        yield Found(entry.path, (), ours=False)
    for source in entry.sources:
        folder = folder_of(entry, source)
        pairs = tuple((folder / file.name, file) for file in wanted(entry, source) or ())
        here = [os.path.isfile(path) or adopt(source, file, path) for path, file in pairs]
        if pairs and all(here):
            yield Found(pairs[0][0] if len(pairs) == 1 else folder, pairs, ours=True)
        elif source.repo and (cached := hub.cached_snapshot(source)):
            snapshot, files = cached
            yield Found(snapshot, tuple((snapshot / file.name, file) for file in files), ours=False)


def installed(entry: Entry) -> Path | None:
    """The file or folder of a model on this machine, or None.

    Every file has the right digest, which is computed once for each file and remembered.

    Raises:
        ModelUnavailable: a file that sdgen downloaded has changed since.
    """
    for place in found(entry):
        faults = [(path, fault) for path, file in place.files if (fault := wrong(path, file))]
        if not faults:
            return place.path
        if place.ours:
            path, fault = faults[0]
            raise ModelUnavailable(f"{path} {fault}; `sdgen models pull {entry.name}` fetches it again")
    return None


def folder_of(entry: Entry, source: Source | None = None) -> Path:
    """The folder of a model, or of what one source gives, in sdgen's own folder."""
    own = folders.models() / _slug(entry)
    return own / source.name if source else own


def wanted(entry: Entry, source: Source) -> tuple[RemoteFile, ...] | None:
    """The files of a source: the catalogue's, or of a repository those noted when it was first listed."""
    noted = {file.name: file for file in _read_manifest(folder_of(entry, source)) or ()}
    if not source.files:
        return tuple(noted.values()) or None
    return tuple(
        dataclasses.replace(file, sha256=noted[file.name].sha256, size=noted[file.name].size)
        if file.name in noted and file.sha256 is None and file.urls == noted[file.name].urls
        else file
        for file in source.files
    )


def state(entry: Entry) -> str:
    """Whether a model is here, judged by names alone: "packaged", "here", "partly" or "no"."""
    if entry.weightless:
        return "packaged"
    if entry.path is not None:
        return ("packaged" if entry.catalogue == PACKAGED else "here") if os.path.exists(entry.path) else "no"
    for source in entry.sources:
        pairs = [(folder_of(entry, source) / file.name, file) for file in wanted(entry, source) or ()]
        if pairs and all(os.path.isfile(path) or any(_elsewhere(source, file)) for path, file in pairs):
            return "here"
        if source.repo and hub.cached_snapshot(source):
            return "here"
    return "partly" if any(path.name != MANIFEST for path in folders.files(folder_of(entry))) else "no"


def repositories() -> list[str]:
    """``user/repo@revision`` of every repository that was pulled by that name."""
    root = folders.models()
    names = []
    with contextlib.suppress(OSError):  # none there, or not to be read
        names = [name for name in os.listdir(root) if "@" in name]
    specs = (unquote(name.replace("--", "/", 1)) for name in names)
    return sorted(spec for spec in specs if repository(spec))


def missing(entry: Entry, source: Source) -> list[RemoteFile]:
    """The files of a source that are not in its folder."""
    files = wanted(entry, source) or ()
    return [file for file in files if not os.path.isfile(folder_of(entry, source) / file.name)]


def wrong(path: Path, file: RemoteFile, *, again: bool = False) -> str | None:
    """What is wrong with a file: missing, or of another size or digest; None if nothing is.

    Args:
        path: the file.
        file: what it should be.
        again: read it even if its digest is remembered.
    """
    if not os.path.isfile(path):
        return "is missing"
    size = os.path.getsize(path)
    if file.size is not None and size != file.size:
        return f"has {size} bytes instead of {file.size}"
    if file.sha256 is not None:
        found = file_sha256(path, again=again)
        return None if found == file.sha256 else f"has sha256 {found} instead of {file.sha256}"
    if file.git_blob is not None:
        found = git_blob(path)
        return None if found == file.git_blob else f"has git id {found} instead of {file.git_blob}"
    return None


def adopt(source: Source, file: RemoteFile, target: Path) -> bool:
    """Link a file that another program has downloaded, if its digest is right. Nothing is copied."""
    for candidate in _elsewhere(source, file):
        if (file.sha256 or file.git_blob) and wrong(candidate, file) is None:
            with contextlib.suppress(OSError):  # a folder that cannot be written, or another disk
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(Path(os.path.realpath(candidate)), target)
                return True
    return False


def write_manifest(folder: Path, files: Iterable[RemoteFile]) -> None:
    """Note what belongs to a model's folder.

    Raises:
        OSError: the folder cannot be written.
    """
    rows = [dataclasses.asdict(file) for file in files]
    small_json.write(folder / MANIFEST, {"files": rows}, indent=1)


def remove(entry: Entry) -> int:
    """Delete what sdgen holds of a model and return the bytes freed. Other programs' caches stay.

    Where the folder is a link, it alone goes: what it points at was put there by somebody else.

    Raises:
        OSError: something cannot be deleted.
    """
    own = folder_of(entry)
    if own.is_symlink() or not own.is_dir():
        own.unlink()
        return 0
    freed = sum(path.lstat().st_size for path in folders.files(own))
    shutil.rmtree(own)
    return freed


def _link(file: Path, target: Path) -> None:
    link = target.with_name(target.name + ".link")
    link.unlink(missing_ok=True)
    try:
        link.symlink_to(file)
    except OSError:  # Windows without the privilege
        os.link(file, link)
    os.replace(link, target)


def _elsewhere(source: Source, file: RemoteFile) -> Iterator[Path]:
    digest = file.sha256 or file.git_blob
    repositories = {url.removeprefix("hf://").split("@")[0] for url in file.urls if url.startswith("hf://")}
    names = {"/".join(repository.split("/")[:2]) for repository in repositories}
    if source.repo:
        names.add(source.repo)
    for name in sorted(names):
        blob = hub.cached_blob(name, digest) if digest else None
        if blob:
            yield blob
    if file.name.endswith(".h5"):
        home = folders.expand(os.environ.get("KERAS_HOME") or "~/.keras")
        for below in ("datasets", "models"):  # keras_cv's get_file calls leave the default, datasets
            if os.path.isfile(home / below / file.name):
                yield home / below / file.name


def _read_manifest(folder: Path) -> tuple[RemoteFile, ...] | None:
    try:
        return hub_replies.remote_files(small_json.read(folder / MANIFEST).get("files"))
    except hub_replies.WrongAnswer:  # another program wrote it, or it is damaged
        return None


def _slug(entry: Entry) -> str:
    """A folder name for the model. Only a repository has '@', so it never meets a catalogue name."""
    if entry.catalogue is not None:
        return entry.name
    source = entry.source()
    return f"{source.repo}@{quote(source.revision, safe='')}".replace("/", "--", 1)
