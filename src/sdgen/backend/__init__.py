"""TensorFlow or JAX, behind one set of functions: no other package names either framework.

``activate`` comes before anything that imports Keras, which reads its backend once, at import.
"""

from sdgen.backend.choosing import BACKENDS, activate, active, choose
from sdgen.backend.device_names import (
    DTYPES,
    default_dtype,
    devices,
    each_on_device,
    find_device,
    low_memory_dtype,
    on_device,
)
from sdgen.backend.importing import leave_gpu_to_jax, take_shortcuts
from sdgen.backend.memory import free_memory, is_out_of_memory, peak_memory
from sdgen.backend.operations import (
    cond,
    empty_array,
    factor_dtype,
    fori_loop,
    fused_attention,
    map_in_turn,
    matmul,
    ops,
    to_tensor,
    wait,
    without_gradients,
)

__all__ = [
    "BACKENDS",
    "DTYPES",
    "activate",
    "active",
    "choose",
    "cond",
    "default_dtype",
    "devices",
    "each_on_device",
    "empty_array",
    "factor_dtype",
    "find_device",
    "fori_loop",
    "free_memory",
    "fused_attention",
    "is_out_of_memory",
    "leave_gpu_to_jax",
    "low_memory_dtype",
    "map_in_turn",
    "matmul",
    "on_device",
    "ops",
    "peak_memory",
    "take_shortcuts",
    "to_tensor",
    "wait",
    "without_gradients",
]
