"""``--engine keras-cv``: keras_cv's stock networks and sampling loop, as they are.

What differs from sdgen's own engine is keras_cv's: prompts padded with 49407, the tanh approximation of
GELU, its group norms' epsilon, timesteps 0 to 999 with a last alpha of 1, two network calls a step. Only
the weights, the tokenizer and the initial noise come from sdgen. It is the oracle of a parity test and
the baseline of benchmarks.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any

import numpy as np

from sdgen import backend as backends
from sdgen.checkpoints import Checkpoint
from sdgen.checkpoints.keras_cv_h5 import DECODER, TEXT_ENCODER, UNET, keras_cv_weights
from sdgen.diffusion.noise import ImageNoise
from sdgen.errors import CheckpointError, InputError
from sdgen.images.image import Image
from sdgen.models import Entry
from sdgen.pipeline.decoding import checked
from sdgen.pipeline.defaults import check_size, filled, native_size
from sdgen.pipeline.engine import Engine
from sdgen.pipeline.provenance import Provenance
from sdgen.pipeline.results import Denoised, Job, Progress
from sdgen.pipeline.watching import Watch
from sdgen.request import FIELDS, Request

MULTIPLE = 128
"""keras_cv rounds sizes to multiples of this; here another size is an error."""

_TAKEN = (
    *("prompt", "negative_prompt", "prompt_syntax", "seed", "rng", "steps", "guidance"),
    *("width", "height", "model"),
)
"""Fields that keras_cv's loop has, or that are settled before it."""

_FIXED = {
    **{name: field.default for name, field in FIELDS.items() if name not in _TAKEN},
    "sampler": "ddim",
}
"""Every other field, with the one value that keras_cv's loop can draw."""


