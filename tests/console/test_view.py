"""What the server is asked for: filter, order, page."""

import pytest

from manyhands.console.view import FILTERS, MOST_ROWS, View, where
from manyhands.model.usage_errors import Mistake


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("", {}),
        ("  ", {}),
        ("10.0.0.1", {"text": "10.0.0.1"}),
        ("10.0.0.1:8008", {"text": "10.0.0.1:8008"}),
        ("[::1]:8008", {"text": "[::1]:8008"}),
        ("王 小明", {"text": "王 小明"}),
        ("room:red", {"room": "red"}),
        ("room:'red and blue' Echo", {"room": "red and blue", "text": "Echo"}),
        ("idle:60", {"idle_over": 60.0}),
        ("idle:1.5m age:2h", {"idle_over": 90.0, "age_over": 7200.0}),
        ("state:open server:2", {"state": "open", "server": 2}),
        ("peer:10.0.0.0/8 listener::8008", {"peer": "10.0.0.0/8", "listener": ":8008"}),
        ("handler:Echo", {"handler": "Echo"}),
    ],
)
def test_a_filter_is_words_and_a_text(words: str, asked: dict[str, object]) -> None:
    assert where(words) == asked


def test_the_example_in_the_prompt_has_each_word_and_is_right() -> None:
    assert len(where(FILTERS)) == len(FILTERS.split())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("idle:", "idle: takes seconds, or 5m, 2h, not ''"),
        ("idle:x", "idle: takes seconds, or 5m, 2h, not 'x'"),
        ("idle:-1", "idle: takes seconds, or 5m, 2h, not '-1'"),
        ("idle:nan", "idle: takes seconds, or 5m, 2h, not 'nan'"),
        ("idle:1e9", "idle: takes seconds, or 5m, 2h, not '1e9'"),
        ("server:one", "server: takes its number, not 'one'"),
        ("server:²", "server: takes its number, not '²'"),
        ("rooms:red", "there is no rooms: in a filter; did you mean room:?"),
        ("room:'red", """a quotation mark is missing in "room:'red\""""),
    ],
)
def test_a_word_that_cannot_be_meant_is_named(words: str, sentence: str) -> None:
    with pytest.raises(Mistake) as refused:
        where(words)
    assert str(refused.value) == sentence


def test_a_view_begins_with_the_first_page_by_number() -> None:
    view = View()
    assert view.params() == {"where": {}, "sort": "id", "limit": 20}


def test_a_field_that_is_looked_for_at_its_greatest_falls_at_first() -> None:
    view = View()
    view.sort_by("in")
    assert view.params()["sort"] == "-in"
    view.sort_by("in")
    assert view.params()["sort"] == "in"
    view.sort_by("peer")
    assert view.params()["sort"] == "peer"


def test_an_order_may_be_given_as_the_protocol_has_it() -> None:
    view = View()
    view.order("-age")
    assert (view.sort, view.is_descending, view.params()["sort"]) == ("age", True, "-age")


def test_pages_are_turned_on_by_the_server_s_cursors_and_back() -> None:
    view = View()
    assert not view.turn_back()
    assert view.turn_on("c1")
    assert view.turn_on("c2")
    assert not view.turn_on(None)
    assert (view.params()["after"], view.page_number) == ("c2", 3)
    assert view.turn_back()
    assert view.params()["after"] == "c1"
    view.go_to_first()
    assert ("after" in view.params(), view.page_number) == (False, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda view: view.filter("x"),
        lambda view: view.sort_by("age"),
        lambda view: view.limit_to(2),
    ],
)
def test_what_changes_the_list_begins_at_its_first_page(change) -> None:
    view = View()
    view.turn_on("c1")
    change(view)
    assert view.page_number == 1


def test_a_filter_that_is_a_mistake_changes_nothing() -> None:
    view = View()
    view.filter("room:red")
    view.turn_on("c1")
    with pytest.raises(Mistake):
        view.filter("idle:x")
    assert (view.words, view.page_number) == ("room:red", 2)
    assert view.params()["where"] == {"room": "red"}


def test_a_view_of_one_server_asks_for_that_one_and_a_filter_may_ask_for_another() -> None:
    view = View()
    view.limit_to(2)
    assert view.params()["where"] == {"server": 2}
    view.filter("server:1")
    assert view.params()["where"] == {"server": 1}


@pytest.mark.parametrize(("rows", "limit"), [(-3, 1), (0, 1), (40, 40), (5000, MOST_ROWS)])
def test_a_page_has_as_many_rows_as_the_protocol_has(rows: int, limit: int) -> None:
    view = View()
    view.fit(rows)
    assert view.params()["limit"] == limit
    assert not view.fit(rows)
