"""Damage to bytes and to JSON values, by chance."""

from __future__ import annotations

import random
from typing import Any

STRANGE_NUMBERS = (0, 1, -1, 255, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**64 - 1, 10**9, 10**30)
STRANGE_TEXT = ("", "x", "\0", "../outside", "/etc/passwd", "\x1b[2J", "é" * 300, "NaN", "9" * 5000)


def damaged(rng: random.Random, data: bytes, most: int = 4) -> bytes:
    """``data`` with one to ``most`` bytes or runs of bytes changed, removed, doubled or put in."""
    result = bytearray(data)
    for _ in range(rng.randint(1, most)):
        start = rng.randrange(len(result) + 1)
        length = min(len(result) - start, rng.choice((1, 1, 2, 4, 8, 64)))
        how = rng.randrange(6)
        if how == 0 and length:
            result[start] ^= 1 << rng.randrange(8)
        elif how == 1:
            result[start : start + length] = rng.randbytes(length)
        elif how == 2:
            del result[start : start + length]
        elif how == 3:
            result[start:start] = result[start : start + length]
        elif how == 4:
            number = rng.choice(STRANGE_NUMBERS) % 2**64
            result[start : start + 8] = number.to_bytes(8, rng.choice(("little", "big")))
        else:
            del result[rng.randrange(len(result) + 1) :]
    return bytes(result)


def strange_value(rng: random.Random) -> Any:
    """A JSON value that a careless reader does not expect."""
    return rng.choice(
        (
            None,
            True,
            False,
            [],
            {},
            [[]],
            0.5,
            -0.0,
            1e308,
            float("nan"),
            float("inf"),
            [rng.choice(STRANGE_NUMBERS)] * rng.randint(1, 4),
            {"x": rng.choice(STRANGE_TEXT)},
            rng.choice(STRANGE_NUMBERS),
            rng.choice(STRANGE_TEXT),
        )
    )


def altered(rng: random.Random, value: Any) -> Any:
    """A copy of a JSON value in which one member, at any depth, is strange, missing or of another name."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        how = rng.randrange(8)
        if how == 0:
            return {k: v for k, v in value.items() if k != key}
        if how == 1:
            return {(rng.choice(STRANGE_TEXT) if k == key else k): v for k, v in value.items()}
        return {**value, key: altered(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.7:
        place = rng.randrange(len(value))
        return [*value[:place], altered(rng, value[place]), *value[place + rng.randrange(2) :]]
    return strange_value(rng)
