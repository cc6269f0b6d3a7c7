"""Which files of a Hub repository a model needs, with the digests that the Hub gives for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from sdgen.errors import ModelUnavailable
from sdgen.models import connection, hub, hub_replies
from sdgen.models.catalogue import RemoteFile, Source
from sdgen.models.hub_replies import WrongAnswer
from sdgen.models.patience import NextMirror, Patience, Policy, TryAgain
from sdgen.models.progress import Progress


def list_files(source: Source, progress: Progress, policy: Policy) -> tuple[RemoteFile, ...]:
    """The files to fetch from a repository, at the commit that its revision is at now.

    Weights come with their sha256, small files with their git object id, all with their size.

    Raises:
        NextMirror: the Hub cannot be reached, refuses, or has no usable files there.
    """
    repo = source.repo or ""
    _check_name(repo)
    patience = Patience(policy, repo, progress)
    while True:
        try:
            data = _ask(repo, source.revision, policy.timeout)
            break
        except TryAgain as fault:
            patience.wait(fault)
    try:
        commit, said = hub_replies.listing(data)
        files = _chosen(repo, commit, said, source.variant)
    except WrongAnswer as fault:
        raise NextMirror(f"cannot be used: {hub.endpoint()} {fault}") from None
    except ModelUnavailable as error:
        raise NextMirror(f"cannot be used: {error}") from None
    pickles = [file.name for file in files if file.name.endswith(hub.PICKLED)]
    if pickles:
        more = f" and {len(pickles) - 3} more" if len(pickles) > 3 else ""
        progress.note(
            f"{repo} has {', '.join(pickles[:3])}{more} as pickles alone: they are fetched, and the "
            "numbers in them are read without running anything"
        )
    return files


def _chosen(repo: str, commit: str, said: Mapping[str, Any], variant: str | None) -> tuple[RemoteFile, ...]:
    files = tuple(hub_replies.sibling(repo, commit, said[name]) for name in hub.choose(said, variant))
    hub_replies.distinct(files)
    return files


def _check_name(repo: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # documented, not in __all__

    try:
        validate_repo_id(repo)
    except HFValidationError:
        raise NextMirror("is not a name that a repository on the Hub can have") from None


def _ask(repo: str, revision: str, timeout: float) -> bytes:
    """The JSON that describes a repository.

    huggingface_hub has a call for this, which reads an answer of any length for any time.
    """
    address = f"{hub.endpoint()}/api/models/{repo}/revision/{quote(revision, safe='')}?blobs=true"
    with connection.session() as opened:
        try:
            with connection.ask(opened, address, connection.token_header(), timeout) as answer:
                if answer.status_code == 200:
                    return connection.whole_body(answer, hub_replies.MOST_LISTING, timeout)
        except (TryAgain, NextMirror) as fault:
            fault.args = (f"cannot be listed: {hub.endpoint()} {fault}",)
            raise
    raise _refusal(answer, repo, revision)


def _refusal(answer: Any, repo: str, revision: str) -> Exception:
    code = answer.headers.get("X-Error-Code", "")
    if code == "GatedRepo":
        terms = f"{hub.endpoint()}/{repo}"
        return NextMirror(f"asks you to accept its terms: do so at {terms} and set HF_TOKEN")
    if code == "RevisionNotFound":
        return NextMirror(f"has no revision {revision!r} at {hub.endpoint()}")
    # To somebody without a token, the Hub answers 401 for what does not exist.
    if code == "RepoNotFound" or (not code and answer.status_code == 401):
        return NextMirror(f"is not at {hub.endpoint()}, or is private and needs HF_TOKEN")
    said = f"cannot be listed: {hub.endpoint()} answered with status {answer.status_code}"
    if answer.status_code in (408, 429) or answer.status_code >= 500:
        return TryAgain(said, after=connection.retry_after(answer))
    return NextMirror(said)
