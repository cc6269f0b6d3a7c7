"""The pipeline on the bundled model: batches, seeds, compilations, what is refused."""

from __future__ import annotations

import copy
import dataclasses
import itertools

import numpy as np
import pytest

import sdgen
from sdgen import ImageError, InputError, Request
from sdgen.checkpoints.tensors import from_array

SMALL = Request(prompt="a red heart", steps=3, width=64, height=64, seed=7)


def draw(pipeline, *requests, batch_size=None):
    images = list(pipeline.generate(requests, batch_size))
    assert [image.error for image in images] == [None] * len(requests)
    return [image.pixels for image in images]


def psnr(a, b):
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return np.inf if error == 0 else 10 * np.log10(255**2 / error)


def changed(pipeline, part, **tensors):
    """A new pipeline whose checkpoint has some tensors of one network replaced."""
    component = pipeline.checkpoint.components[part]
    entries = {name.replace("__", "."): from_array(values) for name, values in tensors.items()}
    component = dataclasses.replace(component, tensors=component.tensors.replaced(entries))
    components = {**pipeline.checkpoint.components, part: component}
    checkpoint = dataclasses.replace(pipeline.checkpoint, components=components)
    return sdgen.Pipeline(checkpoint, pipeline.entry, "float32", "cpu:0")


def test_two_streams_may_take_turns(mini):
    """Neither leaves its device to what runs between two of its events."""
    from tensorflow.python.eager import context

    requests = [SMALL, SMALL.replace(steps=5, seed=8)]
    streams, alone, last = [mini.stream([request]) for request in requests], draw(mini, *requests), {}
    for events in itertools.zip_longest(*streams):
        last |= {i: event for i, event in enumerate(events) if event is not None}
        assert context.context().device_name == ""
    assert all(psnr(last[i].pixels, pixels) > 50 for i, pixels in enumerate(alone))


def test_changing_numbers_compiles_nothing(small):
    draw(small, SMALL, SMALL.replace(sampler="euler-a"))
    before = small.compilations
    draw(
        small,
        SMALL.replace(steps=5, guidance=2.0, seed=1),
        SMALL.replace(sampler="dpmpp-2m", schedule="karras"),
        SMALL.replace(sampler="unipc", steps=40, prompt="a panda", negative_prompt="a tree"),
        SMALL.replace(sampler="ddim", eta=1.0, steps=2, guidance_rescale=0.5),
        SMALL.replace(sampler="heun"),
        SMALL.replace(sampler="deis"),
        SMALL.replace(sampler="dpm2", schedule="exponential"),
        SMALL.replace(sampler="dpmpp-sde"),
        SMALL.replace(sampler="dpmpp-3m-sde"),
    )
    assert small.compilations == before


def test_one_program_a_shape(small):
    """What determines a program: size, guided or not, fresh noise or not, images at once, text chunks."""
    size = {"width": 32, "height": 96}
    base = SMALL.replace(**size, steps=1, eta=0.0)
    before = small.compilations
    draw(small, base, base.replace(steps=4, seed=1), base.replace(sampler="lcm", guidance=9.0, steps=1))
    assert small.compilations == before + 1
    draw(small, base.replace(guidance=1.0), base.replace(guidance=1.0, steps=3, sampler="dpmpp-2m"))
    assert small.compilations == before + 2


def test_each_image_of_a_batch_is_that_of_its_seed_alone(batching):
    requests = [SMALL.replace(seed=7 + k) for k in range(3)]
    together = draw(batching, *requests, batch_size=3)
    for request, pixels in zip(requests, together, strict=True):
        assert psnr(pixels, draw(batching, request)[0]) > 50


def test_a_batch_may_mix_prompts_samplers_steps_and_guidance(batching):
    requests = [
        SMALL,
        SMALL.replace(prompt="a blue fish", sampler="euler-a", steps=5, guidance=2.0),
        SMALL.replace(prompt="a panda", sampler="dpmpp-2m", steps=4, rng="torch", seed=1),
    ]
    together = draw(batching, *requests, batch_size=3)
    for request, pixels in zip(requests, together, strict=True):
        assert psnr(pixels, draw(batching, request)[0]) > 50


@pytest.mark.numeric
def test_on_a_cpu_an_image_is_the_same_to_the_bit_in_any_place_and_at_any_batch_size(mini):
    requests = [SMALL.replace(seed=7 + k) for k in range(3)]
    alone = [draw(mini, request)[0] for request in requests]
    for turned in (requests, requests[1:] + requests[:1], requests[::-1]):
        for pixels, request in zip(draw(mini, *turned, batch_size=3), turned, strict=True):
            assert np.array_equal(pixels, alone[requests.index(request)])


