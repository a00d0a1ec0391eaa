"""The values of limits are typed and shown in the same way."""

import pytest

from manyhands.control.limit_values import read, written


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("none", None),
        ("None", None),
        ("", None),
        ("500", 500),
        ("1.5", 1.5),
        ("yes", True),
        ("no", False),
        ("true", True),
        ("wait", "wait"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ('["10.0.0.0/8"]', ["10.0.0.0/8"]),
    ],
)
def test_a_word_stands_for_a_value(text: str, value: object) -> None:
    assert read(text) == value
    assert type(read(text)) is type(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (True, "yes"),
        (False, "no"),
        (500, "500"),
        (60.0, "60"),
        (1.5, "1.5"),
        ("wait", "wait"),
        (["a", "b"], "a, b"),
    ],
)
def test_a_value_is_written_as_people_have_it(value: object, text: str) -> None:
    assert written(value) == text
