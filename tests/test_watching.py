"""What is seen of pictures while they form: moments, views, records and where they go."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import stand_in
from batch_command import run, statuses
from command import Command
from PIL import Image

from sdgen.checkpoints.families.linear_decoder import LinearDecoder
from sdgen.diffusion.samplers import sampler_table
from sdgen.diffusion.table import SamplerTable
from sdgen.errors import ExitCode, InputError
from sdgen.files import whole_files
from sdgen.images import image, pictures, process
from sdgen.images.process import Process
from sdgen.pipeline.watching import Watch, Watcher

SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def frames(path: str | Path) -> list[np.ndarray]:
    picture = Image.open(path)
    found = []
    for number in range(picture.n_frames):
        picture.seek(number)
        found.append(np.asarray(picture.convert("RGB")))
    return found


def watcher(moments: int, *runs: Sequence[SamplerTable], channels: int = 4) -> Watcher:
    """Of images whose tables in each run these are."""
    config = {"latent_channels": channels, "scaling_factor": 0.18215}
    checkpoint = SimpleNamespace(name="model", vae=SimpleNamespace(config=config))
    return Watcher(Watch(moments), checkpoint, runs)


def after(rows: int, latents: object = None, estimate: object = None) -> SimpleNamespace:
    """A slice of the loop."""
    return SimpleNamespace(rows=rows, latents=latents, estimate=estimate)


def ddim(steps: int) -> SamplerTable:
    return sampler_table(SD, "ddim", steps)


def test_the_loop_stops_after_the_steps_that_are_looked_at() -> None:
    assert watcher(3, [ddim(9)]).stops() == {1, 5, 9}


def test_a_step_of_two_rows_is_looked_at_after_its_second() -> None:
    table = sampler_table(SD, "heun", 5)
    assert list(table.steps) == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert watcher(5, [table]).stops() == {2, 4, 6, 8, 9}


def test_images_of_a_batch_are_each_looked_at_in_their_own_steps() -> None:
    assert watcher(2, [ddim(3), ddim(4)]).stops() == {1, 3, 4}


def test_moments_are_spread_over_all_runs_of_the_loop() -> None:
    found = watcher(4, [ddim(6)], [ddim(4)])
    assert [found.stops(0), found.stops(1)] == [{1, 4}, {1, 4}]  # of 10: 1, 4, 7 and 10
    view = found.view(after(1), 1)
    assert view is not None and (view.steps, view.of) == ((7,), (10,))


def test_whoever_watches_without_moments_stops_nothing() -> None:
    assert watcher(0, [ddim(9)]).stops() == set()


def test_where_nobody_watches_there_is_no_view() -> None:
    unseen = Watcher(None, SimpleNamespace(), [[ddim(3)]])
    assert unseen.stops() == set() and unseen.view(after(1)) is None


def test_latents_of_an_unknown_kind_are_refused() -> None:
    with pytest.raises(InputError, match="what the latents of model look like is not known"):
        watcher(0, [ddim(3)], channels=16)


class Counted:
    """Latents on a device; how often an image of them is copied is counted."""

    copies = 0

    def __getitem__(self, image: int) -> np.ndarray:
        self.copies += 1
        return np.full((2, 2, 4), image, np.float32)


def test_nothing_is_copied_before_it_is_looked_at() -> None:
    latents, estimate = Counted(), Counted()
    view = watcher(0, [ddim(2), ddim(2)]).view(after(1, latents, estimate))
    assert view is not None and (view.steps, view.of) == ((1, 1), (2, 2))
    assert (latents.copies, estimate.copies) == (0, 0)
    assert view.colours(1).shape == (2, 2, 3)
    assert (latents.copies, estimate.copies) == (0, 1)


GREY = LinearDecoder(np.asarray([[1, 1, 1], [0, 0, 0]], np.float32), channels=1, factor=1)
DRAWN = image.Image(
    stand_in.REQUEST.replace(steps=4), np.full((32, 64, 3), 200, np.uint8), 1.0, details=stand_in.DETAILS
)


def formed(*kinds: str, steps: int = 4, each: float = 0.1) -> Process:
    """Latents 0.1, 0.2, ... and estimates -0.1, -0.2, ..."""
    kept = Process(GREY, kinds)
    for step in range(1, steps + 1):
        level = np.full((4, 8, 1), step * each, np.float32)
        kept.add(step, steps, {"latents": level, "estimate": -level})
    return kept


def opened(data: bytes) -> io.BytesIO:
    return io.BytesIO(data)


def test_a_record_ends_in_the_picture() -> None:
    shown = frames(opened(formed("estimate").encode(DRAWN, "apng")))
    assert [frame[0, 0, 0] for frame in shown] == [115, 102, 89, 200]
    assert {frame.shape for frame in shown} == {(32, 64, 3)}


def test_both_are_shown_side_by_side() -> None:
    first, *_ = frames(opened(formed("latents", "estimate").encode(DRAWN, "apng")))
    assert first.shape == (32, 2 * 64 + 4, 3)
    assert (first[0, 0, 0], first[0, 66, 0], first[0, -1, 0]) == (140, 255, 115)


def test_a_strip_has_a_row_for_each_kind() -> None:
    strip = np.asarray(Image.open(opened(formed("latents", "estimate").encode(DRAWN, "strip"))))
    assert strip.shape == (18 + 2 * 32 + 4, 4 * 64 + 3 * 4, 3)
    assert [strip[20, column * 68, 0] for column in range(4)] == [140, 153, 166, 200]
    assert [strip[-1, column * 68, 0] for column in range(4)] == [115, 102, 89, 200]


def test_a_record_says_what_was_drawn_and_leaves_it_out_where_asked() -> None:
    assert "a red fox" in Image.open(opened(formed("latents").encode(DRAWN, "strip"))).text["Description"]
    plain = formed("latents").encode(DRAWN, "strip", described=False)
    assert not Image.open(opened(plain)).text


def test_an_image_that_is_begun_anew_has_one_record() -> None:
    kept = formed("latents")
    for step in (1, 2, 3, 4):
        kept.add(step, 4, {"latents": np.full((4, 8, 1), -step / 10, np.float32)})
    assert [frame[0, 0, 0] for frame in frames(opened(kept.encode(DRAWN, "apng")))] == [115, 102, 89, 200]


def test_what_is_kept_of_a_large_picture_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "MOST_BYTES", 10 * 4 * 8 * 2)
    shown = frames(opened(formed("latents", steps=64, each=0.01).encode(DRAWN, "apng")))
    assert 5 <= len(shown) <= 11


def test_latents_that_overflow_are_kept_as_the_largest() -> None:
    kept = Process(GREY, ("latents",))
    for step in (1, 2):
        kept.add(step, 2, {"latents": np.full((4, 8, 1), 1e30, np.float32)})
    assert frames(opened(kept.encode(DRAWN, "apng")))[0][0, 0, 0] == 255


def test_what_was_drawn_of_a_part_alone_keeps_its_shape() -> None:
    tall = image.Image(DRAWN.request, np.full((64, 32, 3), 200, np.uint8), 1.0)
    first, *_ = frames(opened(formed("latents").encode(tall, "apng")))
    assert first.shape == (64, 32, 3)
    assert (first[0, 0, 0], first[32, 16, 0], first[-1, 0, 0]) == (255, 140, 255)


def test_frames_of_large_pictures_are_smaller() -> None:
    large = image.Image(DRAWN.request, np.zeros((600, 1200, 3), np.uint8), 1.0)
    assert frames(opened(formed("estimate").encode(large, "webp")))[0].shape == (256, 512, 3)


@pytest.mark.parametrize("name", ["fox.gif", "fox.webp", "fox.apng", "new/fox.png"])
def test_a_record_of_one_picture_has_the_name_that_it_was_given(sdgen: Command, name: str) -> None:
    result = sdgen.draw("a fox", "-o", "out.png", "--record", name, "--steps", "6")
    assert (result.exit_code, result.stdout) == (0, "out.png\n"), result.stderr
    assert f"record: {name}" in result.stderr
    assert pictures.is_record(Path(name))
    if not name.endswith(".png"):
        assert len(frames(name)) == 6


def test_a_strip_shows_as_many_steps_as_are_asked_for(sdgen: Command) -> None:
    sdgen.draw("a fox", "--record", "s.png", "--record-steps", "3", "--steps", "20", "--size", "64x64")
    assert Image.open("s.png").size == (3 * 64 + 2 * 4, 18 + 64)


def test_an_animation_shows_as_many_steps_as_are_asked_for(sdgen: Command) -> None:
    sdgen.draw("a fox", "--record", "s.apng", "--record-steps", "5", "--steps", "20")
    assert len(frames("s.apng")) == 5


def test_records_of_several_pictures_lie_beside_them(sdgen: Command) -> None:
    result = sdgen.draw("a fox", "a cat", "--seed", "7", "--record", "gif", "--record-of", "both")
    assert result.exit_code == 0, result.stderr
    assert sorted(os.listdir("outputs")) == [
        f"{stem}{ending}"
        for stem in ("0001-a-fox-7", "0002-a-cat-7")
        for ending in (".json", ".png", ".process.gif")
    ]
    assert frames("outputs/0001-a-fox-7.process.gif")[0].shape == (64, 2 * 64 + 4, 3)


def test_programs_are_told_where_a_record_is(sdgen: Command) -> None:
    result = sdgen.draw("a fox", "broken", "--seed", "7", "--record", "webp", "--json")
    drawn, failed = map(json.loads, result.stdout.splitlines())
    assert drawn["record"] == "outputs/0001-a-fox-7.process.webp" and Path(drawn["record"]).exists()
    assert failed["record"] is None
    assert "record" not in json.loads(sdgen.draw("a fox", "--json").stdout)


def test_the_pictures_do_not_change(sdgen: Command) -> None:
    plain, watched = (
        sdgen.drawn("a fox", "--seed", "7"),
        sdgen.drawn("a fox", "--seed", "7", "--record", "gif"),
    )
    for name in ("pixels_sha256", "job", "prompt", "seed", "steps"):
        assert plain[0].get(name) == watched[0].get(name)
    assert plain[0].keys() == watched[0].keys()


def test_an_image_on_stdout_has_a_record_in_a_file(sdgen: Command) -> None:
    result = sdgen.draw("a fox", "-o", "-", "--record", "fox.gif")
    assert result.exit_code == 0 and result.stdout_bytes.startswith(b"\x89PNG")
    assert len(frames("fox.gif")) == 4
    assert os.listdir() == ["fox.gif"]


def test_an_image_that_fails_leaves_no_record(sdgen: Command) -> None:
    result = sdgen.draw("broken", "a fox", "--record", "gif", "-o", "out/")
    assert result.exit_code == ExitCode.SOME_FAILED
    assert [name for name in os.listdir("out") if name.endswith(".gif")] == [
        "0001-a-fox-7.process.gif"
    ] or len([name for name in os.listdir("out") if name.endswith(".gif")]) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--record", "fox.mp4"), "--record fox.mp4: end the name in .gif"),
        (("--record", "folder/"), "--record folder/: end the name"),
        (("--record", ""), "end the name in .gif"),
        (("-n", "2", "--record", "f.webp"), "2 pictures would need one each; --record webp writes"),
        (("--record-of", "both"), "--record-of says what --record shows"),
        (("--record-steps", "3"), "--record-steps says what --record shows"),
        (("-o", "-", "--record", "gif"), "-o - stores no image that a record could be beside"),
        (("-o", "fox.png", "--record", "./fox.png"), "-o and --record name one file"),
        (("--grid", "fox.png", "--record", "./fox.png"), "--grid and --record name one file"),
        (("--record", "gif", "--engine", "keras-cv"), "--engine keras-cv tells of no step"),
        (("--preview", "--engine", "keras-cv"), "--engine keras-cv tells of no step"),
        (("--preview", "-q"), "--quiet shows errors alone"),
        (("--preview",), "--preview draws on the terminal, and stderr is no terminal; leave it out"),
    ],
)
def test_what_cannot_be_recorded_or_shown_is_said_before_a_model_is_loaded(
    sdgen: Command, arguments: tuple[str, ...], sentence: str
) -> None:
    result = sdgen.draw("a fox", *arguments)
    assert result.exit_code == ExitCode.USAGE
    assert sentence in " ".join(result.stderr.split())
    assert not sdgen.loads and not os.listdir()


def test_a_batch_refuses_one_file(sdgen: Command) -> None:
    result = run(sdgen, "--record", "all.gif")
    assert result.exit_code == ExitCode.USAGE
    assert "a batch would need one each; --record gif writes NAME.process.gif beside each" in result.stderr


def test_a_setting_for_terminals_is_no_error_elsewhere(
    sdgen: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDGEN_PREVIEW", "1")
    assert sdgen.draw("a fox").exit_code == 0


@pytest.mark.parametrize("name", ["fox.gif", "fox.png"])
def test_a_file_that_is_there_is_not_written_over(sdgen: Command, name: str) -> None:
    Path(name).write_bytes(b"mine")
    for more in ((), ("--overwrite",)):
        result = sdgen.draw("a fox", "-o", "out.png", "--record", name, *more)
        assert result.exit_code == ExitCode.NONE_DRAWN
        assert f"{name} is already there and is not overwritten" in result.stderr
    assert Path(name).read_bytes() == b"mine" and not sdgen.loads


@pytest.mark.parametrize("name", ["fox.gif", "fox.png", "fox.webp"])
def test_an_earlier_record_gives_way_where_that_is_asked_for(sdgen: Command, name: str) -> None:
    for steps in ("3", "5"):
        result = sdgen.draw("a fox", "-o", "o.png", "--record", name, "--overwrite", "--steps", steps)
        assert result.exit_code == 0, result.stderr
    if not name.endswith(".png"):
        assert len(frames(name)) == 5
    assert sdgen.draw("a fox", "--record", name).exit_code == ExitCode.NONE_DRAWN


def test_where_no_record_can_be_written_the_picture_stays(
    sdgen: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = whole_files.write

    def full(path: Path, data: bytes, *more: object) -> None:
        if path.suffix == ".gif":
            with whole_files.explained(path.parent, "--record"):
                raise OSError(28, "No space left on device", str(path))
        write(path, data, *more)

    monkeypatch.setattr(whole_files, "write", full)
    result = sdgen.draw("a fox", "-o", "out.png", "--record", "fox.gif")
    assert result.exit_code == ExitCode.SOME_FAILED
    assert "no record of out.png: no space is left" in result.stderr
    assert result.stdout == "out.png\n" and sorted(os.listdir()) == ["out.json", "out.png"]


def test_a_batch_records_beside_each_picture_and_goes_on(sdgen: Command) -> None:
    assert statuses(run(sdgen, "--record", "gif", "--json")) == ["drawn", "drawn"]
    (first, second) = sorted(Path("outputs").glob("*.process.gif"))
    assert statuses(run(sdgen, "--record", "gif", "--json")) == ["kept", "kept"]
    first.unlink()
    assert sorted(statuses(run(sdgen, "--record", "gif", "--json"))) == ["drawn", "kept"]
    assert first.exists() and second.exists()


def test_a_batch_that_draws_again_replaces_its_records(sdgen: Command) -> None:
    run(sdgen, "--record", "gif")
    result = run(sdgen, "--record", "gif", "--force", "--json")
    assert statuses(result) == ["drawn", "drawn"], result.stderr


def test_a_record_whose_picture_has_gone_is_not_written_over(sdgen: Command) -> None:
    sdgen.draw("a fox", "--seed", "7", "--record", "gif")
    for name in ("0001-a-fox-7.png", "0001-a-fox-7.json"):
        Path("outputs", name).unlink()
    kept = Path("outputs/0001-a-fox-7.process.gif").read_bytes()
    result = sdgen.draw("a fox", "--seed", "7", "--record", "gif", "--steps", "9")
    assert result.exit_code == ExitCode.SOME_FAILED
    assert "0001-a-fox-7.process.gif is already there and is not overwritten; move it" in result.stderr
    assert Path("outputs/0001-a-fox-7.process.gif").read_bytes() == kept


@pytest.mark.parametrize("option", ["--record", "--record-of", "--record-steps", "--preview", "--animate"])
def test_drawing_again_has_none_of_it(sdgen: Command, option: str) -> None:
    (record,) = sdgen.drawn("a fox")
    result = sdgen.run("replay", f"outputs/{record['image']}", option, "gif")
    assert result.exit_code == ExitCode.USAGE and "there is no option" in result.stderr
