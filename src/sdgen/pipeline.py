"""From requests to pixels: ``Pipeline.generate`` and ``Pipeline.stream`` of a loaded model.

``Pipeline.read``, ``draw`` and ``Denoised.images`` are the parts of ``stream``, for a caller that packs
batches itself (``sdgen.render``).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from sdgen import backend as backends
from sdgen import models
from sdgen.checkpoints import Checkpoint
from sdgen.checkpoints.lora import scale_text
from sdgen.diffusion.noise import ImageNoise
from sdgen.diffusion.samplers import sampler_table
from sdgen.errors import ImageError, InputError
from sdgen.networks.config import UNetConfig, VAEConfig
from sdgen.request import Request

if TYPE_CHECKING:
    from sdgen.diffusion.table import SamplerTable
    from sdgen.networks.layers import Tensor, Weights
    from sdgen.networks.stable_diffusion import StableDiffusion
    from sdgen.prompt_tokens import TokenizedPrompt

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

SAMPLER_OF_SCHEDULER = {
    "DDIMScheduler": "ddim",
    "DDPMScheduler": "ddpm",
    "DPMSolverMultistepScheduler": "dpmpp-2m",
    "EulerAncestralDiscreteScheduler": "euler-a",
    "EulerDiscreteScheduler": "euler",
    "HeunDiscreteScheduler": "heun",
    "LCMScheduler": "lcm",
    "PNDMScheduler": "plms",
    "UniPCMultistepScheduler": "unipc",
}
"""The sampler that a checkpoint's scheduler_config.json was written for."""


GRAPH_WORK = 5e12
"""Latent positions times network parameters, over all steps, up to which TensorFlow's graph runtime is done
before XLA has compiled, on two cores (docs/performance.md): 6 pictures of the bundled model, not one step of
Stable Diffusion."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a batch is: ``step`` of ``steps`` done for ``images`` images at once."""

    step: int
    steps: int
    images: int


