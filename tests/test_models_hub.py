"""Repositories on the Hub: which files, their digests, the Hub's own cache."""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path

import fault_server as faults
import pytest
from fault_server import HubServer, Places

from sdgen import models
from sdgen.errors import ModelUnavailable
from sdgen.models import connection, store
from sdgen.models.hub import choose
from sdgen.models.patience import NextMirror, TryAgain

pytest_plugins = ("model_fixtures",)

REPO = "artist/picture-model"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "feature_extractor": [None, None],
}
FILES = {
    "model_index.json": json.dumps(INDEX).encode(),
    "README.md": b"# a model",
    "v1.safetensors": b"one file for everything",
    "unet/config.json": b'{"_class_name": "UNet2DConditionModel"}',
    "unet/diffusion_pytorch_model.safetensors": random.Random(1).randbytes(300_000),
    "unet/diffusion_pytorch_model.fp16.safetensors": random.Random(2).randbytes(150_000),
    "unet/diffusion_pytorch_model.bin": b"pickle",
    "vae/config.json": b"{}",
    "vae/diffusion_pytorch_model.safetensors": random.Random(3).randbytes(1000),
    "text_encoder/config.json": b"{}",
    "text_encoder/model.fp16.safetensors": random.Random(4).randbytes(1000),
    "text_encoder/model.safetensors": random.Random(5).randbytes(2000),
    "tokenizer/merges.txt": b"a b\n",
    "tokenizer/vocab.json": b"{}",
    "scheduler/scheduler_config.json": b"{}",
    "safety_checker/model.safetensors": b"not needed",
    "checkpoints/model.safetensors": b"not needed",
    "unet/ema.safetensors": b"not needed",
}
WANTED = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.fp16.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
]


