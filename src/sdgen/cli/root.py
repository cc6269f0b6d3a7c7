"""The root of the command: which command runs, and how its errors reach the user."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from typing import Any, NoReturn

import click

from sdgen.cli import error_messages, guesses
from sdgen.cli.command import CONTEXT, HELP, write_notes, write_options
from sdgen.cli.terminal import streams
from sdgen.errors import ExitCode

COMMANDS = {
    "draw": ("sdgen.cli.draw", "Draw pictures: what sdgen PROMPT does."),
    "batch": ("sdgen.cli.batch", "Draw every entry of prompts files; go on where a run was stopped."),
    "upscale": ("sdgen.cli.upscale", "Enlarge pictures, by a filter or by a model."),
    "show": ("sdgen.cli.show", "Say how an image was drawn."),
    "replay": ("sdgen.cli.replay", "Draw images again from their records and compare."),
    "grid": ("sdgen.cli.grid", "Put images on one contact sheet, a sweep in rows and columns."),
    "compare": (
        "sdgen.cli.compare",
        "Compare methods that enlarge pictures: a sheet of crops, PSNR and SSIM.",
    ),
    "gallery": ("sdgen.cli.gallery", "Make a web page of a folder of images, with search and filters."),
    "serve": ("sdgen.cli.serve", "Draw for clients of OpenAI's and AUTOMATIC1111's APIs."),
    "models": ("sdgen.cli.models", "List, show, fetch, check and remove models."),
    "samplers": ("sdgen.cli.samplers", "List the samplers and noise schedules."),
    "warmup": ("sdgen.cli.warmup", "Compile a model's programs ahead of the first picture."),
    "bench": ("sdgen.cli.bench", "Measure how fast this machine draws."),
    "config": ("sdgen.cli.config", "Show and change the settings file."),
    "doctor": ("sdgen.cli.doctor", "Say what is installed and what is wrong with it."),
    "help": ("sdgen.cli.help", "Show this help, or that of a command."),
    "man": ("sdgen.cli.man", "Print the manual page."),
    "completion": ("sdgen.cli.completion", "Print a script that completes sdgen's options in a shell."),
}
"""Every command: the module whose ``command`` it is, imported when needed, and a line about it."""

DEFAULT = "draw"


class Root(click.Group):
    """``sdgen COMMAND ...``; where the first argument is no command, ``sdgen draw`` gets them all."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        loaded = importlib.import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(loaded, click.Command)
        return loaded

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in COMMANDS and args[0] not in (*HELP, "--version"):
            plain = args[0].startswith("-") or ctx.resilient_parsing
            question = None if plain else guesses.command(args, COMMANDS)
            if question:
                raise click.UsageError(question, ctx)
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        items = [
            CompletionItem(name, help=line)
            for name, (_, line) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        drawing = self.get_command(ctx, DEFAULT)
        assert drawing is not None
        return items + drawing.shell_complete(click.Context(drawing, parent=ctx), incomplete)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        drawing = self.get_command(ctx, DEFAULT)
        assert drawing is not None
        formatter.write_usage(ctx.command_path, "[OPTIONS] PROMPT...")
        formatter.write_usage(ctx.command_path, "COMMAND [OPTIONS]...", prefix="       ")
        drawing.format_help_text(ctx, formatter)
        with formatter.section("Commands (when first on the line; sdgen draw doctor draws a doctor)"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])
        write_options([*drawing.params, *self.get_params(ctx)], ctx, formatter)
        write_notes(getattr(drawing, "notes", ()), formatter)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # What Python still has to write when it ends has no reader either.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise streams.ClosedPipe from None

    def main(  # type: ignore[override]
        self, args: Any = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run, show what went wrong as one line on stderr, and exit with the status for it."""
        extra["standalone_mode"] = False
        if "_SDGEN_COMPLETE" in os.environ:
            from sdgen.cli import completion

            completion.register()
        try:
            status = super().main(args, prog_name or "sdgen", **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            streams.tell(error.format_message(), lines=True)
            status = ExitCode.USAGE
        except streams.ClosedPipe:
            status = streams.CLOSED_PIPE
        except Exception as error:
            sentence, status = error_messages.explain(error)
            streams.tell(f"error: {sentence}")
        sys.exit(int(status or ExitCode.OK))


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from sdgen import __version__

        streams.show(f"sdgen {__version__}")
        ctx.exit()


root = Root(
    "sdgen",
    no_args_is_help=True,
    context_settings=CONTEXT,
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_version,
            help="Show the version and exit.",
        )
    ],
)