@dataclasses.dataclass(frozen=True, eq=False)
class Image:
    """One image, or the reason why there is none.

    Attributes:
        request: what was asked for, every default filled in.
        pixels: uint8 (height, width, 3), or None where ``error`` is set.
        seconds: from the start of its batch to its pixels, divided among the batch.
        error: why there are no pixels.
        warnings: what the user should know, a sentence each.
        details: how it was made: model, backend, device, dtype, batch size, timings.
    """

    request: Request
    pixels: Pixels | None
    seconds: float
    error: ImageError | None = None
    warnings: tuple[str, ...] = ()
    details: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """A request that is ready to be drawn.

    Attributes:
        request: every default filled in.
        shape: jobs of equal shape can share a batch.
    """

    request: Request
    shape: tuple[Any, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Denoised:
    """A batch that is drawn but for its decoder.

    Attributes:
        images: decodes them, in the order of the batch's jobs. Another thread may do so while this one
            denoises the next batch.
    """

    images: Callable[[], Iterator[Image]]


class Pipeline:
    """A loaded model that draws requests.

    Attributes:
        checkpoint: the weights' files.
        entry: what the catalogue says of the model.
        model: keras_cv's StableDiffusionV2 on this package's networks.
        backend, device, dtype: what it runs on.
    """

    engine = "sdgen"

    def __init__(
        self,
        checkpoint: Checkpoint,
        entry: models.Entry,
        dtype: str,
        device: str,
        embeddings: Mapping[str, Any] | None = None,
        jit: bool | None = None,
        loras: Mapping[str, str] | None = None,
        changes: Sequence[str] = (),
    ) -> None:
        from sdgen.conditioning import Conditioner
        from sdgen.denoiser import Denoiser
        from sdgen.networks.stable_diffusion import StableDiffusion

        self.checkpoint, self.entry = checkpoint, entry
        self.backend, self.device, self.dtype = backends.active(), device, dtype
        size = self._native_size()
        with backends.on_device(device):
            self.model: StableDiffusion = StableDiffusion(checkpoint, size, size, dtype, device)
            # What runs once an image: on a CPU, XLA takes longer to compile it than it saves in 50 images.
            self._graph = device.startswith("cpu") and self.backend == "tensorflow"
            once = not self._graph
            self._conditioner = Conditioner(
                self.model.text_encoder, checkpoint.tokenizer, embeddings or {}, once
            )
            self._denoiser = Denoiser(self.model.diffusion_model, once, self._compile_decoder)
            self._decode = backends.Program(self._decode_pixels, self.model.decoder.weights_by_name, once)
        self._jit, self._loras, self._changes = jit, loras or {}, list(changes)
        self._embeddings = embeddings
        self._start_background()
        self._latent_shape: tuple[int, int, int] = (0, 0, 0)

    def _start_background(self) -> None:
        """Starts the thread beside the compiler's, on what need not wait for it."""
        self._background = ThreadPoolExecutor(1, thread_name_prefix="sdgen-background")
        self._weights_sha256 = self._background.submit(self.checkpoint.sha256, models.file_sha256)

    @property
    def compilations(self) -> int:
        """How often the sampling loop was compiled: once for each set of shapes."""
        return self._denoiser.compilations

    @property
    def size_multiple(self) -> int:
        """Width and height must be multiples of this."""
        unet = self._denoiser.unet
        return unet.multiple * self.model.vae_config.downsampling

    def resolve(self, request: Request) -> Request:
        """The request with every None replaced by the model's default.

        Raises:
            InputError: the model cannot draw this size, or the sampler has no eta.
        """
        entry, size = self.entry, self._native_size()
        named = SAMPLER_OF_SCHEDULER.get(str(self.checkpoint.scheduler.get("_class_name")), "ddim")
        defaults = {
            "steps": entry.steps or 50,
            "guidance": entry.guidance or 7.5,
            "sampler": entry.sampler or named,
            "schedule": entry.schedule,
            "width": size,
            "height": size,
            "model": entry.name,
        }
        missing = {name: value for name, value in defaults.items() if getattr(request, name) is None}
        resolved = request.replace(**missing)
        if resolved.eta and resolved.sampler != "ddim":
            raise InputError(f"eta belongs to the sampler ddim, and this is {resolved.sampler}", "eta")
        for field in ("width", "height"):
            pixels, multiple = getattr(resolved, field), self.size_multiple
            if pixels % multiple:
                near = max(multiple, round(pixels / multiple) * multiple)
                raise InputError(
                    f"{field} {pixels} is not a multiple of {multiple}, which {entry.name} needs; "
                    f"the nearest is {near}",
                    field,
                )
        return resolved

    def generate(self, requests: Iterable[Request], batch_size: int | None = None) -> Iterator[Image]:
        """The images of requests, in order, each as soon as its batch is drawn.

        Args:
            requests: what to draw; taken as they are needed.
            batch_size: images drawn at once, at most; by default 1 on a CPU and 4 elsewhere.

        Raises:
            InputError: a request does not fit the model; images before it have been yielded.
        """
        return (event for event in self.stream(requests, batch_size) if isinstance(event, Image))

    def stream(
        self, requests: Iterable[Request], batch_size: int | None = None
    ) -> Iterator[Progress | Image]:
        """As ``generate``, with a ``Progress`` after every few steps; stop iterating to stop drawing."""
        limit = self.batch_limit(batch_size)
        jit = self.pays_to_compile(requests)
        for _, alike in itertools.groupby(map(self.read, requests), key=lambda job: job.shape):
            size = 1
            while batch := list(itertools.islice(alike, limit)):
                size = max(size, len(batch))
                for event in self.draw(batch, size, jit):
                    if isinstance(event, Progress):
                        yield event
                    else:
                        yield from event.images()

    def batch_limit(self, asked: int | None = None) -> int:
        """How many images are drawn at once, at most: ``asked``, else 1 on a CPU and 4 elsewhere.

        Raises:
            InputError: this engine draws fewer at once.
        """
        return asked or (1 if self.device.startswith("cpu") else 4)

    def in_float32(self) -> Pipeline | None:
        """The same model in float32, for images that overflow; None where it is in float32 already."""
        if self.dtype == "float32":
            return None
        return Pipeline(
            self.checkpoint,
            self.entry,
            "float32",
            self.device,
            self._embeddings,
            self._jit,
            self._loras,
            self._changes,
        )

    def pays_to_compile(self, requests: Iterable[Request]) -> bool:
        """Whether XLA saves more in these requests than it takes to compile; for a stream it does."""
        if not self._graph:
            return True
        if self._jit is not None or not isinstance(requests, Sequence):
            return self._jit is not False
        work = 0
        for request in map(self.resolve, requests):
            work += (
                (request.steps or 0) * math.prod(self._latent_size(request)) * (2 if _guided(request) else 1)
            )
        return bool(work * self._denoiser.parameters > GRAPH_WORK)

    def read(self, request: Request) -> Job:
        """The request with its prompts tokenized.

        Raises:
            InputError: it does not fit the model.
        """
        request = self.resolve(request)
        prompt = self._conditioner.tokenize(request.prompt, request.prompt_syntax)
        negative = self._conditioner.tokenize(request.negative_prompt, request.prompt_syntax)
        for tag in prompt.loras:
            scales = scale_text((tag.text_encoder_scale, tag.unet_scale))
            if self._loras.get(tag.name) != scales:
                raise InputError(
                    f"the prompt names the LoRA {tag.name!r} at {scales}, which is not merged into this "
                    "model; load the model with it",
                    "prompt",
                )
        guided = _guided(request)
        chunks = max(len(text.tokens) for text in ((prompt, negative) if guided else (prompt,)))
        shape = (request.height, request.width, guided, chunks, request.clip_skip)
        return _TokenizedJob(request, shape, prompt, negative)

    def draw(self, jobs: Sequence[Job], size: int, jit: bool) -> Iterator[Progress | Denoised]:
        """Denoises one batch: a ``Progress`` after every few steps, at last a ``Denoised``.

        Args:
            jobs: what ``read`` gave, of one shape.
            size: images of the program; a batch of fewer is filled up, so that it need not be compiled again.
            jit: compile the loop with XLA; see ``pays_to_compile``.
        """
        filled = [*jobs, *[jobs[-1]] * (size - len(jobs))]
        requests = [job.request for job in filled]
        with backends.on_device(self.device):
            began = time.perf_counter()
            context = self._context(filled)
            encoded = time.perf_counter()
            tables = [self._table(request) for request in requests]
            longest = max(tables, key=lambda table: len(table.steps))
            height, width = self._latent_size(requests[0])
            self._latent_shape = (height, width, self.model.vae_config.latent_channels)
            for row, latents in self._denoiser.run(  # noqa: B007
                tables,
                [ImageNoise(request.seed, request.rng) for request in requests],
                [(request.guidance or 1.0, request.guidance_rescale) for request in requests],
                context,
                self._latent_shape,
                jit,
            ):
                yield Progress(int(longest.steps[row - 1]) + 1, int(longest.steps[-1]) + 1, len(jobs))
            final = np.asarray(latents)
        denoised = time.perf_counter()
        details = {
            "compiler": "xla" if jit else "graph",
            "batch_size": len(jobs),
            "encode_seconds": encoded - began,
            "denoise_seconds": denoised - encoded,
        }
        share = (denoised - began) / len(jobs)
        yield Denoised(lambda: self._images(jobs, final, share, details))

    def _images(
        self, jobs: Sequence[Job], latents: Any, share: float, details: Mapping[str, Any]
    ) -> Iterator[Image]:
        for i, job in enumerate(jobs):
            began = time.perf_counter()
            with backends.on_device(self.device):
                pixels, error = self._pixels(latents[i : i + 1])
            seconds = time.perf_counter() - began
            made = {**self._details(), **details, "decode_seconds": seconds}
            warnings = (*self.checkpoint.warnings, *_warnings(job))
            yield Image(job.request, pixels, share + seconds, error, warnings, made)

    def _details(self) -> dict[str, Any]:
        """What made an image, for its sidecar."""
        return {
            "model": self.entry.name,
            "weights_sha256": self._weights_sha256.result(),
            "changes": self._changes,
            "engine": self.engine,
            "backend": self.backend,
            "device": self.device,
            "dtype": self.dtype,
        }

    def _compile_decoder(self) -> None:
        """Has another thread compile the decoder while XLA compiles the sampling loop."""
        shape = self._latent_shape

        def compile_decoder() -> None:
            with backends.on_device(self.device):
                self._decode(np.zeros((1, *shape), np.float32))

        self._background.submit(compile_decoder)

    def _table(self, request: Request) -> SamplerTable:
        config = dict(self.checkpoint.scheduler)
        # diffusers' StableDiffusionPipeline forces these two on every scheduler it is given.
        config |= {"steps_offset": 1, "clip_sample": False}
        if request.spacing is not None:
            config["timestep_spacing"] = request.spacing
        if request.zero_snr is not None:
            config["rescale_betas_zero_snr"] = request.zero_snr
        assert request.sampler is not None and request.steps is not None
        return sampler_table(config, request.sampler, request.steps, request.schedule, request.eta)

    def _context(self, jobs: Sequence[Job]) -> Any:
        """Text encodings (2 batch, length, width), negatives first; without them where guidance is off."""
        prompts = [_tokenized(job).prompt for job in jobs]
        if _guided(jobs[0].request):
            prompts = [_tokenized(job).negative for job in jobs] + prompts
        return self._conditioner.encode(prompts, jobs[0].request.clip_skip)

    def _pixels(self, latents: Any) -> tuple[Pixels | None, ImageError | None]:
        if not np.isfinite(latents).all():
            return None, ImageError(
                f"the latents became non-finite in {self.dtype}; try --dtype float32 or another seed"
            )
        pixels, finite = self._decode(latents)
        if not np.asarray(finite):
            return None, ImageError(
                f"the decoder's values became non-finite in {self.dtype}; try --dtype float32 or another seed"
            )
        return self._checked(np.asarray(pixels)[0])

    def _checked(self, pixels: Pixels) -> tuple[Pixels | None, ImageError | None]:
        if pixels.min() == pixels.max():
            return None, ImageError(
                f"the image has one colour everywhere, as after an overflow in {self.dtype}; "
                "try --dtype float32 or another seed"
            )
        return pixels, None

    def _decode_pixels(self, weights: Weights, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (batch, height, width, 4) -> pixels, and whether they all come from finite numbers.

        Pixels are uint8, rounded as diffusers' VaeImageProcessor does.
        """
        from keras import ops

        pixels = self.model.decoder.network(weights, latents)
        rounded = ops.round(ops.clip(pixels / 2 + 0.5, 0.0, 1.0) * 255)
        return ops.cast(rounded, "uint8"), ops.all(ops.isfinite(pixels))

    def _native_size(self) -> int:
        if self.entry.size:
            return self.entry.size
        unet = UNetConfig.from_config(self.checkpoint.unet.config)
        return unet.sample_size * VAEConfig.from_config(self.checkpoint.vae.config).downsampling

    def _latent_size(self, request: Request) -> tuple[int, int]:
        assert request.height is not None and request.width is not None
        downsampling = self.model.vae_config.downsampling
        return request.height // downsampling, request.width // downsampling


def _guided(request: Request) -> bool:
    return request.guidance is not None and request.guidance > 1


@dataclasses.dataclass(frozen=True, eq=False)
class _TokenizedJob(Job):
    prompt: TokenizedPrompt
    negative: TokenizedPrompt


def _tokenized(job: Job) -> _TokenizedJob:
    assert isinstance(job, _TokenizedJob)
    return job


def _warnings(job: Job) -> tuple[str, ...]:
    """What did not fit the text encoder."""
    read = _tokenized(job)
    texts = {"prompt": read.prompt.truncated, "negative prompt": read.negative.truncated}
    return tuple(
        f"the {name} is longer than 77 tokens; this was left out: {text!r}"
        for name, text in texts.items()
        if text
    )
