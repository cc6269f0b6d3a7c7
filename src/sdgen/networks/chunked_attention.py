"""Attention by chunks of queries, for where no fused kernel computes it: all scores are never in memory.

A query's softmax needs its own scores alone, so that chunks of queries are independent (Rabe and Staats
2021, section 2) and give the numbers that the whole product gives. 4096 positions of a 512x512 picture
have 4096 x 4096 scores a head; 65536 of a 2048x2048 picture in the VAE would take 17 GB.
"""

from __future__ import annotations

from keras import ops

from sdgen import backend
from sdgen.networks.attention import scaled_dot_product
from sdgen.networks.layers import Tensor

MOST_SCORES = 1 << 23
"""Scores computed at once, float32: 32 MB, which measured best on CPUs (docs/performance.md)."""


def chunked(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> Tensor:
    """What ``scaled_dot_product`` computes, by chunks of queries where there are many scores.

    q is (batch, heads, n, d), k and v (batch, heads, m, d); the result is (batch, heads, n, d).
    """
    batch, heads, n, d = q.shape
    size = chunk_size(n, batch * heads * k.shape[2])
    if causal or size == n:
        return scaled_dot_product(q, k, v, causal)

    def attend(chunk: Tensor) -> Tensor:
        queries = ops.slice(q, (0, 0, chunk * size, 0), (batch, heads, size, d))
        return scaled_dot_product(queries, k, v)

    chunks = backend.map_in_turn(attend, n // size)
    return ops.reshape(ops.transpose(chunks, (1, 2, 0, 3, 4)), q.shape)


def chunk_size(queries: int, scores_per_query: int) -> int:
    """The largest divisor of ``queries`` whose scores are at most ``MOST_SCORES``; at least 1."""
    most = max(1, MOST_SCORES // scores_per_query)
    return next(size for size in range(min(most, queries), 0, -1) if queries % size == 0)
