"""``sdgen models``: what models there are, which are here, and how they get here."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from sdgen import models
from sdgen.cli.command import WIDTH, Command
from sdgen.cli.downloads import DownloadBar, locate, say_licence
from sdgen.cli.terminal import streams
from sdgen.cli.types import Existing, Lora, Model
from sdgen.diffusion.choices import PREDICTION_TYPES
from sdgen.errors import InputError, ModelUnavailable, SdgenError
from sdgen.models import catalogue, store
from sdgen.models.catalogue import Entry, Source
from sdgen.text.printable import printable

EXAMPLES = """\
sdgen models list                          what there is, and what is here
sdgen models pull sd2.1-base               keras_cv's own files
sdgen models pull sd2.1-base --source hub  the Hub's, half the download
sdgen models pull user/repo@revision       diffusers' safetensors on the Hub
sdgen models convert sd2.1-base sd21.safetensors --dtype float16
sdgen "a fox" --model "$(sdgen models path sd-turbo)\""""

_F = TypeVar("_F", bound=Callable[..., Any])


@click.group("models", context_settings={"max_content_width": WIDTH})
def command() -> None:
    """List, show, fetch, check, convert and remove models."""


def _json_option(function: _F) -> _F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


_quiet_option = click.option("-q", "--quiet", is_flag=True, help="Show errors alone.")
_model_argument = click.argument("model", type=Model())
_models_argument = click.argument("names", nargs=-1, required=True, type=Model(), metavar="MODEL...")


@command.command("convert", cls=Command)
@_model_argument
@click.argument("output", type=click.Path())
@click.option("--dtype", type=click.Choice(["float32", "float16", "bfloat16"]), help="Default: as stored.")
@click.option("--vae", type=Existing(), help="A folder or file whose VAE to use.")
@click.option("--lora", type=Lora(), multiple=True, help="A LoRA to merge, with its scale after a colon.")
@click.option("--variant", metavar="NAME", help="Weights to prefer in a diffusers folder: fp16.")
@click.option("--prediction", type=click.Choice(PREDICTION_TYPES), help="In place of what the model says.")
def convert(
    model: str,
    output: str,
    dtype: str | None,
    vae: str | None,
    lora: tuple[tuple[str, float], ...],
    variant: str | None,
    prediction: str | None,
) -> None:
    """Write a model as a diffusers folder, or as one file if OUTPUT ends in .safetensors."""
    locate(model, task=None)  # A model that is not here is said before anything heavy is imported.
    from sdgen.checkpoints.convert import write_folder, write_single_file
    from sdgen.pipeline.loading import read_checkpoint

    checkpoint = read_checkpoint(
        model, vae=vae, loras=lora, variant=variant, prediction_type=prediction, task=None
    )
    for warning in checkpoint.warnings:
        streams.tell(f"warning: {warning}")
    (write_single_file if output.endswith(".safetensors") else write_folder)(checkpoint, output, dtype)
    streams.show(Path(output))