class KerasCvEngine(Engine):
    """Draws with ``keras_cv.models.StableDiffusionV2`` (or ``StableDiffusion``, for SD 1.x weights).

    Raises:
        CheckpointError: the weights are not of the one architecture that keras_cv has.
    """

    engine = "keras-cv"
    low_memory = False

    def __init__(
        self, checkpoint: Checkpoint, entry: Entry, dtype: str, device: str, changes: Sequence[str] = ()
    ) -> None:
        _check_architecture(checkpoint)
        self.checkpoint, self.entry = checkpoint, entry
        self.backend, self.device, self.dtype = backends.active(), device, dtype
        self._provenance = Provenance(checkpoint, changes, ThreadPoolExecutor(1))
        self._drawn_size: tuple[int, int] | None = None

    @cached_property
    def model(self) -> Any:
        """keras_cv's stock model for pictures of the model's own size."""
        return self._stock_model(*native_size(self.entry, self.checkpoint))

    @property
    def compilations(self) -> int:
        """0: keras_cv's loop is Python's."""
        return 0

    @property
    def size_multiple(self) -> int:
        """As ``Engine.size_multiple``."""
        return MULTIPLE

    def resolve(self, request: Request) -> Request:
        """As ``Engine.resolve``; refuses what keras_cv's loop does not have.

        Raises:
            InputError: the size, a setting or the length of a prompt is not keras_cv's.
        """
        chosen = request if request.sampler else request.replace(sampler="ddim")
        resolved = filled(chosen, self.entry, self.checkpoint, MULTIPLE, "ddim")
        check_size(resolved, MULTIPLE)
        for field, value in _FIXED.items():
            asked = getattr(resolved, field)
            if asked != value:
                named = FIELDS[field].flag if asked is True else f"{field} {asked}"
                raise InputError(
                    f"--engine keras-cv has no {named}; leave it out or use --engine sdgen", field
                )
        for field in ("prompt", "negative_prompt"):
            if self.checkpoint.tokenizer.encode_row(getattr(resolved, field))[1]:
                raise InputError(
                    f"the {field} is longer than the 77 tokens that keras_cv takes; shorten it or use "
                    "--engine sdgen",
                    field,
                )
        return resolved

    def pays_to_compile(self, requests: Iterable[Request], batch_size: int | None = None) -> bool:
        """True: keras_cv compiles its networks, always."""
        return True

    def in_float32(self) -> Engine | None:
        """None: what keras_cv draws is shown as it is."""
        return None

    def read(self, request: Request) -> Job:
        """As ``Engine.read``. One call of keras_cv's has one negative prompt, step count and guidance."""
        request = self.resolve(request)
        shared = (request.height, request.width, request.steps, request.guidance, request.negative_prompt)
        return Job(request, shared)

    def draw(
        self, jobs: Sequence[Job], size: int, jit: bool, watch: Watch | None = None
    ) -> Iterator[Progress | Denoised]:
        """As ``Engine.draw``; keras_cv tells of no step before the last, and decodes."""
        if watch is not None:
            raise InputError(
                "--engine keras-cv tells of no step before the last; leave out --record and --preview or use "
                "--engine sdgen",
                "record",
            )
        requests = [job.request for job in (*jobs, *[jobs[-1]] * (size - len(jobs)))]
        shared = requests[0]
        assert shared.width and shared.height and shared.steps and shared.guidance is not None
        yield Progress(0, shared.steps, len(jobs))
        began = time.perf_counter()
        shape = (shared.height // 8, shared.width // 8, 4)
        noise = np.stack([ImageNoise(request.seed, request.rng).normal(*shape) for request in requests])
        # keras_cv draws its progress bar on stdout.
        quiet = contextlib.redirect_stdout(io.StringIO())
        with backends.on_device(self.device), backends.without_gradients(), quiet:
            model = self._stock_model(shared.height, shared.width)
            drawn = model.generate_image(
                np.concatenate([np.asarray(model.encode_text(request.prompt)) for request in requests]),
                negative_prompt=shared.negative_prompt or None,
                batch_size=size,
                num_steps=shared.steps,
                unconditional_guidance_scale=shared.guidance,
                diffusion_noise=noise,
            )
        seconds = time.perf_counter() - began
        yield Progress(shared.steps, shared.steps, len(jobs))
        yield Denoised(tuple(jobs), None, seconds / len(jobs), {"batch_size": size}, drawn[: len(jobs)])

    def decode(self, batch: Denoised) -> Iterator[Image]:
        """As ``Engine.decode``: what keras_cv has decoded already."""
        for job, pixels in zip(batch.jobs, batch.pixels, strict=True):
            usable, error = checked(pixels, self.dtype)
            details = {**self._provenance.details(self), **batch.details}
            yield Image(job.request, usable, batch.seconds, error, (), details)

    def _stock_model(self, height: int, width: int) -> Any:
        """keras_cv's model for a size, its networks holding the checkpoint's weights."""
        if self._drawn_size != (height, width):
            self._stock = self._drawn_size = None  # Two at once would take twice the memory.
            with contextlib.redirect_stdout(io.StringIO()):  # Its licence notice.
                self._stock = _stock_model(self.checkpoint, height, width, self.dtype)
            self._drawn_size = (height, width)
        return self._stock


def _check_architecture(checkpoint: Checkpoint) -> None:
    unet, texts = checkpoint.unet.config, checkpoint.family.text
    width = unet.get("cross_attention_dim")
    text_width = checkpoint.text_encoder.config.get("hidden_size") if texts else None
    if not texts:
        reason = "it has no text encoder"
    elif list(unet.get("block_out_channels", ())) != [320, 640, 1280, 1280] or unet.get("in_channels") != 4:
        reason = "its UNet has other widths"
    elif width not in (768, 1024) or text_width != width:
        reason = "its text encoder has another width"
    elif checkpoint.scheduler.get("prediction_type", "epsilon") != "epsilon":
        reason = "it predicts v, and keras_cv's loop takes noise alone"
    else:
        return
    raise CheckpointError(
        f"{checkpoint.name} cannot be drawn with --engine keras-cv, which has Stable Diffusion 1.x and 2.x's "
        f"512 models alone: {reason}; use --engine sdgen"
    )


def _stock_model(checkpoint: Checkpoint, height: int, width: int, dtype: str) -> Any:
    backends.leave_gpu_to_jax()
    import keras_cv
    from keras_cv.src.models.stable_diffusion.decoder import Decoder
    from keras_cv.src.models.stable_diffusion.diffusion_model import DiffusionModel, DiffusionModelV2
    from keras_cv.src.models.stable_diffusion.text_encoder import TextEncoder, TextEncoderV2

    second = checkpoint.unet.config["cross_attention_dim"] == 1024
    kind = keras_cv.models.StableDiffusionV2 if second else keras_cv.models.StableDiffusion
    unet_class = DiffusionModelV2 if second else DiffusionModel
    text_encoder_class = TextEncoderV2 if second else TextEncoder
    model = kind(height, width, jit_compile=True)
    length = checkpoint.tokenizer.max_length
    parts = {
        "_diffusion_model": (UNET, partial(unet_class, height, width, length), checkpoint.unet),
        "_text_encoder": (TEXT_ENCODER, partial(text_encoder_class, length), checkpoint.text_encoder),
        "_decoder": (DECODER, partial(Decoder, height, width), checkpoint.vae),
    }
    for attribute, (name, build, component) in parts.items():
        with _dtype_policy(dtype), _zeros_for_random_numbers():
            network = build(download_weights=False)
        layers = [layer for layer in network.layers if layer.weights]
        for layer, values in zip(layers, keras_cv_weights(name, component.tensors), strict=True):
            layer.set_weights([np.asarray(value.read(), np.float32) for value in values])
        network.compile(jit_compile=True)
        setattr(model, attribute, network)
    model._tokenizer = _StockTokenizer(checkpoint.tokenizer)
    return model


@contextlib.contextmanager
def _dtype_policy(dtype: str) -> Iterator[None]:
    """Layers that are built within compute in ``dtype``; then Keras' policy is the host's again."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@contextlib.contextmanager
def _zeros_for_random_numbers() -> Iterator[None]:
    """Layers that are built within begin at 0: drawing what the checkpoint replaces takes seconds."""
    import keras

    add_weight = keras.Layer.add_weight

    def add_zeros(layer: Any, *arguments: Any, **options: Any) -> Any:
        return add_weight(layer, *arguments, **{**options, "initializer": "zeros"})

    keras.Layer.add_weight = add_zeros
    try:
        yield
    finally:
        keras.Layer.add_weight = add_weight


class _StockTokenizer:
    """The part of keras_cv's SimpleTokenizer that its model calls, without its download."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        """Token numbers with start and end."""
        return [self._tokenizer.bos, *self._tokenizer.encode(text), self._tokenizer.eos]