def tree(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


@pytest.fixture
def published(hub: HubServer) -> HubServer:
    hub.add(REPO, FILES, COMMIT)
    return hub


class TestChoose:
    def test_the_parts_of_latent_diffusions_text_model(self) -> None:
        wanted = ["bert/config.json", "bert/pytorch_model.bin", "tokenizer/vocab.txt"]
        rest = ["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.bin"]
        assert set(wanted) <= set(choose([*wanted, *rest, "README.md"], None))

    def test_one_set_of_weights_for_each_component(self) -> None:
        assert choose(FILES, "fp16") == WANTED

    def test_plain_weights_without_a_variant(self) -> None:
        chosen = choose(FILES, None)
        assert "unet/diffusion_pytorch_model.safetensors" in chosen
        assert "unet/diffusion_pytorch_model.fp16.safetensors" not in chosen

    def test_shards_come_with_their_index(self) -> None:
        stem = "unet/diffusion_pytorch_model"
        shards = [f"{stem}-0000{n}-of-00002.safetensors" for n in (1, 2)]
        names = ["model_index.json", *shards, f"{stem}.safetensors.index.json", f"{stem}.fp16.safetensors"]
        assert choose(names, None) == sorted(names[:-1])

    def test_shards_of_a_variant(self) -> None:
        shards = [f"text_encoder/model.fp16-0000{n}-of-00002.safetensors" for n in (1, 2)]
        index = "text_encoder/model.safetensors.index.fp16.json"
        names = [
            "model_index.json",
            "unet/model.safetensors",
            *shards,
            index,
            "text_encoder/model.safetensors",
        ]
        assert choose(names, "fp16") == sorted(names[:-1])

    def test_one_file_is_better_than_the_same_in_shards(self) -> None:
        shards = [f"unet/model-0000{n}-of-00002.safetensors" for n in (1, 2)]
        names = ["model_index.json", *shards, "unet/model.safetensors", "unet/model.safetensors.index.json"]
        assert choose(names, None) == ["model_index.json", "unet/model.safetensors"]

    def test_another_variant_is_told(self) -> None:
        with pytest.raises(ModelUnavailable, match="unet has its weights only in the variants bf16"):
            choose(["model_index.json", "unet/model.bf16.safetensors"], "fp16")

    def test_a_missing_shard_is_told(self) -> None:
        with pytest.raises(ModelUnavailable, match="the weights of unet are not whole"):
            choose(["model_index.json", "unet/model-00002-of-00002.safetensors"], None)

    def test_pickles_are_taken_where_there_is_nothing_else(self) -> None:
        names = ["model_index.json", "text_encoder/pytorch_model.bin", "unet/diffusion_pytorch_model.bin"]
        assert choose([*names, "unet/diffusion_pytorch_model.fp16.bin"], None) == names

    def test_pickles_of_a_variant(self) -> None:
        names = ["model_index.json", "unet/diffusion_pytorch_model.fp16.bin"]
        assert choose([*names, "unet/diffusion_pytorch_model.bin"], "fp16") == names

    def test_pickles_in_parts_come_with_their_index(self) -> None:
        shards = [f"text_encoder/pytorch_model-0000{n}-of-00002.bin" for n in (1, 2)]
        index = "text_encoder/pytorch_model.bin.index.json"
        names = ["model_index.json", *shards, index, "unet/diffusion_pytorch_model.safetensors"]
        assert choose([*names, "unet/diffusion_pytorch_model.bin"], None) == sorted(names)

    def test_safetensors_of_another_variant_are_better_than_a_pickle(self) -> None:
        names = ["model_index.json", "unet/diffusion_pytorch_model.safetensors"]
        assert choose([*names, "unet/diffusion_pytorch_model.fp16.bin"], "fp16") == names

    def test_weights_of_other_programs_are_refused_with_the_reason(self) -> None:
        with pytest.raises(ModelUnavailable, match=r"only as diffusion_flax_model\.msgpack, and neither"):
            choose(["model_index.json", "unet/diffusion_flax_model.msgpack"], "fp16")

    def test_what_is_no_diffusers_model_is_told(self) -> None:
        with pytest.raises(ModelUnavailable, match=r"no model_index\.json"):
            choose(["model.safetensors"], None)


class Notes(models.Progress):
    """Gathers what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def test_pickles_are_fetched_where_there_is_nothing_else_and_that_is_said(
    hub: HubServer, places: Places
) -> None:
    name = "unet/diffusion_pytorch_model"
    others = {path: data for path, data in FILES.items() if not path.startswith(name)}
    hub.add(REPO, {**others, f"{name}.bin": b"pickle"}, COMMIT)
    notes = Notes()
    assert f"{name}.bin" in tree(models.pull(REPO, progress=notes))
    assert any(f"{name}.bin as pickles alone" in text for text in notes.said)


def test_a_repository_arrives_with_what_it_needs(published: HubServer, places: Places) -> None:
    path = models.pull(REPO)
    assert tree(path) == sorted([*WANTED, "manifest.json"])
    assert all((path / name).read_bytes() == FILES[name] for name in WANTED)
    assert models.locate(REPO) == path
    assert len(published.asked(f"/api/models/{REPO}/revision/main")) == 1


def test_a_catalogue_row_takes_its_repository_and_variant(published: HubServer, places: Places) -> None:
    places.catalogue(
        f'[toy]\ntask = "text-to-image"\n[[toy.sources]]\nname = "hub"\nrepo = "{REPO}"\nvariant = "fp16"\n'
    )
    assert tree(models.pull("toy")) == sorted([*WANTED, "manifest.json"])


def test_a_revision_is_asked_for(published: HubServer) -> None:
    published.add(REPO, {**FILES, "tokenizer/merges.txt": b"c d\n"}, "f" * 40, revision="v2")
    assert (models.pull(f"{REPO}@v2") / "tokenizer/merges.txt").read_bytes() == b"c d\n"
    assert (models.pull(REPO) / "tokenizer/merges.txt").read_bytes() == b"a b\n"


def test_list_names_repositories_that_were_pulled(published: HubServer) -> None:
    published.add(REPO, FILES, COMMIT, revision="refs/pr/1")
    models.pull(REPO)
    models.pull(f"{REPO}@refs/pr/1")
    assert store.repositories() == [f"{REPO}@main", f"{REPO}@refs/pr/1"]


def test_a_stopped_pull_stays_with_its_commit(published: HubServer) -> None:
    weights = "unet/diffusion_pytorch_model.fp16.safetensors"
    cdn = f"/cdn/{hashlib.sha256(FILES[weights]).hexdigest()}"
    published.plan(cdn, faults.drop(70_000), *[faults.drop(0)] * 9)
    with pytest.raises(ModelUnavailable, match="70 kB are kept"):
        models.pull(REPO)
    published.behave()
    published.add(REPO, {**FILES, weights: b"newer"}, "f" * 40)
    path = models.pull(REPO)
    assert (path / weights).read_bytes() == FILES[weights]
    assert published.asked(cdn)[-1]["Range"] == "bytes=70000-"


@pytest.mark.parametrize("name", ["tokenizer/merges.txt", "unet/diffusion_pytorch_model.fp16.safetensors"])
def test_wrong_bytes_are_not_taken(name: str, published: HubServer) -> None:
    path = f"/{REPO}/resolve/{COMMIT}/{name}"
    if path in published.redirects:
        path = f"/cdn/{hashlib.sha256(FILES[name]).hexdigest()}"
    published.always(path, faults.wrong_bytes)
    with pytest.raises(ModelUnavailable, match="sent other bytes than expected"):
        models.pull(REPO)
    with pytest.raises(ModelUnavailable, match="is not on this machine"):
        models.locate(REPO)
    published.behave()
    assert tree(models.pull(REPO)) == sorted([*WANTED, "manifest.json"])


def test_the_token_goes_to_the_hub_alone(published: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with HubServer() as cdn:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        port = cdn.url.rsplit(":", 1)[1]
        for path, address in published.redirects.items():
            published.redirects[path] = f"http://localhost:{port}/" + address.split("/", 3)[3]
        cdn.files.update(published.files)
        models.pull(REPO)
        assert {headers.get("Authorization") for _, headers, _ in cdn.requests} == {None}
    resolved = [headers for path, headers, _ in published.requests if "/resolve/" in path]
    assert {headers["Authorization"] for headers in resolved} == {"Bearer hf_secret"}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (faults.status(404, X_Error_Code="RepoNotFound"), "is private and needs HF_TOKEN"),
        (faults.status(404, X_Error_Code="RevisionNotFound"), "has no revision 'main'"),
        (faults.status(403, X_Error_Code="GatedRepo"), "asks you to accept its terms"),
        (faults.status(500), "answered with status 500"),
        (faults.status(400), "answered with status 400"),
        (faults.drop(0), "dropped the connection"),
    ],
)
def test_a_listing_that_fails_is_told(fault: faults.Fault, words: str, published: HubServer) -> None:
    listing = f"/api/models/{REPO}/revision/main"
    published.always(listing, fault)
    with pytest.raises(ModelUnavailable, match=words):
        models.pull(REPO)
    published.behave()
    published.plan(listing, faults.status(503), faults.status(429))
    assert models.pull(REPO).is_dir()


@pytest.mark.parametrize("name", ["user/re--po", "user/repo.", "user/" + "x" * 100])
def test_a_name_that_the_hub_does_not_have_is_told_at_once(name: str, published: HubServer) -> None:
    with pytest.raises(ModelUnavailable, match="is not a name that a repository on the Hub can have"):
        models.pull(name)
    assert published.requests == []


@pytest.mark.parametrize(
    ("endpoint", "refused"), [("https://hub.invalid", True), ("http://hub.invalid", False)]
)
def test_plain_http_to_the_hub_is_taken_where_the_endpoint_says_so(
    endpoint: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("NO_PROXY", "*")
    with connection.session() as opened, pytest.raises(NextMirror if refused else TryAgain):
        connection.get(opened, "http://hub.invalid/x", {}, timeout=1)


def test_a_path_out_of_the_folder_is_refused(hub: HubServer) -> None:
    hub.add(REPO, {**FILES, "unet/../../x.json": b"{}", "..": b""}, COMMIT)
    path = models.pull(REPO)
    assert tree(path) == sorted([*WANTED, "manifest.json"])
    hub.add(REPO, {**FILES, "tokenizer/..json": b"{}"}, "e" * 40, revision="bad")
    with pytest.raises(ModelUnavailable, match="strange name"):
        models.pull(f"{REPO}@bad")


class TestHubCache:
    """What huggingface_hub has downloaded before."""

    @pytest.fixture
    def cached(self, places: Places) -> Path:
        repository = places.hub_cache / f"models--{REPO.replace('/', '--')}"
        snapshot = repository / "snapshots" / COMMIT
        for name, data in FILES.items():
            lfs = name.endswith(".safetensors")
            git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False)
            digest = (hashlib.sha256(data) if lfs else git).hexdigest()
            blob = repository / "blobs" / digest
            blob.parent.mkdir(parents=True, exist_ok=True)
            blob.write_bytes(data)
            (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
            (snapshot / name).symlink_to(os.path.relpath(blob, (snapshot / name).parent))
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(COMMIT)
        return snapshot

    def test_a_whole_snapshot_is_the_model(self, cached: Path) -> None:
        assert models.locate(REPO) == cached
        assert models.pull(REPO, offline=True) == cached

    def test_a_snapshot_is_found_by_its_commit(self, cached: Path) -> None:
        assert models.locate(f"{REPO}@{COMMIT}") == cached

    def test_a_damaged_snapshot_is_not(self, cached: Path) -> None:
        blob = (cached / "vae/diffusion_pytorch_model.safetensors").resolve()
        blob.write_bytes(b"x" * 1000)
        with pytest.raises(ModelUnavailable, match="is not on this machine"):
            models.locate(REPO)

    def test_what_is_there_is_not_fetched(self, cached: Path, published: HubServer) -> None:
        (cached / "tokenizer/vocab.json").unlink()
        (cached / "vae/config.json").unlink()
        unet = "unet/diffusion_pytorch_model.fp16.safetensors"
        (cached / unet).resolve().unlink()
        path = models.pull(REPO)
        assert path != cached
        assert (path / "text_encoder/model.fp16.safetensors").is_symlink()
        fetched = {asked for asked, _, _ in published.requests if not asked.startswith("/api/")}
        assert fetched == {
            f"/{REPO}/resolve/{COMMIT}/{unet}",
            f"/cdn/{hashlib.sha256(FILES[unet]).hexdigest()}",
        }

    def test_removing_leaves_the_cache_alone(self, cached: Path, published: HubServer) -> None:
        (cached / "unet/config.json").unlink()
        models.pull(REPO)
        models.remove(REPO)
        assert (cached / "vae/diffusion_pytorch_model.safetensors").read_bytes()
        with pytest.raises(models.InputError, match="nothing to remove"):
            models.remove(REPO)


def test_a_file_of_the_hub_is_checked_against_the_digest_that_the_hub_gives(
    published: HubServer, places: Places
) -> None:
    name = "vae/diffusion_pytorch_model.safetensors"
    places.row("toy", f'{{name = "vae.safetensors", urls = ["hf://{REPO}/{name}"]}}')
    cdn = f"/cdn/{hashlib.sha256(FILES[name]).hexdigest()}"
    published.always(cdn, faults.wrong_bytes)
    with pytest.raises(ModelUnavailable, match="sent other bytes than expected"):
        models.pull("toy")
    published.behave()
    assert models.pull("toy").read_bytes() == FILES[name]
