"""Every prompt that a template makes: dynamicprompts' sampler, with what is slow or missing there put right.

- Options are taken in order without comparing each with each: a list of thousands takes a moment.
- A variable that is chosen once, ``${c=!{red|blue}}``, takes each of its values; there the first alone.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Generator

from dynamicprompts.commands import (
    Command,
    LiteralCommand,
    SequenceCommand,
    VariantCommand,
    VariantOption,
    WildcardCommand,
    WrapCommand,
)
from dynamicprompts.commands.variable_commands import VariableAccessCommand, VariableAssignmentCommand
from dynamicprompts.enums import SamplingMethod
from dynamicprompts.parser.parse import parse
from dynamicprompts.samplers.combinatorial import CombinatorialSampler, _combo_to_prompt
from dynamicprompts.samplers.random import RandomSampler
from dynamicprompts.sampling_context import SamplingContext
from dynamicprompts.sampling_result import SamplingResult
from dynamicprompts.utils import dedupe
from dynamicprompts.wildcards import WildcardManager

from sdgen.errors import InputError

_Results = Generator[SamplingResult, None, None]

TEMPLATE = re.compile(r"[{}]|__")
"""What makes a text a template."""

MAX_STEPS = 100_000
"""The most parts of a template that are counted, with the parts of its wildcards' values."""

MAX_SIGNS = 2000
"""Options, wildcards and variables of one text: the parser takes up to a millisecond for each."""

_SPECIAL = re.compile(r"[{}|$%#]|__|^\s|\s$")
_SIGNS = ("{", "|", "__", "$", "%")
_MAX_CHOSEN = 400
"""Orders of more options than this are beyond all numbers."""


class Choices(RandomSampler):  # type: ignore[misc, unused-ignore]
    """The sampler of random choices, which does not parse every value of a wildcard for each."""

    def _get_variant(self, command: VariantCommand, context: SamplingContext) -> _Results:
        yield from super()._get_variant(_with_options(command, context), context)


class Combinations(CombinatorialSampler):  # type: ignore[misc, unused-ignore]
    """The sampler of every combination."""

    def _get_variant(self, command: VariantCommand, context: SamplingContext) -> _Results:
        command = _with_options(command, context).adjust_range()
        distinct = list({_identity(value): value for value in command.values}.values())
        seen: set[tuple[SamplingResult, ...]] = set()
        for chosen in range(command.min_bound, command.max_bound + 1):
            for options in itertools.permutations(distinct, chosen):
                for results in _combo_to_prompt(context, list(options)):
                    found = dedupe(results, key=lambda result: result.dedupe_key)
                    if len(found) == chosen and found not in seen:
                        seen.add(found)
                        yield SamplingResult.joined(found, separator=command.separator)

    def _get_sequence(self, command: SequenceCommand, context: SamplingContext) -> _Results:
        tokens = list(command.tokens)
        chosen_once = [
            (place, token)
            for place, token in enumerate(tokens)
            if isinstance(token, VariableAssignmentCommand)
            and token.immediate
            and (token.overwrite or token.name not in context.variables)
        ]
        values = [self._texts(token.value, context) for _, token in chosen_once]
        for chosen in itertools.product(*values):
            for (place, token), text in zip(chosen_once, chosen, strict=True):
                tokens[place] = dataclasses.replace(token, value=LiteralCommand(text))
            yield from super()._get_sequence(dataclasses.replace(command, tokens=[*tokens]), context)

    def _texts(self, command: Command, context: SamplingContext) -> list[str]:
        """What a command makes, each once. One of chance would never end, and makes what is counted."""
        count = Counter(context.wildcard_manager, context.variables).count(command)
        results = itertools.islice(context.generator_from_command(command), int(min(count, MAX_STEPS)))
        return list(dict.fromkeys(str(result) for result in results))


