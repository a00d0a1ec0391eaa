"""The table is straight on every terminal, whatever stands in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.console.figures import connection, page
from manyhands.console.table import fitting
from manyhands.model.columns import width
from tests.console.scripted import connection as told


def titles(columns: int, sort: str = "id", *, has_servers: bool = False) -> list[str]:
    return [column.title for column in fitting(columns, sort, has_servers=has_servers)]


def test_a_narrow_terminal_has_what_matters_most() -> None:
    assert titles(40) == ["id", "peer", "age"]
    assert titles(80) == ["id", "peer", "state", "age", "silent", "in", "out"]
    assert titles(100)[2:] == ["handler", "state", "age", "silent", "in", "out", "waiting"]
    assert titles(200)[-4:] == ["waiting", "missed", "rooms", "listener"]


def test_the_column_that_is_sorted_by_is_always_there() -> None:
    assert titles(40, "missed") == ["id", "peer", "missed"]


def test_the_server_of_a_connection_is_shown_where_there_are_several() -> None:
    assert "s" not in titles(200)
    assert "s" in titles(200, has_servers=True)


@pytest.mark.parametrize("columns", [7, 30, 80, 81, 97, 132, 220])
def test_the_columns_use_the_terminal_and_no_more(columns: int) -> None:
    shown = fitting(columns, "id", has_servers=True)
    used = sum(column.columns for column in shown) + max(0, len(shown) - 1)
    assert used <= columns
    if columns > 80:
        assert used >= columns - 10


_HOSTILE = [
    "\x1b[2J\x1b[31mred",
    "[red]x[/red]",
    "[/",
    "\u202egnp.exe",
    "a\r\nb\tc",
    "王" * 100,
    "\x9b1m",
]


@pytest.mark.parametrize("text", _HOSTILE)
def test_what_a_peer_sends_is_shown_and_not_obeyed(text: str) -> None:
    one = connection(told(1, peer=text, handler=text, rooms=[text], state=text, listener=text))
    for column in fitting(220, "id", has_servers=True):
        cell = column.text(one)
        assert cell.isprintable()
        assert width(cell) == column.columns


@given(st.text(max_size=40), st.integers(1, 250))
def test_each_cell_is_as_wide_as_its_column(text: str, columns: int) -> None:
    one = connection(told(1, peer=text, handler=text, rooms=[text, text], reason=text))
    for column in fitting(columns, "in", has_servers=True):
        assert width(column.text(one)) == column.columns
        assert width(column.heading("in", is_descending=True)) == column.columns


def test_the_heading_has_an_arrow_where_it_is_sorted() -> None:
    columns = fitting(80, "in", has_servers=False)
    heads = [column.heading("in", is_descending=True).strip() for column in columns]
    assert heads == ["id", "peer", "state", "age", "silent", "▼in", "out"]
    heads = [column.heading("peer", is_descending=False).strip() for column in columns]
    assert heads[1] == "peer▲"


def test_what_a_server_does_not_tell_is_a_dash() -> None:
    one = connection({"id": "7", "peer": "10.0.0.1:1"})
    cells = {
        column.title: column.text(one).strip() for column in fitting(220, "", has_servers=False)
    }
    assert [cells[title] for title in ("age", "silent", "in", "out", "waiting", "missed")] == [
        "-"
    ] * 6
    assert [cells[title] for title in ("handler", "state", "rooms", "listener")] == [""] * 4


def test_of_many_rooms_it_says_how_many_more_there_are() -> None:
    one = connection(told(1, rooms=["r0", "r1"], rooms_total=80_000))
    column = next(c for c in fitting(220, "id", has_servers=False) if c.title == "rooms")
    assert column.text(one).strip() == "r0, r1, 79,998 more"


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"items": None, "next": 5, "total": "many", "open": float("inf")},
        {"items": [None, 7, {"rooms": "red", "age": "old", "in": float("nan")}]},
    ],
)
def test_an_answer_of_another_version_is_read_as_far_as_it_goes(answer: dict[str, object]) -> None:
    read = page(answer)
    assert (read.next, read.total, read.open) == (None, 0, 0)
    assert all((each.rooms, each.age, each.bytes_in) == ("", None, None) for each in read.items)


def test_a_connection_whose_end_is_decided_says_why() -> None:
    one = connection(told(1, state="closing", reason="kicked"))
    state = next(c for c in fitting(220, "id", has_servers=False) if c.title == "state")
    assert state.text(one).strip() == "closing: kicked"
