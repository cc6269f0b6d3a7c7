"""What a pickle's instructions do, as far as weights need them.

Source: CPython's ``pickletools``. Each instruction puts at most one thing on the stack, so what a program can
make is bounded by how many are carried out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from sdgen.checkpoints.pickles.machine import Machine, Maker, Opaque
from sdgen.errors import CheckpointError

MAX_INSTRUCTIONS = 1_000_000
"""The most in all programs of a file. Stable Diffusion with its training state has about 150,000."""

MAX_INTEGER_BYTES = 16
"""The longest that ``torch.save`` writes is its mark, of 10."""

Key = str | int | bytes | None | Maker | Opaque


def run(machine: Machine) -> Any:
    """The result of the program that begins at the machine's position, which is then where it ends.

    Raises:
        CheckpointError: it is damaged, too long, or asks for what weights do not need.
    """
    machine.begin()
    try:
        while (code := machine.next_code()) != _STOP:
            machine.carried_out += 1
            if machine.carried_out > MAX_INSTRUCTIONS:
                raise CheckpointError(
                    f"{machine.path} has a pickle of more than {MAX_INSTRUCTIONS} instructions, the most "
                    "that are read"
                )
            instruction = INSTRUCTIONS.get(code)
            if instruction is None:
                raise machine.refused(f"the pickle instruction {_name(code)}")
            instruction(machine)
        return machine.pop()
    except (LookupError, TypeError, ValueError, OverflowError, struct.error):
        raise CheckpointError(
            f"{machine.path} is truncated or altered (its pickle ends early or makes no sense); delete it "
            "and fetch or copy it again"
        ) from None


def _key(value: Any) -> Key:
    """A key of a dictionary. Those that can be made to collide, or take long to hash, are refused."""
    if isinstance(value, int) and not -(1 << 31) <= value < 1 << 31:
        raise ValueError
    if value is not None and not isinstance(value, str | int | bytes | Maker | Opaque):
        raise ValueError
    key: Key = value
    return key


def _pairs(values: list[Any]) -> dict[Key, Any]:
    if len(values) % 2:
        raise ValueError
    return {_key(key): value for key, value in zip(values[::2], values[1::2], strict=True)}


def _set_items(machine: Machine, values: list[Any]) -> None:
    target, pairs = machine.top(), _pairs(values)
    if isinstance(target, dict):
        target.update(pairs)
    elif not isinstance(target, Opaque):
        raise ValueError


def _extend(machine: Machine, values: list[Any], kind: type) -> None:
    target = machine.top()
    if isinstance(target, kind) and isinstance(target, list):
        target.extend(values)
    elif isinstance(target, kind) and isinstance(target, set):
        target.update(map(_key, values))
    elif not isinstance(target, Opaque):
        raise ValueError


def _build(machine: Machine) -> None:
    """Sets attributes: OrderedDict has some that say nothing (``_metadata``), tensors may have."""
    state, target = machine.pop(), machine.top()
    if isinstance(target, Opaque):
        target.state = state


def _text_or_number(text: str) -> Any:
    """The operand of INT: 00 and 01 are false and true."""
    return text == "01" if text in ("00", "01") else _integer(text)


def _integer(text: str) -> int:
    if len(text) > 2 * MAX_INTEGER_BYTES:
        raise ValueError
    return int(text.removesuffix("L"))


def _quoted(text: str) -> str:
    if len(text) < 2 or text[0] != text[-1] or text[0] not in "'\"":
        raise ValueError
    return text[1:-1]


def _long(machine: Machine, size: int) -> None:
    if not 0 <= size <= MAX_INTEGER_BYTES:
        raise machine.refused(f"an integer of {size} bytes")
    machine.push(int.from_bytes(machine.take(size), "little", signed=True))


def _tuple(machine: Machine, size: int) -> None:
    values = [machine.pop() for _ in range(size)]
    machine.push(tuple(reversed(values)))


def _pop(machine: Machine) -> None:
    if machine.marks and len(machine.stack) == machine.marks[-1]:
        machine.marks.pop()
    else:
        machine.pop()


def _drop_to_mark(machine: Machine) -> None:
    machine.pop_to_mark()


def _protocol(machine: Machine) -> None:
    version = machine.number("<B")
    if version > 5:
        raise machine.refused(f"pickle protocol {version}")


def _instance(machine: Machine) -> None:
    module, name = machine.line(), machine.line()
    machine.push_name(module, name)  # which raises where it is refused
    raise machine.refused(f"an instance of {module}.{name} by the pickle instruction INST")


def _extension(form: str) -> Instruction:
    def refuse(machine: Machine) -> None:
        raise machine.refused(f"number {machine.number(form)} of the names that a Python may be set up with")

    return refuse


def _persistent_text(machine: Machine) -> None:
    raise machine.refused(f"the persistent id {machine.line()!r}")


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.push_name(module, name)


def _memoize(machine: Machine, place: int) -> None:
    if not 0 <= place < 1 << 32:
        raise ValueError
    machine.memo[place] = machine.top()


def _pushing(make: Callable[[Machine], Any]) -> Instruction:
    return lambda machine: machine.push(make(machine))


def _sized(form: str, convert: Callable[[bytes], Any]) -> Instruction:
    """A value whose bytes follow their number."""
    return _pushing(lambda machine: convert(machine.take(machine.number(form))))


def _utf8(data: bytes) -> str:
    return data.decode("utf-8")


def _text(data: bytes) -> str:
    """A string of Python 2, in which names are ASCII and other data is not text at all."""
    return data.decode("utf-8", "replace")


Instruction = Callable[[Machine], None]

_STOP = ord(".")

_TABLE: dict[bytes, Instruction] = {
    b"\x80": _protocol,
    b"\x95": lambda machine: machine.number("<Q"),  # FRAME
    b"(": lambda machine: machine.marks.append(len(machine.stack)),
    b"0": _pop,
    b"1": _drop_to_mark,
    b"2": _pushing(Machine.top),
    b"N": _pushing(lambda machine: None),
    b"\x88": _pushing(lambda machine: True),
    b"\x89": _pushing(lambda machine: False),
    b"I": _pushing(lambda machine: _text_or_number(machine.line())),
    b"L": _pushing(lambda machine: _integer(machine.line())),
    b"F": _pushing(lambda machine: float(machine.line())),
    b"S": _pushing(lambda machine: _quoted(machine.line())),
    b"V": _pushing(lambda machine: machine.line().encode("latin-1").decode("raw_unicode_escape")),
    b"J": _pushing(lambda machine: machine.number("<i")),
    b"K": _pushing(lambda machine: machine.number("<B")),
    b"M": _pushing(lambda machine: machine.number("<H")),
    b"G": _pushing(lambda machine: machine.number(">d")),
    b"\x8a": lambda machine: _long(machine, machine.number("<B")),
    b"\x8b": lambda machine: _long(machine, machine.number("<i")),
    b"T": _sized("<i", _text),
    b"U": _sized("<B", _text),
    b"X": _sized("<I", _utf8),
    b"\x8c": _sized("<B", _utf8),
    b"\x8d": _sized("<Q", _utf8),
    b"B": _sized("<I", bytes),
    b"C": _sized("<B", bytes),
    b"\x8e": _sized("<Q", bytes),
    b")": _pushing(lambda machine: ()),
    b"t": _pushing(lambda machine: tuple(machine.pop_to_mark())),
    b"\x85": lambda machine: _tuple(machine, 1),
    b"\x86": lambda machine: _tuple(machine, 2),
    b"\x87": lambda machine: _tuple(machine, 3),
    b"]": _pushing(lambda machine: []),
    b"l": _pushing(Machine.pop_to_mark),
    b"a": lambda machine: _extend(machine, [machine.pop()], list),
    b"e": lambda machine: _extend(machine, machine.pop_to_mark(), list),
    b"}": _pushing(lambda machine: {}),
    b"d": _pushing(lambda machine: _pairs(machine.pop_to_mark())),
    b"s": lambda machine: _set_items(machine, [machine.pop(), machine.pop()][::-1]),
    b"u": lambda machine: _set_items(machine, machine.pop_to_mark()),
    b"\x8f": _pushing(lambda machine: set()),
    b"\x90": lambda machine: _extend(machine, machine.pop_to_mark(), set),
    b"\x91": _pushing(lambda machine: frozenset(map(_key, machine.pop_to_mark()))),
    b"g": _pushing(lambda machine: machine.memo[_integer(machine.line())]),
    b"h": _pushing(lambda machine: machine.memo[machine.number("<B")]),
    b"j": _pushing(lambda machine: machine.memo[machine.number("<I")]),
    b"p": lambda machine: _memoize(machine, _integer(machine.line())),
    b"q": lambda machine: _memoize(machine, machine.number("<B")),
    b"r": lambda machine: _memoize(machine, machine.number("<I")),
    b"\x94": lambda machine: _memoize(machine, len(machine.memo)),
    b"c": lambda machine: machine.push_name(machine.line(), machine.line()),
    b"\x93": _stack_global,
    b"R": Machine.call,
    b"\x81": Machine.call,  # NEWOBJ
    b"b": _build,
    b"i": _instance,
    b"Q": Machine.resolve,
    b"P": _persistent_text,
    b"\x82": _extension("<B"),
    b"\x83": _extension("<H"),
    b"\x84": _extension("<i"),
}

INSTRUCTIONS = {code[0]: instruction for code, instruction in _TABLE.items()}
"""Instructions by their code, a byte."""

_LEFT_OUT = {
    ord("o"): "OBJ",
    0x92: "NEWOBJ_EX",
    0x96: "BYTEARRAY8",
    0x97: "NEXT_BUFFER",
    0x98: "READONLY_BUFFER",
}


def _name(code: int) -> str:
    """What CPython calls an instruction that is not carried out, or its number where it has none."""
    return _LEFT_OUT.get(code, f"{code:#04x}")
