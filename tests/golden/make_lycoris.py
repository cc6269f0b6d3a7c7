"""Makes lycoris.npz: weights of the bundled model as LyCORIS itself merges its kinds of files.

``pip install lycoris-lora`` (4.1) and PyTorch, then ``python make_lycoris.py`` with sdgen installed. The
files are those of ``lora_files.lycoris``; LyCORIS' own modules read them and give the merged weights at
``lora_files.SCALE``, of which every 13th row and column is stored.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from lycoris.modules import get_module, make_module
from lycoris.modules.ia3 import IA3Module

HERE = Path(__file__).parent
MINI = HERE.parents[1] / "src/sdgen/models/data/sd-mini"
sys.path.insert(0, str(HERE.parent))

import lora_files  # noqa: E402

from sdgen.checkpoints import open_checkpoint  # noqa: E402


def torch_module(weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    """A layer with these values: a norm, a linear layer or a convolution by its weight's rank."""
    weight, bias = weights["weight"], weights.get("bias")
    if weight.dim() == 1:
        module: torch.nn.Module = torch.nn.GroupNorm(8, len(weight))
    elif weight.dim() == 2:
        module = torch.nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    else:
        module = torch.nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1, bias=bias is not None)
    module.load_state_dict(weights)
    return module


def lycoris_module(state: dict[str, torch.Tensor], layer: torch.nn.Module) -> torch.nn.Module:
    """LyCORIS' own module for a layer, from what a file holds of it."""
    if "x.on_input" in state:  # Which LyCORIS 4.1 writes and does not read again.
        module = IA3Module("x", layer, 1, train_on_input=bool(state["x.on_input"]))
        module.weight.data = state["x.weight"]
        return module
    kind, parameters = get_module(state, "x")
    return make_module(kind, parameters, "x", layer)


def main() -> None:
    """Stores ``kind/module/tensor`` -> the merged tensor."""
    tensors = open_checkpoint(MINI).unet.tensors
    result = {}
    for kind, modules in lora_files.lycoris_parts().items():
        for name, parts in modules.items():
            weights = {
                part: torch.from_numpy(tensors[f"{name}.{part}"].astype(np.float32))
                for part in ("weight", "bias")
                if f"{name}.{part}" in tensors
            }
            state = {f"x.{role}": torch.from_numpy(np.asarray(tensor)) for role, tensor in parts.items()}
            layer = torch_module(weights)
            with torch.no_grad():
                merged, bias = lycoris_module(state, layer).get_merged_weight(lora_files.SCALE)
            for part, value in (("weight", merged), ("bias", bias)):
                if value is not None:
                    array = value.numpy()
                    result[f"{kind}/{name}.{part}"] = array[::13, ::13] if array.ndim > 1 else array[::13]
    for key, value in result.items():
        print(key, value.shape, float(np.abs(value).mean()))
    np.savez_compressed(HERE / "lycoris.npz", **result)


if __name__ == "__main__":
    main()
