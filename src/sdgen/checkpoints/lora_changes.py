"""What each kind of LoRA file does to a tensor: which parts it has, and its formula.

LoRA (Hu et al. 2021), LoCon's Tucker form, LoHa (Hyeon-Woo et al. 2021), GLoRA (Chavan et al. 2023), OFT and
BOFT (Qiu et al. 2023, Liu et al. 2023), (IA)^3 (Liu et al. 2022), and plain differences of weights, norms and
biases. Formulas are those of LyCORIS (lycoris/modules) and kohya's sd-scripts (networks/oft.py), which train
them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from sdgen.checkpoints.tensors import Array, LazyTensor, Shape

Parts = Mapping[str, LazyTensor]
"""The tensors that change one tensor, by role: down, up, mid, alpha, w1_a, ..."""

Arrays = Mapping[str, Array]
"""The values of a change's tensors by name, float32."""


@dataclass(frozen=True)
class Kind:
    """A way to change a tensor.

    Attributes:
        needed: roles that make a change.
        more: roles that may go with them.
        shape: the shape of the change (out, in, ...), from the parts and the shape of the tensor; None where
            the parts do not fit each other.
        change: the change at a scale, from the tensor, the parts and the scale, float32, of the tensor's
            size. It raises ValueError where the parts do not fit together.
        rank: the rank by which ``alpha`` is divided, from what ``shape`` takes; None where there is none.
        of: the tensor of a module that is changed, "weight" or "bias".
        matrix: whether only linear layers and convolutions have such a change.
    """

    needed: frozenset[str]
    more: frozenset[str]
    shape: Callable[[Parts, Shape], Shape | None]
    change: Callable[[Array, Arrays, float], Array]
    rank: Callable[[Parts, Shape], int] | None = None
    of: str = "weight"
    matrix: bool = True


def _kernel(parts: Parts, default: LazyTensor, *cores: str) -> Shape:
    return next((parts[role].shape[2:] for role in cores if role in parts), default.shape[2:])


def _matrix(array: Array) -> Array:
    return array.reshape(array.shape[0], -1)


def _lora_shape(parts: Parts, _: Shape) -> Shape:
    down = parts["down"]
    return (parts["up"].shape[0], *down.shape[1:2], *_kernel(parts, down, "mid"))


def _lora(_: Array, parts: Arrays, scale: float) -> Array:
    up, down = _matrix(parts["up"]), _matrix(parts["down"])
    if "mid" in parts:
        delta = np.einsum("nmkl,in,mj->ijkl", parts["mid"], up, down, optimize=True)
    else:
        delta = up @ down
    return np.asarray(delta * np.float32(scale))


def _loha_shape(parts: Parts, _: Shape) -> Shape:
    # In Tucker form both factors have the rank first.
    a, b = parts["w1_a"], parts["w1_b"]
    return (a.shape[1 if "t1" in parts else 0], *b.shape[1:2], *_kernel(parts, b, "t1"))


def _loha(_: Array, parts: Arrays, scale: float) -> Array:
    halves = []
    for half in ("1", "2"):
        a, b = parts[f"w{half}_a"], parts[f"w{half}_b"]
        core = parts.get(f"t{half}")
        halves.append(a @ b if core is None else np.einsum("ijkl,jr,ip->prkl", core, b, a, optimize=True))
    return np.asarray(halves[0] * halves[1] * np.float32(scale))


def _glora_roles(parts: Parts | Arrays, wanted: Shape) -> tuple[str, str, str, str]:
    """The roles of a1 (in, rank), a2 (rank, in), b1 (out, rank) and b2 (rank, in, ...).

    Older LyCORIS had each pair the other way round (ComfyUI, comfy/weight_adapter/glora.py).
    """
    new = parts["a1"].shape[0] == wanted[1]
    return ("a1", "a2", "b1", "b2") if new else ("a2", "a1", "b2", "b1")


def _glora_shape(parts: Parts, wanted: Shape) -> Shape | None:
    a1, a2, b1, b2 = (parts[role].shape for role in _glora_roles(parts, wanted))
    fits = a1[1] == a2[0] and b1[1] == b2[0] and a1[0] == a2[1] == wanted[1]
    return (b1[0], *b2[1:]) if fits else None


def _glora_rank(parts: Parts, wanted: Shape) -> int:
    return parts[_glora_roles(parts, wanted)[1]].shape[0]


def _glora(weight: Array, parts: Arrays, scale: float) -> Array:
    """W A + B, A = a1 a2 over the inputs and B = b1 b2."""
    a1, a2, b1, b2 = (_matrix(parts[role]) for role in _glora_roles(parts, weight.shape))
    product = np.einsum("oi...,ir,rj->oj...", weight, a1, a2, optimize=True)
    return np.asarray((product + (b1 @ b2).reshape(weight.shape)) * np.float32(scale))


