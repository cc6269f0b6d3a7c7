"""What ``sdgen doctor`` finds out. Each function gathers one thing and notes what is wrong with it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from sdgen import models
from sdgen.backend import BACKENDS
from sdgen.cli import settings, variables
from sdgen.cli.batch_options import OPTIONS as BATCH
from sdgen.cli.options import CONFIG, DRAWING
from sdgen.errors import SdgenError
from sdgen.files import folders
from sdgen.images import metadata
from sdgen.images.image_files import FOLDER

PACKAGES = ("keras", "keras-cv", "tensorflow", "jax", "numpy", "pillow", "click", "safetensors", "h5py")
SECONDS_FOR_A_BACKEND = 120
LEAST_DISK = 200_000_000
LEAST_MEMORY = 4_000_000_000
CPU_FEATURES = ("avx", "avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
FOREIGN_VARIABLES = (
    "KERAS_BACKEND",
    "KERAS_HOME",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "CUDA_VISIBLE_DEVICES",
    "JAX_PLATFORMS",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
)

_LIST_DEVICES = """
import json, sys
from sdgen import backend
backend.activate(sys.argv[1])
print(json.dumps({name: backend.default_dtype(name) for name in backend.devices()}))
"""


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is wrong, what to do about it, and whether sdgen is unusable until then."""

    what: str
    remedy: str
    blocks: bool = True


def versions(problems: list[Problem]) -> dict[str, str]:
    """Versions of sdgen, Python and the packages that matter."""
    found = metadata.versions(PACKAGES)
    for name in ("keras", "keras-cv", "numpy", "pillow"):
        if name not in found:
            problems.append(Problem(f"{name} is not installed", "install sdgen again with pip"))
    return {"sdgen": metadata.sdgen_version(), "python": platform.python_version(), **found}


def backends(problems: list[Problem]) -> dict[str, dict[str, Any]]:
    """Each backend's devices and their dtypes, asked for in a process of its own: a broken one may die."""
    installed = metadata.versions(BACKENDS)
    running = {name: _start(name) for name in installed}
    found: dict[str, dict[str, Any]] = {}
    for name in BACKENDS:
        devices, error = _collect(running[name]) if name in running else ({}, "not installed")
        found[name] = {"version": installed.get(name), "devices": devices, "error": error}
        if name in running and error:
            problems.append(Problem(f"{name} does not work: {error}", f"install {name} again", blocks=False))
    if not any(backend["devices"] for backend in found.values()):
        problems.append(Problem("no backend works", "install sdgen again, or pip install 'sdgen[jax]'"))
    return found


def machine(problems: list[Problem]) -> dict[str, Any]:
    """Processor, cores and memory; what cannot be found out is None."""
    features = _cpu_features()
    total, free = _memory()
    if platform.machine() in ("x86_64", "AMD64") and features and "avx" not in features:
        problems.append(Problem("this processor has no AVX, which TensorFlow needs", "use another machine"))
    if total is not None and total < LEAST_MEMORY:
        what = f"this machine has {total / 1e9:.1f} GB of memory"
        problems.append(Problem(what, "use --model mini; the other models need 8 GB or more", blocks=False))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.machine(),
        "features": features,
        "cores": cores,
        "memory_bytes": total,
        "free_memory_bytes": free,
    }


def places(problems: list[Problem]) -> dict[str, dict[str, Any]]:
    """The folders that sdgen uses, and whether they are there, can be written and have space."""
    wanted = {
        "outputs": FOLDER.absolute(),
        "config": folders.config(),
        "models": folders.models(),
        "cache": folders.cache(),
        "state": folders.state(),
    }
    found: dict[str, dict[str, Any]] = {}
    for name, folder in wanted.items():
        there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
        writable = _possible(folder) and os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)
        free = _free(there)
        found[name] = {
            "path": os.fspath(folder),
            "exists": os.path.isdir(folder),
            "writable": writable,
            "free_bytes": free,
        }
        remedy = "choose another with -o" if name == "outputs" else f"set SDGEN_{name.upper()}_DIR to another"
        if not writable and name != "config":
            what = f"the {name} folder {folder} cannot be {'written' if there == folder else 'made'}"
            problems.append(Problem(what, remedy, blocks=name == "outputs"))
        elif free < LEAST_DISK and name != "config":
            what = f"the {name} folder {folder} has {free / 1e6:.0f} MB left"
            problems.append(Problem(what, f"free some space, or {remedy}", blocks=False))
    return found


