"""Devices by name ("gpu:0", "cpu:0"), and the dtype that each is good at."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

from sdgen.backend.choosing import active
from sdgen.backend.framework import framework
from sdgen.errors import BackendError

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class Dtype:
    """A dtype that weights are stored and multiplied in: bytes of a number, and a word about it."""

    size: int
    words: str


DTYPES: Mapping[str, Dtype] = {
    "float32": Dtype(4, "32 bits"),
    "bfloat16": Dtype(2, "16 bits, range of float32"),
    "float16": Dtype(2, "16 bits"),
}
"""Every dtype that a device can draw in, by its name."""


def devices() -> list[str]:
    """Names of the devices of the active backend, accelerators first, for example ["gpu:0", "cpu:0"]."""
    return framework().devices()


def find_device(name: str | None = None) -> str:
    """The device to use: the first for None, "auto" or an accelerator's bare kind ("gpu").

    Raises:
        BackendError: there is no such device.
    """
    present = devices()
    if name in (None, "auto"):
        return present[0]
    wanted = str(name).lower().replace("cuda", "gpu")
    for device in present:
        if wanted in (device, device.split(":")[0]):
            return device
    raise BackendError(f"{active()} sees no device {name!r} here; it sees {', '.join(present)}")


def default_dtype(device: str) -> str:
    """What a device computes in if nobody says.

    On a CPU that is float32, the reference's, though one that has bfloat16 is faster in it. That has
    float32's range and is native from NVIDIA's Ampere on (compute capability 8.0) and on TPUs; float16
    serves what came before.
    """
    kind, index = device.split(":")
    if kind == "cpu":
        return "float32"
    if kind == "gpu":
        return "bfloat16" if framework().compute_capability(int(index)) >= (8, 0) else "float16"
    return "bfloat16"


def low_memory_dtype(device: str) -> str:
    """As ``default_dtype``, and bfloat16 on a CPU."""
    return "bfloat16" if device.startswith("cpu") else default_dtype(device)


def on_device(device: str) -> Any:
    """A context in which tensors are made and programs run on ``device``."""
    kind, index = device.split(":")
    return framework().on_device(kind, int(index))


def each_on_device(device: str, items: Iterator[Item]) -> Iterator[Item]:
    """The items of a generator, each made on ``device``, which is not the consumer's in between.

    A generator that yields inside ``on_device`` would hand that to its consumer, and two of them that take
    turns would leave it in the wrong order, which TensorFlow refuses.
    """
    nothing = object()
    while True:
        with on_device(device):
            item = next(items, nothing)
        if item is nothing:
            return
        yield cast(Item, item)
