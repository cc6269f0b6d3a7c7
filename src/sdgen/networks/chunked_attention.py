"""Attention by chunks, for where no fused kernel computes it: all scores are never in memory.

A query's softmax needs its own scores alone, so that chunks of queries are independent (Rabe and Staats
2021, section 2) and give the numbers that the whole product gives. 4096 positions of a 512x512 picture
have 4096 x 4096 scores a head; 65536 of a 2048x2048 picture in the VAE would take 17 GB.
"""

from __future__ import annotations

from sdgen import backend
from sdgen.backend import ops
from sdgen.networks.attention import scaled_dot_product
from sdgen.networks.layers import Tensor

MOST_SCORES = 1 << 22
"""Scores computed at once, float32: 16 MB, which measured best on CPUs (docs/performance.md)."""


def chunked(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> Tensor:
    """What ``scaled_dot_product`` computes, a few heads or a few of a head's queries at a time.

    q is (batch, heads, n, d), k and v (batch, heads, m, d); the result is (batch, heads, n, d).
    """
    batch, heads, n, d = q.shape
    together, size = chunk_shape(batch * heads, n, k.shape[2])
    if causal or (together, size) == (batch * heads, n):
        return scaled_dot_product(q, k, v, causal)
    q, k, v = (ops.reshape(t, (-1, together, *t.shape[2:])) for t in (q, k, v))
    pieces = n // size

    def attend(chunk: Tensor) -> Tensor:
        group, start = chunk // pieces, chunk % pieces * size
        queries = ops.slice(q, (group, 0, start, 0), (1, together, size, d))
        keys, values = (ops.slice(t, (group, 0, 0, 0), (1, *t.shape[1:])) for t in (k, v))
        return scaled_dot_product(queries, keys, values)

    # Of a group of several heads, all queries are in one chunk.
    return ops.reshape(backend.map_in_turn(attend, q.shape[0] * pieces), (batch, heads, n, d))


def chunk_shape(heads: int, queries: int, keys: int) -> tuple[int, int]:
    """How many heads, and how many queries of each, make at most ``MOST_SCORES``: divisors, at least 1.

    Heads are parted before queries, since each chunk's products rearrange its keys and values anew.
    """
    together = _largest_divisor(heads, MOST_SCORES // (queries * keys))
    return together, queries if together > 1 else _largest_divisor(queries, MOST_SCORES // keys)


def _largest_divisor(number: int, most: int) -> int:
    return next((size for size in range(min(most, number), 0, -1) if number % size == 0), 1)
