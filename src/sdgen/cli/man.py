"""``sdgen man``: the manual page, made of the help texts."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable, Iterator, Sequence

import click

from sdgen import __version__
from sdgen.cli.command import Command
from sdgen.cli.terminal import streams

INSTALL = """\
mkdir -p ~/.local/share/man/man1
sdgen man > ~/.local/share/man/man1/sdgen.1
man sdgen"""

FILES = (
    ("~/.config/sdgen/config.toml", "Settings; sdgen config path prints where it is."),
    ("~/.config/sdgen/catalog.toml", "Models of one's own with names."),
    ("~/.local/share/sdgen/models", "Downloaded models."),
    ("~/.cache/sdgen", "Compiled programs, digests of files: what can be made again."),
)


@click.command("man", cls=Command, notes=(("To install it", INSTALL),))
def command() -> None:
    """Print the manual page: every command and option. sdgen man | man -l - shows it."""
    from sdgen.cli.root import root

    streams.show("\n".join(page(root)))


def page(root: click.Group) -> Iterator[str]:
    """The lines of the page, in the man(7) macros of troff.

    Args:
        root: sdgen; its command ``draw`` is what it does without one.
    """
    context = click.Context(root, info_name="sdgen", **root.context_settings)
    drawing = root.get_command(context, "draw")
    assert drawing is not None
    yield f'.TH SDGEN 1 "" "sdgen {_plain(__version__)}" "User commands"'
    yield from (".SH NAME", _plain("sdgen - draw pictures of texts"))
    yield from (".SH SYNOPSIS", _bold("sdgen"), _plain("[OPTIONS] PROMPT..."))
    yield from (".br", _bold("sdgen"), _plain("COMMAND [OPTIONS]..."))
    yield from (".SH DESCRIPTION", *_prose(drawing.help or ""))
    yield from (".SH OPTIONS", *_options([*drawing.params, *root.get_params(context)], context))
    yield ".SH COMMANDS"
    for path, inner, command in _commands(root, context):
        if command is not drawing:
            yield from _section(path, inner, command, drawing.params)
    for heading, text in _notes_of(drawing):
        yield from (f".SH {_plain(heading.upper())}", *_as_it_is(text))
    yield ".SH FILES"
    for name, text in FILES:
        yield from (".TP", _bold(name), *_prose(text))


def _section(
    path: str, context: click.Context, command: click.Command, drawing: Sequence[click.Parameter]
) -> Iterator[str]:
    """What a command does; the options that it shares with ``drawing`` are not repeated."""
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    yield from (f".SS {_plain(path)}", *_prose(usage))
    yield from (".PP", *_prose(command.help or ""))
    # Where a command takes an option otherwise, it has a help text of its own, not a shortened one.
    shared = {parameter.name: str(getattr(parameter, "help", "")) for parameter in drawing}
    own = [
        parameter
        for parameter in command.params
        if not shared.get(parameter.name, "").startswith(str(getattr(parameter, "help", None)))
    ]
    yield from _options(own, context)
    if len(own) < len(command.params):
        yield from (".PP", *_prose("The options of drawing are taken, too."))
    for heading, text in _notes_of(command):
        yield from (".PP", _plain(f"{heading}:"), ".PP", *_as_it_is(text))


def _commands(
    group: click.Group, context: click.Context
) -> Iterator[tuple[str, click.Context, click.Command]]:
    """Every command with its context and its words; a group comes as its commands."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, parent=context, info_name=name, **command.context_settings)
        if isinstance(command, click.Group):
            yield from _commands(command, inner)
        else:
            yield inner.command_path, inner, command


def _options(parameters: Iterable[click.Parameter], context: click.Context) -> Iterator[str]:
    for parameter in parameters:
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is not None:
            yield from (".TP", _bold(record[0]), *_prose(record[1]))


def _notes_of(command: click.Command) -> Sequence[tuple[str, str]]:
    return getattr(command, "notes", ())


def _as_it_is(text: str) -> Iterator[str]:
    yield from (".nf", ".RS", *map(_plain, text.splitlines()), ".RE", ".fi")


def _prose(text: str) -> Iterator[str]:
    """Paragraphs in lines that are short enough for troff's checkers."""
    for number, paragraph in enumerate(inspect.cleandoc(text).split("\n\n")):
        if number:
            yield ".PP"
        yield from map(_plain, textwrap.wrap(paragraph, 70, break_on_hyphens=False))


def _bold(text: str) -> str:
    return f"\\fB{_plain(text)}\\fR"


def _plain(text: str) -> str:
    """A line that troff shows as it is, also where it is empty or begins as a request does."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return "\\&" + text if not text or text[0] == "." else text
