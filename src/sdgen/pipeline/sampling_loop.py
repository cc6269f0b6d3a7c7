"""The compiled sampling loop: one program for every sampler, step count, guidance scale and seed.

A sampler is a table of coefficients (``sdgen.diffusion.table``) that the program takes as data, one table
an image. Images of one batch may differ in all of it. What they are drawn under is a ``Conditioning``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sdgen import backend
from sdgen.backend import ops
from sdgen.backend.program import Program
from sdgen.diffusion.shortcuts import Shortcuts
from sdgen.diffusion.table import ESTIMATE, SLOTS, SamplerTable, X
from sdgen.networks.denoising_network import DenoisingNetwork, KeysValues
from sdgen.networks.layers import Tensor, Weights
from sdgen.pipeline.conditioning import Conditioning
from sdgen.pipeline.evaluation import Evaluation, ShortenedEvaluation, WholeEvaluation
from sdgen.pipeline.guidance import per_image
from sdgen.pipeline.keras_models import Loaded
from sdgen.pipeline.loop_arguments import (
    loop_maps,
    rows_at_once,
    shapes,
    shortcut_window,
    table_window,
    tensors,
)
from sdgen.pipeline.tiled_evaluation import TiledEvaluation
from sdgen.pipeline.windows import Windows

SLICE_SECONDS = 0.2
"""How long the loop runs before it reports, so that progress moves and Ctrl-C is heard."""

Array = np.ndarray[Any, np.dtype[np.float32]]

StepNoise = Callable[[int, int], Array]
"""Fresh noise of table rows ``first`` to ``first + count``: (count, batch, height, width, channels)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Slice:
    """Where the loop stands after some rows of the tables.

    Attributes:
        rows: done so far.
        latents: a tensor (batch, height, width, channels), float32.
        estimate: of the same shape, the denoised latents that the network saw in the last of these rows.
    """

    rows: int
    latents: Tensor
    estimate: Tensor


