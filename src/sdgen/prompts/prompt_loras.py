"""LoRAs that prompts name, ``<lora:name:0.8>``: which files they are.

A LoRA is merged into the weights when a model is loaded, so all prompts of one run name the same ones.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from sdgen.errors import InputError
from sdgen.files import folders
from sdgen.files.foreign_files import PICKLES
from sdgen.request import Request
from sdgen.text.prompt_syntax import LoraTag, extract_loras

Scales = tuple[float, float]
"""A LoRA's factors for the text encoder and for the UNet."""


def folder() -> Path:
    """Where LoRAs are looked for by name: ``loras`` in the models folder."""
    return folders.models() / "loras"


def find(name: str) -> Path:
    """The file of a LoRA: ``<name>.safetensors`` in the folder or below it, links to folders followed.

    Where there is none of that ending, a pickle of the name is taken.

    Raises:
        InputError: there is none, or more than one.
    """
    return _found(name, _by_name())


def _found(name: str, files: Mapping[str, Sequence[Path]]) -> Path:
    found = files.get(f"{name}.safetensors") or [
        path for ending in PICKLES for path in files.get(name + ending, ())
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"the prompt names the LoRA {name!r}, and {len(found)} files below {folder()} are called so"
        )
    raise InputError(
        f"the prompt names the LoRA {name!r}, and there is no {name}.safetensors in {folder()}; put it there"
    )


def _by_name() -> dict[str, list[Path]]:
    """The paths of all files, by their names."""
    files: dict[str, list[Path]] = {}
    for path in _files():
        files.setdefault(path.name, []).append(path)
    return files


def _files() -> Iterator[Path]:
    """Every file in the folder and below it; of a folder that several paths lead to, its files once."""
    seen = set()
    starts = [str(folder())]
    for start in starts:  # which grows: links come after real folders, so that a file keeps its own path
        for place, below, files in os.walk(start):
            real = os.path.realpath(place)
            if real in seen:
                below.clear()
                continue
            seen.add(real)
            inside = (os.path.join(place, name) for name in sorted(below))
            starts += [path for path in inside if os.path.islink(path)]
            yield from (Path(place, name) for name in files)


def named(requests: Iterable[Request]) -> list[tuple[Path, Scales]]:
    """The LoRAs that the prompts of requests name, to be given to ``sdgen.load``.

    Raises:
        InputError: a file is missing, a prompt's syntax is wrong or names a LoRA at several scales, or the
            prompts do not all name the same.
    """
    sets: dict[frozenset[LoraTag], str] = {}
    for request in requests:
        if request.prompt_syntax != "plain":
            for prompt in filter(None, (request.prompt, request.prompt_to)):
                sets.setdefault(frozenset(extract_loras(prompt)[1]), prompt)
    if len(sets) > 1:
        first, second = list(sets.values())[:2]
        raise InputError(
            f"the prompts {first!r} and {second!r} name different LoRAs, which are merged into the weights; "
            "run them apart",
            "prompt",
        )
    tags = next(iter(sets), frozenset())
    times = Counter(tag.name for tag in tags)
    twice = [name for name, count in times.items() if count > 1]
    if twice:
        raise InputError(f"the prompt names the LoRA {twice[0]!r} at several scales; name it once", "prompt")
    files = _by_name() if tags else {}  # The folder is read once, however many there are.
    return [(_found(tag.name, files), (tag.text_encoder_scale, tag.unet_scale)) for tag in sorted(tags)]