def settings_in_force(problems: list[Problem]) -> dict[str, Any]:
    """The settings file and what it sets."""
    chosen = settings.chosen_file()
    file = chosen or settings.default_file()
    values: dict[str, Any] = {}
    try:
        values = settings.read(chosen, DRAWING)
    except SdgenError as error:
        problems.append(Problem(str(error), "correct the file, or remove it"))
    return {"path": os.fspath(file), "exists": os.path.exists(file), "values": values}


def environment(problems: list[Problem]) -> dict[str, str]:
    """The environment variables in force that change what sdgen does."""
    options = {option.envvar: option for option in (*DRAWING, CONFIG, *BATCH)}
    found = {}
    for name, remedy in variables.unknown().items():
        problems.append(Problem(f"{name} is no variable of sdgen", remedy, blocks=False))
    for name, value in sorted(os.environ.items()):
        if not value or not (name.startswith("SDGEN_") or name in FOREIGN_VARIABLES):
            continue
        found[name] = value
        option = options.get(name)
        if option is None:
            continue
        try:
            for item in option.type.split_envvar_value(value) if option.multiple else [value]:
                option.type.convert(item, option, None)
        except click.BadParameter as error:
            problems.append(Problem(f"{name}: {error.message}", "correct it or unset it"))
    return found


def models_here(problems: list[Problem], settings: Mapping[str, Any]) -> dict[str, str | None]:
    """Every model of the catalogue with its place on this machine, or None.

    Args:
        problems: gets the model that is drawn with where none is named, if it is not here.
        settings: what ``settings_in_force`` found.
    """
    try:
        names: Iterable[str] = models.names()
    except SdgenError as error:
        problems.append(Problem(str(error), "correct the file, or remove it"))
        return {}
    found: dict[str, str | None] = {}
    for name in names:
        found[name] = None
        with contextlib.suppress(SdgenError):
            found[name] = os.fspath(models.locate(name, task=None))
    default = os.environ.get("SDGEN_MODEL") or settings["values"].get("model") or models.DEFAULT
    try:
        models.locate(default)
    except SdgenError as error:
        what = f"{default}, which is drawn with where no model is named, cannot be used"
        problems.append(Problem(what, str(error), blocks=False))
    return found


def _possible(path: Path) -> bool:
    """Whether a path is there, or could be: a name that is too long and a loop of links cannot."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _free(path: Path) -> int:
    """Bytes free on the disk of a path, or of the nearest folder above it that exists."""
    for place in (path, *path.parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(place).free
    return 0


def _start(backend: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _LIST_DEVICES, backend]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def _collect(process: subprocess.Popen[str]) -> tuple[dict[str, str], str | None]:
    try:
        answer, complaint = process.communicate(timeout=SECONDS_FOR_A_BACKEND)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {}, f"no answer within {SECONDS_FOR_A_BACKEND} s"
    lines = answer.strip().splitlines()
    if process.returncode == 0 and lines:
        return dict(json.loads(lines[-1])), None
    last = complaint.strip().splitlines()
    return {}, last[-1] if last else f"it ended with status {process.returncode}"


def _cpu_features() -> list[str]:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name.strip() in ("flags", "Features"):
                flags = value.split()
                return [feature for feature in CPU_FEATURES if feature in flags]
    return []


def _memory() -> tuple[int | None, int | None]:
    """Bytes of memory in all, and of those that programs may still take."""
    found = {}
    with contextlib.suppress(OSError), open("/proc/meminfo", encoding="utf-8") as file:
        for line in file:
            name, _, value = line.partition(":")
            found[name] = int(value.split()[0]) * 1024
    if "MemTotal" in found:
        return found["MemTotal"], found.get("MemAvailable")
    with contextlib.suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None
    return None, None
