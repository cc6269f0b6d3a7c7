"""``sdgen completion``: scripts for the shell."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

from sdgen.cli import streams
from sdgen.cli.command import Command

SHELLS = ("bash", "zsh", "fish")

INSTALL = """\
bash   echo 'eval "$(sdgen completion bash)"' >> ~/.bashrc
zsh    echo 'eval "$(sdgen completion zsh)"' >> ~/.zshrc
fish   sdgen completion fish > ~/.config/fish/completions/sdgen.fish"""


@click.command("completion", cls=Command, notes=(("To install it", INSTALL),))
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print a script that completes sdgen's commands, options and their values in SHELL."""
    from sdgen.cli.root import root

    kind = get_completion_class(shell)
    assert kind is not None
    # ShellComplete.source is called past BashComplete's own, which runs bash to see whether it is old.
    streams.show(ShellComplete.source(kind(root, {}, "sdgen", "_SDGEN_COMPLETE")))
