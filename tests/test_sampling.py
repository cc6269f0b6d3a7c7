"""From a request to its sampler table: what a request asks for is done, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from sdgen.errors import InputError
from sdgen.pipeline.sampler_tables import request_table
from sdgen.request import Request

CONFIG = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def request(**fields: Any) -> Request:
    return Request(**{"prompt": "x", "steps": 6, **fields})


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"sampler": "lcm", "spacing": "trailing"}, "spacing"),
        ({"sampler": "dpmpp-2m", "schedule": "karras", "spacing": "leading"}, "spacing"),
        ({"sampler": "euler", "schedule": "simple", "spacing": "leading"}, "spacing"),
        ({"sampler": "euler", "schedule": "sgm-uniform", "spacing": "linspace"}, "spacing"),
        ({"sampler": "dpmpp-2s", "spacing": "leading"}, "spacing"),
        ({"sampler": "heun", "zero_snr": True}, "zero_snr"),
        ({"sampler": "deis", "zero_snr": True}, "zero_snr"),
    ],
)
def test_a_field_that_changes_nothing_in_a_sampler_is_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(
        InputError, match=f"{field} changes nothing in the sampler {fields['sampler']}"
    ) as caught:
        request_table(CONFIG, request(**fields))
    assert caught.value.field == field


@pytest.mark.parametrize(
    "fields",
    [
        {"sampler": "euler", "spacing": "trailing"},
        {"sampler": "euler", "schedule": "karras", "spacing": "leading"},
        {"sampler": "dpmpp-2m", "spacing": "linspace"},
        {"sampler": "dpmpp-2m", "spacing": "trailing", "steps": 1},
        {"sampler": "euler", "zero_snr": True},
        {"sampler": "heun", "zero_snr": False},
        {"sampler": "plms", "spacing": "leading", "steps": 999},
    ],
)
def test_a_field_that_a_sampler_heeds_is_taken(fields: dict[str, Any]) -> None:
    assert len(request_table(CONFIG, request(**fields)).steps) >= 1
