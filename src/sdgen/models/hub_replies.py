"""What a hub answers and what manifests say, checked field by field before any of it is used or stored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sdgen.files import json_text
from sdgen.models import file_names
from sdgen.models.catalogue import RemoteFile, allowed

MOST_LISTING = 8 * 2**20
"""Bytes of a repository's listing; a diffusers repository with all its variants has some 100 kB."""

MOST_FILES = 20_000
"""Files of a repository."""

MOST_BYTES = 2**42
"""Bytes of one file, 4 TiB."""


_LONGEST_PATH = 1000
"""Characters of the name of a file that may not be fetched at all."""


class WrongAnswer(Exception):
    """A hub's answer is not what it should be; the message begins with a verb."""


def listing(data: bytes) -> tuple[str, Mapping[str, Any]]:
    """The commit of a repository and its files: name -> what the Hub says of it, not yet checked.

    Args:
        data: the JSON that ``/api/models/REPO/revision/REVISION?blobs=true`` answers.

    Raises:
        WrongAnswer: it has another form.
    """
    try:
        answer = json_text.parse_object(data)
    except ValueError as error:
        raise WrongAnswer(f"answers with something that describes no repository: {error}") from None
    commit, siblings = answer.get("sha"), answer.get("siblings")
    if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", commit):
        raise WrongAnswer("names no commit")
    if not isinstance(siblings, list) or len(siblings) > MOST_FILES:
        raise WrongAnswer(f"gives no list of at most {MOST_FILES} files")
    files: dict[str, Any] = {}
    for sibling in siblings:
        name = sibling.get("rfilename") if isinstance(sibling, dict) else None
        if not isinstance(name, str) or len(name) > _LONGEST_PATH:
            raise WrongAnswer(f"lists a file without a name of at most {_LONGEST_PATH} characters")
        if name in files:
            raise WrongAnswer(f"lists the file {name[: file_names.MOST]!r} twice")
        files[name] = sibling
    return commit, files


def sibling(repo: str, commit: str, said: Mapping[str, Any]) -> RemoteFile:
    """A file of a listing.

    Raises:
        WrongAnswer: its name, size or digest is of no use; the message names file and field.
    """
    name, lfs = said["rfilename"], said.get("lfs")
    if lfs is not None and not isinstance(lfs, dict):
        raise WrongAnswer(f"gives {name[: file_names.MOST]!r} a wrong lfs")
    digest = {"git_blob": said.get("blobId")} if lfs is None else {"sha256": lfs.get("sha256")}
    if digest.get("sha256", "") is None:
        raise WrongAnswer(f"gives {name[: file_names.MOST]!r} no sha256")
    size = (said if lfs is None else lfs).get("size")
    return remote_file({"name": name, "urls": [f"hf://{repo}@{commit}/{name}"], "size": size, **digest})


def remote_file(row: Any) -> RemoteFile:
    """A file as a manifest notes it: the fields of ``RemoteFile``.

    Raises:
        WrongAnswer: a field is wrong; the message names file and field.
    """
    if not isinstance(row, dict) or not isinstance(row.get("name"), str):
        raise WrongAnswer("names no file")
    name = row["name"]
    if wrong := file_names.fault(name):
        raise WrongAnswer(f"has a file of the strange name {name[: file_names.MOST]!r}: {wrong}")
    urls, size = row.get("urls"), row.get("size")
    if not isinstance(urls, list) or not all(isinstance(url, str) and allowed(url) for url in urls):
        raise WrongAnswer(f"gives {name!r} wrong addresses")
    if size is not None and not (type(size) is int and 0 <= size <= MOST_BYTES):
        raise WrongAnswer(f"gives {name!r} a wrong size")
    for field, digits in (("sha256", 64), ("git_blob", 40)):
        digest = row.get(field)
        if digest is not None and not _hexadecimal(digest, digits):
            raise WrongAnswer(f"gives {name!r} a wrong {field}")
    return RemoteFile(name, tuple(urls), row.get("sha256"), row.get("git_blob"), size)


def remote_files(rows: Any) -> tuple[RemoteFile, ...]:
    """The files of a manifest, of names that differ in more than case.

    Raises:
        WrongAnswer: there are none or too many, or one is wrong.
    """
    if not isinstance(rows, list) or not 0 < len(rows) <= MOST_FILES:
        raise WrongAnswer(f"has no list of 1 to {MOST_FILES} files")
    files = tuple(remote_file(row) for row in rows)
    distinct(files)
    return files


def distinct(files: tuple[RemoteFile, ...]) -> None:
    """Raises if two files would be one on a file system that does not tell case apart.

    Raises:
        WrongAnswer: two would be.
    """
    seen: dict[str, str] = {}
    for file in files:
        other = seen.setdefault(file.name.casefold(), file.name)
        if other is not file.name:
            raise WrongAnswer(f"has the files {other!r} and {file.name!r}, which differ in case alone")


def _hexadecimal(value: Any, digits: int) -> bool:
    return isinstance(value, str) and re.fullmatch(rf"[0-9a-f]{{{digits}}}", value) is not None
