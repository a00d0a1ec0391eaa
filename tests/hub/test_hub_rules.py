"""The rules by which the hub hands on, and what both of its ends know: no sockets."""

from collections.abc import Iterator

import pytest

from manyhands.hub import asks as hub_asks
from manyhands.hub.asks import Asks
from manyhands.hub.frames import EVERYTHING, joined, parted
from manyhands.hub.losses import KnownLosses
from manyhands.hub.topic_page import PLACES, SHARED_BIT, TopicPage, TopicView, place_of


class Worker:
    """A worker that asks and answers."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_late = False
        self.answers: list[tuple[int, int, bytes]] = []

    def answer(self, request: int, count: int, body: bytes) -> None:
        """Note an answer."""
        self.answers.append((request, count, body))


@pytest.fixture
def workers() -> list[Worker]:
    return [Worker(number) for number in range(4)]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [100.0]
    monkeypatch.setattr(hub_asks.time, "monotonic", lambda: now[0])
    return now  # type: ignore[return-value]


def begun(asks: Asks, asker: Worker, asked: list[Worker], *, is_first: bool = False) -> int:
    number = asks.new_number()
    asks.begin(number, asker, 7, asked, is_first=is_first)
    return number


def test_answers_are_added_up_and_put_together(workers: list[Worker]) -> None:
    asks, (asker, *asked) = Asks(), workers
    number = begun(asks, asker, asked)
    for each in asked:
        assert not asker.answers
        asks.take(each, number, each.number, b"%d" % each.number if each.number > 1 else b"")
    ((request, count, body),) = asker.answers
    assert (request, count) == (7, 6)
    assert list(parted(body)) == [(2, b"2"), (3, b"3")]


def test_the_first_answer_counts_where_one_is_enough(workers: list[Worker]) -> None:
    asks, (asker, *asked) = Asks(), workers
    number = begun(asks, asker, asked, is_first=True)
    asks.take(asked[0], number, 0, b"")
    assert not asker.answers
    asks.take(asked[1], number, 1, b"found")
    asks.take(asked[2], number, 1, b"found too")
    assert asker.answers == [(7, 1, joined([(2, b"found")]))]


def test_the_one_that_answers_twice_and_one_that_was_not_asked_count_nothing(
    workers: list[Worker],
) -> None:
    asks, (asker, first, second, other) = Asks(), workers
    number = begun(asks, asker, [first, second])
    asks.take(first, number, 1, b"")
    asks.take(first, number, 1, b"")
    asks.take(other, number, 1, b"")
    asks.take(second, number, 1, b"")
    assert asker.answers == [(7, 2, b"")]


def test_nobody_is_waited_for_where_nobody_is_asked(workers: list[Worker]) -> None:
    asks = Asks()
    begun(asks, workers[0], [])
    assert workers[0].answers == [(7, 0, b"")]


def test_one_that_is_late_is_waited_for_again_when_it_answers(
    workers: list[Worker], clock: list[float]
) -> None:
    asks, (asker, quick, slow, _) = Asks(), workers
    number = begun(asks, asker, [quick, slow])
    asks.take(quick, number, 1, b"")
    assert asks.seconds_left(10.0) == pytest.approx(hub_asks.ANSWERS_WITHIN)
    asks.expire()
    assert not asker.answers
    clock[0] += hub_asks.ANSWERS_WITHIN
    assert not asks.seconds_left(10.0)
    asks.expire()
    assert asker.answers == [(7, 1, b"")]
    assert (quick.is_late, slow.is_late) == (False, True)
    again = begun(asks, asker, [quick, slow])
    asks.take(quick, again, 1, b"")
    assert asker.answers == [(7, 1, b"")] * 2
    asks.take(slow, number, 1, b"")
    assert not slow.is_late
    assert asks.seconds_left(10.0) == 10.0


def test_of_too_many_asks_the_oldest_are_answered_with_what_there_is(
    workers: list[Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_asks, "MOST_ASKS", 2)
    asks, (asker, slow, *_) = Asks(), workers
    for _ in range(3):
        begun(asks, asker, [slow])
    assert asker.answers == [(7, 0, b"")]


def test_a_worker_that_has_gone_is_waited_for_no_more(workers: list[Worker]) -> None:
    asks, (asker, first, second, _) = Asks(), workers
    number = begun(asks, asker, [first, second])
    asks.take(first, number, 2, b"")
    asks.forget(second)
    assert asker.answers == [(7, 2, b"")]


def test_a_worker_sees_in_the_page_what_others_follow_and_not_what_it_follows_itself() -> None:
    page, place = TopicPage(), place_of("Rred")
    views = {bit: TopicView(page.descriptor, bit) for bit in (0, 5, 62)}

    def who_sees(topic: str = "Rred") -> set[int]:
        return {bit for bit, view in views.items() if view.is_followed(topic)}

    assert not who_sees()
    page.set(place, [5])
    assert who_sees() == {0, 62}
    page.set(place, [0, 5])
    assert who_sees() == {0, 5, 62}
    page.set(place, [62])
    assert who_sees() == {0, 5}
    page.set(place, [])
    assert not who_sees()
    assert not who_sees("Rblue")
    page.set(place_of(EVERYTHING), [5])
    assert who_sees() == who_sees("Rblue") == {0, 62}


def test_those_that_share_a_bit_take_their_own_for_others() -> None:
    page = TopicPage()
    page.set(place_of("Rred"), [SHARED_BIT])
    assert TopicView(page.descriptor, SHARED_BIT).is_followed("Rred")
    assert TopicView(page.descriptor, 0).is_followed("Rred")


def test_each_topic_has_a_place_of_which_none_is_that_of_everything() -> None:
    places = {place_of(f"R{number}") for number in range(1000)}
    assert 0 < min(places) <= max(places) <= PLACES
    assert len(places) > 900
    assert place_of(EVERYTHING) == 0
    # A name may have bytes in it that were no text (PEP 383).
    assert place_of("R\udcff") > 0


def test_losses_are_told_as_sums_of_which_only_the_news_count() -> None:
    known = KnownLosses()
    assert [known.news("Rred", count) for count in (2, 5, 5)] == [2, 3, 0]
    assert known.news("Rblue", 1) == 1
