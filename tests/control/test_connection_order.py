"""The first of many connections in any order, found slice by slice, against all of them sorted."""

import random
from typing import Any

import pytest

from manyhands.connections.traffic import Traffic
from manyhands.control.connection_order import Look, Order, Shortlist
from manyhands.control.recent_traffic import RecentTraffic
from manyhands.model.connection_states import Reason


class Some:
    """A connection with what orders look at."""

    def __init__(self, number: int, dice: random.Random) -> None:
        self.number = number
        known = dice.random() < 0.8
        self.traffic = (
            Traffic(1, dice.randrange(5), dice.randrange(3), 0, 0.0, 0.0, waits_for_peer=False)
            if known
            else None
        )
        self.handler = dice.choice(["Echo", "Chat"])
        self.opened_at = float(dice.randrange(4))
        self.reason = dice.choice([None, Reason.IDLE, Reason.KICKED])
        self.client_address = (f"192.0.2.{dice.randrange(9)}", 1000 + number)


def value(connection: Some, field: str) -> Any:
    """Return what a connection is sorted by; None where that is not known."""
    match field:
        case "id":
            return connection.number
        case "in":
            return None if connection.traffic is None else connection.traffic.bytes_in
        case "handler":
            return connection.handler
        case "age":
            return -connection.opened_at
        case "reason":
            return None if connection.reason is None else connection.reason.value
    raise AssertionError(field)


def in_order(connections: list[Some], sort: str) -> list[Some]:
    """Sort all of them; what is not known comes last."""
    field, is_descending = sort.removeprefix("-"), sort.startswith("-")
    known = [each for each in connections if value(each, field) is not None]
    rest = [each for each in connections if value(each, field) is None]
    known.sort(key=lambda each: (value(each, field), each.number), reverse=is_descending)
    rest.sort(key=lambda each: each.number, reverse=is_descending)
    return known + rest


@pytest.mark.parametrize("sort", ["id", "-id", "in", "-in", "handler", "-age", "reason", "-reason"])
@pytest.mark.parametrize("count", [1, 7, 200])
def test_page_after_page_is_found_whatever_the_order_in_which_they_come(
    sort: str, count: int
) -> None:
    dice = random.Random(f"{sort} {count}")
    connections: list[Any] = [Some(number, dice) for number in range(100)]
    dice.shuffle(connections)
    order, look, expected = Order(sort), Look(1, RecentTraffic()), in_order(connections, sort)
    cursor = None
    while expected:
        shortlist = Shortlist(order, count, cursor)
        for start in range(0, 100, 9):
            shortlist.show(look, connections[start : start + 9])
        found = shortlist.first()
        assert [each[-1].number for each in found] == [each.number for each in expected[:count]]
        expected = expected[count:]
        cursor = order.read(order.cursor(found[-1]))


def shown(numbers: range) -> tuple[Shortlist, list[int]]:
    """Show connections to a list of ten; return it, and how many it kept each time."""
    dice, shortlist = random.Random(1), Shortlist(Order("id"), 10, None)
    connections: list[Any] = [Some(number, dice) for number in numbers]
    kept = []
    for start in range(0, len(connections), 5):
        shortlist.show(Look(1, RecentTraffic()), connections[start : start + 5])
        kept.append(len(shortlist))
    return shortlist, kept


def test_no_more_are_kept_than_two_pages_where_each_is_better_than_all_before_it() -> None:
    shortlist, kept = shown(range(1000, 0, -1))
    assert max(kept) < 20
    assert [each[-1].number for each in shortlist.first()] == list(range(1, 11))


def test_those_that_are_worse_than_all_that_count_are_not_kept() -> None:
    shortlist, kept = shown(range(1, 1001))
    assert kept == [5, 10, 15, *[10] * 197]
    assert [each[-1].number for each in shortlist.first()] == list(range(1, 11))
