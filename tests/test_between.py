"""Pictures between two seeds or two prompts."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_command import run
from command import Command
from golden.inputs import normal

from sdgen.diffusion.interpolation import slerp
from sdgen.errors import ExitCode, InputError
from sdgen.pipeline.batch_noise import first_noise, image_noise
from sdgen.prompts.expansion import Expansion, expand
from sdgen.prompts.frames import frames
from sdgen.request import Request

SMALL = Request(prompt="a cat", steps=4, width=64, height=64, seed=7)
SHAPE = (8, 8, 4)


@pytest.fixture(scope="module")
def mini(mini_graph: Any) -> Any:
    """These tests look at pictures, not at what XLA compiles."""
    return mini_graph


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def psnr(a: Any, b: Any) -> float:
    error = np.mean((a.astype(float) - b) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def test_noise_between_two_has_their_variance_and_begins_and_ends_there() -> None:
    low, high = normal(1, 64, 64, 4), normal(2, 64, 64, 4)
    for share in (0.25, 0.5, 0.75):
        assert slerp(low, high, share).std() == pytest.approx(1, abs=0.03)
    assert slerp(low, high, 0.0) is low and slerp(low, high, 1.0) is high
    np.testing.assert_allclose(slerp(low, high, 1e-9), low, atol=1e-6)
    np.testing.assert_allclose(slerp(low, high, 1 - 1e-9), high, atol=1e-6)


def test_noise_turns_by_equal_angles() -> None:
    low, high = (noise / np.linalg.norm(noise, axis=0) for noise in (normal(1, 8, 2, 1), normal(2, 8, 2, 1)))
    places = [slerp(low, high, share).astype(float) for share in np.linspace(0, 1, 5)]
    for column in range(2):
        vectors = [place[:, column, 0] for place in places]
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
        angles = [np.arccos(a @ b) for a, b in itertools.pairwise(vectors)]
        np.testing.assert_allclose(angles, angles[0], rtol=1e-4)


@pytest.mark.parametrize("other", [1.0, -1.0])
def test_noise_on_one_line_is_no_division_by_zero(other: float) -> None:
    low = normal(1, 8, 2, 1)
    assert np.isfinite(slerp(low, np.float32(other) * low, 0.3)).all()


def test_a_variation_starts_from_the_seed_that_it_varies() -> None:
    """As AUTOMATIC1111: the later draws are that seed's, whatever the share."""
    base, own = SMALL, SMALL.replace(seed=9)
    varied = SMALL.replace(seed=9, variation_of=7, variation=0.25)
    stream = image_noise(varied)
    expected = slerp(image_noise(base).normal(*SHAPE), image_noise(own).normal(*SHAPE), 0.25)
    np.testing.assert_array_equal(first_noise(varied, stream, SHAPE), expected)
    after = image_noise(base)
    after.normal(*SHAPE)
    np.testing.assert_array_equal(stream.normal(*SHAPE), after.normal(*SHAPE))


def test_a_variation_is_a_tenth_and_a_place_between_prompts_the_middle(mini: Any) -> None:
    assert mini.resolve(SMALL.replace(variation_of=3)).variation == 0.1
    assert mini.resolve(SMALL.replace(prompt_to="a dog")).interpolation == 0.5


@pytest.mark.parametrize("field, needed", [("variation", "variation_of"), ("interpolation", "prompt_to")])
def test_a_share_means_nothing_without_what_it_is_of(field: str, needed: str) -> None:
    with pytest.raises(InputError, match=f"{field} means nothing without {needed}"):
        Request(prompt="a", **{field: 0.5})


def test_frames_are_evenly_spaced_from_end_to_end() -> None:
    found = frames(SMALL.replace(prompt_to="a dog", variation_of=3), 5)
    assert [frame.interpolation for frame in found] == [0, 0.25, 0.5, 0.75, 1]
    assert [frame.variation for frame in found] == [0, 0.25, 0.5, 0.75, 1]
    fixed = frames(SMALL.replace(prompt_to="a dog", variation_of=3, variation=0.2), 2)
    assert [frame.variation for frame in fixed] == [0.2, 0.2]


@pytest.mark.parametrize("fields", [{}, {"variation_of": 3, "variation": 0.5}])
def test_frames_of_nothing_are_refused(fields: Any) -> None:
    with pytest.raises(InputError, match="frames are what lies between"):
        frames(SMALL.replace(**fields), 3)


def test_frames_and_a_place_on_the_way_exclude_each_other() -> None:
    with pytest.raises(InputError, match="interpolation is one place on it"):
        frames(SMALL.replace(prompt_to="a dog", interpolation=0.5), 3)


def test_every_seed_has_all_frames_and_templates_are_filled_in_at_both_ends() -> None:
    request = Request(prompt="a {cat|cow}", prompt_to="a {dog|fox}")
    found = expand(request, Expansion(dynamic="combinatorial", seeds=(1, 2), frames=3))
    assert len(found) == 2 * 2 * 2 * 3
    assert {(one.prompt, one.prompt_to) for one in found} == {
        (first, last) for first in ("a cat", "a cow") for last in ("a dog", "a fox")
    }
    assert [(one.seed, one.interpolation) for one in found[:6]] == [
        (seed, share) for seed in (1, 2) for share in (0, 0.5, 1)
    ]


def test_many_frames_of_many_seeds_are_refused_before_they_are_made() -> None:
    with pytest.raises(InputError, match="seeds, sweeps and frames make 10,000,000,000 requests"):
        expand(SMALL.replace(prompt_to="a dog"), Expansion(count=100_000, frames=100_000))


