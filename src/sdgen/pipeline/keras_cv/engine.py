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
from functools import cached_property
from typing import Any

import numpy as np

from sdgen import backend as backends
from sdgen import models
from sdgen.checkpoints import Checkpoint
from sdgen.checkpoints.keras_cv_h5 import DECODER, TEXT_ENCODER, UNET, keras_cv_weights
from sdgen.diffusion.noise import ImageNoise
from sdgen.errors import CheckpointError, InputError
from sdgen.pipeline.decoding import checked
from sdgen.pipeline.pipeline import Pipeline
from sdgen.pipeline.results import Denoised, Image, Job, Progress
from sdgen.request import Request

MULTIPLE = 128
"""keras_cv rounds sizes to multiples of this; here another size is an error."""


class KerasCvPipeline(Pipeline):
    """Draws with ``keras_cv.models.StableDiffusionV2`` (or ``StableDiffusion``, for SD 1.x weights).

    Raises:
        CheckpointError: the weights are not of the one architecture that keras_cv has.
    """

    engine = "keras-cv"

    def __init__(
        self,
        checkpoint: Checkpoint,
        entry: models.Entry,
        dtype: str,
        device: str,
        changes: Sequence[str] = (),
    ) -> None:
        super().__init__(checkpoint, entry, dtype, device, changes=changes)
        self._drawn_size: tuple[int, int] | None = None

    def _prepare(self) -> None:
        """Makes nothing yet: keras_cv's networks are of one size of pictures, which a request tells."""
        _check_architecture(self.checkpoint)

    @cached_property
    def model(self) -> Any:
        """keras_cv's stock model for pictures of the model's own size."""
        return self._stock_model(*self._native_size())

    @property
    def compilations(self) -> int:
        """0: keras_cv's loop is Python's."""
        return 0

    @property
    def size_multiple(self) -> int:
        """Width and height must be multiples of this."""
        return MULTIPLE

    def resolve(self, request: Request) -> Request:
        """As ``Pipeline.resolve``; refuses what keras_cv's loop does not have.

        Raises:
            InputError: the size, a setting or the length of a prompt is not keras_cv's.
        """
        resolved = super().resolve(request)
        if request.sampler is None:
            resolved = resolved.replace(sampler="ddim")
        fixed = {
            "sampler": "ddim",
            "schedule": None,
            "eta": 0.0,
            "clip_skip": 0,
            "guidance_rescale": 0.0,
            "spacing": None,
            "zero_snr": None,
        }
        if resolved.fast:
            raise InputError("--engine keras-cv has no --fast; leave it out or use --engine sdgen", "fast")
        for field, value in fixed.items():
            if getattr(resolved, field) != value:
                raise InputError(
                    f"--engine keras-cv has no {field} {getattr(resolved, field)}; leave it out or use "
                    "--engine sdgen",
                    field,
                )
        for field in ("prompt", "negative_prompt"):
            if self.checkpoint.tokenizer.encode_row(getattr(resolved, field))[1]:
                raise InputError(
                    f"the {field} is longer than the 77 tokens that keras_cv takes; shorten it or use "
                    "--engine sdgen",
                    field,
                )
        return resolved

    def batch_limit(self, asked: int | None = None) -> int:
        """1: keras_cv's loop knows one prompt a batch.

        Raises:
            InputError: ``asked`` is above 1.
        """
        if asked not in (None, 1):
            raise InputError("--engine keras-cv draws one image at a time; leave --batch-size out")
        return 1

    def pays_to_compile(self, requests: Iterable[Request], batch_size: int | None = None) -> bool:
        """keras_cv compiles its networks, always."""
        return True

    def in_float32(self) -> Pipeline | None:
        """None: what keras_cv draws is shown as it is."""
        return None

    def read(self, request: Request) -> Job:
        """As ``Pipeline.read``; keras_cv tokenizes when it draws."""
        request = self.resolve(request)
        return Job(request, (request.height, request.width))

    def draw(self, jobs: Sequence[Job], size: int, jit: bool) -> Iterator[Progress | Denoised]:
        """One image; ``size`` is 1."""
        (request,) = (job.request for job in jobs)
        assert request.width and request.height and request.steps and request.guidance
        yield Progress(0, request.steps, 1)
        began = time.perf_counter()
        noise = ImageNoise(request.seed, request.rng).normal(request.height // 8, request.width // 8, 4)
        # keras_cv draws its progress bar on stdout.
        with backends.on_device(self.device), contextlib.redirect_stdout(io.StringIO()):
            model = self._stock_model(request.height, request.width)
            drawn = model.generate_image(
                model.encode_text(request.prompt),
                negative_prompt=request.negative_prompt or None,
                num_steps=request.steps,
                unconditional_guidance_scale=request.guidance,
                diffusion_noise=noise,
            )
        seconds = time.perf_counter() - began
        yield Progress(request.steps, request.steps, 1)
        pixels, error = checked(drawn[0], self.dtype)
        image = Image(request, pixels, seconds, error, (), {**self._details(), "batch_size": 1})
        yield Denoised(lambda: iter([image]))

    def _stock_model(self, height: int, width: int) -> Any:
        """keras_cv's model for a size, its networks holding the checkpoint's weights."""
        if self._drawn_size != (height, width):
            with contextlib.redirect_stdout(io.StringIO()):  # Its licence notice.
                self._stock = _stock_model(self.checkpoint, height, width, self.dtype)
            self._drawn_size = (height, width)
        return self._stock


def _check_architecture(checkpoint: Checkpoint) -> None:
    unet = checkpoint.unet.config
    width, text_width = unet.get("cross_attention_dim"), checkpoint.text_encoder.config.get("hidden_size")
    if list(unet.get("block_out_channels", ())) != [320, 640, 1280, 1280] or unet.get("in_channels") != 4:
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
    import keras
    import keras_cv
    from keras_cv.src.models.stable_diffusion.decoder import Decoder
    from keras_cv.src.models.stable_diffusion.diffusion_model import DiffusionModel, DiffusionModelV2
    from keras_cv.src.models.stable_diffusion.text_encoder import TextEncoder, TextEncoderV2

    second = checkpoint.unet.config["cross_attention_dim"] == 1024
    kind = keras_cv.models.StableDiffusionV2 if second else keras_cv.models.StableDiffusion
    model = kind(height, width, jit_compile=True)
    keras.config.set_dtype_policy(dtype)
    length = checkpoint.tokenizer.max_length
    networks = {
        "_diffusion_model": (
            UNET,
            (DiffusionModelV2 if second else DiffusionModel)(height, width, length, download_weights=False),
            checkpoint.unet,
        ),
        "_text_encoder": (
            TEXT_ENCODER,
            (TextEncoderV2 if second else TextEncoder)(length, download_weights=False),
            checkpoint.text_encoder,
        ),
        "_decoder": (DECODER, Decoder(height, width, download_weights=False), checkpoint.vae),
    }
    for attribute, (name, network, component) in networks.items():
        layers = [layer for layer in network.layers if layer.weights]
        for layer, values in zip(layers, keras_cv_weights(name, component.tensors), strict=True):
            layer.set_weights([np.asarray(value.read(), np.float32) for value in values])
        network.compile(jit_compile=True)
        setattr(model, attribute, network)
    model._tokenizer = _StockTokenizer(checkpoint.tokenizer)
    return model


class _StockTokenizer:
    """The part of keras_cv's SimpleTokenizer that its model calls, without its download."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        """Token numbers with start and end."""
        return [self._tokenizer.bos, *self._tokenizer.encode(text), self._tokenizer.eos]
