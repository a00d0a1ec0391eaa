"""The types of values that the options of admission take."""

import math

import pytest

from manyhands.config.option_types import (
    ChoiceOrHandler,
    Message,
    NetworkList,
    Rate,
    Workers,
    encoded,
)
from manyhands.model.usage_errors import Mistake


@pytest.mark.parametrize("value", [0.00001, 0.5, 1, 1_000_000])
def test_a_rate_is_a_number_per_second(value: float) -> None:
    assert Rate().fits(value)
    assert Rate().read(str(value)) == value


@pytest.mark.parametrize("value", [0, -1, 1e-9, 1e7, math.inf, math.nan, True, "1", None])
def test_a_rate_is_nothing_else(value: object) -> None:
    assert not Rate().fits(value)


def test_a_list_of_networks_is_read_from_one_word() -> None:
    assert NetworkList().read("10.0.0.0/8,192.0.2.1/32") == "10.0.0.0/8, 192.0.2.1"
    assert NetworkList().expected == "a list of networks, as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.1"


def test_a_word_that_is_no_network_is_refused_with_the_reason() -> None:
    with pytest.raises(Mistake, match=r"'10\.0\.0\.1/8' is not a network: the address has"):
        NetworkList().read("192.0.2.1,10.0.0.1/8")


@pytest.mark.parametrize("value", ["10.0.0.0/8, ::1", ["10.0.0.0/8", "::1"], ("::1",), ()])
def test_a_text_or_a_list_of_texts_fits(value: object) -> None:
    assert NetworkList().fits(value)


@pytest.mark.parametrize("value", ["", "a.host", ["10.0.0.1/8"], [1], 1, None, b"::1"])
def test_nothing_else_fits(value: object) -> None:
    assert not NetworkList().fits(value)


@pytest.mark.parametrize("value", ["wait", "refuse", print, int, lambda *_: None])
def test_a_choice_or_a_handler_fits(value: object) -> None:
    assert ChoiceOrHandler("wait", "refuse").fits(value)


@pytest.mark.parametrize("value", ["panic", "", 1, None, ["wait"]])
def test_neither_a_choice_nor_a_handler(value: object) -> None:
    assert not ChoiceOrHandler("wait", "refuse").fits(value)


def test_what_is_said_is_bytes_or_a_text() -> None:
    assert Message(4).fits("ürg")
    assert encoded("ürg") == b"\xc3\xbcrg"
    assert Message(4).fits(b"1234")
    assert encoded(b"1234") == b"1234"


@pytest.mark.parametrize("value", ["", b"", "ürgs", b"12345", 1, None, ["a"], "\ud800"])
def test_what_is_too_long_or_no_text_cannot_be_said(value: object) -> None:
    assert not Message(4).fits(value)


def test_a_list_of_texts_may_have_commas_in_each() -> None:
    assert NetworkList().fits(["10.0.0.0/8, ::1", "192.0.2.1"])


@pytest.mark.parametrize("value", [0, 1, 8, "auto"])
def test_workers_are_a_number_or_as_many_as_there_are_processors(value: object) -> None:
    assert Workers(at_most=8).fits(value)
    assert Workers(at_most=8).read(str(value)) == value


@pytest.mark.parametrize("value", [-1, 9, 1.0, True, "4", "", None, ["auto"]])
def test_workers_are_nothing_else(value: object) -> None:
    assert not Workers(at_most=8).fits(value)
