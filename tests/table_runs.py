"""Runs a sampler table on one number, as the compiled loop runs it on latents."""

from __future__ import annotations

from typing import Any

import numpy as np

from sdgen.diffusion.table import SamplerTable


def run_table(
    table: SamplerTable, network: Any, noise: np.ndarray, first: float, memory: float = 0.0
) -> np.ndarray:
    """From noise alone: ``first``, a standard normal number. See ``run_from``."""
    return run_from(table, network, noise, table.init_scale * first, memory)


def run_from_image(
    table: SamplerTable, network: Any, noise: np.ndarray, image: float, first: float, memory: float = 0.0
) -> np.ndarray:
    """From an image with noise, at the level that the table begins at. See ``run_from``."""
    return run_from(table, network, noise, table.alpha_in[0] * image + table.sigma_in[0] * first, memory)


def run_from(
    table: SamplerTable, network: Any, noise: np.ndarray, start: float, memory: float = 0.0
) -> np.ndarray:
    """The network's input at each row and the final latents; ``network(row, x)`` is its output."""
    state = np.array([start, memory, memory, memory])
    trajectory = [state[0]]
    for row in range(len(table.timesteps)):
        h = table.p[row] * state[0] + table.q[row] * network(row, state[0])
        state = table.mix[row] @ [*state, h]
        state[0] += table.noise[row] * noise[row]
        trajectory.append(state[0])
    return np.array(trajectory)
