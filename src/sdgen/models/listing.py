"""Which files of a Hub repository a model needs, with the digests that the Hub gives for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sdgen.errors import ModelUnavailable
from sdgen.models import hub
from sdgen.models.catalogue import FILE_NAME, RemoteFile, Source
from sdgen.models.patience import NextMirror, Patience, Policy, TryAgain
from sdgen.models.progress import Progress


def list_files(source: Source, progress: Progress, policy: Policy) -> tuple[RemoteFile, ...]:
    """The files to fetch from a repository, at the commit that its revision is at now.

    Weights come with their sha256, small files with their git object id, all with their size.

    Raises:
        NextMirror: the Hub cannot be reached, refuses, or has no usable files there.
    """
    repo = source.repo or ""
    patience = Patience(policy, repo, progress)
    while True:
        try:
            commit, siblings = _ask(repo, source.revision, policy.timeout)
            break
        except TryAgain as fault:
            patience.wait(fault)
    try:
        names = hub.choose(siblings, source.variant)
    except ModelUnavailable as error:
        raise NextMirror(f"cannot be used: {error}") from None
    return tuple(_remote_file(repo, commit, siblings[name]) for name in names)


def _ask(repo: str, revision: str, timeout: float) -> tuple[str, Mapping[str, Any]]:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    api = HfApi(endpoint=hub.endpoint(), library_name="sdgen")
    try:
        info = api.model_info(repo, revision=revision, files_metadata=True, timeout=timeout)
    except GatedRepoError:
        terms = f"{hub.endpoint()}/{repo}"
        raise NextMirror(f"asks you to accept its terms: do so at {terms} and set HF_TOKEN") from None
    except RevisionNotFoundError:
        raise NextMirror(f"has no revision {revision!r} at {hub.endpoint()}") from None
    except RepositoryNotFoundError:
        raise NextMirror(f"is not at {hub.endpoint()}, or is private and needs HF_TOKEN") from None
    except HFValidationError:
        raise NextMirror("is not a name that a repository on the Hub can have") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (408, 429) or status >= 500:
            raise TryAgain(f"cannot be listed: {hub.endpoint()} answered with status {status}") from None
        raise NextMirror(f"cannot be listed: {hub.endpoint()} answered with status {status}") from None
    except Exception:  # connection faults have other classes in each major version of huggingface_hub
        raise TryAgain(f"cannot be listed: {hub.endpoint()} cannot be reached", weight=2) from None
    if not info.sha:
        raise NextMirror(f"cannot be listed: {hub.endpoint()} names no commit")
    return info.sha, {sibling.rfilename: sibling for sibling in info.siblings or ()}


def _remote_file(repo: str, commit: str, sibling: Any) -> RemoteFile:
    name = sibling.rfilename
    if not re.fullmatch(FILE_NAME, name, re.ASCII):
        raise NextMirror(f"has a file of the strange name {name!r}")
    digest = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id or ""
    size = sibling.lfs.size if sibling.lfs else sibling.size
    return RemoteFile(name, (f"hf://{repo}@{commit}/{name}",), size=size, **hub.digest_of(digest))
