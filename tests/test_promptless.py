"""Models that take no prompt, from the command to the record: drawn with none, and refused one.

The pipeline stands in for the real one; what a model takes is read from its folder.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Command

sys.path.insert(0, str(Path(__file__).parent))
from golden import ldm_models as ldm

from sdgen.checkpoints import open_checkpoint
from sdgen.checkpoints.tensors import Tensors
from sdgen.cli.prompts_needed import some_prompt
from sdgen.errors import CheckpointError, ExitCode, InputError
from sdgen.pipeline.keras_cv.engine import _check_architecture
from sdgen.pipeline.loading import check_parts
from sdgen.pipeline.prompt_fields import check_prompts
from sdgen.pipeline.watching import Watch, Watcher
from sdgen.request import Request


@pytest.fixture(scope="module")
def model(tmp_path_factory: Any) -> str:
    return str(ldm.write_unconditional_model(tmp_path_factory.mktemp("ldm") / "faces"))


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def prompts(sdgen: Command) -> list[Any]:
    files = sorted((sdgen.folder / "outputs").glob("*.json"))
    return [json.loads(file.read_text())["prompt"] for file in files]


def test_without_a_prompt_the_command_draws_with_a_model_that_takes_none(sdgen: Command, model: str) -> None:
    result = sdgen.run("--model", model, "-n", "4", "--seed", "7")
    assert (result.exit_code, prompts(sdgen)) == (0, [""] * 4)


def test_an_empty_prompt_is_none(sdgen: Command, model: str) -> None:
    result = sdgen.run("draw", " ", "--model", model, "--seed", "7")
    assert (result.exit_code, prompts(sdgen)) == (0, [""])


def test_other_models_still_want_a_prompt(sdgen: Command) -> None:
    result = sdgen.run("--model", "mini")
    assert (result.exit_code, "Missing argument" in result.stderr) == (ExitCode.USAGE, True)
    assert "the prompt is blank" in sdgen.run("draw", "", "--model", "mini").stderr


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.jsonl", '{"seed": 5}\n{"prompt": "", "seed": 6}\n'),
        ("p.txt", "--seed 5\n--seed 6\n"),
        ("p.csv", "prompt,seed\n,5\n,6\n"),
        ("p.yaml", "- seed: 5\n- {prompt: '', seed: 6}\n"),
    ],
)
def test_entries_of_a_prompts_file_need_no_prompt(sdgen: Command, model: str, name: str, text: str) -> None:
    (sdgen.folder / name).write_text(text)
    result = sdgen.run("batch", name, "--model", model)
    assert (result.exit_code, prompts(sdgen)) == (0, ["", ""]), result.stderr


def test_an_entry_may_name_the_model_that_takes_no_prompt(sdgen: Command, model: str) -> None:
    entries = [{"model": model, "seed": 5}, {"seed": 6}]
    (sdgen.folder / "p.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    result = sdgen.run("batch", "p.jsonl", "--model", "mini", "--skip-invalid")
    assert "p.jsonl:2: there is no prompt" in result.stderr
    assert prompts(sdgen) == [""]


def test_a_batch_without_prompts_goes_on(sdgen: Command, model: str) -> None:
    (sdgen.folder / "p.txt").write_text("--seed 5\n--seed 6\n")
    first = sdgen.run("batch", "p.txt", "--model", model)
    again = sdgen.run("batch", "p.txt", "--model", model)
    assert first.exit_code == again.exit_code == 0
    assert (first.stderr.count("drawn"), "2 there already" in again.stderr) == (1, True), first.stderr


def test_the_record_shows_no_prompt_and_a_command_that_draws_it_again(sdgen: Command, model: str) -> None:
    sdgen.run("--model", model, "--seed", "7")
    shown = sdgen.run("show", "outputs/0001-image-7.png").stdout
    assert ["prompt", "none"] in [line.split() for line in shown.splitlines()]
    again = next(line for line in shown.splitlines() if "  again" in line)
    assert f"sdgen draw --model {model} --seed 7" in again


def test_a_picture_without_a_prompt_is_replayed(sdgen: Command, model: str) -> None:
    sdgen.run("--model", model, "--seed", "7")
    result = sdgen.run("replay", "outputs/0001-image-7.png")
    assert (result.exit_code, "identical" in result.stdout) == (0, True), result.stderr


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", "a fox"),
        ("negative_prompt", "fog"),
        ("prompt_to", "a cat"),
        ("guidance", 3.0),
        ("clip_skip", 1),
    ],
)
def test_what_such_a_model_would_not_heed_is_refused_by_its_field(model: str, field: str, value: Any) -> None:
    settings = {"prompt": "", "guidance": 1.0, field: value}
    with pytest.raises(InputError) as error:
        check_prompts(Request(**settings), open_checkpoint(model), "faces")
    assert error.value.field == field


def test_a_model_without_text_needs_no_text_encoder(model: str) -> None:
    checkpoint = open_checkpoint(model)
    assert (checkpoint.family.name, check_parts(checkpoint, "text-to-image")) == ("ldm-unconditional", None)


def test_watching_says_what_is_not_known_of_its_latents(model: str) -> None:
    with pytest.raises(InputError, match=r"look like is not known \(3 channels\): leave out"):
        Watcher(Watch(1), open_checkpoint(model), [])


def test_keras_cvs_networks_do_not_draw_it(model: str) -> None:
    with pytest.raises(CheckpointError, match="it has no text encoder; use --engine sdgen"):
        _check_architecture(open_checkpoint(model))


def test_textual_inversions_are_refused(model: str, tmp_path: Path) -> None:
    import sdgen

    with pytest.raises(InputError, match="has no text encoder, for which textual inversions"):
        sdgen.load(model, embeddings=[tmp_path / "cat.safetensors"])


@pytest.fixture(scope="module")
def classes(tmp_path_factory: Any) -> str:
    return str(ldm.write_class_model(tmp_path_factory.mktemp("ldm") / "imagenet.ckpt"))


def test_what_is_measured_or_warmed_up_has_a_prompt_that_the_model_takes(model: str, classes: str) -> None:
    found = [some_prompt(each, "a red heart", 12) for each in (model, classes, "mini")]
    assert found == ["", "2", "a red heart"]


def test_a_class_is_a_prompt(sdgen: Command, classes: str) -> None:
    result = sdgen.run("draw", "goldfish", "2", "--model", classes, "--seed", "7")
    assert (result.exit_code, prompts(sdgen)) == (0, ["goldfish", "2"])


def test_what_is_no_class_is_refused_before_the_model_is_loaded(sdgen: Command, classes: str) -> None:
    result = sdgen.run("draw", "goldfisch", "--model", classes)
    assert (result.exit_code, "did you mean goldfish" in result.stderr) == (ExitCode.USAGE, True)
    assert not (sdgen.folder / "outputs").exists()


def test_a_prompt_that_is_not_taken_is_refused_before_the_model_is_loaded(sdgen: Command, model: str) -> None:
    result = sdgen.run("draw", "a fox", "--model", model)
    assert (result.exit_code, "takes no prompt" in result.stderr) == (ExitCode.USAGE, True)


def test_an_empty_negative_prompt_is_the_class_of_no_class(classes: str) -> None:
    from sdgen.pipeline.label_encoding import LabelEncoder

    encoder = LabelEncoder(open_checkpoint(classes))
    read = [encoder.tokenize("", "a1111", "negative_prompt"), encoder.tokenize("goldfish", "a1111")]
    assert [int(each.tokens.item()) for each in read] == [1000, 1]
    assert encoder.encode(read, 0).shape == (2, 1, 24)


@pytest.mark.parametrize("field", ["prompt", "negative_prompt", "prompt_to"])
def test_a_wrong_class_is_refused_by_its_field(classes: str, field: str) -> None:
    settings = {"prompt": "1", "guidance": 3.0, field: "a fox"}
    with pytest.raises(InputError, match="is no class") as error:
        check_prompts(Request(**settings), open_checkpoint(classes), "imagenet")
    assert error.value.field == field


def test_without_a_class_of_no_class_guidance_is_refused(classes: str) -> None:
    checkpoint = open_checkpoint(classes)
    embedder = checkpoint.component("class_embedder")
    rows = {"embedding.weight": embedder.tensors["embedding.weight"][:1000]}
    less = dataclasses.replace(embedder, tensors=Tensors.from_arrays(rows))
    checkpoint = checkpoint.with_components({"class_embedder": less})
    check_prompts(Request(prompt="1", guidance=1.0), checkpoint, "imagenet")
    check_prompts(Request(prompt="1", guidance=3.0, negative_prompt="2"), checkpoint, "imagenet")
    with pytest.raises(InputError, match="guidance leads away from none") as error:
        check_prompts(Request(prompt="1", guidance=3.0), checkpoint, "imagenet")
    assert error.value.field == "guidance"


def test_a_class_embedder_that_does_not_fit_is_told(classes: str) -> None:
    checkpoint = open_checkpoint(classes)
    embedder = checkpoint.component("class_embedder")
    wide = dataclasses.replace(
        embedder, tensors=Tensors.from_arrays({"embedding.weight": np.zeros((1001, 7), np.float32)})
    )
    with pytest.raises(CheckpointError, match="gives vectors of 7 numbers and its UNet takes 24"):
        check_parts(checkpoint.with_components({"class_embedder": wide}))
