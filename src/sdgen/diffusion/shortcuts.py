"""What ``--fast`` leaves out of a sampling run, row by row.

Two trades, each where it changes the picture least (docs/performance.md has the measurements):

- Deep features of the UNet are kept for some rows (DeepCache: Ma et al. 2024): only its outermost block is
  computed anew. They change slowly, but not in the first steps, in which the composition is settled.
- Guidance ends before the last steps (Kynkäänniemi et al. 2024). Their interval also leaves out the first
  steps; that gives another picture altogether, so these are guided here.

Both go by the timestep and not by the number of the step, so that they mean the same for every sampler,
schedule and number of steps.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from sdgen.diffusion.schedule import Array

SETTLED = 0.7
"""Share of the training timesteps below which features are kept."""

KEPT_FOR = 0.08
"""Features are kept for that share of the training timesteps: 2 rows of 25 steps, 4 of 50, none of 12."""

GUIDED_DOWN_TO = 0.15
"""Share of the training timesteps below which there is no guidance."""


@dataclasses.dataclass(frozen=True, eq=False)
class Shortcuts:
    """The rows of a ``SamplerTable`` that are computed in part.

    Attributes:
        reuse: bool (rows,), take the deep features of the last row that computed them.
        guided: bool (rows,), apply guidance.
    """

    reuse: NDArray[np.bool_]
    guided: NDArray[np.bool_]


def shortcuts(timesteps: Array, total: int) -> Shortcuts:
    """The shortcuts of a table with these timesteps, of a network trained with ``total``."""
    shares = timesteps / total
    reuse = np.zeros(len(shares), bool)
    computed = np.inf
    for row, share in enumerate(shares):
        reuse[row] = share < SETTLED and 0 <= computed - share <= KEPT_FOR + 1e-9
        if not reuse[row]:
            computed = share
    return Shortcuts(reuse, shares >= GUIDED_DOWN_TO)
