"""The values of limits are typed and shown in the same way."""

import pytest

from manyhands import Server
from manyhands.control.limit_values import read, written
from manyhands.model.usage_errors import Mistake
from manyhands.serving.info import plain
from tests.support import Echo


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("none", None),
        ("None", None),
        (" none ", None),
        ("null", "null"),
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


@pytest.mark.parametrize("text", ["", " ", "\t"])
def test_what_is_empty_takes_no_limit_away(text: str) -> None:
    with pytest.raises(Mistake, match="the value is missing; none takes a limit away"):
        read(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_connections", 500),
        ("max_age", None),
        ("idle_timeout", 1.5),
        ("max_rate", 0.5),
        ("allow", ["10.0.0.0/8", "::1"]),
        ("when_behind", "drop_oldest"),
    ],
)
def test_what_is_written_can_be_typed_again(name: str, value: object) -> None:
    controls = Server(Echo, "tcp://127.0.0.1:0", **{name: value}).controls
    text = written(plain(controls.value_of(name)))
    controls.adjust({name: read(text)})
    assert written(plain(controls.value_of(name))) == text
