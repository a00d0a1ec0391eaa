"""Figures are short, and say their units."""

import re

import pytest

from manyhands.model.quantities import age, count, delay, rate, read_seconds, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (-0.1, "0.0 s"),
        (0, "0.0 s"),
        (4.24, "4.2 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 m 00 s"),
        (725, "12 m 05 s"),
        (3599.6, "1 h 00 m"),
        (11_520, "3 h 12 m"),
        (86_399, "23 h 59 m"),
        (86_400, "1 d 00 h"),
        (357_000, "4 d 03 h"),
        (86_400_000_000, "1,000,000 d 00 h"),
    ],
)
def test_an_age_has_two_units_at_the_most(seconds: float | None, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (0.4, "0 B"),
        (999, "999 B"),
        (999.7, "1.0 kB"),
        (1234, "1.2 kB"),
        (9960, "10 kB"),
        (999_700, "1.0 MB"),
        (3_400_000_000, "3.4 GB"),
        (2e24, "2,000,000 EB"),
    ],
)
def test_bytes_have_three_digits_at_the_most_and_a_unit(number: float | None, text: str) -> None:
    assert size(number) == text


def test_counts_have_their_thousands_apart() -> None:
    assert [count(None), count(0), count(12_345)] == ["-", "0", "12,345"]


def test_a_small_rate_has_a_tenth() -> None:
    assert [rate(each) for each in (None, 0, 0.25, 9.94, 9.96, 1204.4)] == [
        "-", "0", "0.2", "9.9", "10", "1,204",
    ]  # fmt: skip


def test_a_delay_is_in_thousandths_until_it_is_a_second() -> None:
    assert [delay(each) for each in (None, 0, 0.0003, 0.0123, 0.9994, 0.9996, 12)] == [
        "-", "0.0 ms", "0.3 ms", "12 ms", "999 ms", "1.0 s", "12 s",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90", 90), ("0.5", 0.5), ("90s", 90), ("5m", 300), ("1.5h", 5400), ("2d", 172_800)],
)
def test_a_time_is_read_with_or_without_a_unit(text: str, seconds: float) -> None:
    assert read_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "m", "-1", "+1", "1e3", "nan", "5 m", "5w", "\u0665", "1_0", ".5"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        read_seconds(text)