class Denoiser:
    """Runs sampler tables on a UNet.

    What compiles is determined by the shapes: batch, height, width, text length, what of a conditioning
    there is, with or without fresh noise. ``compilations`` counts it.
    """

    def __init__(
        self, model: Loaded, jit: bool | None, traced: Callable[[], None], keep: bool = False
    ) -> None:
        """Nothing is compiled yet.

        Args:
            model: the network.
            jit: ``Program``'s, for what runs once a picture.
            traced: ``Program``'s, for the loop.
            keep: keep the loop that XLA compiles on disk as a labelled ``Program``.
        """
        self._keep = keep
        self.unet: DenoisingNetwork = model.network
        weights = model.arriving
        self.parameters = sum(map(math.prod, weights.shapes.values()))
        self._prepare = Program(self._prepare_context, weights, jit=jit)
        self._embed = Program(self._embed_window, weights, jit=jit)
        self._advance = {
            (fast, tiled, jit): Program(self._rows_by(evaluation), weights, jit, traced)
            for fast, whole in ((False, WholeEvaluation(self.unet)), (True, ShortenedEvaluation(self.unet)))
            for tiled, evaluation in (
                (False, whole),
                (True, TiledEvaluation(whole, self.unet.config.predicted_channels)),
            )
            for jit in (True, False)
        }

    @property
    def compilations(self) -> int:
        """How often the sampling loop was compiled."""
        return sum(program.compilations for program in self._advance.values())

    def stored(
        self,
        batch: int,
        shape: tuple[int, int, int],
        guided: bool,
        length: int,
        fresh_noise: bool,
        windows: Windows | None = None,
    ) -> bool:
        """Whether an earlier process has left the loop for such batches of text to image on disk."""
        guidance = np.zeros((batch, 2), np.float32) if guided else None
        context = np.broadcast_to(np.float32(0), (batch * (1 + guided), length, 1)) if length else None
        given = Conditioning(context, guidance)
        label = self._label(batch, shape, given, loop_maps(given, windows), fresh_noise)
        return bool(label) and self._advance[False, windows is not None, True].stored(label)

    def _label(
        self,
        batch: int,
        shape: tuple[int, ...],
        conditioning: Conditioning,
        maps: Mapping[str, Any],
        fresh_noise: bool,
    ) -> str:
        if not self._keep:
            return ""
        length = 0 if conditioning.context is None else conditioning.context.shape[1]
        found = (batch, shape, length, shapes(conditioning.vectors() | dict(maps)), fresh_noise)
        return repr((self.unet.config, self.unet.numerics, rows_at_once(shape, fresh_noise), found))

    def run(
        self,
        tables: Sequence[SamplerTable],
        latents: Array,
        step_noise: StepNoise | None,
        conditioning: Conditioning,
        *,
        jit: bool = True,
        shortcuts: Sequence[Shortcuts] = (),
        windows: Windows | None = None,
        stops: Collection[int] = (),
    ) -> Iterator[Slice]:
        """Denoises a batch.

        Args:
            tables: a sampler table for each image; short ones idle at their end.
            latents: where the tables start, float32 (batch, height, width, channels).
            step_noise: fresh noise, where some table takes any.
            conditioning: what is to be drawn.
            jit: compile the loop with XLA; False for TensorFlow's graph runtime.
            shortcuts: of each image's table; without them, all of the network is computed for every row.
            windows: in which the network is evaluated; None for all of the picture at once.
            stops: rows after which a slice is to end, 1 to the number of rows.

        Yields:
            After each slice, where the loop stands.

        Raises:
            ValueError: the network does not take what ``conditioning`` has beside text.
        """
        program = self._advance[bool(shortcuts), windows is not None, jit]
        carried = self._start(latents, conditioning, shortcuts, windows)
        maps, vectors, label = loop_maps(conditioning, windows), conditioning.vectors(), ""
        if not shortcuts:
            label = self._label(len(tables), latents.shape[1:], conditioning, maps, step_noise is not None)
        rows, clock, maps = max(len(table.timesteps) for table in tables), _Clock(stops), tensors(maps)
        count = rows_at_once(latents.shape[1:], step_noise is not None)
        for first in range(0, rows, count):
            window = table_window(tables, first, conditioning.known, count)
            window |= shortcut_window(shortcuts, first, count)
            timesteps = window.pop("timesteps")
            if step_noise is not None:
                window["z"] = step_noise(first, count)
            if first == 0:
                self._compile_ahead(program, carried, window, timesteps, maps, conditioning)
                maps["keys_values"] = self._prepare(conditioning.text())
            window = tensors(window | {"shifts": self._embed(timesteps, vectors)})
            for row, stop in clock.slices(first, min(count, rows - first)):
                bounds = [ops.convert_to_tensor(np.asarray(i, np.int32)) for i in (row, stop)]
                with clock.timed(stop - row):
                    carried = program(carried, window, maps, *bounds, label=label)
                    state = carried[0] if shortcuts else carried
                    backend.wait(state)
                yield Slice(first + stop, state[X], state[ESTIMATE])

    def _start(
        self,
        latents: Array,
        conditioning: Conditioning,
        shortcuts: Sequence[Shortcuts],
        windows: Windows | None,
    ) -> Any:
        """What the loop carries into its first row: the state, and the features that shortcuts keep."""
        state = np.zeros((SLOTS, *latents.shape), np.float32)
        state[X] = latents
        if not shortcuts:
            return state
        copies, width = conditioning.copies * len(latents), self.unet.config.block_out_channels[0]
        features = (copies, *latents.shape[1:3], width)
        if windows is not None:
            count, *size = windows.positions.shape
            features = (count, copies, *size, width)
        return ops.convert_to_tensor(state), ops.zeros(features, self.unet.numerics.activations)

    def _compile_ahead(
        self,
        program: Program,
        carried: Any,
        window: Mapping[str, Any],
        timesteps: Array,
        maps: Mapping[str, Any],
        conditioning: Conditioning,
    ) -> None:
        """Lets the loop compile while the weights arrive, which the programs before it wait for."""
        shifts = self._embed.ahead(timesteps, conditioning.vectors())
        keys_values, bound = self._prepare.ahead(conditioning.text()), np.asarray(0, np.int32)
        program.ahead(
            carried, {**window, "shifts": shifts}, {**maps, "keys_values": keys_values}, bound, bound
        )

    def _prepare_context(self, weights: Weights, text: Mapping[str, Tensor]) -> KeysValues:
        return self.unet.project_context(weights, text["context"]) if text else []

    def _embed_window(self, weights: Weights, timesteps: Tensor, vectors: Mapping[str, Tensor]) -> Tensor:
        return self.unet.embed_timesteps(weights, timesteps, vectors)

    def _rows_by(self, evaluate: Evaluation) -> Callable[..., Tensor]:
        """The loop over rows ``start`` to ``stop`` of a window, with one way of evaluating the network.

        It carries the state, and beside it whatever the evaluation keeps from one row to the next.
        """

        def run_rows(
            weights: Weights,
            carried: Any,
            window: Mapping[str, Tensor],
            maps: Mapping[str, Any],
            start: Tensor,
            stop: Tensor,
        ) -> Any:
            def step(row: Tensor, carried: Any) -> Any:
                state, kept = carried if evaluate.keeps else (carried, None)
                here = {name: ops.take(values, row, axis=0) for name, values in window.items()}
                x = state[X]
                if "channels" in maps:
                    x = ops.concatenate([x, maps["channels"]], axis=-1)
                prediction, kept = evaluate(weights, x, here, maps, kept)
                state = _sampled(here, state, prediction)
                if "known" in maps:
                    state = _blended(here, state, **maps["known"])
                return (state, kept) if evaluate.keeps else state

            return backend.fori_loop(start, stop, step, carried)

        return run_rows


