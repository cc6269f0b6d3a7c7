"""What a request refuses, whatever it is made of: a sidecar that was edited, a caller's values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sdgen import InputError, Request


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sampler", ["ddim"]),
        ("schedule", {}),
        ("rng", []),
        ("prompt_syntax", {"a": 1}),
        ("guidance", 10**400),
        ("guidance", float("nan")),
        ("eta", float("inf")),
        ("seed", 10**400),
        ("steps", True),
        ("zero_snr", 1),
        ("guidance", 0.5),
        ("guidance", False),
        ("steps", 20.5),
        ("seed", 2.0**60),
        ("seed", 2**64),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"^{field} must be ") as caught:
        Request.from_dict({"prompt": "a fox", field: value})
    assert caught.value.field == field


def test_a_request_survives_json() -> None:
    request = Request(prompt="a fox", seed=3, guidance=2, zero_snr=False)
    assert Request.from_dict(request.to_dict()) == request
    assert isinstance(request.guidance, float)


@pytest.mark.parametrize(
    ("field", "value", "held"),
    [
        ("seed", 5.0, 5),
        ("seed", np.uint64(2**64 - 1), 2**64 - 1),
        ("steps", np.int64(20), 20),
        ("guidance", np.float32(2.5), 2.5),
        ("guidance", 0, 0.0),
    ],
)
def test_numbers_of_other_types_are_held_as_pythons(field: str, value: Any, held: float) -> None:
    found = getattr(Request.from_dict({"prompt": "a fox", field: value}), field)
    assert (found, type(found)) == (held, type(held))
