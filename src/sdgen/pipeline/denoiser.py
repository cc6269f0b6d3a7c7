"""The compiled sampling loop: one program for every sampler, step count, guidance scale and seed.

A sampler is a table of coefficients (``sdgen.diffusion.table``) that the program takes as data, one table
an image. Images of one batch may differ in all of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from keras import ops

from sdgen import backend
from sdgen.backend.program import Program
from sdgen.diffusion.noise import ImageNoise
from sdgen.diffusion.shortcuts import Shortcuts
from sdgen.diffusion.table import SamplerTable
from sdgen.networks.layers import Tensor, Weights
from sdgen.networks.unet import KeysValues, UNet
from sdgen.pipeline.keras_models import UNetModel

WINDOW = 32
"""Table rows handed to the program at a time. The program's shapes depend on it, and not on the steps."""

SLICE_SECONDS = 0.2
"""How long the loop runs before it reports, so that progress moves and Ctrl-C is heard."""

Array = np.ndarray[Any, np.dtype[np.float32]]


class Denoiser:
    """Runs sampler tables on a UNet.

    What compiles is determined by the shapes: batch, height, width, text length, guided or not, with
    or without fresh noise. ``compilations`` counts it.
    """

    def __init__(
        self, model: UNetModel, jit: bool | None, traced: Callable[[], None], keep: bool = False
    ) -> None:
        """Nothing is compiled yet.

        Args:
            model: the network.
            jit: ``Program``'s, for what runs once a picture.
            traced: ``Program``'s, for the loop.
            keep: keep the loop that XLA compiles on disk as a labelled ``Program``.
        """
        self._keep = keep
        self.unet: UNet = model.network
        weights = model.arriving
        self.parameters = sum(map(math.prod, weights.shapes.values()))
        self._prepare = Program(self._prepare_context, weights, jit=jit)
        self._embed = Program(self._embed_window, weights, jit=jit)
        self._advance = {jit: Program(self._run_rows, weights, jit, traced) for jit in (True, False)}
        self._advance_fast = {jit: Program(self._run_fast, weights, jit, traced) for jit in (True, False)}

    @property
    def compilations(self) -> int:
        """How often the sampling loop was compiled."""
        programs = (*self._advance.values(), *self._advance_fast.values())
        return sum(program.compilations for program in programs)

    def stored(
        self, batch: int, shape: tuple[int, int, int], guided: bool, length: int, fresh_noise: bool
    ) -> bool:
        """Whether an earlier process has left the loop for such batches on disk; see ``run``."""
        label = self._label(batch, shape, guided, length, fresh_noise)
        return bool(label) and self._advance[True].stored(label)

    def _label(self, *shapes: Any) -> str:
        return repr((self.unet.config, self.unet.numerics, WINDOW, shapes)) if self._keep else ""

    def run(
        self,
        tables: Sequence[SamplerTable],
        noises: Sequence[ImageNoise],
        guidance: Sequence[tuple[float, float]],
        context: Tensor,
        shape: tuple[int, int, int],
        jit: bool = True,
        shortcuts: Sequence[Shortcuts] = (),
    ) -> Iterator[tuple[int, Tensor]]:
        """Denoises a batch from its noise.

        Args:
            tables: a sampler table for each image; short ones idle at their end.
            noises: each image's noise generator.
            guidance: classifier-free guidance scale and rescale of each image; not used for a context
                without negatives.
            context: text encodings (2 batch, length, width), negatives first, or (batch, length, width)
                for no guidance.
            shape: (height, width, channels) of the latents.
            jit: compile the loop with XLA; False for TensorFlow's graph runtime.
            shortcuts: of each image's table; without them, all of the network is computed for every row.

        Yields:
            After each slice: table rows done so far, and the latents (batch, height, width, channels).
        """
        batch = len(tables)
        guided = context.shape[0] == 2 * batch
        state: Any = np.zeros((4, batch, *shape), np.float32)
        state[0] = [t.init_scale * n.normal(*shape) for t, n in zip(tables, noises, strict=True)]
        rows, fresh_noise = max(len(t.timesteps) for t in tables), any(t.noise.any() for t in tables)
        scales = ops.convert_to_tensor(np.asarray(guidance if guided else np.zeros((0, 2)), np.float32))
        label = self._label(batch, shape, guided, context.shape[1], fresh_noise)
        program = self._advance[jit]
        if shortcuts:
            label, program = "", self._advance_fast[jit]
            features = (len(context), *shape[:2], self.unet.config.block_out_channels[0])
            state = (ops.convert_to_tensor(state), ops.zeros(features, self.unet.numerics.activations))
        seconds_per_row, keys_values = float("inf"), None
        for first in range(0, rows, WINDOW):
            window = _window(tables, first) | _shortcut_window(shortcuts, first)
            timesteps = window.pop("timesteps")
            if fresh_noise:
                window["z"] = _step_noise(tables, noises, first, shape)
            if keys_values is None:
                # The loop compiles while the weights arrive, which the other programs wait for.
                shifts, bound = self._embed.ahead(timesteps), np.asarray(0, np.int32)
                arguments = (state, window | {"shifts": shifts}, self._prepare.ahead(context), scales)
                program.ahead(*arguments, bound, bound)
                keys_values = self._prepare(context)
            window["shifts"] = self._embed(timesteps)
            window = {name: ops.convert_to_tensor(value) for name, value in window.items()}
            row, last = 0, min(WINDOW, rows - first)
            while row < last:
                stop = min(last, row + max(1, int(SLICE_SECONDS / seconds_per_row)))
                began = time.perf_counter()
                bounds = [ops.convert_to_tensor(np.asarray(i, np.int32)) for i in (row, stop)]
                state = program(state, window, keys_values, scales, *bounds, label=label)
                latents = state[0][0] if shortcuts else state[0]
                backend.wait(latents)
                seconds_per_row = (time.perf_counter() - began) / (stop - row)
                row = stop
                yield first + row, latents

    def _prepare_context(self, weights: Weights, context: Tensor) -> KeysValues:
        return self.unet.project_context(weights, context)

    def _embed_window(self, weights: Weights, timesteps: Tensor) -> Tensor:
        return self.unet.embed_timesteps(weights, timesteps)

    def _run_rows(
        self,
        weights: Weights,
        state: Tensor,
        window: dict[str, Tensor],
        keys_values: KeysValues,
        guidance: Tensor,
        start: Tensor,
        stop: Tensor,
    ) -> Tensor:
        guided = guidance.shape[0] > 0

        def step(row: Tensor, state: Tensor) -> Tensor:
            shifts = ops.take(window["shifts"], row, axis=0)
            prediction = self.unet.denoise(weights, state[0], shifts, keys_values)
            if guided:
                prediction = _guide(prediction, guidance)
            return _sampled(window, row, state, prediction)

        return backend.fori_loop(start, stop, step, state)

    def _run_fast(
        self,
        weights: Weights,
        carried: tuple[Tensor, Tensor],
        window: dict[str, Tensor],
        keys_values: KeysValues,
        guidance: Tensor,
        start: Tensor,
        stop: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """As ``_run_rows``, with the deep features beside the state, and each row's shortcuts.

        A shortcut is taken for an image whatever its neighbours do, and saves time where all take it.
        """
        batch, unet = carried[0].shape[1], self.unet
        conditional = [(keys[-batch:], values[-batch:]) for keys, values in keys_values]

        def evaluate(
            x: Tensor, shifts: Tensor, features: Tensor, reuse: Tensor, context: KeysValues
        ) -> tuple[Tensor, Tensor]:
            """The prediction for each row of ``context``, and the features that it comes from."""

            def refreshed() -> Tensor:
                fresh = unet.deep_features(weights, x, shifts, context)
                kept = ops.tile(reuse, [features.shape[0] // batch])[:, None, None, None]
                return ops.where(kept, features, fresh)

            features = backend.cond(ops.all(reuse), lambda: features, refreshed)
            return unet.denoise_from(weights, features, x, shifts, context), features

        def step(row: Tensor, carried: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            state, features = carried
            names = ("shifts", "reuse", "guided")
            shifts, reuse, guided = (ops.take(window[name], row, axis=0) for name in names)
            x = state[0]

            def with_guidance() -> tuple[Tensor, Tensor]:
                prediction, fresh = evaluate(x, shifts, features, reuse, keys_values)
                off = ops.convert_to_tensor([1.0, 0.0])
                scales = ops.where(guided[:, None], guidance, off)
                return _guide(prediction, scales), fresh

            def without_guidance() -> tuple[Tensor, Tensor]:
                prediction, fresh = evaluate(x, shifts, features[-batch:], reuse, conditional)
                return prediction, ops.concatenate([features[:-batch], fresh])

            if guidance.shape[0] > 0:
                prediction, features = backend.cond(ops.any(guided), with_guidance, without_guidance)
            else:
                prediction, features = without_guidance()
            return _sampled(window, row, state, prediction), features

        state, features = backend.fori_loop(start, stop, step, carried)
        return state, features


def _sampled(window: dict[str, Tensor], row: Tensor, state: Tensor, prediction: Tensor) -> Tensor:
    """The state after a row of the table (``diffusion.table.SamplerTable``)."""
    p, q, mix = (ops.take(window[name], row, axis=0) for name in ("p", "q", "mix"))
    h = _per_image(p) * state[0] + _per_image(q) * prediction
    state = ops.einsum("bij,jbhwc->ibhwc", mix, ops.concatenate([state, h[None]]))
    if "z" not in window:
        return state
    noise, z = (ops.take(window[name], row, axis=0) for name in ("noise", "z"))
    return ops.concatenate([state[:1] + _per_image(noise) * z, state[1:]])


def _guide(prediction: Tensor, guidance: Tensor) -> Tensor:
    """Classifier-free guidance and its rescaling.

    m = u + g (c - u) (Ho and Salimans 2022, equation 6), then m (phi std(c) / std(m) + 1 - phi) (Lin et al.
    2024, equations 15 and 16). The prediction is (2 batch, height, width, channels), u before c, and the
    result has half of that; guidance is (batch, 2), g and phi.
    """
    unconditional, conditional = ops.split(prediction, 2)
    scale, rescale = _per_image(guidance[:, 0]), _per_image(guidance[:, 1])
    guided = unconditional + scale * (conditional - unconditional)
    axes = (1, 2, 3)
    contrast = ops.std(conditional, axis=axes, keepdims=True) / ops.std(guided, axis=axes, keepdims=True)
    return guided * ops.where(rescale > 0, rescale * contrast + (1 - rescale), 1.0)


def _per_image(values: Tensor) -> Tensor:
    """(batch,) -> (batch, 1, 1, 1)."""
    return values[:, None, None, None]


def _window(tables: Sequence[SamplerTable], first: int) -> dict[str, Array]:
    """Rows ``first`` and on of all tables, each (WINDOW, batch, ...); rows past the end change nothing."""
    batch = len(tables)
    window = {
        "timesteps": np.zeros((WINDOW, batch), np.float32),
        "p": np.zeros((WINDOW, batch), np.float32),
        "q": np.zeros((WINDOW, batch), np.float32),
        "mix": np.zeros((WINDOW, batch, 4, 5), np.float32),
        "noise": np.zeros((WINDOW, batch), np.float32),
    }
    window["mix"][...] = np.eye(4, 5)
    for i, table in enumerate(tables):
        rows = slice(first, min(first + WINDOW, len(table.timesteps)))
        for name, values in window.items():
            part = getattr(table, name)[rows]
            values[: len(part), i] = part
    return window


def _shortcut_window(shortcuts: Sequence[Shortcuts], first: int) -> dict[str, Any]:
    """Rows ``first`` and on of all shortcuts, each (WINDOW, batch); rows past the end hold nobody up."""
    if not shortcuts:
        return {}
    reuse, guided = np.ones((WINDOW, len(shortcuts)), bool), np.zeros((WINDOW, len(shortcuts)), bool)
    for i, rows in enumerate(shortcuts):
        part = slice(first, first + WINDOW)
        reuse[: len(rows.reuse[part]), i] = rows.reuse[part]
        guided[: len(rows.guided[part]), i] = rows.guided[part]
    return {"reuse": reuse, "guided": guided}


def _step_noise(
    tables: Sequence[SamplerTable], noises: Sequence[ImageNoise], first: int, shape: tuple[int, int, int]
) -> Array:
    """Fresh noise (WINDOW, batch, height, width, channels), drawn where the reference draws it."""
    z = np.zeros((WINDOW, len(tables), *shape), np.float32)
    for i, (table, noise) in enumerate(zip(tables, noises, strict=True)):
        for row in np.flatnonzero(table.draws[first : first + WINDOW]):
            z[row, i] = noise.normal(*shape)
    return z
