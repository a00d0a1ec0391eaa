"""Tables for people, and how they fit into a terminal."""

import pytest

from manyhands.cli.ctl.tables import Column, Look, facts, field, figure, table
from manyhands.model.columns import width
from manyhands.model.quantities import count

PLAIN = Look(None, is_coloured=False)
COLOURED = Look(None, is_coloured=True)

COLUMNS = [figure("id", count), field("peer"), field("handler")]

ITEMS = [
    {"id": 7, "peer": "192.0.2.1:5000", "handler": "Echo"},
    {
        "id": 1742,
        "peer": "\N{CJK UNIFIED IDEOGRAPH-56DB}\N{CJK UNIFIED IDEOGRAPH-65B9}",
        "handler": None,
    },
]


def test_texts_are_aligned_to_the_left_and_numbers_to_the_right() -> None:
    assert list(table(COLUMNS, ITEMS, PLAIN)) == [
        "   ID  PEER            HANDLER",
        "    7  192.0.2.1:5000  Echo",
        "1,742  四方            -",
    ]


def test_a_number_in_the_last_column_is_aligned_too() -> None:
    assert list(table(COLUMNS[:1], ITEMS, PLAIN)) == ["   ID", "    7", "1,742"]


@pytest.mark.parametrize("columns", range(24, 32))
def test_a_table_is_as_wide_as_the_terminal_and_numbers_are_never_cut(columns: int) -> None:
    lines = list(table(COLUMNS, ITEMS, Look(columns, is_coloured=False)))
    assert max(map(width, lines)) == min(columns, 30)
    assert [line[:5] for line in lines] == ["   ID", "    7", "1,742"]
    assert ("…" in lines[1]) is (columns < 30)


def test_in_a_terminal_that_is_too_narrow_texts_keep_some_columns() -> None:
    lines = list(table(COLUMNS, ITEMS, Look(3, is_coloured=False)))
    assert lines[1] == "    7  192.0.2…  Echo"


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (43, "192.0.2.1:50123  7  127.0.0.1:8008  Echo"),
        (37, "192.0.2.1:50123  7  127.0.0…  Echo"),
        (36, "192.0.2.1:50123  7  Echo"),
        (27, "192.0.2.1:50123  7  Echo"),
        (26, "192.0.2.1:50123  7"),
        (16, "192.0.2.1:50…  7"),
        (1, "192.0.2…  7"),
    ],
)
def test_where_there_is_no_place_spare_columns_are_left_out_before_what_matters_is_cut(
    columns: int, line: str
) -> None:
    shown = [
        field("peer", is_cut_last=True),
        figure("n", count),
        field("listener", is_spare=True),
        field("handler", is_spare=True),
    ]
    items = [{"peer": "192.0.2.1:50123", "n": 7, "listener": "127.0.0.1:8008", "handler": "Echo"}]
    assert list(table(shown, items, Look(columns, is_coloured=False)))[1] == line


def test_the_widest_text_is_cut_first() -> None:
    columns = [field("a"), field("b")]
    items = [{"a": "a" * 30, "b": "b" * 12}]
    assert list(table(columns, items, Look(34, is_coloured=False)))[1] == f"{'a' * 19}…  {'b' * 12}"


def test_what_a_client_chose_neither_moves_the_cursor_nor_the_columns() -> None:
    items = [{"id": 1, "peer": "\x1b[2J\n\N{RIGHT-TO-LEFT OVERRIDE}x", "handler": "Echo"}]
    [_, line] = table(COLUMNS, items, COLOURED)
    assert line == r" 1  \x1b[2J\n\u202ex  Echo"
    assert list(facts([("peer", "\x1b[2J\nid  7")], PLAIN)) == [r"peer  \x1b[2J\nid  7"]


def test_only_headings_are_in_bold_and_only_where_colours_are_wanted() -> None:
    assert list(table(COLUMNS[:1], ITEMS[:1], COLOURED)) == ["\x1b[1mID\x1b[0m", " 7"]
    assert list(facts([("id", 7), ("peer", "x")], COLOURED)) == [
        "\x1b[1mid  \x1b[0m  7",
        "\x1b[1mpeer\x1b[0m  x",
    ]
    assert COLOURED.warning("late") == "\x1b[33mlate\x1b[0m"
    assert COLOURED.heading("") == ""


def test_facts_that_are_not_known_are_left_out() -> None:
    assert list(facts([("tls", None), ("peer", "x"), ("proxy", "")], PLAIN)) == ["peer  x"]
    assert list(facts([], PLAIN)) == []
    assert list(facts([("missed", 0)], PLAIN)) == ["missed  0"]


def test_a_column_may_have_a_heading_of_its_own() -> None:
    columns = [field("place", "WHERE"), Column("", lambda item: item["n"] + 1)]
    assert list(table(columns, [{"place": "here", "n": 1}], PLAIN)) == ["WHERE", "here   2"]