@pytest.mark.slow
def test_the_ends_of_the_way_are_the_pictures_of_the_prompts(mini: Any) -> None:
    dog = SMALL.replace(prompt="a dog")
    pair = SMALL.replace(prompt_to="a dog")
    first, middle, last, *alone = (image.pixels for image in mini.generate([*frames(pair, 3), SMALL, dog]))
    assert np.array_equal(first, alone[0]) and np.array_equal(last, alone[1])
    assert 0 < psnr(middle, first) < 60 and psnr(middle, last) < 60


@pytest.mark.slow
def test_the_ends_of_a_variation_are_the_pictures_of_the_seeds(mini: Any) -> None:
    base, own = SMALL.replace(seed=3), SMALL
    varied = SMALL.replace(variation_of=3)
    first, little, last, *alone = (
        image.pixels
        for image in mini.generate(
            [*(varied.replace(variation=share) for share in (0.0, 0.05, 1.0)), base, own]
        )
    )
    assert np.array_equal(first, alone[0]) and np.array_equal(last, alone[1])
    assert psnr(little, first) > psnr(little, last)


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "in part"])
def test_a_picture_that_is_started_from_is_varied_too(mini: Any, masked: bool) -> None:
    picture = np.full((64, 64, 3), (200, 40, 40), np.uint8)
    mask = np.zeros((64, 64, 3), np.uint8)
    mask[16:48, 16:48] = 255
    base = SMALL.replace(seed=3, init_image=picture, strength=0.75, **({"mask": mask} if masked else {}))
    varied = base.replace(seed=7, variation_of=3)
    first, between, alone = (
        image.pixels
        for image in mini.generate([varied.replace(variation=0.0), varied.replace(variation=0.5), base])
    )
    assert np.array_equal(first, alone) and not np.array_equal(between, alone)


@pytest.mark.slow
def test_pictures_between_share_a_batch_with_others(graph_batching: Any) -> None:
    requests = [
        SMALL,
        SMALL.replace(prompt_to="a dog", interpolation=0.3),
        SMALL.replace(variation_of=3, variation=0.4, sampler="euler-a"),
        SMALL.replace(prompt="a fish", prompt_to="a house", interpolation=0.7, seed=1),
    ]
    assert len({graph_batching.read(request).shape for request in requests}) == 1
    together = [image.pixels for image in graph_batching.generate(requests, 4)]
    for request, pixels in zip(requests, together, strict=True):
        (alone,) = graph_batching.generate([request], 1)
        assert psnr(alone.pixels, pixels) > 45


def test_prompts_of_other_lengths_are_encoded_to_one(mini: Any) -> None:
    long = "a dog " + "with a very long and winding tail " * 20
    job = mini.read(SMALL.replace(prompt_to=long, interpolation=0.5))
    assert job.shape == mini.read(SMALL.replace(prompt=long)).shape != mini.read(SMALL).shape


def test_interpolate_draws_all_of_the_way_in_order(sdgen: Command) -> None:
    result = sdgen.draw("--interpolate", "a cat", "a dog", "--frames", "3", "--seed", "5", "--json")
    assert result.exit_code == 0, result.stderr
    records = [
        json.loads(Path(json.loads(line)["sidecar"]).read_text()) for line in result.stdout.splitlines()
    ]
    assert [record["interpolation"] for record in records] == [0, 0.5, 1]
    assert {(record["prompt"], record["prompt_to"], record["seed"]) for record in records} == {
        ("a cat", "a dog", 5)
    }
    assert [record["image"] for record in records] == [f"000{n}-a-cat-5.png" for n in (1, 2, 3)]


def test_frames_become_one_animation(sdgen: Command) -> None:
    result = sdgen.draw(
        "a cat", "--prompt-to", "a dog", "--frames", "4", "--seed", "5", "--animate", "way.apng"
    )
    assert result.exit_code == 0, result.stderr
    assert "animation: way.apng" in result.stderr and len(result.stdout.splitlines()) == 4


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["a cow", "--interpolate", "a cat", "a dog"], "--interpolate has both prompts; leave out PROMPT"),
        (["--interpolate", "a cat", "a dog", "--prompt-to", "x"], "leave out --prompt-to"),
        (["a cow", "--frames", "3"], "give --prompt-to, or --variation-of"),
        (["--interpolate", "a cat", "a dog", "--frames", "1"], "is not a whole number of 2 to"),
        (["--interpolate", "a cat", "a dog", "-o", "x.png"], "--frames asks for more"),
        (["--interpolate", "a cat", " "], "prompt 2 of 2 is blank"),
        (["a cow", "--interpolation", "0.5"], "interpolation means nothing without prompt_to"),
        ([], "Missing argument"),
    ],
)
def test_a_way_that_leads_nowhere_is_refused(sdgen: Command, words: list[str], sentence: str) -> None:
    result = sdgen.draw(*words)
    assert result.exit_code == ExitCode.USAGE
    assert sentence in result.stderr


def test_a_batch_of_frames_goes_on_where_it_was_stopped(sdgen: Command) -> None:
    text = json.dumps({"prompt": "a cat", "prompt_to": "a dog"}) + "\n"
    words = ("--input-format", "jsonl", "--frames", "4", "--json")
    assert run(sdgen, *words, "--shard", "1/2", text=text).exit_code == 0
    result = run(sdgen, *words, text=text)
    assert sorted(json.loads(line)["status"] for line in result.stdout.splitlines()) == [
        *["drawn"] * 2,
        *["kept"] * 2,
    ]
