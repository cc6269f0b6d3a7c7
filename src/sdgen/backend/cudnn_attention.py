"""cuDNN's fused attention as a StableHLO module, for a framework that has no operation for it (TensorFlow).

XLA's GPU compiler turns a custom call named ``__cudnn$fmhaSoftmax`` into cuDNN's flash attention. JAX
emits it (``jax/_src/cudnn/fused_attention_stablehlo.py``); TensorFlow takes the same text through its
``XlaCallModule`` operation. The scores never reach memory (Dao et al. 2022).
"""

from __future__ import annotations

import json
import math

ELEMENT_TYPES = {"bfloat16": ("bf16", "BF16"), "float16": ("f16", "F16")}
"""dtype -> its names in MLIR and in XLA; cuDNN's flash attention takes these alone."""

MAX_HEAD_SIZE = 128
"""The largest head that cuDNN's flash attention takes on every GPU; Hopper's forward pass takes more."""


def supports(dtype: str, head_size: int) -> bool:
    """Whether cuDNN fuses attention of this dtype and head size (a multiple of 8, up to 128)."""
    return dtype in ELEMENT_TYPES and head_size <= MAX_HEAD_SIZE and head_size % 8 == 0


def stablehlo(
    batch: int, heads: int, queries: int, keys: int, head_size: int, dtype: str, causal: bool = False
) -> str:
    """The module's text: (q, k, v) -> softmax(q k^T / sqrt(head_size)) v.

    q and the result are (batch, queries, heads, head_size), k and v (batch, keys, heads, head_size), all of
    ``dtype``, row-major.
    """
    element, xla_element = ELEMENT_TYPES[dtype]
    q = f"tensor<{batch}x{queries}x{heads}x{head_size}x{element}>"
    kv = f"tensor<{batch}x{keys}x{heads}x{head_size}x{element}>"
    by_head = f"tensor<{batch}x{heads}x{queries}x{head_size}x{element}>"
    config = json.dumps(_backend_config(batch, heads, queries, keys, head_size, xla_element, causal))
    row_major, head_minor = (f"dense<{order}> : tensor<4xindex>" for order in ([3, 2, 1, 0], [3, 1, 2, 0]))
    return f"""module @attention {{
  func.func public @main(%q: {q}, %k: {kv}, %v: {kv}) -> {q} {{
    %out:2 = stablehlo.custom_call @__cudnn$fmhaSoftmax(%q, %k, %v) {{
      api_version = 2 : i32,
      backend_config = "{config.replace('"', chr(92) + "22")}",
      operand_layouts = [{row_major}, {row_major}, {row_major}],
      result_layouts = [{head_minor}, dense<0> : tensor<1xindex>]
    }} : ({q}, {kv}, {kv}) -> ({by_head}, tensor<0xui8>)
    %joined = stablehlo.transpose %out#0, dims = [0, 2, 1, 3] : ({by_head}) -> {q}
    return %joined : {q}
  }}
}}
"""


def _backend_config(
    batch: int, heads: int, queries: int, keys: int, head_size: int, element: str, causal: bool
) -> dict[str, object]:
    """XLA's GpuBackendConfig (xla/service/gpu/backend_configs.proto) as JSON; 64-bit numbers are strings."""

    def numbers(*values: int) -> list[str]:
        return [str(value) for value in values]

    def product(left: int, right: int, heads_of_left: int) -> dict[str, list[str]]:
        """Contracting dimensions of both operands; the batch dimensions are (batch, heads)."""
        return {
            "lhs_contracting_dimensions": numbers(left),
            "rhs_contracting_dimensions": numbers(right),
            "lhs_batch_dimensions": numbers(0, heads_of_left),
            "rhs_batch_dimensions": numbers(0, 2),
        }

    scores = {
        "element_type": element,
        "dimensions": numbers(batch, heads, queries, keys),
        "tuple_shapes": [],
        "layout": {
            "dim_level_types": [],
            "dim_unique": [],
            "dim_ordered": [],
            "minor_to_major": numbers(3, 2, 1, 0),
            "tiles": [],
            "element_size_in_bits": "0",
            "memory_space": "0",
            "index_primitive_type": "PRIMITIVE_TYPE_INVALID",
            "pointer_primitive_type": "PRIMITIVE_TYPE_INVALID",
            "dynamic_shape_metadata_prefix_bytes": "0",
        },
        "is_dynamic_dimension": [False] * 4,
    }
    return {
        "operation_queue_id": "0",
        "cudnn_fmha_backend_config": {
            "algorithm": {
                "algo_id": "0",
                "math_type": "TENSOR_OP_MATH",
                "tuning_knobs": {"17": "1", "24": "0"},
                "is_cudnn_frontend": True,
                "workspace_size": "0",
            },
            "fmha_scale": 1 / math.sqrt(head_size),
            "intermediate_tensor_shape": scores,
            "is_flash_attention": True,
            "mask_type": "CAUSAL" if causal else "NO_MASK",
            "bmm1_dot_dimension_numbers": product(3, 3, heads_of_left=2),
            "bmm2_dot_dimension_numbers": product(3, 1, heads_of_left=1),
            "dropout_rate": 0.0,
            "seed": 42,
            "sliding_window_length": 0,
            "max_seg_per_batch": 1,
            "is_paged_attention": False,
        },
    }