@command.command("list", cls=Command, notes=(("Examples", EXAMPLES),))
@_json_option
def list_models(as_json: bool) -> None:
    """List the models that have names, and the repositories that were pulled."""
    entries = list(catalogue.load().values())
    entries += [models.find(name) for name in store.repositories()]
    if as_json:
        for entry in entries:
            streams.show(json.dumps({"name": entry.name, "state": store.state(entry), **_facts(entry)}))
        return
    rows = [("NAME", "HERE", "DOWNLOAD", "FOR", "WHAT IT IS")]
    rows += [
        (
            entry.name,
            store.state(entry),
            _download(entry.sources[0]) if entry.sources else "-",
            _purpose(entry),
            entry.summary or "a repository on the Hub",
        )
        for entry in entries
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        streams.show("  ".join([*cells, row[4]]))


@command.command("show", cls=Command)
@_model_argument
@_json_option
def show_model(model: str, as_json: bool) -> None:
    """Show all that is known of a model: settings, licence, files, where it is.

    Of a folder, a file or a repository that is here, its own files say family, task and parts.
    """
    entry = models.find(model)
    place = next(store.found(entry), None)
    facts = {
        "name": entry.name,
        "state": store.state(entry),
        **_facts(entry),
        "path": str(place.path) if place else None,
        **(_read_facts(place.path) if place and entry.catalogue is None else {}),
        "sources": [_source_facts(source) for source in entry.sources],
    }
    if as_json:
        streams.show(json.dumps(facts, indent=1))
        return
    for key, value in {**facts, "usable": _why_unusable(entry, facts)}.items():
        if key != "sources" and value not in (None, "", []):
            streams.show(f"{key:<12} {_fact_text(value)}")
    for source in entry.sources:
        streams.show(f"{'source':<12} {source.name}: {_origin(source)}, {_download(source)}")
        for file in source.files:
            size = f", {models.size_text(file.size)}" if file.size else ""
            streams.show(f"{'':<12}   {file.name}{size}, sha256 {file.sha256 or 'not known'}")


@command.command("pull", cls=Command)
@_models_argument
@click.option("--source", metavar="NAME", help="Take it from this source; `models show` lists them.")
@click.option("--offline", is_flag=True, envvar="SDGEN_OFFLINE", help="Do not use the network.")
@click.option("--anyway", is_flag=True, help="Also a model that sdgen can do nothing with yet.")
@_quiet_option
def pull_models(names: Sequence[str], source: str | None, offline: bool, anyway: bool, quiet: bool) -> None:
    """Fetch models that are not here yet, and print where they are.

    An interrupted download goes on where it stopped when the command is run again.
    """
    entries = [models.find(name) for name in names]
    for entry in entries:
        if not anyway:  # of none a byte is fetched before all are known to be of use
            models.require_usable(entry)
    for entry in entries:
        say_licence(entry)
        bar = DownloadBar(quiet)
        path = models.pull(entry.name, source=source, offline=offline, anyway=anyway, progress=bar)
        streams.show(path)


@command.command("verify", cls=Command)
@click.argument("names", nargs=-1, type=Model(), metavar="[MODEL]...")
@_json_option
def verify_models(names: Sequence[str], as_json: bool) -> None:
    """Read the files of models again and compare their digests; of all downloaded ones if none is named."""
    if not names:
        entries = [*catalogue.load().values(), *(models.find(name) for name in store.repositories())]
        names = [entry.name for entry in entries if entry.sources and store.state(entry) == "here"]
    damaged = []
    for name in names:
        checked = models.verify(name)
        if not checked:
            streams.tell(f"{name} has no published digests to compare with")
        for path, fault in checked:
            if as_json:
                streams.show(json.dumps({"model": name, "path": str(path), "fault": fault}))
            else:
                streams.show(f"{path} {fault or 'is right'}")
            if fault and name not in damaged:
                damaged.append(name)
    if damaged:
        raise ModelUnavailable(
            f"{', '.join(damaged)} cannot be used as it is; `sdgen models pull {' '.join(damaged)}` mends it"
        )


@command.command("path", cls=Command)
@_model_argument
def print_path(model: str) -> None:
    """Print where a model is; exit status 4 if it is not on this machine."""
    streams.show(models.locate(model, task=None))


@command.command("rm", cls=Command)
@_models_argument
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@_quiet_option
def remove_models(names: Sequence[str], yes: bool, quiet: bool) -> None:
    """Delete what was downloaded of models. Files of other programs' caches stay."""
    if not yes and not sys.stdin.isatty():
        raise InputError("there is no terminal to ask on; --yes removes without asking", "yes")
    for name in names:
        if yes or streams.agrees(f"Remove {name}?"):
            freed = models.remove(name, DownloadBar(quiet))
            if not quiet:
                streams.tell(f"{name} removed, {models.size_text(freed)} freed")


def _purpose(entry: Entry) -> str:
    return (entry.task or "-") if entry.usable else f"{entry.task}, not yet"


def _facts(entry: Entry) -> dict[str, Any]:
    names = ("summary", "task", "family", "size", "prediction", "sampler", "schedule", "steps", "guidance")
    return {name: getattr(entry, name) for name in (*names, "licence", "licence_url", "usable")}


def _read_facts(path: Path) -> dict[str, Any]:
    """What the files of a model say of it, or why they cannot be read."""
    from sdgen.checkpoints import open_checkpoint
    from sdgen.checkpoints.description import describe

    try:
        return describe(open_checkpoint(path, own_vae=False))
    except SdgenError as error:
        return {"usable": False, "unreadable": str(error)}


def _why_unusable(entry: Entry, facts: Mapping[str, Any]) -> str | None:
    """Why sdgen cannot draw with a model, where that is not said by another of its facts."""
    if facts["usable"] or facts.get("lacks") or "unreadable" in facts:
        return None
    return models.unusable(dataclasses.replace(entry, task=facts["task"]))


def _fact_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number:,}" for name, number in value.items())
    return ", ".join(value) if isinstance(value, list) else printable(str(value))


def _source_facts(source: Source) -> dict[str, Any]:
    facts = dataclasses.asdict(source)
    return {key: value for key, value in facts.items() if value is not None}


def _origin(source: Source) -> str:
    if not source.repo:
        return f"{len(source.files)} file{'' if len(source.files) == 1 else 's'}"
    return f"{source.repo}@{source.revision}" + (f", {source.variant}" if source.variant else "")


def _download(source: Source) -> str:
    exact = bool(source.files) and all(file.size for file in source.files)
    if not source.download:
        return "size not known"
    return models.size_text(source.download) if exact else f"about {models.size_text(source.download)}"
