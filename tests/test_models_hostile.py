"""A hub, a manifest or a note that lies: one sentence, in bounded time, and nothing of it is stored."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import os
import threading
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import fault_server as faults
import pytest
from fault_server import HubServer, Places
from test_models_hub import COMMIT, FILES, REPO, WANTED, tree

from sdgen import models
from sdgen.errors import InputError, ModelUnavailable
from sdgen.models import connection, digests, file_names, hub_replies, part, store
from sdgen.models.patience import NextMirror, Patience, Policy, TryAgain
from sdgen.models.progress import Progress

pytest_plugins = ("model_fixtures",)

LISTING = f"/api/models/{REPO}/revision/main"
UNET = "unet/diffusion_pytorch_model.fp16.safetensors"
CONFIG = "unet/config.json"
DEEP = b"[" * 200_000


@pytest.fixture
def published(hub: HubServer) -> HubServer:
    hub.add(REPO, FILES, COMMIT)
    return hub


def changed(hub: HubServer, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Publish a listing that was changed; ``change`` gets it, and its files by name."""
    listing = json.loads(hub.files[LISTING])
    change(listing, {sibling["rfilename"]: sibling for sibling in listing["siblings"]})
    hub.files[LISTING] = json.dumps(listing).encode()


def refused(places: Places) -> str:
    """The sentence with which a pull ends, which has left nothing behind but the lock."""
    with pytest.raises(ModelUnavailable) as caught:
        models.pull(REPO)
    files = [path for path in places.root.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert files == []
    return str(caught.value)


WRONG_FIELDS: dict[str, Callable[[dict[str, Any], dict[str, Any]], None]] = {
    "a size that is text": lambda listing, files: files[CONFIG].update(size="x"),
    "a size below zero": lambda listing, files: files[CONFIG].update(size=-1),
    "a size with a point": lambda listing, files: files[CONFIG].update(size=5.0),
    "a size that is true": lambda listing, files: files[CONFIG].update(size=True),
    "a size that no disk has": lambda listing, files: files[CONFIG].update(size=10**30),
    "weights' size that is text": lambda listing, files: files[UNET]["lfs"].update(size="x"),
    "weights without a sha256": lambda listing, files: files[UNET]["lfs"].update(sha256=None),
    "weights with a short sha256": lambda listing, files: files[UNET]["lfs"].update(sha256="ab"),
    "weights with a sha256 in capitals": lambda listing, files: files[UNET]["lfs"].update(sha256="A" * 64),
    "a sha256 that is a path": lambda listing, files: files[UNET]["lfs"].update(sha256="../" * 21 + "a"),
    "a lfs that is a list": lambda listing, files: files[UNET].update(lfs=[1]),
    "a git id that is a number": lambda listing, files: files[CONFIG].update(blobId=7),
    "no commit": lambda listing, files: listing.pop("sha") and None,
    "a commit that is a path": lambda listing, files: listing.update(sha="../../x"),
    "no files": lambda listing, files: listing.update(siblings=None),
    "files that are text": lambda listing, files: listing.update(siblings=["a", "b"]),
    "a file whose name is a number": lambda listing, files: files[CONFIG].update(rfilename=3),
    "a file twice": lambda listing, files: listing["siblings"].append(copy.deepcopy(files[CONFIG])),
    "a file with a long name": lambda listing, files: files["README.md"].update(rfilename="x" * 10**6),
    "weights in a thousand variants alone": lambda listing, files: listing.update(
        siblings=[
            {"rfilename": name}
            for name in ("model_index.json", *(f"unet/model.v{n}.safetensors" for n in range(1000)))
        ]
    ),
    "two files that differ in case": lambda listing, files: listing["siblings"].append(
        {**files[CONFIG], "rfilename": "unet/Config.json"}
    ),
    "a million files": lambda listing, files: listing.update(siblings=[{"rfilename": "a"}] * 25_000),
}


@pytest.mark.parametrize("change", WRONG_FIELDS.values(), ids=WRONG_FIELDS)
def test_a_listing_with_a_wrong_field_is_refused_before_anything_is_stored(
    change: Callable[[dict[str, Any], dict[str, Any]], None], published: HubServer, places: Places
) -> None:
    right = published.files[LISTING]
    changed(published, change)
    sentence = refused(places)
    assert sentence.startswith(f"{REPO}: {REPO} cannot be used: ")
    assert len(sentence) < 300
    published.files[LISTING] = right
    assert tree(models.pull(REPO)) == sorted([*WANTED, "manifest.json"])


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"7", b"nul", DEEP, b'{"a":' * 100_000, b"\xff\xfe", b"9" * 9999]
)
def test_a_listing_that_describes_nothing_is_refused(
    body: bytes, published: HubServer, places: Places
) -> None:
    published.files[LISTING] = body
    assert "cannot be used: " in refused(places)


