"""sdgen bench: what it prints, the random models, the count of operations."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from command import Command

from sdgen.errors import ExitCode


@pytest.fixture
def sdgen(tmp_path, monkeypatch):
    return Command(tmp_path, monkeypatch, real=True)


TINY = ("--size", "64x64", "--steps", "2", "--repeats", "1")


@pytest.mark.slow
def test_the_report_as_json(sdgen, small_model):
    result = sdgen.run(
        "bench", "--model", str(small_model), *TINY, "--batch-size", "1,2", "--no-start", "--json"
    )
    assert result.exit_code == ExitCode.OK, result.stderr
    report = json.loads(result.stdout)
    assert (report["width"], report["height"], report["steps"], report["guided"]) == (64, 64, 2, True)
    assert [batch["batch_size"] for batch in report["batches"]] == [1, 2]
    for batch in report["batches"]:
        parts = batch["seconds"]
        assert parts["total"] >= parts["text"] + parts["denoise"] + parts["decode"] > 0
        assert 0 < batch["fraction_of_matmul"] < 1
        assert batch["tflops"] == pytest.approx(batch["tflop_per_image"] / batch["seconds_per_image"])
    assert report["peak_memory_bytes"] > 1e8


@pytest.mark.slow
def test_first_pictures_of_new_processes_cold_and_warm(sdgen, small_model):
    result = sdgen.run("bench", "--model", str(small_model), *TINY)
    assert result.exit_code == ExitCode.OK, result.stderr
    assert "cold start" in result.stdout and "warm start" in result.stdout
    assert "matmul ceiling" in result.stdout


def test_random_weights_are_for_bench_alone(sdgen):
    result = sdgen.run("a fox", "--model", "random-sd2.1")
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert "there is no model named 'random-sd2.1'" in result.stderr


def test_a_model_that_is_not_there_is_said_at_once(sdgen):
    result = sdgen.run("bench", "--model", "random-sd3")
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert result.stdout == ""


@pytest.fixture(scope="module")
def checkpoint():
    from sdgen.pipeline import loading

    loading.activate(None, None, None)
    from sdgen.cli.benchmark.random_models import open_random

    return open_random("random-sd2.1")


def test_a_random_model_has_the_size_of_the_real_one(checkpoint):
    def parameters(component):
        return sum(int(np.prod(shape)) for shape in component.tensors.shapes().values())

    # stabilityai/stable-diffusion-2-1-base: the UNet and text encoder of its model card.
    assert parameters(checkpoint.unet) == 865_910_724
    assert parameters(checkpoint.text_encoder) == 340_387_840


def test_random_weights_keep_the_size_of_activations_and_are_the_same_each_time(checkpoint):
    name = "mid_block.attentions.0.proj_in.weight"
    weights = checkpoint.unet.tensors[name]
    assert np.std(weights) * np.sqrt(weights.shape[1]) == pytest.approx(1, rel=0.01)
    assert np.array_equal(weights, checkpoint.unet.tensors[name])
    assert (checkpoint.unet.tensors["conv_norm_out.weight"] == 1).all()
    assert (checkpoint.unet.tensors["conv_norm_out.bias"] == 0).all()


def test_every_evaluation_of_a_step_counts(mini):
    from sdgen import Request
    from sdgen.cli.benchmark.measure import _flops

    heun, ddim = (
        mini.resolve(Request(prompt="a fox", sampler=sampler, steps=steps))
        for sampler, steps in (("heun", 4), ("ddim", 7))
    )
    assert _flops(mini, heun, 1, True) == _flops(mini, ddim, 1, True)


def test_guidance_costs_what_its_second_half_does_not_share(mini):
    from sdgen import Request
    from sdgen.cli.benchmark.flops import unet_flops
    from sdgen.cli.benchmark.measure import _flops

    request = mini.resolve(Request(prompt="a fox", steps=7, sampler="ddim", width=64, height=96))
    unet = mini.networks.diffusion_model.network
    sides = 96 // mini.networks.vae_config.downsampling, 64 // mini.networks.vae_config.downsampling
    more = unet_flops(unet, *sides, guided=True) - unet_flops(unet, *sides)
    assert 0 < more < unet_flops(unet, *sides)
    assert _flops(mini, request, 2, True) - _flops(mini, request, 2, False) == 2 * 7 * more


@pytest.mark.parametrize("attention_down", [(True, True, False), (False, True, False), (False,) * 3])
def test_what_the_halves_of_the_guidance_share_is_counted_once(mini, monkeypatch, attention_down):
    """Against the layers that an evaluation runs, with the batches that they run with."""
    from sdgen.cli.benchmark.flops import unet_flops
    from sdgen.networks.attention import CrossAttention, SelfAttention
    from sdgen.networks.convolution import Conv3x3
    from sdgen.networks.layers import Linear
    from sdgen.networks.unet import UNet

    model, counted = mini.networks.diffusion_model, []
    weights, config = model.weights_by_name, model.network.config
    unet = UNet(dataclasses.replace(config, attention_down=attention_down), model.network.numerics)

    def count(layer, operations):
        original = layer.__call__

        def call(self, weights, x, *rest):
            result = original(self, weights, x, *rest)
            counted.append(operations(self, result, *rest))
            return result

        monkeypatch.setattr(layer, "__call__", call)

    def elements(tensor):
        return int(np.prod(tensor.shape))

    count(Conv3x3, lambda layer, y, *shift: 2 * 9 * layer.inputs * elements(y))
    count(Linear, lambda layer, y: 2 * layer.inputs * elements(y))
    count(SelfAttention, lambda layer, y: 4 * elements(y) * y.shape[1])
    count(CrossAttention, lambda layer, y, keys_values: 4 * elements(y) * keys_values[0].shape[2])
    shifts = unet.embed_timesteps(weights, np.asarray([701.0], np.float32))
    for halves in (1, 2):
        context = np.ones((halves, 77, config.cross_attention_dim), np.float32)
        keys_values = unet.project_context(weights, context)
        counted.clear()
        unet.denoise(weights, np.ones((1, 32, 24, config.in_channels), np.float32), shifts, keys_values)
        # The first convolution stands twice in an evaluation; compiled, the two are one.
        again = 2 * 9 * unet.conv_in.inputs * unet.conv_in.outputs * 32 * 24
        assert unet_flops(unet, 32, 24, guided=halves == 2) == sum(counted) - again


def test_operations_are_those_that_pytorch_counts(checkpoint):
    """torch.utils.flop_counter on diffusers' UNet2DConditionModel and AutoencoderKL at 64x64 latents."""
    from sdgen.cli.benchmark.flops import decoder_flops, unet_flops
    from sdgen.networks.attention import scaled_dot_product
    from sdgen.networks.config import UNetConfig, VAEConfig
    from sdgen.networks.layers import Numerics
    from sdgen.networks.unet import UNet
    from sdgen.networks.vae import Decoder

    plain = Numerics("float32", "float32", "direct", scaled_dot_product)
    unet = UNet(UNetConfig.from_config(checkpoint.unet.config), plain)
    decoder = Decoder(VAEConfig.from_config(checkpoint.vae.config), plain)
    # PyTorch counts the projections of the text too, 4 GFLOP, which run once a picture here.
    assert unet_flops(unet, 64, 64) == pytest.approx(804_257_464_320, rel=0.006)
    assert decoder_flops(decoder, 64, 64) == pytest.approx(2_514_518_933_504, rel=0.001)
