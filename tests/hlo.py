"""Reading HLO text: what a program's loops do with some of its parameters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%([\w.-]+) = (?:\([^()]*\)|\S+) ([\w-]+)\(")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+).*\{\s*$")
_PASSED_ON = ("bitcast", "copy", "get-tuple-element", "optimization-barrier", "reshape", "tuple")
"""Operations whose result is a parameter as it came."""


@dataclass(frozen=True)
class _Instruction:
    name: str
    opcode: str
    operands: tuple[str, ...]
    rest: str

    def attribute(self, name: str) -> str:
        # The last one: comments in types say index=5, too.
        return (re.findall(rf"\b{name}=%?([\w.-]+)", self.rest) or [""])[-1]


def uses_in_loops(text: str, names: Mapping[int, str]) -> Counter[tuple[str, str]]:
    """How often each operation inside while loops takes each of some parameters: (name, opcode) -> count.

    Args:
        text: an HLO module.
        names: of the entry computation's parameters that matter, by number.
    """
    computations, entry = _parse(text)
    found: Counter[tuple[str, str]] = Counter()

    def follow(computation: str, given: Mapping[int, object], inside: bool) -> object:
        """Values are names, tuples of values (as lists), or None; ``given`` are the parameters'."""
        values: dict[str, object] = {}
        for instruction in computations[computation]:
            opcode, operands = instruction.opcode, [values.get(name) for name in instruction.operands]
            value: object = None
            if opcode == "parameter":
                value = given.get(int(instruction.rest.partition(")")[0]))
            elif opcode == "tuple":
                value = operands
            elif opcode == "get-tuple-element":
                index = int(instruction.attribute("index"))
                value = operands[0][index] if isinstance(operands[0], list) else None
            elif opcode == "while":
                value = operands[0]
                follow(instruction.attribute("body"), {0: operands[0]}, True)
            elif opcode in ("call", "fusion"):
                called = instruction.attribute("to_apply") or instruction.attribute("calls")
                value = follow(called, dict(enumerate(operands)), inside)
            elif opcode in _PASSED_ON or _keeps_order(instruction):
                value = operands[0]
            elif inside:
                found.update((name, opcode) for name in operands if isinstance(name, str))
            values[instruction.name] = value
        return values[computations[computation][-1].name] if computations[computation] else None

    follow(entry, dict(names), False)
    return found


def _parse(text: str) -> tuple[dict[str, list[_Instruction]], str]:
    """Instructions by computation, and the name of the entry."""
    computations: dict[str, list[_Instruction]] = {}
    entry, current, known = "", "", set()
    for line in text.splitlines():
        if match := _INSTRUCTION.match(line):
            rest = line[match.end() :].partition(", metadata=")[0]
            operands = tuple(name for name in re.findall(r"%([\w.-]+)", rest) if name in known)
            computations[current].append(_Instruction(match[1], match[2], operands, rest))
            known.add(match[1])
        elif match := _COMPUTATION.match(line):
            current, known = match[2], set()
            computations[current] = []
            entry = current if match[1] else entry
    return computations, entry


def _keeps_order(instruction: _Instruction) -> bool:
    """Whether it is a transposition that leaves every axis where it is."""
    match = re.search(r"dimensions=\{([\d,]*)\}", instruction.rest)
    axes = match[1].split(",") if match else []
    return instruction.opcode == "transpose" and axes == sorted(axes, key=int)
