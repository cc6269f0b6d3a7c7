"""ImageNet's classes by number and name."""

from __future__ import annotations

import pytest

from sdgen.errors import InputError
from sdgen.text.class_names import class_name, class_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        (" 999 ", 999),
        ("goldfish", 1),
        ("Carassius auratus", 1),
        ("GREAT WHITE SHARK", 2),
        ("great_white-shark", 2),
        ("crane (bird)", 134),
        ("maillot, tank suit", 639),
        ("tank suit", 639),
        ("toilet paper", 999),
    ],
)
def test_a_class_goes_by_its_number_and_by_each_of_its_names(text: str, number: int) -> None:
    assert class_number(text) == number


def test_all_of_a_classs_names_are_one_of_them() -> None:
    unclear = {86, 474, 594, 638, 657}  # "partridge" and so on, which other classes are called, too.
    assert all(class_number(class_name(number)) == number for number in set(range(1000)) - unclear)


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("crane", "134 (crane (bird)) and 517 (crane (machine))"),
        ("maillot", "638 (maillot) and 639 (maillot, tank"),
    ],
)
def test_a_name_of_two_classes_is_answered_with_both(text: str, classes: str) -> None:
    with pytest.raises(InputError, match="give the number") as error:
        class_number(text)
    assert classes in str(error.value)


def test_a_misspelt_name_is_answered_with_near_ones() -> None:
    with pytest.raises(InputError, match=r"did you mean .*goldfish") as error:
        class_number("goldfisch", field="negative_prompt")
    assert error.value.field == "negative_prompt"


@pytest.mark.parametrize("text", ["1000", "-1", "", "1.0", "a red fox on a roof", "x" * 20_000])
def test_what_is_no_class_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(InputError) as error:
        class_number(text)
    assert len(str(error.value)) < 300


def test_other_numbers_of_classes_have_no_names() -> None:
    assert class_number("9", 10) == 9
    with pytest.raises(InputError, match="give a number from 0 to 9"):
        class_number("goldfish", 10)
