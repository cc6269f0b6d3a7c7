"""``sdgen completion``: scripts for the shell."""

from __future__ import annotations

from collections.abc import Mapping

import click
from click.shell_completion import (
    BashComplete,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

from sdgen.cli.command import Command
from sdgen.cli.terminal import streams

VARIABLE = "_SDGEN_COMPLETE"
"""The environment variable by which a shell's script asks for completions."""

INSTALL = """\
bash   echo 'eval "$(sdgen completion bash)"' >> ~/.bashrc
zsh    echo 'eval "$(sdgen completion zsh)"' >> ~/.zshrc
fish   sdgen completion fish > ~/.config/fish/completions/sdgen.fish"""


class _Bash(BashComplete):
    """click's completion of bash. bash makes a word of each ``=``, which click takes for an argument."""

    def get_completion_args(self) -> tuple[list[str], str]:
        arguments, incomplete = super().get_completion_args()
        return [word for word in arguments if word != "="], incomplete


class _Fish(FishComplete):
    """click's completion of fish, with ``--option=value`` and with commas in values and descriptions."""

    source_template = r"""function %(complete_func)s
    set -l token (commandline -ct)
    set -l option (string match --regex -- '^--[^=]+=' $token)
    set -lx COMP_WORDS (commandline -cp)
    set -lx COMP_CWORD $token
    set -l response (env %(complete_var)s=fish_complete %(prog_name)s)
    for completion in $response
        set -l metadata (string split --max 1 "," $completion)
        switch $metadata[1]
            case dir
                __fish_complete_directories $metadata[2] | string replace --regex -- '^' "$option"
            case file
                __fish_complete_path $metadata[2] | string replace --regex -- '^' "$option"
            case plain
                echo "$option$metadata[2]"
        end
    end
end

complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class _Zsh(ZshComplete):
    """click's completion of zsh; click alone puts a value in the place of the whole ``--option=value``."""

    source_template = ZshComplete.source_template.replace(
        "    local -a response\n",
        "    local -a response\n    [[ $PREFIX == --*=* ]] && compset -P 1 '*='\n",
    )


_KINDS: Mapping[str, type[ShellComplete]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}


def register() -> None:
    """Let click answer the shells by these."""
    for kind in _KINDS.values():
        add_completion_class(kind)


@click.command("completion", cls=Command, notes=(("To install it", INSTALL),))
@click.argument("shell", type=click.Choice(list(_KINDS)))
def command(shell: str) -> None:
    """Print a script that completes sdgen's commands, options and their values in SHELL."""
    from sdgen.cli.root import root

    kind = _KINDS[shell]
    # ShellComplete.source is called past BashComplete's own, which runs bash to see whether it is old.
    streams.show(ShellComplete.source(kind(root, {}, "sdgen", VARIABLE)))
