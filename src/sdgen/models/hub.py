"""Diffusers repositories on the Hugging Face Hub: which of their files a model needs, and their cache.

huggingface_hub lists a repository (``listing``). The files go through ``transfer``: huggingface_hub 2.4
begins an interrupted file again from its first byte (each process has its own temporary file), and it
checks the length of what it received, not the digest that the Hub publishes.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from sdgen.errors import InputError, ModelUnavailable, SdgenError
from sdgen.files import folders, small_json
from sdgen.files.user_files import read_regular
from sdgen.models.catalogue import RemoteFile, Source

DEFAULT_ENDPOINT = "https://huggingface.co"

_COMPONENTS = ("unet", "vae", "vqvae", "bert", "text_encoder", "tokenizer", "scheduler", "low_res_scheduler")
_MOST_NAMED = 8
"""Variants of a network that a message names."""

_MOST_REF = 1000
"""Bytes of the file that says at which commit a branch is."""

_TEXT = (".json", ".txt")

PICKLED = ".bin"
"""Ending of weights that PyTorch has pickled."""

WEIGHTS = (".safetensors", PICKLED)
"""Endings of weights, first those that are preferred."""

_OTHERS = (".ckpt", ".pt", ".msgpack")
"""Endings of weights that diffusers does not read from a network's folder."""

_STEM = r"(?:(?:diffusion_)?pytorch_)?model"
_WEIGHTS = re.compile(
    _STEM + r"(?:\.(?P<variant>\w+))?(?:-(?P<part>\d{5})-of-(?P<parts>\d{5}))?"
    r"(?:\.(?P<late_variant>\w+))?(?P<ending>\.safetensors|\.bin)"
)
_INDEX = re.compile(_STEM + r"(?P<ending>\.safetensors|\.bin)\.index(?:\.(?P<variant>\w+))?\.json")


def endpoint() -> str:
    """Where the Hub is: ``HF_ENDPOINT``, or huggingface.co.

    Raises:
        InputError: ``HF_ENDPOINT`` is no web address.
    """
    chosen = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/")
    try:
        parts = urlsplit(chosen or DEFAULT_ENDPOINT)
        if parts.scheme in ("http", "https") and parts.hostname and chosen.isprintable():
            return chosen or DEFAULT_ENDPOINT
    except ValueError:  # half an IPv6 address
        pass
    raise InputError(f"HF_ENDPOINT is {chosen!r}, not a web address such as {DEFAULT_ENDPOINT}; mend it")


def resolved(url: str) -> str:
    """The web address of a catalogue address: ``hf://user/repo[@revision]/path`` is at ``endpoint``."""
    if not url.startswith("hf://"):
        return url
    user, repo, path = url.removeprefix("hf://").split("/", 2)
    repo, _, revision = repo.partition("@")
    return f"{endpoint()}/{user}/{repo}/resolve/{quote(revision or 'main', safe='')}/{quote(path)}"


def choose(names: Iterable[str], variant: str | None) -> list[str]:
    """The files of a diffusers repository that a model needs, in name order.

    Configuration and tokenizer files of the components that Stable Diffusion draws with, and for each
    network one set of weights: of the variant, or the plain one where there is no such variant; safetensors,
    or a pickle where a network has no safetensors at all.

    Args:
        names: paths of all files, relative to the repository, with '/'.
        variant: preferred weights, such as ``fp16``; None for the plain ones.

    Raises:
        ModelUnavailable: it is no diffusers repository, or a component has no whole weights.
    """
    names = sorted(names)
    if "model_index.json" not in names:
        raise ModelUnavailable("there is no model_index.json in it, so it is not a diffusers model")
    chosen = ["model_index.json"]
    found: dict[str, list[str]] = {}
    for name in names:
        folder, slash, file = name.partition("/")
        if slash and "/" not in file and folder in _COMPONENTS:
            found.setdefault(folder, []).append(file)
    for folder, files in found.items():
        settings = [file for file in files if file.endswith(_TEXT) and not _INDEX.fullmatch(file)]
        chosen += [f"{folder}/{file}" for file in settings + _weights(folder, files, variant)]
    if not any(name.startswith("unet/") and name.endswith(WEIGHTS) for name in chosen):
        raise ModelUnavailable("there are no UNet weights in it")
    return sorted(chosen)


