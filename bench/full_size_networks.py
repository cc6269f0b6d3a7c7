"""The networks at full size against diffusers, transformers and keras_cv: equality and time.

    pip install -e '.[reference]' && python bench/full_size_networks.py [sd2|sd1] [--size 256]

Random weights in the layout of Stable Diffusion 2.1 (or 1.5), float32. Prints, for each network, the
relative L2 distance to diffusers or transformers, to keras_cv's stock network as it is, and to it
with its known differences switched (docs/parity.md), and seconds a call of each. Needs 20 GB of memory.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sdgen import backend

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("family", nargs="?", default="sd2", choices=("sd1", "sd2"))
parser.add_argument("--size", type=int, default=256, help="pixels of a side")
parser.add_argument("--backend", default="tensorflow")
parser.add_argument("--repeat", type=int, default=3)
parser.add_argument("--networks", default="unet,text_encoder,vae")
args = parser.parse_args()
backend.activate(args.backend)

import diffusers  # noqa: E402
import keras  # noqa: E402
import transformers  # noqa: E402
from keras import ops  # noqa: E402
from keras_cv.src.models.stable_diffusion import decoder, diffusion_model, text_encoder  # noqa: E402

from sdgen.backend.program import Program  # noqa: E402
from sdgen.checkpoints.checkpoint import Component  # noqa: E402
from sdgen.checkpoints.keras_cv_h5 import DECODER, TEXT_ENCODER, UNET, keras_cv_weights  # noqa: E402
from sdgen.checkpoints.tensors import Tensors  # noqa: E402
from sdgen.networks.chunked_attention import chunked  # noqa: E402
from sdgen.networks.config import TextEncoderConfig, UNetConfig, VAEConfig  # noqa: E402
from sdgen.networks.layers import Numerics  # noqa: E402
from sdgen.networks.text_encoder import TextEncoder  # noqa: E402
from sdgen.networks.time_embedding import timestep_embedding  # noqa: E402
from sdgen.networks.unet import UNet  # noqa: E402
from sdgen.networks.vae import Decoder  # noqa: E402
from sdgen.pipeline.keras_models import DecoderModel, TextEncoderModel, UNetModel  # noqa: E402

SECOND = args.family == "sd2"
WIDTH = 1024 if SECOND else 768
SIDE = args.size // 8
NUMERICS = Numerics("float32", "float32", "winograd", chunked)


def component(
    module: torch.nn.Module, config: dict[str, Any], prefixes: tuple[str, ...] = ("",)
) -> Component:
    """A torch module's weights, shared and not copied."""
    arrays = {k: v.numpy() for k, v in module.state_dict().items() if k.startswith(prefixes)}
    return Component(config, Tensors.from_arrays(arrays), (), type(module).__name__)


def timed(call: Callable[[], Any]) -> tuple[Any, float, float]:
    """Its result, the seconds of the first call and the median of the following."""
    began = time.perf_counter()
    result = call()
    first, rest = time.perf_counter() - began, []
    for _ in range(args.repeat):
        began = time.perf_counter()
        call()
        rest.append(time.perf_counter() - began)
    return result, first, float(np.median(rest)) if rest else first


def report(name: str, reference: np.ndarray, call: Callable[[], Any]) -> None:
    """Prints distance and times of one implementation."""
    output, first, median = timed(lambda: np.asarray(call()))
    distance = np.linalg.norm(output - reference) / np.linalg.norm(reference)
    print(f"{name:44} relative L2 {distance:.1e}  first {first:6.2f} s  then {median:7.3f} s", flush=True)


def stock(network: str, model: keras.Model, part: Component) -> keras.Model:
    """keras_cv's model with the weights of ``part``."""
    layers = [layer for layer in model.layers if layer.weights]
    for layer, values in zip(layers, keras_cv_weights(network, part.tensors), strict=True):
        layer.set_weights([value.read() for value in values])
    model.compile(jit_compile=True)
    return model