class Counter:
    """Counts what a template makes without making it. Equal prompts count as often as they are made.

    Args:
        wildcards: where their values are.
        variables: those that have a value already.

    Attributes:
        steps: parts that were looked at, at most ``MAX_STEPS``.
        longest: parts of the longest sequence.
    """

    def __init__(self, wildcards: WildcardManager, variables: dict[str, Command] | None = None) -> None:
        self._wildcards = wildcards
        self._variables = dict(variables or {})
        self.steps, self.longest = 0, 1

    def count(self, command: Command) -> float:
        """How many prompts, infinite where a float ends.

        Raises:
            InputError: there are too many parts.
        """
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise InputError(f"the template and its wildcards have more than {MAX_STEPS:,} parts")
        if command.sampling_method in (SamplingMethod.RANDOM, SamplingMethod.CYCLICAL):
            return 1.0
        if isinstance(command, SequenceCommand):
            self.longest = max(self.longest, len(command.tokens))
            return self._sequence(command)
        if isinstance(command, WrapCommand):
            return self.count(command.wrapper) * self.count(command.inner)
        if isinstance(command, VariantCommand):
            return self._variants(command)
        if isinstance(command, WildcardCommand):
            return sum(self._values(command))
        if isinstance(command, VariableAccessCommand):
            value = self._variables.get(command.name, command.default)
            return 1.0 if value is None else self.count(value)
        return 1.0

    def _sequence(self, command: SequenceCommand) -> float:
        """A sequence, in all of which variables have their values, wherever in it they are set."""
        outside, total = self._variables, 1.0
        inside = dict(outside)
        for token in command.tokens:
            if not isinstance(token, VariableAssignmentCommand) or (
                token.name in outside and not token.overwrite
            ):
                continue
            inside[token.name] = LiteralCommand("") if token.immediate else token.value
            total *= self.count(token.value) if token.immediate else 1.0
        self._variables = inside
        for token in command.tokens:
            total *= self.count(token)
        self._variables = outside
        return total

    def _values(self, command: WildcardCommand) -> list[float]:
        self._variables = {**self._variables, **command.variables}
        name = command.wildcard
        if not isinstance(name, str):
            context = SamplingContext(SamplingMethod.COMBINATORIAL, self._wildcards)
            name = str(next(iter(context.sample_prompts(name))))
        texts = self._wildcards.get_values(name).string_values
        return [self.count(parsed(text)) if TEMPLATE.search(text) else 1.0 for text in texts]

    def _variants(self, command: VariantCommand) -> float:
        """Ordered choices without repetition: k! times the elementary symmetric polynomial of degree k."""
        only = command.values[0] if len(command.values) == 1 else None
        each = self._values(only) if isinstance(only, WildcardCommand) else [*map(self.count, command.values)]
        least, most = (min(bound, len(each)) for bound in (command.min_bound, command.max_bound))
        if least > _MAX_CHOSEN:
            return math.inf
        most = min(most, _MAX_CHOSEN)
        symmetric = [1.0] + [0.0] * most
        for count in each:
            for degree in range(most, 0, -1):
                symmetric[degree] += symmetric[degree - 1] * count
        orders = itertools.accumulate(range(1, most + 1), lambda product, k: product * k, initial=1.0)
        return sum(terms * order for terms, order in list(zip(symmetric, orders, strict=True))[least:])


@functools.lru_cache(maxsize=4096)
def parsed(text: str) -> Command:
    """A template as dynamicprompts reads it. Raises what its parser raises."""
    return parse(text)


def too_long(text: str) -> bool:
    """Whether a text has more than ``MAX_SIGNS``."""
    return len(text) > MAX_SIGNS and sum(map(text.count, _SIGNS)) > MAX_SIGNS


def _with_options(command: VariantCommand, context: SamplingContext) -> VariantCommand:
    """The values of a wildcard alone in braces as options, ``{2$$__colour__}``; else the command itself.

    As dynamicprompts' ``wildcard_to_variant``, where plain text is parsed, too.
    """
    only = command.values[0] if len(command.values) == 1 else None
    if not isinstance(only, WildcardCommand):
        return command
    name = next(iter(context.sample_prompts(only.wildcard, 1))).text
    values = context.wildcard_manager.get_values(name)
    options = [
        VariantOption(parsed(text) if _SPECIAL.search(text) else LiteralCommand(text))
        for text in values.iterate_string_values_weighted()
    ]
    least, most = (min(bound, len(values)) for bound in (command.min_bound, command.max_bound))
    return VariantCommand(options, least, most, command.separator, only.sampling_method)


def _identity(command: Command) -> str:
    if isinstance(command, LiteralCommand) and command.sampling_method is None:
        return f"={command.literal}"
    return repr(command)
