"""Options that read the environment and the settings file, and help in sections."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import click
from click.core import ParameterSource

from sdgen.cli import guesses

WIDTH = 80
"""Widest line of the help texts, in characters."""

PREFIX = "SDGEN_"
"""What the environment variables that options read begin with."""

HELP = ("-h", "--help")
CONTEXT = {"max_content_width": WIDTH, "help_option_names": list(HELP)}
"""Context settings of every command."""


class Option(click.Option):
    """An option of a help section that also reads ``SDGEN_<NAME>``; an empty variable counts as unset.

    Args:
        declarations: as for ``click.Option``; the last long name without dashes names the variable.
        section: heading of the help under which it is listed.
        attributes: as for ``click.Option``.
    """

    def __init__(self, declarations: Sequence[str], section: str = "Other", **attributes: Any) -> None:
        super().__init__(declarations, **attributes)
        self.section = section
        if self.envvar is None and self.name and section != "Other":
            self.envvar = variable(self.name)

    def told(self, help: str) -> Option:
        """The option with another help text, for a command in which it means something a little different."""
        other = copy.copy(self)
        other.help = help
        return other

    def handle_parse_result(self, ctx: click.Context, opts: Any, args: list[str]) -> tuple[Any, list[str]]:
        try:
            return super().handle_parse_result(ctx, opts, args)
        except click.BadParameter as error:
            source = ctx.get_parameter_source(self.name) if self.name else None
            if source is not ParameterSource.ENVIRONMENT:
                raise
            raise click.BadParameter(f"{error.message} (from {self.envvar})", ctx, self) from None


class Command(click.Command):
    """A command whose help groups the options by section and ends in texts that are shown as they are.

    Args:
        notes: (heading, lines) pairs after the options: examples, exit statuses.
        attributes: as for ``click.Command``.
    """

    def __init__(self, *args: Any, notes: Sequence[tuple[str, str]] = (), **attributes: Any) -> None:
        attributes.setdefault("context_settings", CONTEXT)
        super().__init__(*args, **attributes)
        self.notes = notes

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            names = [
                name
                for parameter in self.get_params(ctx)
                for name in (*parameter.opts, *parameter.secondary_opts)
            ]
            known = [name[2:] for name in names if name.startswith("--")]
            advice = guesses.option(error.option_name, known) or f"{ctx.command_path} --help lists them"
            raise click.UsageError(f"there is no option {error.option_name}; {advice}", ctx) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_options(self.get_params(ctx), ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_notes(self.notes, formatter)


def variable(name: str) -> str:
    """The environment variable of an option: ``batch_size`` reads ``SDGEN_BATCH_SIZE``."""
    return f"{PREFIX}{name.upper().replace('-', '_')}"


def write_options(
    parameters: Iterable[click.Parameter], ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    """Write the options, a list for each section, the sections in the order of their first option."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for parameter in parameters:
        record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
        if record is not None:
            sections.setdefault(getattr(parameter, "section", "Other"), []).append(record)
    for section in sorted(sections, key=lambda name: name == "Other"):
        with formatter.section(section):
            formatter.write_dl(sections[section], col_max=28)


def write_notes(notes: Iterable[tuple[str, str]], formatter: click.HelpFormatter) -> None:
    """Write headed texts without wrapping their lines."""
    for heading, text in notes:
        with formatter.section(heading):
            for line in text.splitlines():
                formatter.write(f"{'':>{formatter.current_indent}}{line}".rstrip() + "\n")