def test_a_listing_without_an_end_is_given_up(published: HubServer, places: Places) -> None:
    published.files[LISTING] = b" " * (hub_replies.MOST_LISTING + 2**20)
    assert f"sends more than {hub_replies.MOST_LISTING} bytes" in refused(places)


def test_a_compressed_listing_is_not_unpacked(published: HubServer, places: Places) -> None:
    published.always(LISTING, faults.bomb)
    models.names()
    tracemalloc.start()
    try:
        assert "compressed" in refused(places)
        assert tracemalloc.get_traced_memory()[1] < 30 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("fault", [faults.dripping, faults.dripping_headers])
def test_a_listing_that_comes_byte_by_byte_has_a_deadline(
    fault: faults.Fault, published: HubServer, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdgen.models.connection.CONNECT_TIMEOUT", 0.3)
    monkeypatch.setenv("SDGEN_DOWNLOAD_TIMEOUT", "0.3")
    published.always(LISTING, fault)
    assert "cannot be listed" in refused(places)
    assert len(published.asked(LISTING)) <= Policy.attempts


class Clock:
    """Time that passes as it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(connection.time, "monotonic", lambda: self.now)

    def answer(self, pieces: Iterable[bytes], pause: float) -> Any:
        """An answer whose pieces come after a pause each."""
        source = iter(pieces)

        def read1(amount: int, decode_content: bool) -> bytes:
            self.now += pause
            return next(source, b"")

        return SimpleNamespace(raw=SimpleNamespace(read1=read1))


def test_a_body_that_crawls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    with pytest.raises(TryAgain, match="sent 30 bytes in 30 s") as caught:
        list(connection.body(clock.answer(itertools.repeat(b"x"), pause=1), timeout=30))
    assert caught.value.crawling
    assert clock.now == 30


def test_a_slow_body_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    piece = bytes(connection.LEAST_RATE)
    answer = Clock(monkeypatch).answer([piece] * 200, pause=1)
    assert sum(map(len, connection.body(answer, timeout=30))) == 200 * len(piece)


def test_what_a_reader_does_between_pieces_is_not_laid_on_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    for _ in connection.body(clock.answer([b"x"] * 9, pause=1), timeout=30):
        clock.now += 3600


def test_a_small_answer_has_a_deadline_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    pieces = itertools.repeat(bytes(connection.CHUNK))
    with pytest.raises(TryAgain, match="had not sent its whole answer after 30 s"):
        connection.whole_body(clock.answer(pieces, pause=1), 2**40, timeout=30)
    assert clock.now == 31


def test_a_server_that_crawls_does_not_count_as_one_that_goes_on() -> None:
    patience = Patience(Policy(delay=0), "hub", Progress())
    for _ in range(4):
        patience.wait(TryAgain("crawls", crawling=True), advanced=True)
    with pytest.raises(NextMirror, match="crawls"):
        patience.wait(TryAgain("crawls", crawling=True), advanced=True)


def test_headers_without_an_end_have_a_deadline() -> None:
    never = threading.Event()
    try:
        with pytest.raises(TryAgain, match="did not answer for 7 s"):
            connection._within(0.01, 7, never.wait)  # type: ignore[arg-type]
    finally:
        never.set()


@pytest.mark.parametrize(
    "target",
    [
        "http://[::1",
        "https://",
        "http://a:port/x",
        "https://" + "a" * 300 + ".org/",
        "https://\x7f\x80/",
        "//[",
    ],
)
@pytest.mark.parametrize("path", [LISTING, f"/{REPO}/resolve/{COMMIT}/{CONFIG}"])
def test_a_redirect_to_what_is_no_address_is_one_sentence(
    path: str, target: str, published: HubServer, places: Places
) -> None:
    published.always(path, faults.redirect(target))
    with pytest.raises(ModelUnavailable, match=r"leads to an address|cannot be reached"):
        models.pull(REPO)


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://localhost/x", "http://example.org/x", "data:,x"]
)
def test_a_redirect_to_another_protocol_is_refused(target: str, published: HubServer, places: Places) -> None:
    published.always(LISTING, faults.redirect(target))
    assert "leads to an address that is not https, which is refused" in refused(places)


def test_a_redirect_in_circles_ends(published: HubServer, places: Places) -> None:
    published.redirects[LISTING] = published.url + LISTING
    published.files.pop(LISTING)
    assert "redirects in circles" in refused(places)
    assert len(published.asked(LISTING)) == 11


@pytest.mark.parametrize(
    "value", ["http://[::1", "ftp://hub", "hub.example.org", "https://", "https://a\x1b[2Jb"]
)
def test_an_endpoint_that_is_no_address_is_an_error(
    value: str, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", value)
    with pytest.raises(InputError, match=r"HF_ENDPOINT is .*, not a web address"):
        models.pull(REPO)


def test_a_token_that_is_none_is_an_error(
    published: HubServer, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_\u00e4 b")
    with pytest.raises(InputError, match="HF_TOKEN, or the token that was saved, is no token"):
        models.pull(REPO)


@pytest.mark.parametrize(
    "name",
    [
        "../evil.json",
        "../../../../../evil.json",
        "unet/../../evil.json",
        "/etc/evil.json",
        "C:/evil.json",
        "C:evil.json",
        "\\\\host\\evil.json",
        "unet\\evil.json",
        "a\0b",
        "unet//config.json",
        "unet/",
        ".",
        "",
        "nul",
        "unet/COM1.json",
        "aux.safetensors",
        "unet/config.json.",
        "manifest.json",
        "unet/config.json.part",
        "unet/config.json.part.json",
        "unet/config.json.link",
        "x" * 300,
        "\u00e4.json",
        "a b.json",
        "a\x1b[2Jb",
    ],
)
def test_a_file_name_that_leads_elsewhere_is_refused_wherever_it_stands(
    name: str, published: HubServer, places: Places
) -> None:
    assert file_names.fault(name)
    folder = models.pull(REPO)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][0]["name"] = name
    (folder / "manifest.json").write_text(json.dumps(manifest))
    before = {path for path in places.root.parent.rglob("*") if "evil" in path.name}
    models.pull(REPO)  # lists it again
    assert tree(folder) == sorted([*WANTED, "manifest.json"])
    assert {path for path in places.root.parent.rglob("*") if "evil" in path.name} == before


@pytest.mark.parametrize("name", ["unet/config.json", "a..b", "v1-5.ckpt2", "console.json", "x" * 200])
def test_usual_file_names_are_taken(name: str) -> None:
    assert file_names.fault(name) is None


@pytest.mark.parametrize(
    "text", [DEEP, b"", b"[]", b'{"files": 3}', b'{"files": [3]}', b"\xff", b'{"files": []}']
)
def test_a_damaged_manifest_counts_as_none(text: bytes, published: HubServer, places: Places) -> None:
    folder = models.pull(REPO)
    (folder / "manifest.json").write_bytes(text)
    with pytest.raises(ModelUnavailable, match="is not on this machine"):
        models.locate(REPO)
    assert models.pull(REPO) == folder


@pytest.mark.parametrize(
    "field", [{"size": "x"}, {"sha256": 7}, {"urls": "x"}, {"urls": ["file:///x"]}, {"size": -1}]
)
def test_a_manifest_with_a_wrong_field_counts_as_none(
    field: dict[str, Any], published: HubServer, places: Places
) -> None:
    folder = models.pull(REPO)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][0].update(field)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelUnavailable, match="is not on this machine"):
        models.locate(REPO)


@pytest.mark.parametrize("text", [DEEP, b"", b"[]", b"\xff", b'{"sha256": 3}', b'{"a":' * 100_000])
def test_a_damaged_note_of_a_digest_counts_as_none(text: bytes, places: Places) -> None:
    file = places.root / "x.safetensors"
    file.write_bytes(b"abc")
    right = models.file_sha256(file)
    (note,) = (places.root / "cache" / "digests").iterdir()
    note.write_bytes(text)
    assert digests.recall(file) is None
    assert models.file_sha256(file) == right
    assert digests.recall(file) == right


def test_a_noted_digest_that_is_none_is_not_believed(places: Places) -> None:
    file = places.root / "x.safetensors"
    file.write_bytes(b"abc")
    models.file_sha256(file)
    (note,) = (places.root / "cache" / "digests").iterdir()
    note.write_text(json.dumps({**json.loads(note.read_text()), "sha256": "\x1b[2J"}))
    assert digests.recall(file) is None


@pytest.mark.parametrize("text", [DEEP, b"[]", b'{"url": "u", "etag": 7}', b'{"url": "u", "etag": ""}'])
def test_a_damaged_note_of_an_unfinished_file_counts_as_none(text: bytes, places: Places) -> None:
    unfinished = part.Part(places.root / "x")
    (places.root / "x.part.json").write_bytes(text)
    assert unfinished.tag("u") is None


@pytest.mark.parametrize("text", [DEEP, b"[]", b"\xff", b"{"])
def test_a_damaged_note_of_licences_counts_as_none(text: bytes, places: Places) -> None:
    (places.root / "state").mkdir()
    (places.root / "state" / "licences.json").write_bytes(text)
    assert models.licence_notice(models.find("sd1.4"))
    assert models.licence_notice(models.find("sd1.4")) is None


@pytest.mark.parametrize("text", [b"../../../../elsewhere", b"\xff", b"x" * 10**6, COMMIT.encode() + b"/.."])
def test_a_branch_in_the_hubs_cache_leads_nowhere_else(text: bytes, places: Places) -> None:
    cached = places.hub_cache / f"models--{REPO.replace('/', '--')}"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_bytes(text)
    elsewhere = places.root / "elsewhere"
    elsewhere.mkdir()
    assert store.state(models.find(REPO)) == "no"
    with pytest.raises(ModelUnavailable, match="is not on this machine"):
        models.locate(REPO)


def test_a_deep_model_index_in_the_hubs_cache_is_no_model(places: Places) -> None:
    snapshot = places.hub_cache / f"models--{REPO.replace('/', '--')}" / "snapshots" / COMMIT
    for name in WANTED:
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).write_bytes(b"x")
    (snapshot / "model_index.json").write_bytes(DEEP)
    with pytest.raises(ModelUnavailable, match="is not on this machine"):
        models.locate(f"{REPO}@{COMMIT}")


@pytest.mark.usefixtures("bounded")
def test_named_pipes_in_place_of_files_are_fetched_again(published: HubServer, places: Places) -> None:
    folder = models.pull(REPO)
    for name in (CONFIG, "manifest.json"):
        (folder / name).unlink()
        os.mkfifo(folder / name)
    assert store.state(models.find(REPO)) != "here"
    models.pull(REPO)
    assert (folder / CONFIG).read_bytes() == FILES[CONFIG]


class TestRemoving:
    def test_a_linked_folder_goes_and_what_it_points_at_stays(
        self, published: HubServer, places: Places
    ) -> None:
        folder = models.pull(REPO).parent
        elsewhere = places.root / "big disk"
        folder.rename(elsewhere)
        folder.symlink_to(elsewhere)
        assert models.locate(REPO) == folder / "hub"
        notes: list[str] = []
        progress = Progress()
        progress.note = notes.append  # type: ignore[method-assign]
        assert models.remove(REPO, progress) == 0
        assert notes == [f"{folder} is a link; {elsewhere} stays as it is"]
        assert not os.path.lexists(folder)
        assert (elsewhere / "hub" / UNET).read_bytes() == FILES[UNET]

    def test_a_link_to_nothing_goes(self, places: Places) -> None:
        folder = store.folder_of(models.find(REPO))
        folder.parent.mkdir()
        folder.symlink_to(places.root / "gone")
        models.remove(REPO)
        assert not os.path.lexists(folder)

    def test_a_linked_source_goes_and_what_it_points_at_stays(
        self, published: HubServer, places: Places
    ) -> None:
        source = models.pull(REPO)
        elsewhere = places.root / "big disk"
        source.rename(elsewhere)
        source.symlink_to(elsewhere)
        models.remove(REPO)
        assert not source.parent.exists()
        assert (elsewhere / UNET).read_bytes() == FILES[UNET]

    def test_a_file_in_the_folders_place_goes(self, places: Places) -> None:
        folder = store.folder_of(models.find(REPO))
        folder.parent.mkdir()
        folder.write_bytes(b"x")
        models.remove(REPO)
        assert not folder.exists()


def test_a_catalogue_cannot_name_the_files_that_sdgen_keeps(places: Places) -> None:
    places.row("toy", '{name = "manifest.json", urls = ["https://example.org/x"]}')
    with pytest.raises(InputError, match=r"files: name must be a file name \(sdgen keeps its own notes"):
        models.names()


def test_two_names_that_are_one_on_some_disks_are_refused() -> None:
    rows = [{"name": name, "urls": []} for name in ("a.json", "A.json")]
    with pytest.raises(hub_replies.WrongAnswer, match="differ in case alone"):
        hub_replies.remote_files(rows)


def test_what_answers_accepts_is_what_the_manifest_notes(published: HubServer, places: Places) -> None:
    folder: Path = models.pull(REPO)
    noted = json.loads((folder / "manifest.json").read_text())["files"]
    assert [file.name for file in hub_replies.remote_files(noted)] == WANTED


ODD: list[Any] = [
    None,
    True,
    -1,
    2**70,
    0.5,
    1e400,
    "",
    "x",
    "../x",
    "\0",
    "\ud800",
    "A" * 64,
    [],
    {},
    [[]],
    {"a": 1},
]


def mutated(value: Any, random: Random) -> Any:
    """``value`` with one place of it replaced by something odd, left out, or doubled."""
    if isinstance(value, (dict, list)) and value and random.random() < 0.85:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = random.choice(keys)
        changed = copy.copy(value)
        if random.random() < 0.1:
            del changed[key]
        elif isinstance(changed, list) and random.random() < 0.1:
            changed.append(changed[key])
        else:
            changed[key] = mutated(value[key], random)
        return changed
    return random.choice(ODD)


def test_mutated_listings_and_manifests_raise_nothing_else(hub: HubServer) -> None:
    hub.add(REPO, {name: FILES[name] for name in WANTED}, COMMIT)
    listing = json.loads(hub.files[LISTING])
    taken = refused_ones = 0
    for seed in range(3000):
        random = Random(seed)
        said = mutated(mutated(listing, random), random)
        try:
            commit, siblings = hub_replies.listing(json.dumps(said).encode())
            files = [hub_replies.sibling(REPO, commit, siblings[name]) for name in siblings]
            rows = json.loads(json.dumps([dataclasses.asdict(file) for file in files]))
            assert list(hub_replies.remote_files(rows)) == files
            hub_replies.remote_files(mutated(rows, random))
            taken += 1
        except hub_replies.WrongAnswer as fault:
            assert len(str(fault)) < 500
            refused_ones += 1
    assert taken > 100
    assert refused_ones > 1000