def test_the_batch_size_of_the_program_is_recorded_and_drawn_with_again(batching):
    requests = [SMALL.replace(seed=k) for k in range(4)]
    drawn = [*batching.generate(requests, 3)]
    assert [image.details["batch_size"] for image in drawn] == [3, 3, 3, 3]
    before = batching.compilations
    (again,) = (e for e in batching.stream(requests[3:], 3, fill=True) if isinstance(e, sdgen.Image))
    assert again.details["batch_size"] == 3
    assert batching.compilations == before
    assert np.array_equal(again.pixels, drawn[3].pixels)


def test_a_short_last_batch_compiles_nothing(batching):
    requests = [SMALL.replace(seed=k) for k in range(5)]
    draw(batching, *requests[:3], batch_size=3)
    before = batching.compilations
    assert len(draw(batching, *requests, batch_size=3)) == 5
    assert batching.compilations == before


def test_more_steps_than_a_window_of_the_table(mini):
    from sdgen.pipeline.loop_arguments import WINDOW

    steps = WINDOW + 3
    events = list(mini.stream([SMALL.replace(steps=steps)]))
    assert [event.step for event in events[:-1]][-1] == steps
    assert events[-1].pixels.shape == (64, 64, 3)


def test_progress_moves_to_the_last_step(mini):
    *progress, image = mini.stream([SMALL])
    steps = [event.step for event in progress]
    assert steps == sorted(steps)
    assert progress[-1] == sdgen.Progress(3, 3, 1)
    assert isinstance(image, sdgen.Image)


def test_defaults_come_from_the_model(mini):
    resolved = mini.resolve(Request(prompt="a red heart"))
    assert (resolved.steps, resolved.guidance, resolved.sampler) == (25, 5.0, "ddim")
    assert (resolved.width, resolved.height, resolved.model) == (256, 256, "mini")


@pytest.mark.parametrize(("field", "near"), [("width", 96), ("height", 96)])
def test_a_size_that_the_network_cannot_draw_is_refused(mini, field, near):
    with pytest.raises(InputError, match=f"{field} 104 is not a multiple of 32.*nearest is {near}"):
        mini.resolve(SMALL.replace(**{field: 104}))


def test_a_long_plain_prompt_is_cut_and_said_so(mini):
    long = " ".join(["heart"] * 80)
    (image,) = mini.generate([SMALL.replace(prompt=long, prompt_syntax="plain")])
    assert "longer than 77 tokens" in image.warnings[0]
    assert "'heart heart heart heart heart'" in image.warnings[0]


def test_a_long_prompt_is_read_whole_by_default(small):
    long = " ".join(["heart"] * 80)
    (whole,) = small.generate([SMALL.replace(prompt=long)])
    (longer,) = small.generate([SMALL.replace(prompt=long + " panda")])
    assert whole.warnings == ()
    assert not np.array_equal(whole.pixels, longer.pixels)


def test_emphasis_changes_the_picture_and_a_weight_of_one_does_not(mini):
    plain, one, more = draw(
        mini,
        SMALL.replace(prompt="a red heart"),
        SMALL.replace(prompt="a (red:1.0) heart"),
        SMALL.replace(prompt="a (red:1.5) heart"),
    )
    assert np.array_equal(plain, one)
    assert not np.array_equal(plain, more)


def test_without_guidance_the_negative_prompt_has_no_say(small):
    request = SMALL.replace(guidance=1.0)
    plain, negative = draw(small, request, request.replace(negative_prompt="a tree"))
    assert np.array_equal(plain, negative)


def test_non_finite_latents_are_an_error_and_not_a_picture(mini):
    broken = changed(mini, "unet", conv_out__bias=np.full(8, np.nan, np.float32))
    (image,) = broken.generate([SMALL])
    assert image.pixels is None
    assert isinstance(image.error, ImageError)
    assert str(image.error) == "the latents became non-finite in float32; try another seed"


def test_a_picture_of_one_colour_is_an_error(mini):
    zeros = {"weight": np.zeros((3, 32, 3, 3), np.float32), "bias": np.zeros(3, np.float32)}
    flat = changed(mini, "vae", **{f"decoder__conv_out__{name}": values for name, values in zeros.items()})
    (image,) = flat.generate([SMALL])
    assert image.pixels is None
    assert "one colour" in str(image.error)


def test_weights_of_the_wrong_shape_name_the_tensor(mini):
    with pytest.raises(sdgen.CheckpointError, match=r"conv_out\.bias has shape \(5,\) instead of \(8,\)"):
        changed(mini, "unet", conv_out__bias=np.zeros(5, np.float32))


