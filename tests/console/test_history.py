"""Rates are differences of two looks, and sparklines what they were."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.console.books import Books, books_of, by_number
from manyhands.console.figures import status
from manyhands.console.history import KEPT, History, meter, sparkline
from manyhands.model.columns import width
from tests.console.scripted import server

NOTHING = Books(0, 0, 0, 0, {}, {}, {}, {}, None, None)


def servers(*told: dict[str, object]) -> Books:
    """Return the books of servers as the protocol tells of them."""
    return books_of(status({"servers": [*told]}).servers)


def test_the_books_of_several_servers_are_added_up() -> None:
    one = server(
        1, accepted=10, open={"open": 3}, closed={"idle": 4, "refused_full": 3}, bytes_in=5
    )
    other = server(
        2, accepted=2, open={"closing": 1}, closed={"idle": 1}, dropped={"refused_full": 7}
    )
    books = servers(one, other)
    assert (books.accepted, books.open, books.closed, books.refused) == (12, 4, 8, 3)
    assert books.states == {"open": 3, "closing": 1}
    assert (books.ends, books.refusals, books.dropped) == (
        {"idle": 5},
        {"refused_full": 3},
        {"refused_full": 7},
    )
    assert (books.bytes_in, books.bytes_out) == (5, None)


def test_the_most_frequent_comes_first_and_what_never_was_not_at_all() -> None:
    assert by_number({"b": 1, "a": 1, "none": 0, "c": 5}) == [("c", 5), ("a", 1), ("b", 1)]


def test_there_is_no_rate_before_the_second_look() -> None:
    history = History()
    history.look(NOTHING, 1.0, None, at=100.0)
    assert history.latest("accepted") is None


def test_a_rate_is_by_the_second_however_long_it_was_between_the_looks() -> None:
    history = History()
    history.look(NOTHING, 1.0, None, at=100.0)
    history.look(replace(NOTHING, accepted=30, closed=15, refused=3), 2.0, 0.25, at=102.0)
    rates = [history.latest(name) for name in ("accepted", "closed", "refused", "processor")]
    assert rates == [15.0, 7.5, 1.5, 0.5]
    assert history.latest("hub_delay") == 0.25
    assert history.latest("bytes_in") is None


def test_what_is_counted_from_now_on_has_its_rate_from_the_next_look_on() -> None:
    history = History()
    history.look(NOTHING, None, None, at=1.0)
    history.look(replace(NOTHING, bytes_in=500), None, None, at=2.0)
    assert history.latest("bytes_in") is None
    history.look(replace(NOTHING, bytes_in=800), None, None, at=3.0)
    assert history.latest("bytes_in") == 300.0


def test_a_counter_that_falls_is_no_rate_below_nothing() -> None:
    history = History()
    history.look(replace(NOTHING, bytes_in=500), None, None, at=1.0)
    history.look(replace(NOTHING, bytes_in=400), None, None, at=2.0)
    assert history.latest("bytes_in") == 0.0


def test_two_looks_at_the_same_time_are_no_rate() -> None:
    history = History()
    for accepted in (0, 5):
        history.look(replace(NOTHING, accepted=accepted), None, None, at=1.0)
    assert history.latest("accepted") is None


def test_a_history_has_an_end() -> None:
    history = History()
    for at in range(2 * KEPT):
        history.look(replace(NOTHING, accepted=at * at), None, None, at=float(at))
    values = history.of("accepted")
    assert len(values) == KEPT
    assert values[-1] == 2 * (2 * KEPT - 2) + 1


@pytest.mark.parametrize(
    ("values", "columns", "drawn"),
    [
        ([], 3, "   "),
        ([0, 0], 3, "   "),
        ([8, 4, 0, 1], 5, " █▄ ▁"),
        ([9, 1, 2], 2, "▄█"),
        # What is there at all is seen.
        ([0.001, 1000], 2, "▁█"),
    ],
)
def test_a_sparkline_begins_at_nothing_and_ends_at_the_highest(
    values: list[float], columns: int, drawn: str
) -> None:
    assert sparkline(values, columns) == drawn


@given(st.lists(st.floats(0, 1e300), max_size=30), st.integers(1, 20))
def test_a_sparkline_is_as_wide_as_it_should_be(values: list[float], columns: int) -> None:
    assert width(sparkline(values, columns)) == columns


@pytest.mark.parametrize(
    ("part", "drawn"),
    [(0, "░░░░"), (0.01, "█░░░"), (0.5, "██░░"), (1, "████"), (3, "████"), (-1, "░░░░")],
)
def test_a_meter_is_full_at_one_and_shows_the_least(part: float, drawn: str) -> None:
    assert meter(part, 4) == drawn
