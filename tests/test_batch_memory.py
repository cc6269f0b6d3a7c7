"""The memory that a batch is expected to take, against what XLA says of the compiled loop."""

from __future__ import annotations

import json
import sys

import pytest
from command import start

COMPILED = """
import json
import sdgen
pipeline = sdgen.load("mini", backend="jax", device="cpu", dtype="float32")

import jax
from sdgen.batch import batch_size
from sdgen.diffusion.table import SLOTS
from sdgen.pipeline.loop_arguments import WINDOW
from sdgen.pipeline.evaluation import WholeEvaluation
from sdgen.pipeline.tiled_evaluation import TiledEvaluation

denoiser = pipeline._runners().denoiser
unet = denoiser.unet
numbers = lambda *shape: jax.ShapeDtypeStruct(shape, "float32")
weights = {n: numbers(*shape) for n, shape in pipeline.networks.diffusion_model.arriving.shapes.items()}

def sizes(pixels, batch, tiles=False):
    request = sdgen.Request(prompt="x", width=pixels, height=pixels, guidance=5.0, tiles=tiles)
    request = pipeline.resolve(request)
    windows = pipeline._passes([request])[0].windows
    context = numbers(2 * batch, 77, unet.config.cross_attention_dim)
    maps = {"keys_values": jax.eval_shape(unet.project_context, weights, context)}
    maps["guidance"] = numbers(batch, 2)
    evaluate = WholeEvaluation(unet)
    if windows is not None:
        evaluate = TiledEvaluation(evaluate, unet.config.out_channels)
        maps["windows"] = {n: jax.ShapeDtypeStruct(v.shape, v.dtype) for n, v in vars(windows).items()}
    window = {name: numbers(WINDOW, batch) for name in ("p", "q", "data_p", "data_q")}
    window["mix"] = numbers(WINDOW, batch, 4, 5)
    window["shifts"] = jax.eval_shape(unet.embed_timesteps, weights, numbers(WINDOW, batch))
    state = numbers(SLOTS, batch, pixels // 8, pixels // 8, unet.config.in_channels)
    bound = jax.ShapeDtypeStruct((), "int32")
    loop = jax.jit(denoiser._rows_by(evaluate))
    compiled = loop.lower(weights, state, window, maps, bound, bound).compile()
    taken = compiled.memory_analysis().temp_size_in_bytes
    return [batch, taken, batch_size.bytes_per_image(pipeline, request)]

print(json.dumps([sizes(128, 1), sizes(256, 1), sizes(256, 2), sizes(512, 1), sizes(512, 1, tiles=True)]))
"""


@pytest.mark.slow
def test_the_estimate_is_above_what_the_compiled_loop_takes_and_within_four_times_of_it() -> None:
    """For one image at 128x128 XLA takes 3.2 MB of 10.5 expected; at 256x256 20.2 of 54.5, for two 28.4.

    At 512x512 it takes 60.8 MB at once, and 20.7 in tiles.
    """
    pytest.importorskip("jax")
    process = start([sys.executable, "-c", COMPILED])
    found, messages = process.communicate(timeout=300)
    assert process.returncode == 0, messages.decode()
    *found, whole, tiled = json.loads(found)
    for batch, taken, each in (*found, tiled):
        assert 0 < taken <= batch * each
        if batch == 1:
            assert each <= 4 * taken
    assert tiled[1] < 1.1 * found[1][1] < 0.4 * whole[1]