def test_keras_cv_draws_with_these_networks(mini, capsys):
    mini.model.img_height = mini.model.img_width = 64
    pixels = mini.model.text_to_image("a red heart", num_steps=2, seed=1)
    assert pixels.shape == (1, 64, 64, 3)
    assert pixels.dtype == np.uint8


def test_the_stock_engine_refuses_another_architecture():
    with pytest.raises(sdgen.CheckpointError, match="its UNet has other widths; use --engine sdgen"):
        sdgen.load("mini", engine="keras-cv")


def test_the_stock_engine_has_its_own_model(mini, monkeypatch):
    from sdgen.pipeline.keras_cv.engine import KerasCvEngine

    monkeypatch.setattr(KerasCvEngine, "_stock_model", lambda self, height, width: (height, width))
    stock = object.__new__(KerasCvEngine)
    stock.checkpoint, stock.entry = mini.checkpoint, mini.entry
    assert (stock.model, stock.compilations) == ((256, 256), 0)


def test_clip_skip_changes_the_picture(mini):
    all_layers, fewer = draw(mini, SMALL, SMALL.replace(clip_skip=1))
    assert not np.array_equal(all_layers, fewer)


def test_clip_skip_leaves_a_layer(mini):
    assert mini.resolve(SMALL.replace(clip_skip=3)).clip_skip == 3
    with pytest.raises(InputError, match="less than the 4 layers of mini's text encoder, not 4"):
        mini.resolve(SMALL.replace(clip_skip=4))


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_has_an_image(mini, size):
    with pytest.raises(InputError, match=f"batch size must be 1 or more, not {size}"):
        next(mini.generate([SMALL], size))


def test_a_step_is_done_after_all_of_its_evaluations(mini):
    *progress, _ = mini.stream([SMALL.replace(sampler="heun", steps=2)])
    assert (progress[0].step, progress[-1].step) == (0, 2)


def test_a_scheduler_setting_can_be_overridden(mini):
    trailing, leading = draw(mini, SMALL, SMALL.replace(spacing="leading", zero_snr=False))
    assert not np.array_equal(trailing, leading)


def test_the_checkpoint_is_not_changed_by_drawing(mini):
    scheduler = copy.deepcopy(mini.checkpoint.scheduler)
    draw(mini, SMALL.replace(spacing="linspace"))
    assert mini.checkpoint.scheduler == scheduler


def test_what_sdgen_lacks_of_the_checkpoints_own_sampler_is_a_warning_of_its_images(small):
    scheduler = {
        **small.checkpoint.scheduler,
        "_class_name": "DPMSolverMultistepScheduler",
        "algorithm_type": "sde-dpmsolver++",
        "solver_type": "heun",
    }
    checkpoint = dataclasses.replace(small.checkpoint, scheduler={**scheduler, "use_karras_sigmas": True})
    entry = dataclasses.replace(small.entry, sampler=None, schedule=None)
    pipeline = sdgen.Pipeline(checkpoint, entry, "float32", "cpu:0")
    own, other = pipeline.generate([SMALL, SMALL.replace(sampler="ddim")])
    assert own.request.sampler == "dpmpp-2m-sde" and "'solver_type' to 'heun'" in own.warnings[0]
    assert other.warnings == ()
    # The checkpoint's curve is named where the sampler has it.
    assert (own.request.schedule, other.request.schedule) == ("karras", None)


def test_images_of_a_batch_are_seen_each_at_its_own_step(mini, monkeypatch):
    from sdgen.pipeline.watching import Watch

    monkeypatch.setattr(mini, "batch_limit", lambda asked=None: asked or 1)  # As on an accelerator.
    requests = [
        Request(prompt="a red heart", seed=seed, steps=steps, sampler="euler")
        for seed, steps in ((1, 2), (2, 4))
    ]
    plain = draw(mini, *requests, batch_size=2)
    views, images = [], []
    for event in mini.stream(requests, batch_size=2, watch=Watch(2)):
        if isinstance(event, sdgen.Progress):
            assert event.view.of == (2, 4)
            views.append((event.view.steps, event.view.colours(0), event.view.values(1, "latents")))
        else:
            images.append(event)
    seen = [steps for steps, _, _ in views]
    assert {(1, 1), (2, 2), (2, 4)} <= set(seen) and seen[-1] == (2, 4)
    assert all(colours.shape == (256, 256, 3) for _, colours, _ in views)
    assert not np.array_equal(views[0][2], views[-1][2])
    for image, expected in zip(images, plain, strict=True):
        assert np.array_equal(image.pixels, expected)
