"""The names that weights' pickles may ask for, and what stands in for each.

All are exact. Those of PyTorch are what ``torch.save`` writes (torch/_utils.py, torch/serialization.py,
torch/_weights_only_unpickler.py). Those that no tensor needs are the ones that published files of Stable
Diffusion are known to hold, by the lists of AUTOMATIC1111's modules/safe.py, ComfyUI's utils.py and
pickle_inspector.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdgen.checkpoints.pickles.machine import Maker, Opaque
from sdgen.checkpoints.pickles.storages import Storage, StoredTensor


class Kind:
    """A kind of numbers: a class of storages, or a dtype.

    Args:
        dtype: its name in NumPy or ``ml_dtypes``.
    """

    __slots__ = ("dtype",)

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, dtype: Any = None) -> StoredTensor:
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise ValueError
    if dtype is not None and not isinstance(dtype, Kind):
        raise ValueError
    tensor = StoredTensor(storage, offset, shape, strides, dtype.dtype if dtype else storage.dtype)
    if not tensor.fits():
        raise ValueError
    return tensor


def _tensor_of_another_dtype(arguments: tuple[Any, ...]) -> StoredTensor:
    """``_rebuild_tensor_v3``, whose storage holds bytes."""
    storage, offset, shape, strides, _, _, dtype, *_ = arguments
    return _tensor(storage, offset, shape, strides, dtype)


def _parameter(arguments: tuple[Any, ...]) -> StoredTensor:
    if not isinstance(arguments[0], StoredTensor):
        raise ValueError
    return arguments[0]


def _of_a_subclass(arguments: tuple[Any, ...]) -> Any:
    """``_rebuild_from_type_v2``: a tensor with attributes; function, class, arguments and state."""
    function, _, inner, *_ = arguments
    if not isinstance(function, Maker) or not function.name.startswith("torch._utils._rebuild_"):
        raise ValueError
    return function.make(inner)


def _dictionary(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """OrderedDict; Python 2 gives its pairs at once."""
    pairs = list(arguments[0]) if arguments else []
    if len(arguments) > 1 or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise ValueError
    if not all(isinstance(pair[0], str) for pair in pairs):
        raise ValueError
    return dict(pairs)


def _size(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    (numbers,) = arguments
    if not isinstance(numbers, list | tuple):
        raise ValueError
    return tuple(numbers)


_MAKERS = {
    "torch._utils._rebuild_tensor": lambda arguments: _tensor(*arguments),
    "torch._utils._rebuild_tensor_v2": lambda arguments: _tensor(*arguments[:4]),
    "torch._utils._rebuild_tensor_v3": _tensor_of_another_dtype,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _of_a_subclass,
    "collections.OrderedDict": _dictionary,
    "typing.OrderedDict": _dictionary,
    "torch.Size": _size,
}

_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
    "storage.UntypedStorage": "uint8",
    "storage._UntypedStorage": "uint8",
}

_DTYPES = {
    **{name: name for name in ("float64", "float32", "float16", "bfloat16", "bool")},
    **{name: name for name in ("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8")},
    **{name: name for name in ("float8_e4m3fn", "float8_e5m2")},
}

OPAQUE = frozenset(
    (
        "_codecs.encode",
        "__builtin__.set",
        "builtins.set",
        "numpy.dtype",
        "numpy.ndarray",
        "numpy.core.multiarray.scalar",
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "numpy._core.multiarray._reconstruct",
        "pytorch_lightning.callbacks.model_checkpoint",
        "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
        "torch.Tensor",
        "torch.device",
        "torch.nn.modules.container.ParameterDict",
        "torch.nn.modules.container.ParameterList",
        "torch.nn.parameter.Parameter",
        "torch.serialization._get_layout",
    )
)
"""Names that no tensor needs, or (ParameterDict) that only hold tensors; each becomes an ``Opaque``."""

NAMES: Mapping[str, Maker | Kind | Opaque] = {
    **{name: Maker(name, make) for name, make in _MAKERS.items()},
    **{f"torch.{name}": Kind(dtype) for table in (_STORAGES, _DTYPES) for name, dtype in table.items()},
}
"""What stands in for a name that makes tensors."""


def look_up(name: str) -> Maker | Kind | Opaque | None:
    """What stands in for a name; None for one that is refused."""
    return Opaque(name) if name in OPAQUE else NAMES.get(name)