def _sampled(here: Mapping[str, Tensor], state: Tensor, prediction: Tensor) -> Tensor:
    """The state after a row of the table (``diffusion.table.SamplerTable``)."""
    memory, x = state[:ESTIMATE], state[X]
    h = per_image(here["p"]) * x + per_image(here["q"]) * prediction
    estimate = per_image(here["data_p"]) * x + per_image(here["data_q"]) * prediction
    memory = ops.einsum("bij,jbhwc->ibhwc", here["mix"], ops.concatenate([memory, h[None]]))
    if "z" in here:
        memory = ops.concatenate([memory[:1] + per_image(here["noise"]) * here["z"], memory[1:]])
    return ops.concatenate([memory, estimate[None]])


def _blended(
    here: Mapping[str, Tensor], state: Tensor, latents: Tensor, mask: Tensor, noise: Tensor
) -> Tensor:
    """The state with what is known put in its place: see ``conditioning.KnownLatents``."""
    known = per_image(here["alpha"]) * latents + per_image(here["sigma"]) * noise
    x = ops.where(mask > per_image(here["following"]), state[X], known)
    return ops.concatenate([x[None], state[X + 1 :]])


class _Clock:
    """Chooses where a slice ends: after about ``SLICE_SECONDS``, or where the caller wants to look."""

    def __init__(self, stops: Collection[int]) -> None:
        self._stops, self._seconds_per_row = sorted(stops), float("inf")

    def slices(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Where each slice begins and ends on the way from row ``first`` to ``last``, counted from ``first``.

        The caller times each by ``timed`` before it asks for the next.
        """
        row = 0
        while row < last:
            stop = self._next_stop(first, row, last)
            yield row, stop
            row = stop

    def _next_stop(self, first: int, row: int, last: int) -> int:
        wanted = next((stop - first for stop in self._stops if stop - first > row), last)
        return min(last, wanted, row + max(1, int(SLICE_SECONDS / self._seconds_per_row)))

    @contextlib.contextmanager
    def timed(self, rows: int) -> Iterator[None]:
        """Takes note of how many seconds so many rows took."""
        began = time.perf_counter()
        yield
        self._seconds_per_row = (time.perf_counter() - began) / rows
