"""Golden files of ``torch.save`` in both layouts, and what ``torch.load`` finds in them."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

FOLDER = Path(__file__).parent / "pickles"


def contents() -> dict[str, Any]:
    """What is stored in each file."""
    torch.manual_seed(0)
    base = torch.randn(4, 6)
    views = {
        "whole": base,
        "transposed": base.T,
        "part": base[1:3, 2:5],
        "column": base[:, 1],
        "one": base[2, 3],
    }
    dtypes = (
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
    )
    dtypes += (torch.int8, torch.uint8, torch.bool)
    kinds = {str(dtype).removeprefix("torch."): (base * 3).to(dtype) for dtype in dtypes}
    shapes = {
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "repeated": torch.tensor([1.5]).expand(3, 4),
        "positions": torch.arange(77).expand((1, -1)),
        "parameter": nn.Parameter(base.clone()),
    }
    layer = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    training = {
        "epoch": 3,
        "global_step": 1000,
        "pytorch-lightning_version": "1.4.2",
        "lr_schedulers": [{"base_lrs": [1e-4], "last_epoch": 2}],
        "optimizer_states": [
            {"state": {0: {"step": 1, "exp_avg": base}}, "param_groups": [{"betas": (0.9, 1.0)}]}
        ],
    }
    return {
        "views": views,
        "kinds": kinds,
        "shapes": shapes,
        "state": {**training, "state_dict": layer.state_dict()},
        "embedding": {"string_to_token": {"*": 265}, "string_to_param": {"*": base[:2]}, "name": "cat toy"},
    }


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Tensors by dotted name; of a checkpoint those of its state_dict."""
    value = value.get("state_dict", value)
    found = {}
    for name, inner in value.items():
        if isinstance(inner, dict):
            found |= flat(inner, f"{prefix}{name}.")
        elif isinstance(inner, torch.Tensor):
            found[prefix + name] = inner.detach()
    return found


def main() -> None:
    """Writes the files and their values."""
    warnings.simplefilter("ignore")
    FOLDER.mkdir(exist_ok=True)
    values = {}
    for name, value in contents().items():
        for layout in ("zip", "older"):
            path = FOLDER / f"{name}-{layout}.pt"
            torch.save(value, path, _use_new_zipfile_serialization=layout == "zip")
            for tensor, found in flat(torch.load(path, weights_only=True)).items():
                wide = found.float() if found.dtype == torch.bfloat16 else found
                values[f"{path.stem}/{tensor}"] = wide.numpy()
    _newer()
    np.savez_compressed(FOLDER / "values.npz", **values)


def _newer() -> None:
    """What only the zip layout holds, or ``weights_only`` refuses."""
    small = {"eight": torch.tensor([0.5, -2.0, 448.0]).to(torch.float8_e4m3fn)}
    torch.save({**small, "sixteen": torch.tensor([1, 65535]).to(torch.uint16)}, FOLDER / "dtypes-zip.pt")
    parameters = nn.ParameterDict({"*": nn.Parameter(torch.ones(2, 3))})
    torch.save(
        {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": parameters}, FOLDER / "module.pt"
    )
    torch.save([torch.ones(2), torch.zeros(2)], FOLDER / "list.pt")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "program.pt"
        torch.jit.script(nn.Linear(1, 1)).save(str(program))
        (FOLDER / "program.pt").write_bytes(program.read_bytes())


if __name__ == "__main__":
    main()