def _oft_shape(parts: Parts, wanted: Shape) -> Shape | None:
    blocks = parts["oft_blocks"].shape
    if len(blocks) == 3:
        fits = blocks[0] * blocks[1] == wanted[0]
    else:
        # The blocks of stage i mix outputs that are 2^i half blocks apart.
        fits = len(blocks) == 4 and blocks[1] * blocks[2] == wanted[0] and blocks[2] % 2 == 0
        fits = fits and 0 < blocks[0] < 32 and wanted[0] % (blocks[2] << (blocks[0] - 1)) == 0
    if not fits or blocks[-1] != blocks[-2]:
        return None
    rescale = math.prod(parts["rescale"].shape) if "rescale" in parts else wanted[0]
    return wanted if rescale == wanted[0] else None


def _rotations(parts: Arrays, outputs: int) -> Array:
    """Cayley's (I + Q)(I - Q)^-1 of each block of Q = B - B^T, whose norm alpha bounds: (..., n, n)."""
    blocks = parts["oft_blocks"].astype(np.float64)
    skew = blocks - blocks.swapaxes(-1, -2)
    limit, norm = float(parts["alpha"].item()) * outputs if "alpha" in parts else 0.0, np.linalg.norm(skew)
    if 0 < limit < norm:
        skew *= limit / norm
    identity = np.eye(blocks.shape[-1])
    return np.asarray((identity + skew) @ np.linalg.inv(identity - skew))


def _oft(weight: Array, parts: Arrays, scale: float) -> Array:
    rotations = _rotations(parts, len(weight))
    identity = np.eye(rotations.shape[-1])
    turned = _matrix(weight).astype(np.float64)
    weighted = scale * rotations + (1 - scale) * identity
    if rotations.ndim == 3:
        blocks = turned.reshape(*rotations.shape[:2], -1)
        turned = np.einsum("knm,knp->kmp", weighted, blocks, optimize=True).reshape(turned.shape)
    else:
        for stage, rotation in enumerate(weighted):
            turned = _butterfly(turned, rotation, (rotation.shape[-1] // 2) << stage)
    if "rescale" in parts and scale:
        turned = turned * parts["rescale"].reshape(-1, 1)
    return np.asarray(turned - _matrix(weight)).astype(np.float32)


def _butterfly(rows: Array, rotation: Array, distance: int) -> Array:
    """One stage of BOFT on (outputs, inputs): rows that are ``distance`` apart come into one block."""
    inputs = rows.shape[1]
    mixed = rows.reshape(-1, 2, distance, inputs).swapaxes(1, 2).reshape(*rotation.shape[:2], inputs)
    mixed = np.einsum("bij,bjp->bip", rotation, mixed, optimize=True)
    return np.asarray(mixed.reshape(-1, distance, 2, inputs).swapaxes(1, 2).reshape(rows.shape))


def _ia3_shape(parts: Parts, wanted: Shape) -> Shape | None:
    return wanted if math.prod(parts["factors"].shape) in wanted[:2] else None


def _ia3(weight: Array, parts: Arrays, scale: float) -> Array:
    """Each input or output times 1 + its factor."""
    axis = 1 if parts["on_input"].item() else 0
    shape = [1] * weight.ndim
    shape[axis] = -1
    factors = parts["factors"].reshape(shape)
    if factors.size != weight.shape[axis]:
        raise ValueError(f"{factors.size} factors for {weight.shape[axis]} channels")
    return np.asarray(weight * factors * np.float32(scale))


def _difference(role: str, of: str, matrix: bool) -> Kind:
    return Kind(
        frozenset({role}),
        frozenset(),
        lambda parts, _: parts[role].shape,
        lambda _, parts, scale: parts[role] * np.float32(scale),
        of=of,
        matrix=matrix,
    )


KINDS = (
    Kind(
        frozenset({"down", "up"}),
        frozenset({"mid", "alpha"}),
        _lora_shape,
        _lora,
        lambda parts, _: parts["down"].shape[0],
    ),
    Kind(
        frozenset({"w1_a", "w1_b", "w2_a", "w2_b"}),
        frozenset({"t1", "t2", "alpha"}),
        _loha_shape,
        _loha,
        lambda parts, _: parts["w1_b"].shape[0],
    ),
    Kind(
        frozenset({"a1", "a2", "b1", "b2"}),
        frozenset({"alpha"}),
        _glora_shape,
        _glora,
        _glora_rank,
    ),
    Kind(frozenset({"oft_blocks"}), frozenset({"alpha", "rescale"}), _oft_shape, _oft),
    Kind(frozenset({"factors", "on_input"}), frozenset(), _ia3_shape, _ia3),
    _difference("diff", "weight", matrix=False),
    _difference("w_norm", "weight", matrix=False),
    _difference("diff_b", "bias", matrix=False),
    _difference("b_norm", "bias", matrix=False),
)
"""A module's weight, and its bias, is changed by the first kind whose needed roles a file has for it."""

SCALARS = frozenset({"alpha", "on_input"})
"""Roles of one number."""
