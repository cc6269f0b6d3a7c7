"""``sdgen config``: what is set outside the command line, and changing it."""

# mypy: disable-error-code="type-arg"
# As in sdgen.cli.types: click's parameter types are generic in some versions.

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from sdgen.cli import settings, settings_text, variables
from sdgen.cli.command import Command
from sdgen.cli.options import DRAWING
from sdgen.cli.terminal import streams
from sdgen.errors import InputError, OutputError
from sdgen.files import toml_text, whole_files

EXAMPLES = """\
sdgen config set model mini
sdgen config set lora ink.safetensors:0.8 grain.safetensors
sdgen config set json true
sdgen config unset json
$EDITOR "$(sdgen config path)\""""

_OPTIONS = {settings.key_of(option): option for option in DRAWING}


class _Key(click.ParamType):
    name = "KEY"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        keys = (key for key in _OPTIONS if key.startswith(incomplete))
        return [CompletionItem(key, help=_OPTIONS[key].help) for key in keys]


class _Value(click.ParamType):
    name = "VALUE"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        option = _OPTIONS.get(ctx.params.get("key") or "")
        if option is None:
            return []
        if option.is_flag:
            return [CompletionItem(word) for word in ("true", "false") if word.startswith(incomplete)]
        return option.type.shell_complete(ctx, option, incomplete)


@click.group("config")
def command() -> None:
    """Show and change the settings file, which has defaults for the drawing options."""


_file_option = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    envvar="SDGEN_CONFIG",
    help="This settings file instead of config.toml in the config folder.",
)


@command.command("show", cls=Command, short_help="Show what is set, and where.")
@_file_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def show_settings(file: Path | None, as_json: bool) -> None:
    """Show what the settings file and the environment set, and which of them does."""
    path = file or settings.default_file()
    settings.read(file, DRAWING)  # What is wrong in the file is said here as when drawing.
    table = toml_text.parse(settings.text_of(path, file is None), path)
    found = {key: (value, os.fspath(path)) for key, value in table.items()}
    for key, option in _OPTIONS.items():
        variable = str(option.envvar)
        if os.environ.get(variable):
            found[key] = (_of_environment(option), variable)
    for sentence in variables.warnings():
        streams.tell(f"warning: {sentence}")
    if as_json:
        rows = {key: {"value": value, "from": source} for key, (value, source) in found.items()}
        streams.show(json.dumps({"file": os.fspath(path), "exists": path.exists(), "settings": rows}))
        return
    if not found:
        streams.show(f"nothing is set; `sdgen config set KEY VALUE` writes to {path}")
        return
    texts = {key: f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, (value, _) in found.items()}
    width = max(map(len, texts.values()))
    streams.show("\n".join(f"{texts[key]:<{width}}  {source}" for key, (_, source) in found.items()))


@command.command(
    "set",
    cls=Command,
    short_help="Set the default of an option.",
    notes=(("Examples", EXAMPLES),),
    # A value may begin with a dash.
    context_settings={"ignore_unknown_options": True},
)
@_file_option
@click.argument("key", type=_Key())
@click.argument("values", nargs=-1, required=True, type=_Value(), metavar="VALUE...")
def set_key(file: Path | None, key: str, values: tuple[str, ...]) -> None:
    """Set the default of a drawing option: KEY is its long name without the dashes.

    VALUE is what the option takes, true or false for an on/off option, and several values for one that is
    repeatable. Comments and the other lines of the file stay. The file's path is printed.
    """
    path = file or settings.default_file()
    option = settings.find(key, _OPTIONS, path)
    try:
        value = settings_text.written(option, values)
    except click.BadParameter as error:
        raise InputError(f"{key}: {error.message}", key) from None
    _change(path, key, value)


@command.command("unset", cls=Command)
@_file_option
@click.argument("key", type=_Key())
def unset_key(file: Path | None, key: str) -> None:
    """Take KEY out of the settings file, whose path is printed."""
    path = file or settings.default_file()
    settings.find(key, _OPTIONS, path)
    _change(path, key, None)


@command.command("path", cls=Command)
@_file_option
def print_path(file: Path | None) -> None:
    """Print where the settings file is, or would be."""
    streams.show(file or settings.default_file())


def _change(path: Path, key: str, value: str | None) -> None:
    # A link, which managers of such files make, stays one.
    target = Path(os.path.realpath(path))
    text = settings.text_of(target, missing_is_fine=True)
    new = settings_text.changed(text, key, value, path)
    if new != text:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"the folder {target.parent} cannot be made: {error.strerror}") from None
        whole_files.write(target, new.encode(), replace=True, option="SDGEN_CONFIG_DIR")
    streams.show(path)


def _of_environment(option: click.Option) -> Any:
    """A variable's value as the option takes it, as text where that is no plain value."""
    raw = os.environ[str(option.envvar)]
    try:
        if option.multiple:
            items = option.type.split_envvar_value(raw)
            for item in items:
                option.type.convert(item, option, None)
            return list(items)
        value = (click.BOOL if option.is_flag else option.type).convert(raw, option, None)
    except click.BadParameter as error:
        raise InputError(f"{option.envvar}: {error.message}", option.name) from None
    return value if isinstance(value, (bool, int, float)) else raw
