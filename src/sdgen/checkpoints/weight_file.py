"""Files of weights, read by what is in them: ``.safetensors``, or what ``torch.save`` has pickled."""

from __future__ import annotations

from pathlib import Path

from sdgen.checkpoints.pickles import is_pickle, read_pickle, read_pickle_texts
from sdgen.checkpoints.safetensors_file import read_metadata, read_safetensors
from sdgen.checkpoints.tensors import Tensors
from sdgen.errors import CheckpointError


def read_weights(path: Path) -> Tensors:
    """The tensors of a file, unread. Nothing in the file is run, whatever its kind.

    Raises:
        CheckpointError: the file is missing, of another kind, damaged, or a pickle that asks for what weights
            do not need.
    """
    return read_pickle(path) if _pickled(path) else read_safetensors(path)


def read_texts(path: Path) -> dict[str, str]:
    """The free text that a file holds beside its tensors, by name.

    Raises:
        CheckpointError: as ``read_weights`` does.
    """
    return read_pickle_texts(path) if _pickled(path) else read_metadata(path)


def _pickled(path: Path) -> bool:
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; give the .safetensors file in it")
    return is_pickle(path)
