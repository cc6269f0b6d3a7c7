"""``Pipeline``: the engine on sdgen's own networks, from requests to pixels."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sdgen import backend as backends
from sdgen.checkpoints import Checkpoint
from sdgen.diffusion.sampler_names import WITH_ETA
from sdgen.diffusion.samplers import has_schedule
from sdgen.errors import InputError
from sdgen.images.image import Image
from sdgen.models import Entry
from sdgen.pipeline.batch_noise import image_noise, step_noise
from sdgen.pipeline.checkpoint_sampler import own_sampler
from sdgen.pipeline.defaults import (
    check_fast,
    check_size,
    check_strength,
    filled,
    native_size,
    require_whole_pictures,
)
from sdgen.pipeline.editing.finishing import finished
from sdgen.pipeline.engine import Engine
from sdgen.pipeline.enlarging_models import EnlargingModels
from sdgen.pipeline.label_encoding import LabelEncoder
from sdgen.pipeline.passes import Pass, passes, second_start
from sdgen.pipeline.prompt_encoding import NoPrompts, PromptEncoder
from sdgen.pipeline.prompt_fields import check_prompts
from sdgen.pipeline.provenance import Provenance
from sdgen.pipeline.results import Denoised, Job, Progress
from sdgen.pipeline.runners import Runners, runners
from sdgen.pipeline.starting import Start
from sdgen.pipeline.tokenized_job import encodings, guidance, tokenize, tokenized
from sdgen.pipeline.watching import Watch, Watcher
from sdgen.request import Request

if TYPE_CHECKING:
    from sdgen.pipeline.keras_cv.stable_diffusion import StableDiffusion

GRAPH_WORK = 5e12
"""Latent positions times network parameters, over all steps, up to which TensorFlow's graph runtime is done
before XLA has compiled, on two cores (docs/performance.md): 6 pictures of the bundled model, not one step of
Stable Diffusion."""


class Pipeline(Engine):
    """A loaded model that draws requests; what ``Engine`` says, and further:

    Attributes:
        networks: the model's networks.
    """

    engine = "sdgen"
    low_memory = False

    def __init__(
        self,
        checkpoint: Checkpoint,
        entry: Entry,
        dtype: str,
        device: str,
        embeddings: Mapping[str, Any] | None = None,
        jit: bool | None = None,
        loras: Mapping[str, str] | None = None,
        changes: Sequence[str] = (),
        low_memory: bool = False,
        models: EnlargingModels | None = None,
    ) -> None:
        self.checkpoint, self.entry = checkpoint, entry
        self._own_sampler = own_sampler(checkpoint.scheduler)
        self.backend, self.device, self.dtype = backends.active(), device, dtype
        self.low_memory = low_memory
        self._jit, self._loras, self._embeddings, self._models = jit, loras or {}, embeddings, models
        self._prepare()
        # Beside the compiler's thread, for what need not wait for it.
        self._background = ThreadPoolExecutor(1, thread_name_prefix="sdgen-background")
        self._provenance = Provenance(checkpoint, changes, self._background)

    def _prepare(self) -> None:
        """Makes the networks and what runs them."""
        from sdgen.pipeline.model_networks import Networks

        checkpoint, device, low_memory = self.checkpoint, self.device, self.low_memory
        # Out of the accelerator's memory: it runs once a prompt, and the CPU is fast enough for that.
        text_device = "cpu:0" if low_memory else device
        with backends.on_device(device):
            # TensorFlow's cache of programs depends on the order in which its objects are made.
            ahead = self.backend == "jax" and not low_memory
            loader = ThreadPoolExecutor(1, thread_name_prefix="sdgen-weights") if ahead else None
            self.networks = Networks(checkpoint, self.dtype, device, text_device, loader, low_memory)
            self._graph = device.startswith("cpu") and self.backend == "tensorflow"
            self._prompts = self._prompt_encoder(text_device)
        self._made: dict[str, Runners] = {}
        self._runners()

    def _prompt_encoder(self, device: str) -> PromptEncoder:
        """What encodes prompts on a device."""
        if self.checkpoint.family.class_embedder:
            return LabelEncoder(self.checkpoint)
        if not self.checkpoint.family.text:
            return NoPrompts()
        from sdgen.pipeline.pooled_text import PooledConditioner
        from sdgen.pipeline.text_encoding import Conditioner

        conditioner = PooledConditioner if self.networks.unet_config.condition_width else Conditioner
        return conditioner(
            self.networks,
            self.checkpoint.tokenizer,
            self._embeddings or {},
            jit=None if self.backend == "tensorflow" and device.startswith("cpu") else True,
            keep=not (self.low_memory and self.device.startswith("cpu")),
        )

    def _runners(self, wrap: str | None = None) -> Runners:
        """What runs networks that wrap on these axes; made when first asked for, on the same weights."""
        axes = wrap or ""
        if axes not in self._made:
            from sdgen.pipeline.seamless_networks import SeamlessNetworks

            with backends.on_device(self.device):
                networks = SeamlessNetworks(self.networks, axes) if axes else self.networks
                ways = self._graph, self.low_memory, self._compile_decoder, self._models
                self._made[axes] = runners(networks, self.checkpoint, *ways)
        return self._made[axes]

    @cached_property
    def model(self) -> StableDiffusion:
        """keras_cv's StableDiffusionV2 on this pipeline's networks."""
        backends.leave_gpu_to_jax()
        from sdgen.pipeline.keras_cv.stable_diffusion import StableDiffusion

        height, width = native_size(self.entry, self.checkpoint)
        return StableDiffusion(self.networks, width, height)

    @property
    def compilations(self) -> int:
        """How often the sampling loop was compiled: once for each set of shapes."""
        return sum(runners.denoiser.compilations for runners in self._made.values())

    @property
    def size_multiple(self) -> int:
        """Width and height must be multiples of this."""
        unet = self._runners().denoiser.unet
        return unet.multiple * self.networks.vae_config.downsampling

    def resolve(self, request: Request) -> Request:
        """The request with every None replaced by the model's default.

        Raises:
            InputError: the model cannot draw this size, or no whole picture, the sampler has no eta, or no
                layer of the text encoder is left.
        """
        resolved = filled(
            request,
            self.entry,
            self.checkpoint,
            self.size_multiple,
            self._own_sampler.sampler,
            self._own_schedule(request),
        )
        if resolved.eta and resolved.sampler not in WITH_ETA:
            names = " and ".join(WITH_ETA)
            raise InputError(f"eta is for the samplers {names}, and this is {resolved.sampler}", "eta")
        if not (resolved.masked or resolved.upscale):
            require_whole_pictures(self.checkpoint)
        check_size(resolved, self.size_multiple)
        check_strength(resolved)
        check_fast(resolved, native_size(self.entry, self.checkpoint))
        check_prompts(resolved, self.checkpoint, self.entry.name)
        return resolved

    def in_float32(self) -> Pipeline | None:
        """The model in float32, for images that overflow; None if it is so already or would be too large."""
        if self.dtype == "float32" or self.low_memory:
            return None
        return Pipeline(
            self.checkpoint,
            self.entry,
            "float32",
            self.device,
            self._embeddings,
            self._jit,
            self._loras,
            self._provenance.changes,
            models=self._models,
        )

    def pays_to_compile(self, requests: Iterable[Request], batch_size: int | None = None) -> bool:
        """Whether XLA saves more in these requests than it takes to compile.

        For a stream it does, and where an earlier process has left its programs on disk.
        """
        if not self._graph:
            return True
        if self.low_memory:
            return False
        if self._jit is not None or not isinstance(requests, Sequence):
            return self._jit is not False
        resolved, work = [self.resolve(request) for request in requests], 0
        for request in resolved:
            rows = sum(each.steps * each.positions for each in self._passes([request]))
            work += rows * (2 if request.guided else 1)
        if work * self._runners().denoiser.parameters > GRAPH_WORK:
            return True
        size = min(self.batch_limit(batch_size), len(resolved))
        return all(self._stored(request, size) for request in resolved)

    def _stored(self, request: Request, batch: int) -> bool:
        """Whether the programs for a request, with prompts of one chunk, are on disk."""
        length = self._prompts.length
        if request.fast or request.masked or request.upscale:
            return False
        return all(
            self._runners(each.wrap).denoiser.stored(
                batch, each.shape, request.guided, length, each.fresh_noise, each.windows
            )
            for each in self._passes([request])
        )

    def read(self, request: Request) -> Job:
        """The request with its prompts tokenized.

        Raises:
            InputError: it does not fit the model.
        """
        return tokenize(self.resolve(request), self._prompts, self._loras)

    def draw(
        self, jobs: Sequence[Job], size: int, jit: bool, watch: Watch | None = None
    ) -> Iterator[Progress | Denoised]:
        """Denoises one batch: a ``Progress`` after every few steps, at last a ``Denoised``.

        Args:
            jobs: what ``read`` gave, of one shape.
            size: images of the program; a batch of fewer is filled up, so that it need not be compiled again.
            jit: compile the loop with XLA; see ``pays_to_compile``. With ``low_memory`` on a CPU under
                TensorFlow it is not.
            watch: as for ``Engine.draw``.
        """
        filled = [*jobs, *[jobs[-1]] * (size - len(jobs))]
        # XLA's programs take more, and what low memory leaves them to do is not faster.
        jit = jit and not (self._graph and self.low_memory)
        requests = [job.request for job in filled]
        with backends.on_device(self.device):
            began = time.perf_counter()
            context = encodings(filled, lambda read: self._prompts.encode(read, requests[0].clip_skip))
            encoded = time.perf_counter()
            runs = self._passes(requests)
            watcher = Watcher(watch, self.checkpoint, [run.tables for run in runs])
            noises = list(map(image_noise, requests))
            _, decoder, begin, enlarger = self._runners(requests[0].seamless)
            start = begin(requests, runs[0].tables, noises, runs[0].shape)
        self._next = decoder, runs[-1].shape
        steps, done, latents = sum(run.steps for run in runs), 0, start.latents
        for number, run in enumerate(runs):
            with backends.on_device(self.device):
                if number:
                    start = Start(second_start(enlarger, requests, runs[0], run, noises, latents))
                slices = self._runners(run.wrap).denoiser.run(
                    run.tables,
                    start.latents,
                    step_noise(run.tables, noises, run.shape),
                    start.conditioning(context, guidance(requests)),
                    jit=jit,
                    shortcuts=run.shortcuts,
                    windows=run.windows,
                    stops=watcher.stops(number),
                )
            for part in backends.each_on_device(self.device, slices):
                view = watcher.view(part, number)
                yield Progress(done + run.steps_done(part.rows), steps, len(jobs), view)
            latents, done = np.asarray(part.latents), done + run.steps
        denoised = time.perf_counter()
        details = {
            "compiler": "xla" if jit else "graph",
            "batch_size": len(filled),
            "encode_seconds": encoded - began,
            "denoise_seconds": denoised - encoded,
        }
        share = (denoised - began) / len(jobs)
        yield Denoised(tuple(jobs), latents, share, details)

    def decode(self, batch: Denoised) -> Iterator[Image]:
        """As ``Engine.decode``."""
        latents = batch.latents
        for i, job in enumerate(batch.jobs):
            began = time.perf_counter()
            decoder = self._runners(job.request.seamless).decoder
            pixels, error = decoder(latents[i : i + 1])
            if pixels is not None:
                pixels, error = finished(job.request, pixels, self.checkpoint.family.upscales)
            seconds = time.perf_counter() - began
            made = {
                **self._provenance.details(self),
                **(self._models.details(job.request) if self._models is not None else {}),
                **batch.details,
                "decode_seconds": seconds,
                "decoder": decoder.way(*latents.shape[1:3]),
            }
            warnings = self.checkpoint.warnings + self._sampler_warnings(job.request)
            warnings += tokenized(job).warnings()
            yield Image(job.request, pixels, batch.seconds + seconds, error, warnings, made)

    def _own_schedule(self, request: Request) -> str | None:
        """The catalogue's or the checkpoint's schedule, where the sampler runs on it."""
        sampler = request.sampler or self.entry.sampler or self._own_sampler.sampler
        schedule = self.entry.schedule or self._own_sampler.schedule
        return schedule if schedule and has_schedule(sampler, schedule) else None

    def _sampler_warnings(self, request: Request) -> tuple[str, ...]:
        """What the checkpoint's own sampler asks for and sdgen lacks, where that sampler draws."""
        own = self._own_sampler
        return own.warnings if self.entry.sampler is None and request.sampler == own.sampler else ()

    def _compile_decoder(self) -> None:
        """Has another thread compile the decoder while XLA compiles the sampling loop."""
        # It is compiled by running it, which takes long and much memory where pictures are large.
        decoder, shape = self._next
        if decoder.way(*shape[:2]) == "whole" and not self.low_memory:
            self._background.submit(decoder.compile, *shape)

    def _passes(self, requests: Sequence[Request]) -> list[Pass]:
        vae = self.networks.vae_config
        height, width = native_size(self.entry, self.checkpoint)
        window = height // vae.downsampling, width // vae.downsampling
        return passes(requests, self.checkpoint, vae.downsampling, vae.latent_channels, window)
