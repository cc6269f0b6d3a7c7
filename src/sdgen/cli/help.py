"""``sdgen help``: the help of sdgen or of one of its commands."""

# mypy: disable-error-code="type-arg"
# As in sdgen.cli.types: click's parameter types are generic in some versions.

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from sdgen.cli import guesses
from sdgen.cli.command import Command
from sdgen.cli.terminal import streams


class _Name(click.ParamType):
    name = "COMMAND"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from sdgen.cli.root import COMMANDS

        names = [name for name in COMMANDS if name.startswith(incomplete)]
        return [CompletionItem(name, help=COMMANDS[name][1]) for name in names]


@click.command("help", cls=Command)
@click.argument("words", metavar="[COMMAND]...", nargs=-1, type=_Name())
def command(words: tuple[str, ...]) -> None:
    """Show the help of sdgen, or of a command: sdgen help models pull."""
    from sdgen.cli.root import root

    found: click.Command = root
    context = click.Context(root, info_name="sdgen", **root.context_settings)
    for word in words:
        names = found.list_commands(context) if isinstance(found, click.Group) else []
        inner = found.get_command(context, word) if isinstance(found, click.Group) else None
        if inner is None:
            raise click.UsageError(_unknown(context.command_path, word, names))
        context = click.Context(inner, parent=context, info_name=word, **inner.context_settings)
        found = inner
    streams.show(found.get_help(context))


def _unknown(path: str, word: str, names: list[str]) -> str:
    advice = guesses.option(word, names) or (f"there are {', '.join(names)}" if names else "it has none")
    return f"{path} has no command {word}; {advice}"
