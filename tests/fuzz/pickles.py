"""Makers and the target of the pickles' fuzzer: files that are damaged, or ask for what they should not.

Much of the damage is done between two instructions of a pickle, so that what follows is still read.
"""

from __future__ import annotations

import pickletools
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from pickled_files import WRITERS, Name, Persistent

from fuzz.mutations import STRANGE_NUMBERS, STRANGE_TEXT, damaged
from fuzz.weights import spoil, write_header
from sdgen.checkpoints.pickles import read_pickle_texts
from sdgen.checkpoints.textual_inversion import read_embedding
from sdgen.checkpoints.weight_file import read_weights
from sdgen.errors import SdgenError

GOLDEN = Path(__file__).parents[1] / "golden" / "pickles"

CANARY = "canary"
"""A file that hostile pickles write in the folder that they are read in."""

_TOUCH = f"touch {CANARY}"
_OPEN = f"open('{CANARY}', 'w')"

MAX_MESSAGE = 4000
"""Characters of an error's message."""


def read(folder: Path) -> None:
    """Reads each file of weights in a folder, and every number; what it asks for must not have been done."""
    try:
        for path in sorted(folder.iterdir()):
            tensors = read_weights(path)
            assert all(entry.read().shape == entry.shape for _, entry in tensors.items_lazy())
            if path.suffix == ".pt":
                read_pickle_texts(path)
            read_embedding(path)
    except SdgenError as error:
        assert len(str(error)) <= MAX_MESSAGE, f"a message of {len(str(error))} characters"
        raise
    finally:
        assert not (folder / CANARY).exists(), "something was run"


def make(rng: random.Random, folder: Path) -> None:
    """An input for ``read``: a file of weights, four of five times a pickle, damaged in one place or more."""
    rng.choice((_file, _instructions, _instructions, _tensors, _safetensors))(rng, folder / "x.pt")


def _file(rng: random.Random, path: Path) -> None:
    """A file of PyTorch with some of its bytes changed."""
    source = rng.choice(sorted(GOLDEN.glob("*.pt")))
    path.write_bytes(damaged(rng, source.read_bytes(), 8))


def _instructions(rng: random.Random, path: Path) -> None:
    """A file of PyTorch whose pickle has other instructions, and is where it should be."""
    source = rng.choice(sorted(GOLDEN.glob("*-*.pt")))
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, _reprogrammed(rng, data) if name.endswith("data.pkl") else data)
        return
    data = source.read_bytes()
    start = 0
    for _ in range(rng.choice((0, 1, 2, 3, 3, 3, 4))):  # mark, protocol, machine, object and keys
        start += _length(data[start:])
    end = start + _length(data[start:])
    path.write_bytes(data[:start] + _reprogrammed(rng, data[start:end]) + data[end:])


def _length(data: bytes) -> int:
    return 1 + max(place or 0 for _, _, place in pickletools.genops(data))


def _reprogrammed(rng: random.Random, data: bytes) -> bytes:
    """A pickle some of whose instructions are taken out, done twice, or followed by others."""
    places = [place or 0 for _, _, place in pickletools.genops(data)]
    pieces = [data[start:end] for start, end in zip(places, [*places[1:], len(data)], strict=True)]
    for _ in range(rng.randint(1, 4)):
        if len(pieces) < 2:
            pieces.append(_snippet(rng))
        place = rng.randrange(1, len(pieces))
        how = rng.randrange(5)
        if how == 0:
            del pieces[place - 1]
        elif how == 1:
            pieces.insert(place, pieces[rng.randrange(len(pieces))])
        elif how == 2:
            pieces[place - 1] = damaged(rng, pieces[place - 1], 1)
        else:
            pieces.insert(place, _snippet(rng))
    return b"".join(pieces)


def _text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


