"""The compiled sampling loop: one program for every sampler, step count, guidance scale and seed.

A sampler is a table of coefficients (``sdgen.diffusion.table``) that the program takes as data, one table
an image. Images of one batch may differ in all of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from keras import ops

from sdgen import backend
from sdgen.backend import Program
from sdgen.diffusion.noise import ImageNoise
from sdgen.diffusion.table import SamplerTable
from sdgen.networks.layers import Tensor, Weights
from sdgen.networks.network import UNetModel
from sdgen.networks.unet import KeysValues, UNet

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

    def __init__(self, model: UNetModel, jit: bool, traced: Callable[[], None]) -> None:
        """Nothing is compiled yet.

        Args:
            model: the network.
            jit: ``Program``'s, for what runs once a picture.
            traced: called whenever the loop has been traced and is about to be compiled.
        """
        self.unet: UNet = model.network
        weights = model.weights_by_name
        self.parameters = model.count_params()
        self._prepare = Program(self._prepare_context, weights, jit=jit)
        self._embed = Program(self._embed_window, weights, jit=jit)
        self._advance = {jit: Program(self._run_rows, weights, jit, traced) for jit in (True, False)}

    @property
    def compilations(self) -> int:
        """How often the sampling loop was compiled."""
        return sum(program.compilations for program in self._advance.values())

    def run(
        self,
        tables: Sequence[SamplerTable],
        noises: Sequence[ImageNoise],
        guidance: Sequence[tuple[float, float]],
        context: Tensor,
        shape: tuple[int, int, int],
        jit: bool = True,
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

        Yields:
            After each slice: table rows done so far, and the latents (batch, height, width, channels).
        """
        batch = len(tables)
        guided = context.shape[0] == 2 * batch
        keys_values = self._prepare(context)
        latents = [t.init_scale * n.normal(*shape) for t, n in zip(tables, noises, strict=True)]
        state = np.zeros((4, batch, *shape), np.float32)
        state[0] = np.stack(latents)
        rows, fresh_noise = max(len(t.timesteps) for t in tables), any(t.noise.any() for t in tables)
        scales = ops.convert_to_tensor(np.asarray(guidance if guided else np.zeros((0, 2)), np.float32))
        seconds_per_row = float("inf")
        for first in range(0, rows, WINDOW):
            window = _window(tables, first)
            window["shifts"] = self._embed(window.pop("timesteps"))
            if fresh_noise:
                window["z"] = _step_noise(tables, noises, first, shape)
            window = {name: ops.convert_to_tensor(value) for name, value in window.items()}
            row, last = 0, min(WINDOW, rows - first)
            while row < last:
                stop = min(last, row + max(1, int(SLICE_SECONDS / seconds_per_row)))
                began = time.perf_counter()
                bounds = [ops.convert_to_tensor(np.asarray(i, np.int32)) for i in (row, stop)]
                state = self._advance[jit](state, window, keys_values, scales, *bounds)
                backend.wait(state)
                seconds_per_row = (time.perf_counter() - began) / (stop - row)
                row = stop
                yield first + row, state[0]

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

        def network(x: Tensor, shifts: Tensor) -> Tensor:
            """The guided prediction; both halves of the guidance are one batch."""
            if not guided:
                return self.unet.denoise(weights, x, shifts, keys_values)
            both = self.unet.denoise(
                weights, ops.concatenate([x, x]), ops.concatenate([shifts, shifts]), keys_values
            )
            unconditional, conditional = ops.split(both, 2)
            return _guide(unconditional, conditional, guidance)

        def step(row: Tensor, state: Tensor) -> Tensor:
            p, q, mix, shifts = (ops.take(window[name], row, axis=0) for name in ("p", "q", "mix", "shifts"))
            x = state[0]
            h = _per_image(p) * x + _per_image(q) * network(x, shifts)
            state = ops.einsum("bij,jbhwc->ibhwc", mix, ops.concatenate([state, h[None]]))
            if "z" not in window:
                return state
            noise, z = (ops.take(window[name], row, axis=0) for name in ("noise", "z"))
            return ops.concatenate([state[:1] + _per_image(noise) * z, state[1:]])

        return backend.fori_loop(start, stop, step, state)


def _guide(unconditional: Tensor, conditional: Tensor, guidance: Tensor) -> Tensor:
    """Classifier-free guidance and its rescaling.

    m = u + g (c - u) (Ho and Salimans 2022, equation 6), then m (phi std(c) / std(m) + 1 - phi) (Lin et al.
    2024, equations 15 and 16). All predictions are (batch, height, width, channels); guidance is (batch, 2),
    g and phi.
    """
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


def _step_noise(
    tables: Sequence[SamplerTable], noises: Sequence[ImageNoise], first: int, shape: tuple[int, int, int]
) -> Array:
    """Fresh noise (WINDOW, batch, height, width, channels), drawn where the reference draws it."""
    z = np.zeros((WINDOW, len(tables), *shape), np.float32)
    for i, (table, noise) in enumerate(zip(tables, noises, strict=True)):
        for row in np.flatnonzero(table.draws[first : first + WINDOW]):
            z[row, i] = noise.normal(*shape)
    return z
