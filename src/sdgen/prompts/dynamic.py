"""Prompt templates of the dynamicprompts library: variants, wildcards and variables.

| written | means |
|---|---|
| `{red|green} apple` | red apple, green apple |
| `{2$$a|b|c}`, `{1-2$$ and $$a|b|c}` | two of them, one or two; joined by `,` or by ` and ` |
| `{3::red|green}` | red three times as often, in random choice |
| `__colour__`, `__animals/*__` | a line of colour.txt, of any file in animals/, in the wildcards folder |
| `${c={red|green}} ${c}` | a variable; with `=!` it is chosen once for all its uses |

In a template `#` begins a comment, and `%`, `$` and `__` cannot stand for themselves. A text that has none of
`{`, `}` and `__` is no template and stays as it is, ``#`` included.

The library is imported with this module, so this module is imported where a template is to be expanded.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import random
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

from dynamicprompts.commands import Command
from dynamicprompts.enums import SamplingMethod
from dynamicprompts.parser.parse import parse
from dynamicprompts.samplers.cycle import CyclicalSampler
from dynamicprompts.sampling_context import SamplingContext
from pyparsing import ParseBaseException

from sdgen.errors import InputError
from sdgen.prompts.combinations import MAX_SIGNS, TEMPLATE, Choices, Combinations, Counter, too_long
from sdgen.prompts.wildcards import Unweighted, Wildcards

# It warns of wildcards that are not there, which is an error here.
logging.getLogger("dynamicprompts").setLevel(logging.ERROR)

_MAX_BRACES = 400
"""The parser takes a millisecond for each, and its recursion ends soon after."""


MAX_WORK = 5_000_000
"""Parts of all prompts that one template makes."""
MAX_TEXT = 50_000_000
"""Characters of all prompts that one template makes."""

_SAMPLERS = {
    SamplingMethod.COMBINATORIAL: Combinations(),
    SamplingMethod.CYCLICAL: CyclicalSampler(),
    SamplingMethod.RANDOM: Choices(),
}


class Templates:
    """Expands templates with the wildcards of one folder.

    Args:
        wildcards: an existing folder of .txt (a value a line), .json and .yaml files; None for none.
    """

    def __init__(self, wildcards: Path | None = None) -> None:
        self._weighted = Wildcards(wildcards)
        self._wildcards = Unweighted(self._weighted)
        self._parsed = functools.lru_cache(maxsize=16)(parse)

    def all(self, template: str, most: int) -> list[str]:
        """Every prompt that a template makes, in the order of its variants, each once.

        Raises:
            InputError: the template is wrong, or makes more than ``most`` prompts.
        """
        if not TEMPLATE.search(template):
            return [template]
        self._weighted.lookups = 0
        with _explained(template):
            command = self._parsed(template)
            counter = Counter(self._wildcards)
            count = counter.count(command)
            if count > most:
                number = f"{count:,.0f}" if count < 1e12 else f"about {min(count, sys.float_info.max):.0e}"
                raise InputError(f"the template makes {number} prompts; there is room for {most:,}")
            if count * counter.longest > MAX_WORK:
                raise InputError(
                    f"the template makes {count:,.0f} prompts of {counter.longest:,} parts; "
                    f"the most is {MAX_WORK:,} parts in all"
                )
            return self._sample(command, SamplingMethod.COMBINATORIAL, random.Random(0), int(count))

    def choose(self, template: str, *seeds: int) -> str:
        """One prompt of a template. The template, the wildcards and the seeds determine it.

        Raises:
            InputError: the template is wrong.
        """
        if not TEMPLATE.search(template):
            return template
        digest = hashlib.sha256("\0".join([*map(str, seeds), template]).encode(errors="replace")).digest()
        generator = random.Random(int.from_bytes(digest, "big"))
        self._weighted.lookups = 0
        with _explained(template):
            return self._sample(self._parsed(template), SamplingMethod.RANDOM, generator, 1)[0]

    def _sample(
        self, command: Command, method: SamplingMethod, generator: random.Random, most: int
    ) -> list[str]:
        wildcards = self._weighted if method is SamplingMethod.RANDOM else self._wildcards
        context = SamplingContext(method, wildcards, samplers=_SAMPLERS, rand=generator)
        with warnings.catch_warnings():
            # A part that asks for every combination inside a random choice: it is chosen at random too.
            warnings.simplefilter("ignore")
            prompts: dict[str, None] = {}
            length = 0
            for result in context.sample_prompts(command, most):
                prompt = str(result).strip()
                length += len(prompt)
                if length > MAX_TEXT:
                    raise InputError(
                        f"the template's prompts have more than {MAX_TEXT:,} characters together"
                    )
                prompts[prompt] = None
        if not prompts:
            raise InputError("the template makes no prompt")
        return list(prompts)


@contextlib.contextmanager
def _explained(template: str) -> Iterator[None]:
    """What the library raises for a wrong template, as a sentence."""
    if template.count("{") > _MAX_BRACES:
        raise InputError(f"the template has more than {_MAX_BRACES} opening braces")
    if too_long(template):
        raise InputError(f"the template has more than {MAX_SIGNS:,} options, wildcards and variables")
    try:
        yield
    except ParseBaseException as error:
        where = "template" if error.pstr == template else f"wildcard value {error.pstr[:60]!r}"
        rest = error.pstr[error.loc :]
        reason = next(
            (reason for start, reason in _CAUSES.items() if rest.startswith(start)), "check its braces"
        )
        raise InputError(
            f"the {where} cannot be read from character {error.loc + 1} on, {rest[:20]!r}: {reason}"
        ) from None
    except RecursionError:
        raise InputError(
            "the template is nested too deeply, or a wildcard or variable in it refers to itself"
        ) from None
    except KeyError as error:
        raise InputError(f"the template cannot be expanded: {error.args[0]}") from None
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"the template cannot be expanded: {error}") from None


_CAUSES: Mapping[str, str] = {
    "{": "a { is not closed",
    "${": "a ${ is not closed or its name is wrong",
    "%{": "a %{ is not closed",
    "$": "$ has no place in a template but in ${ } and after a number",
    "%": "% has no place in a template but in %{ }",
    "__": "a wildcard __ is not closed",
}
"""What is wrong where a template cannot be read further."""