_FUNCTIONS = (("os", "system", _TOUCH), ("posix", "system", _TOUCH), ("subprocess", "getoutput", _TOUCH))
_FUNCTIONS += (("builtins", "eval", _OPEN), ("builtins", "exec", _OPEN), ("__builtin__", "execfile", CANARY))
_FUNCTIONS += (("builtins", "open", CANARY), ("torch.hub", "load", CANARY), ("runpy", "run_path", CANARY))
_FUNCTIONS += (("collections", "OrderedDict", CANARY), ("torch._utils", "_rebuild_parameter", CANARY))
_FUNCTIONS += (("numpy.core.multiarray", "scalar", CANARY), ("torch", "FloatStorage", CANARY))
_FUNCTIONS += (("torch.storage", "_load_from_bytes", CANARY), ("copyreg", "_reconstructor", CANARY))


def _snippet(rng: random.Random) -> bytes:
    """Instructions that call something, grow, or put something strange on the stack."""
    module, name, argument = rng.choice(_FUNCTIONS)
    number = rng.choice(STRANGE_NUMBERS)
    asked = rng.choice((f"c{module}\n{name}\n".encode(), _text(module) + _text(name) + b"\x93"))
    return rng.choice(
        (
            asked + _text(argument) + rng.choice((b"\x85R", b"\x85\x81", b"\x85b", b"}\x92")),
            asked + b")" + rng.choice((b"R", b"\x81", b"Rq\x00", b"R}b")),
            b"(" + _text(argument) + f"i{module}\n{name}\n".encode(),
            b"(" + asked + _text(argument) + b"o",
            b"(" + asked + _text(argument) + b"tQ",
            rng.choice(
                (b"\x82\x01", b"\x83\x01\x01", b"\x84\x01\x00\x00\x00", b"Pcanary\n", b"\x97", b"\x98")
            ),
            (b"2\x86" * 200) + rng.choice((b"", b"\x85b", b"NNs")),
            b"]" * rng.choice((1, 100, 50_000)) + b"a" * rng.choice((1, 99, 49_999)),
            b"}" + b"2" * 1000 + b"\x86" * 500,
            b"\x8b" + struct.pack("<I", number % 2**32),
            b"\x8d" + struct.pack("<Q", number % 2**64),
            b"\x8a\x09" + (number % 2**64).to_bytes(8, "little") + b"\x00",
            b"L" + str(number).encode() + b"L\n",
            _text(rng.choice(STRANGE_TEXT)),
            b"N0" * rng.choice((1, 1000, 600_000)),
            rng.choice(
                (b"h\x00", b"j\x00\x00\x00\x00", b"q\x00", b"\x94", b"0", b"1", b"2", b"(", b".", b"Q")
            ),
        )
    )


def _tensors(rng: random.Random, path: Path) -> None:
    """A file all of whose parts are as they should be but for the numbers in a tensor's description."""
    array = np.arange(rng.choice((0, 1, 6, 75 * 8)), dtype=rng.choice((np.float32, np.float16, np.int64)))

    def strange() -> Any:
        return rng.choice((0, 1, 2, 3, 75, 1 << 20, True, None, 1.5, "x", (), *STRANGE_NUMBERS))

    count = rng.randint(0, 9)
    storage = [
        "storage",
        Name("torch", rng.choice(("FloatStorage", "HalfStorage", "LongStorage"))),
        "0",
        "cpu",
    ]
    storage.append(rng.choice((len(array), strange())))
    if rng.random() < 0.2:
        storage.append((0, strange(), strange()))
    shape, strides = (tuple(strange() for _ in range(count)) for _ in range(2))
    arguments = [Persistent(tuple(storage)), strange(), shape, strides, False, {}][
        : rng.choice((6, 6, 6, 4, 3))
    ]
    tensor = Name("torch._utils", rng.choice(("_rebuild_tensor_v2", "_rebuild_tensor")), *arguments)
    WRITERS[rng.choice(tuple(WRITERS))](path, {"plain": array, "x": tensor})


def _safetensors(rng: random.Random, path: Path) -> None:
    path = path.with_suffix(".safetensors")
    shapes = [("emb_params", (rng.choice((0, 1, 75, 76)), 8)), ("x", ()), ("y.lora_down.weight", (2, 8))]
    spoil(rng, path, write_header(path, shapes[: rng.randint(1, 3)]))
