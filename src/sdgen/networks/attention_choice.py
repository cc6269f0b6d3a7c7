"""Which attention a device computes fastest."""

from __future__ import annotations

from collections.abc import Callable

from sdgen import backend
from sdgen.networks.chunked_attention import chunked
from sdgen.networks.layers import Tensor


def fastest_attention(device: str, dtype: str) -> Callable[..., Tensor]:
    """The fastest attention for a device and dtype; what it computes is ``attention.scaled_dot_product``.

    That is the backend's fused kernel where there is one for the size of the heads, and else ``chunked``:
    cuDNN's takes all but the VAE's single head, which is 512 wide.
    """

    def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> Tensor:
        kernel = backend.fused_attention(device, dtype, q.shape[-1]) or chunked
        return kernel(q, k, v, causal)

    return attend
