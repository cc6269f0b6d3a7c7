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
import difflib
import functools
import hashlib
import itertools
import logging
import math
import random
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

from dynamicprompts.commands import (
    Command,
    LiteralCommand,
    SequenceCommand,
    VariantCommand,
    WildcardCommand,
    WrapCommand,
)
from dynamicprompts.commands.variable_commands import VariableAccessCommand, VariableAssignmentCommand
from dynamicprompts.enums import SamplingMethod
from dynamicprompts.parser.parse import parse
from dynamicprompts.sampling_context import SamplingContext
from dynamicprompts.wildcards import WildcardManager
from dynamicprompts.wildcards.values import WildcardValues
from pyparsing import ParseBaseException

from sdgen.errors import InputError

# It warns of wildcards that are not there, which is an error here.
logging.getLogger("dynamicprompts").setLevel(logging.ERROR)

_TEMPLATE = re.compile(r"[{}]|__")
_MAX_BRACES = 400
"""The parser takes a millisecond for each, and its recursion ends soon after."""


class Templates:
    """Expands templates with the wildcards of one folder.

    Args:
        wildcards: an existing folder of .txt (a value a line), .json and .yaml files; None for none.
    """

    def __init__(self, wildcards: Path | None = None) -> None:
        self._wildcards = _Wildcards(wildcards)
        self._parsed = functools.lru_cache(maxsize=16)(parse)

    def all(self, template: str, most: int) -> list[str]:
        """Every prompt that a template makes, in the order of its variants, each once.

        Raises:
            InputError: the template is wrong, or makes more than ``most`` prompts.
        """
        if not _TEMPLATE.search(template):
            return [template]
        with _explained(template):
            command = self._parsed(template)
            count = _Counter(self._wildcards).count(command)
            if count > most:
                number = f"{count:,.0f}" if count < 1e12 else f"about {min(count, sys.float_info.max):.0e}"
                raise InputError(f"the template makes {number} prompts; there is room for {most:,}")
            return self._sample(command, SamplingMethod.COMBINATORIAL, random.Random(0), int(count))

    def choose(self, template: str, *seeds: int) -> str:
        """One prompt of a template. The template, the wildcards and the seeds determine it.

        Raises:
            InputError: the template is wrong.
        """
        if not _TEMPLATE.search(template):
            return template
        digest = hashlib.sha256("\0".join([*map(str, seeds), template]).encode(errors="replace")).digest()
        generator = random.Random(int.from_bytes(digest, "big"))
        with _explained(template):
            return self._sample(self._parsed(template), SamplingMethod.RANDOM, generator, 1)[0]

    def _sample(
        self, command: Command, method: SamplingMethod, generator: random.Random, most: int
    ) -> list[str]:
        context = SamplingContext(method, self._wildcards, rand=generator)
        with warnings.catch_warnings():
            # A part that asks for every combination inside a random choice: it is chosen at random too.
            warnings.simplefilter("ignore")
            prompts = [str(result).strip() for result in context.sample_prompts(command, most)]
        if not prompts:
            raise InputError("the template makes no prompt")
        return list(dict.fromkeys(prompts))


class _Wildcards(WildcardManager):  # type: ignore[misc, unused-ignore]
    """A folder whose missing wildcards are errors; in dynamicprompts they stay in the prompt."""

    def get_values(self, wildcard: str) -> WildcardValues:
        try:
            values: WildcardValues = super().get_values(wildcard)
        except OSError as error:
            raise InputError(f"the wildcard __{wildcard}__ cannot be read: {error.strerror}") from None
        if values:
            # Notepad begins a file with U+FEFF.
            return WildcardValues.from_items(
                item.lstrip("\ufeff") if isinstance(item, str) else item for item in values.items
            )
        if self.path is None:
            raise InputError(f"the template has the wildcard __{wildcard}__ and no wildcards folder is given")
        close = difflib.get_close_matches(wildcard, sorted(self.get_collection_names()), n=1)
        advice = f"; did you mean __{close[0]}__?" if close else ""
        raise InputError(f"the folder {str(self.path)!r} has no wildcard __{wildcard}__{advice}")


class _Counter:
    """Counts what a template makes without making it. Equal prompts count as often as they are made."""

    def __init__(self, wildcards: WildcardManager) -> None:
        self._wildcards = wildcards
        self._variables: dict[str, Command] = {}

    def count(self, command: Command) -> float:
        """How many prompts, infinite where a float ends."""
        if command.sampling_method in (SamplingMethod.RANDOM, SamplingMethod.CYCLICAL):
            return 1.0
        if isinstance(command, SequenceCommand):
            return math.prod([self.count(token) for token in command.tokens], start=1.0)
        if isinstance(command, WrapCommand):
            return self.count(command.wrapper) * self.count(command.inner)
        if isinstance(command, VariantCommand):
            return self._variants(command)
        if isinstance(command, WildcardCommand):
            return sum(self._values(command))
        if isinstance(command, VariableAssignmentCommand):
            if command.overwrite or command.name not in self._variables:
                self._variables[command.name] = LiteralCommand("") if command.immediate else command.value
        elif isinstance(command, VariableAccessCommand):
            value = self._variables.get(command.name, command.default)
            return 1.0 if value is None else self.count(value)
        return 1.0

    def _values(self, command: WildcardCommand) -> list[float]:
        self._variables.update(command.variables)
        name = command.wildcard
        if not isinstance(name, str):
            context = SamplingContext(SamplingMethod.COMBINATORIAL, self._wildcards)
            name = str(next(iter(context.sample_prompts(name))))
        values = self._wildcards.get_values(name)
        texts = values.iterate_string_values_weighted()
        return [self.count(parse(text)) if _TEMPLATE.search(text) else 1.0 for text in texts]

    def _variants(self, command: VariantCommand) -> float:
        """Ordered choices without repetition: k! times the elementary symmetric polynomial of degree k."""
        only = command.values[0] if len(command.values) == 1 else None
        each = self._values(only) if isinstance(only, WildcardCommand) else [*map(self.count, command.values)]
        least, most = (min(bound, len(each)) for bound in (command.min_bound, command.max_bound))
        symmetric = [1.0] + [0.0] * most
        for count in each:
            for degree in range(most, 0, -1):
                symmetric[degree] += symmetric[degree - 1] * count
        orders = itertools.accumulate(range(1, most + 1), lambda product, k: product * k, initial=1.0)
        return sum(terms * order for terms, order in list(zip(symmetric, orders, strict=True))[least:])


@contextlib.contextmanager
def _explained(template: str) -> Iterator[None]:
    """What the library raises for a wrong template, as a sentence."""
    if template.count("{") > _MAX_BRACES:
        raise InputError(f"the template has more than {_MAX_BRACES} opening braces")
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