def cache_folder() -> Path:
    """The Hub cache that huggingface_hub and diffusers use on this machine."""
    for variable, below in (("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub")):
        if os.environ.get(variable):
            return folders.expand(os.path.expandvars(os.environ[variable])) / below
    return folders.expand(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface" / "hub"


def cached_blob(repo: str, digest: str) -> Path | None:
    """A file of a repository in the Hub cache by its sha256 or git object id, or None."""
    blob = _cached_repository(repo) / "blobs" / digest
    return blob if os.path.isfile(blob) else None


def cached_snapshot(source: Source) -> tuple[Path, tuple[RemoteFile, ...]] | None:
    """A whole model in the Hub cache, with the digests that its files should have, or None."""
    folder = _cached_repository(source.repo or "")
    commit = source.revision
    with contextlib.suppress(OSError, SdgenError, UnicodeDecodeError):
        noted = read_regular(folder / "refs" / source.revision, _MOST_REF).decode("ascii").strip()
        commit = noted if re.fullmatch(r"[0-9a-f]{40}", noted) else commit
    snapshot = folder / "snapshots" / commit
    if not os.path.isdir(snapshot):
        return None
    paths = folders.files(snapshot)
    there = [path.relative_to(snapshot).as_posix() for path in paths if os.path.isfile(path)]
    names: set[str] = set()
    for variant in {source.variant, None}:  # whichever of them is read later, its digest is to be checked
        with contextlib.suppress(ModelUnavailable):
            names.update(choose(there, variant))
    if not names or not _whole(snapshot / "model_index.json", names):
        return None
    files = (RemoteFile(name, (), **digest_of(_blob_name(snapshot / name))) for name in sorted(names))
    return snapshot, tuple(files)


def digest_of(text: str) -> dict[str, Any]:
    """The field of ``RemoteFile`` that a digest belongs to, by its length; none if it is no digest."""
    if re.fullmatch(r"[0-9a-f]{64}", text):
        return {"sha256": text}
    return {"git_blob": text} if re.fullmatch(r"[0-9a-f]{40}", text) else {}


def _weights(folder: str, files: list[str], variant: str | None) -> list[str]:
    """The weight files of one network, with the index if they are several; none if it has none."""
    ending = next((end for end in WEIGHTS if any(_is_weights(file, end) for file in files)), "")
    sets: dict[tuple[str, int], list[str]] = {}
    for file in files:
        match = _WEIGHTS.fullmatch(file)
        if match and match["ending"] == ending:
            kind = match["variant"] or match["late_variant"] or ""
            sets.setdefault((kind, int(match["parts"] or 1)), []).append(file)
    whole = sorted((kind, parts) for (kind, parts), found in sets.items() if len(found) == parts)
    for wanted in (variant, ""):
        for kind, parts in whole:
            if kind == wanted:
                indexes = [(file, _INDEX.fullmatch(file)) for file in files if parts > 1]
                found = ((file, match) for file, match in indexes if match and match["ending"] == ending)
                index = [file for file, match in found if (match["variant"] or "") == kind]
                return sets[kind, parts] + index
    if whole:
        kinds = ", ".join(sorted({kind for kind, _ in whole})[:_MOST_NAMED])
        raise ModelUnavailable(f"{folder} has its weights only in the variants {kinds}")
    if sets:
        raise ModelUnavailable(f"the weights of {folder} are not whole: a part is missing")
    others = [file for file in files if file.endswith(_OTHERS)]
    if others:
        raise ModelUnavailable(
            f"the weights of {folder} are there only as {others[0]}, and neither as safetensors nor as "
            "PyTorch's .bin"
        )
    return []


def _is_weights(file: str, ending: str) -> bool:
    match = _WEIGHTS.fullmatch(file)
    return match is not None and match["ending"] == ending


def _whole(index: Path, names: Iterable[str]) -> bool:
    """Whether every component that model_index.json lists has its files: a snapshot may be partial."""
    components = small_json.read(index)
    if not components:
        return False
    for component in _COMPONENTS:
        if component not in components:
            continue
        files = {name.removeprefix(f"{component}/") for name in names if name.startswith(f"{component}/")}
        if component.endswith("scheduler"):
            whole = "scheduler_config.json" in files
        elif component.startswith("tokenizer"):
            whole = bool({"tokenizer.json", "vocab.txt"} & files) or {"vocab.json", "merges.txt"} <= files
        else:
            whole = "config.json" in files and any(name.endswith(WEIGHTS) for name in files)
        if not whole:
            return False
    return True


def _blob_name(file: Path) -> str:
    return Path(os.readlink(file)).name if file.is_symlink() else ""


def _cached_repository(repo: str) -> Path:
    return cache_folder() / f"models--{repo.replace('/', '--')}"
