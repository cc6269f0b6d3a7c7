"""The prompts on a command line, and the one on stdin."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from sdgen.cli.prompts_needed import takes_prompts
from sdgen.cli.terminal import streams
from sdgen.errors import InputError
from sdgen.prompts import text
from sdgen.request import MAX_PROMPT

STDIN = "-"
MOST_BYTES = 4 * (MAX_PROMPT + 2)
"""The most bytes of a prompt on stdin: the longest prompt in UTF-8, a byte order mark and a line end."""


def read(prompts: Sequence[str], model: str, plain: bool = False) -> list[str]:
    """The prompts, with ``-`` replaced by the whole of stdin.

    Args:
        prompts: as they were given.
        model: what draws them; a prompt may be blank where it takes none.
        plain: they are text, whatever looks like a flag in them.

    Raises:
        InputError: a prompt is blank or has flags in it, or stdin is empty, is not UTF-8, or is asked for
            twice.
    """
    for number, prompt in enumerate(prompts, 1):
        if not prompt.strip() and takes_prompts(model):
            which = "the prompt" if len(prompts) == 1 else f"prompt {number} of {len(prompts)}"
            raise InputError(f"{which} is blank; say what the picture is to show", "prompt")
    if prompts.count(STDIN) > 1:
        raise InputError("the prompt - reads all of stdin and can be given once", "prompt")
    found = [_stdin() if prompt == STDIN else prompt if prompt.strip() else "" for prompt in prompts]
    check(found, plain)
    return found


def check(prompts: Sequence[str], plain: bool = False) -> None:
    """Refuse prompts with flags in them; ``plain`` as for ``read``.

    Raises:
        InputError: there is one.
    """
    for prompt in prompts:
        # Midjourney's and sd-scripts' settings stand there.
        if not plain and (flag := text.flag_in(prompt)) is not None:
            raise InputError(
                f"the prompt goes on with {flag}, which would be drawn as text; give options outside of the "
                "quotation marks, or --prompt-syntax plain if it is text",
                "prompt",
            )


def _stdin() -> str:
    if sys.stdin.isatty():
        streams.tell("type the prompt; Ctrl-D ends it")
    try:
        data = sys.stdin.buffer.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise InputError(
                f"the prompt on stdin is too long; the most is {MAX_PROMPT} characters", "prompt"
            )
        prompt = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise InputError("the prompt on stdin is not UTF-8 text", "prompt") from None
    if not prompt:
        raise InputError("the prompt on stdin is empty", "prompt")
    return prompt