def randomised(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Weights of a spread that keeps activations of order 1; biases and norms not trivial either."""
    generator = torch.Generator().manual_seed(seed)
    for name, values in module.named_parameters():
        if values.ndim > 1:
            values.normal_(0, values[0].numel() ** -0.5, generator=generator)
        else:
            mean = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            values.normal_(mean, 0.1, generator=generator)
    return module.eval()


def nchw(x: np.ndarray) -> torch.Tensor:
    """NHWC array to NCHW tensor."""
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def nhwc(x: torch.Tensor) -> np.ndarray:
    """NCHW tensor to NHWC array."""
    return x.numpy().transpose(0, 2, 3, 1)


def compare_unet(rng: np.random.Generator) -> None:
    """One guided step: batch 2."""
    module = diffusers.UNet2DConditionModel(
        sample_size=(64, 64),
        cross_attention_dim=WIDTH,
        attention_head_dim=[5, 10, 20, 20] if SECOND else 8,
        use_linear_projection=SECOND,
    )
    part = component(randomised(module, 1), dict(module.config))
    latents = rng.standard_normal((2, SIDE, SIDE, 4), np.float32)
    context = rng.standard_normal((2, 77, WIDTH), np.float32)
    timesteps = np.asarray([801, 801], np.float32)
    torch_inputs = nchw(latents), torch.from_numpy(timesteps), torch.from_numpy(context)
    reference, first, median = timed(lambda: nhwc(module(*torch_inputs).sample))
    print(f"{'UNet, diffusers':44} {'':19} first {first:6.2f} s  then {median:7.3f} s", flush=True)

    config = UNetConfig.from_config(part.config)
    began = time.perf_counter()
    ours = UNetModel(UNet(config, NUMERICS), part, NUMERICS)
    seconds = time.perf_counter() - began
    print(f"UNet, sdgen: built and loaded in {seconds:.2f} s, {ours.count_params()} weights")
    unet, weights = ours.network, ours.weights_by_name
    shifts = unet.embed_timesteps(weights, timesteps)
    keys_values = unet.project_context(weights, context)
    step = Program(lambda w, x, s, kv: unet.denoise(w, x, s, kv), weights)
    report("UNet, sdgen", reference, lambda: step(latents, shifts, keys_values))
    inputs = {
        "latent": latents,
        "timestep_embedding": np.asarray(timestep_embedding(timesteps, config)),
        "context": context,
    }
    ours = weights = step = keys_values = None
    gc.collect()
    kind = diffusion_model.DiffusionModelV2 if SECOND else diffusion_model.DiffusionModel
    model = stock(UNET, kind(args.size, args.size, 77, download_weights=False), part)
    report("UNet, keras_cv stock", reference, lambda: model.predict_on_batch(inputs))
    for layer in model.layers:
        if isinstance(layer, diffusion_model.SpatialTransformer):
            layer.norm.epsilon = 1e-6
    diffusion_model.GEGLU.call = exact_geglu
    model.make_predict_function(force=True)
    report("UNet, keras_cv, exact GEGLU and epsilon 1e-6", reference, lambda: model.predict_on_batch(inputs))


def exact_geglu(layer: Any, inputs: Any) -> Any:
    """keras_cv's GEGLU with the reference's activation."""
    value, gate = ops.split(layer.dense(inputs), 2, axis=-1)
    return value * ops.gelu(gate, approximate=False)


def compare_text_encoder(rng: np.random.Generator) -> None:
    """One prompt."""
    config = transformers.CLIPTextConfig(
        vocab_size=49408,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=23 if SECOND else 12,
        num_attention_heads=WIDTH // 64,
        hidden_act="gelu" if SECOND else "quick_gelu",
    )
    module = randomised(transformers.CLIPTextModel(config), 2)
    part = component(module, config.to_dict())
    part = Component(
        part.config,
        part.tensors.renamed(lambda n: None if "position_ids" in n else n.removeprefix("text_model.")),
        (),
        part.source,
    )
    tokens = rng.integers(0, 49408, (1, 77)).astype(np.int32)
    ids = torch.from_numpy(tokens).long()
    reference, first, median = timed(lambda: module(ids).last_hidden_state.numpy())
    print(f"{'text encoder, transformers':44} {'':19} first {first:6.2f} s  then {median:7.3f} s", flush=True)
    layers = TextEncoder(TextEncoderConfig.from_config(part.config), NUMERICS)
    ours = TextEncoderModel(layers, part, NUMERICS)
    encode = Program(lambda w, t: layers.encode(w, layers.embed(w, t)), ours.weights_by_name, jit=False)
    report("text encoder, sdgen", reference, lambda: encode(tokens))
    kind = text_encoder.TextEncoderV2 if SECOND else text_encoder.TextEncoder
    model = stock(TEXT_ENCODER, kind(77, download_weights=False), part)
    inputs = {"tokens": tokens, "positions": np.arange(77, dtype=np.int32)[None]}
    report("text encoder, keras_cv stock", reference, lambda: model.predict_on_batch(inputs))
    if SECOND:
        for layer in model.layers:
            if isinstance(layer, text_encoder.CLIPEncoderLayer):
                layer.activation = lambda x: ops.gelu(x, approximate=False)
        model.make_predict_function(force=True)
        report("text encoder, keras_cv, exact GELU", reference, lambda: model.predict_on_batch(inputs))


def compare_vae(rng: np.random.Generator) -> None:
    """The decoder, one image."""
    module = diffusers.AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    config = {**module.config, "down_block_types": ["DownEncoderBlock2D"] * 4}
    config["up_block_types"] = ["UpDecoderBlock2D"] * 4
    randomised(module, 3)
    part = component(module, config, ("decoder.", "post_quant_conv."))
    latents = rng.standard_normal((1, SIDE, SIDE, 4), np.float32)
    scaled = nchw(latents / 0.18215)
    reference, first, median = timed(lambda: nhwc(module.decode(scaled).sample))
    print(f"{'VAE decoder, diffusers':44} {'':19} first {first:6.2f} s  then {median:7.3f} s", flush=True)
    layers = Decoder(VAEConfig.from_config(part.config), NUMERICS)
    ours = DecoderModel(layers, part, NUMERICS)
    for jit in (False, True):
        decode = Program(layers, ours.weights_by_name, jit=jit)
        report(f"VAE decoder, sdgen, XLA {jit}", reference, lambda decode=decode: decode(latents))
    plain = Numerics("float32", "float32", "direct", NUMERICS.attention)
    layers = Decoder(VAEConfig.from_config(part.config), plain)
    ours = DecoderModel(layers, part, plain)
    decode = Program(layers, ours.weights_by_name, jit=False)
    report("VAE decoder, sdgen, plain convolutions", reference, lambda: decode(latents))
    model = stock(DECODER, decoder.Decoder(args.size, args.size, download_weights=False), part)
    report("VAE decoder, keras_cv stock", reference, lambda: model.predict_on_batch(latents))
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.GroupNormalization):
            layer.epsilon = 1e-6
    model.make_predict_function(force=True)
    report("VAE decoder, keras_cv, epsilon 1e-6", reference, lambda: model.predict_on_batch(latents))


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    torch.set_num_threads(torch.get_num_threads())
    chosen = args.networks.split(",")
    if "text_encoder" in chosen:
        compare_text_encoder(np.random.default_rng(0))
    if "vae" in chosen:
        compare_vae(np.random.default_rng(1))
    if "unet" in chosen:
        compare_unet(np.random.default_rng(2))
