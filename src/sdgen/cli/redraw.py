"""How a recorded image is drawn again: with what model, on what, and what differs from then."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sdgen.errors import InputError
from sdgen.images import metadata, started_from
from sdgen.images.records import Additions, Record
from sdgen.prompts import prompt_loras
from sdgen.request import FIELDS, Picture, Request
from sdgen.request.upscale_methods import BACKEND

if TYPE_CHECKING:
    from sdgen.pipeline.engine import Engine


@dataclasses.dataclass(frozen=True)
class Setup:
    """What ``sdgen.load`` is given, and the batch size. Images of equal setups are drawn by one pipeline."""

    model: str
    backend: str | None
    dtype: str | None
    device: str | None
    engine: str
    vae: str | None
    loras: tuple[tuple[str, Any], ...]
    embeddings: tuple[str, ...]
    variant: str | None
    prediction_type: str | None
    jit: bool | None
    low_memory: bool
    batch_size: int | None

    def load(self) -> Engine:
        """The pipeline.

        Raises:
            SdgenError: as ``sdgen.load`` does.
        """
        from sdgen.pipeline.opening import opened

        options = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("model", "batch_size")
        }
        return opened(self.model, **options)


@dataclasses.dataclass(frozen=True)
class Job:
    """One image to draw again; ``notes`` are sentences about what cannot be as it was."""

    record: Record
    request: Request
    setup: Setup
    notes: tuple[str, ...] = ()


def job(record: Record, values: Mapping[str, Any], given: Mapping[str, Any]) -> Job:
    """How a record is drawn again: the command line wins over the record, that over the settings.

    Args:
        record: what is known of the image.
        values: the settled options, wherever they come from.
        given: those on the command line.

    Raises:
        InputError: too little is recorded, or a file that was used is not there.
    """
    changes = {name: given[field.parameter] for name, field in FIELDS.items() if field.parameter in given}
    if isinstance(changes.get("init_image"), tuple):
        raise InputError("--init-image names several pictures, and an image starts from one; name a file")
    if "size" in given:
        changes["width"], changes["height"] = given["size"]
    request = _with_pictures(record, record.request(**changes), changes)
    recorded = record.details
    model = request.model or recorded.get("model_name")
    if not isinstance(model, str):
        raise InputError(f"{record.file} does not say which model drew it; give one with --model")
    added = _additions(record, request, values, given)

    def chosen(option: str, known: Any) -> Any:
        value = given.get(option) or (known if isinstance(known, str) else None) or values[option]
        return None if value == "auto" else value

    notes: tuple[str, ...] = ()
    if recorded.get("backend") == BACKEND:  # Whatever draws it now instead has a choice.
        recorded = {name: value for name, value in recorded.items() if name not in ("backend", "dtype")}
    backend = recorded.get("backend")
    if isinstance(backend, str) and "backend" not in given and not metadata.versions([backend]):
        notes = (f"it was drawn with {backend}, which is not installed here",)
        backend = None
    compiler = recorded.get("compiler")
    setup = Setup(
        model=model,
        backend=chosen("backend", backend),
        dtype=chosen("dtype", recorded.get("dtype")),
        # An accelerator may have another number here; the CPU is the CPU.
        device=chosen("device", "cpu" if str(recorded.get("device")).startswith("cpu") else None),
        engine=chosen("engine", recorded.get("engine")),
        vae=added.vae,
        loras=added.loras,
        embeddings=added.embeddings,
        variant=added.variant,
        prediction_type=added.prediction_type,
        jit=compiler == "xla" if compiler in ("xla", "graph") else None,
        low_memory=bool(given.get("low_memory", recorded.get("low_memory"))),
        batch_size=given.get("batch_size") or _batch_size(recorded.get("batch_size")),
    )
    return Job(record, request, setup, notes)


def on_one_backend(jobs: Sequence[Job]) -> list[Job]:
    """The jobs with the first backend that one of them has, because a process has one."""
    backend = next((job.setup.backend for job in jobs if job.setup.backend), None)
    changed: list[Job] = []
    for job in jobs:
        notes = job.notes
        if job.setup.backend not in (None, backend):
            notes += (f"it was drawn with {job.setup.backend}; replay it alone for that",)
        setup = dataclasses.replace(job.setup, backend=backend)
        changed.append(dataclasses.replace(job, setup=setup, notes=notes))
    return changed


def differences(record: Record, details: Mapping[str, Any], verdict: str) -> Iterator[str]:
    """Sentences about what was not as it was recorded.

    Args:
        record: of the image.
        details: of the picture that was drawn now, as ``sdgen.Image`` has them.
        verdict: of their comparison; what did no harm is not told.
    """
    recorded, here = record.details.get("weights_sha256"), details.get("weights_sha256")
    if recorded is None and record.tool == "sdgen":
        recorded = record.other.get("Model hash")
    if recorded and here and not str(here).startswith(str(recorded)):
        yield f"the weights differ: {str(recorded)[:10]} was recorded, and here they are {str(here)[:10]}"
    if verdict == "identical":
        return
    for name in ("engine", "backend", "device", "dtype", "compiler", "batch_size"):
        then, now = record.details.get(name), details.get(name)
        if None not in (then, now) and then != now:
            yield f"its {name.replace('_', ' ')} was {then} and is now {now}"
    versions = record.details.get("versions")
    for name, then in versions.items() if isinstance(versions, dict) else ():
        now = metadata.sdgen_version() if name == "sdgen" else metadata.versions([name]).get(name)
        if name not in ("python", "sdgen") and now is not None and now != then:
            yield f"{name} was {then} and is now {now}"


def _additions(
    record: Record, request: Request, values: Mapping[str, Any], given: Mapping[str, Any]
) -> Additions:
    """What the model is loaded with: as the command line says, else as was recorded."""
    found = record.additions
    loras = tuple(given.get("lora", ())) or found.loras
    # What is not recorded may still be named in the prompt, and the settings have a say.
    settled: Mapping[str, Any] = given
    if "changes" not in record.details:
        loras = loras or tuple((os.fspath(file), scales) for file, scales in prompt_loras.named([request]))
        settled = values
    added = Additions(
        given.get("vae") or found.vae,
        loras,
        tuple(given.get("embedding", ())) or found.embeddings,
        settled.get("variant") or found.variant,
        settled.get("prediction") or found.prediction_type,
    )
    wanted = [("--vae", added.vae), *(("--lora", file) for file, _ in added.loras)]
    wanted += [("--embedding", file) for file in added.embeddings]
    for option, path in wanted:
        if path is not None and not os.path.exists(path):
            raise InputError(f"{record.file} was drawn with {path}, which is not there; use {option}")
    return added


def _with_pictures(record: Record, request: Request, changes: Mapping[str, Any]) -> Request:
    """The request with the pictures that it was started from: they lie where they lay, or beside the record.

    Raises:
        InputError: one is not there, or shows something else.
    """
    found = {}
    for name, field in FIELDS.items():
        picture = getattr(request, name)
        if isinstance(picture, Picture) and name not in changes:
            try:
                found[name] = started_from.find(record.file, picture, name)
            except InputError as error:
                raise InputError(f"{error}; give the one with {field.flag}", name) from None
    return request.replace(**found)


def _batch_size(recorded: Any) -> int | None:
    return recorded if isinstance(recorded, int) and 1 <= recorded <= 1024 else None
