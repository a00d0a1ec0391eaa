"""The thread that follows a server, against a server on a real socket."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from manyhands.console.feed import MOST_WAITING, Answer, Feed, Request
from manyhands.console.look import Snapshot, Wanted
from manyhands.control.discovery import Follower
from tests.console.scripted import Scripted, connection
from tests.support import wait_until

ALL = Wanted({"where": {}, "sort": "id", "limit": 100})


class Following:
    """A feed that is followed as a screen does."""

    def __init__(self, place: str, interval: float = 0.02) -> None:
        self.feed = Feed(Follower(place), interval, lambda: None)
        self.answers: list[Answer] = []
        self.feed.want(ALL)
        self.feed.start()

    @property
    def snapshot(self) -> Snapshot:
        return self.feed.snapshot

    def ask(self, verb: str, session: int | None = None, **params: object) -> bool:
        session = self.snapshot.session if session is None else session
        return self.feed.ask(Request(verb, params, session, self.answers.append))

    def answer(self) -> Answer:
        """Wait for the next answer."""

        def is_there() -> bool:
            self.feed.take_answers()
            return bool(self.answers)

        wait_until(is_there)
        return self.answers.pop(0)

    def close(self) -> None:
        self.feed.stop()


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Scripted]:
    with Scripted(tmp_path / "control.sock") as scripted:
        yield scripted


@pytest.fixture
def following(scripted: Scripted) -> Iterator[Following]:
    with closing(Following(scripted.place)) as following:
        wait_until(lambda: following.snapshot.page is not None)
        yield following


def ids(snapshot: Snapshot) -> list[str]:
    return [] if snapshot.page is None else [each.id for each in snapshot.page.items]


def test_a_look_has_figures_and_connections_and_is_taken_again(
    scripted: Scripted, following: Following
) -> None:
    assert following.snapshot.status is not None
    assert ids(following.snapshot) == ["1", "2", "3"]
    scripted.connections.append(connection(4))
    wait_until(lambda: ids(following.snapshot) == ["1", "2", "3", "4"])


def test_what_is_wanted_is_asked_for_at_once_however_long_the_interval(scripted: Scripted) -> None:
    with closing(Following(scripted.place, interval=3600)) as following:
        wait_until(lambda: following.snapshot.page is not None)
        wanted = Wanted({"where": {"text": "2"}, "sort": "id", "limit": 100}, details_of="2")
        following.feed.want(wanted)
        wait_until(lambda: following.snapshot.wanted == wanted)
        assert ids(following.snapshot) == ["2"]
        assert following.snapshot.details is not None
        assert following.snapshot.details["stack"] == ["shop.py:7 in handle"]
        assert scripted.looks == 1


def test_a_key_that_repeats_does_not_have_the_server_look_as_often(scripted: Scripted) -> None:
    asked = []
    scripted.before_answer = asked.append
    with closing(Following(scripted.place, interval=3600)) as following:
        wait_until(lambda: following.snapshot.page is not None)
        before = len(asked)
        for number in range(1000):
            following.feed.want(Wanted({"where": {}, "sort": "id", "limit": 1 + number % 7}))
        last = Wanted({"where": {}, "sort": "id", "limit": 50})
        following.feed.want(last)
        wait_until(lambda: following.snapshot.wanted == last)
        assert len(asked) - before <= 3


def test_connections_that_are_many_are_looked_at_less_often_than_the_figures(
    scripted: Scripted,
) -> None:
    asked = []

    def slowly(verb: str) -> None:
        asked.append(verb)
        if verb == "connections.list":
            time.sleep(0.05)

    scripted.before_answer = slowly
    scripted.connections = [connection(number) for number in range(1000)]
    with closing(Following(scripted.place)) as following:
        wait_until(lambda: asked.count("status") >= 10)
        assert asked.count("connections.list") == 1
        assert following.feed.rest >= 100 * 0.05
        # What a person wants to see is there at once all the same.
        following.feed.want(Wanted({"where": {}, "sort": "-id", "limit": 1}))
        wait_until(lambda: ids(following.snapshot) == ["999"])
        following.ask("connections.close", id="999")
        wait_until(lambda: ids(following.snapshot) == ["998"])


def test_a_connection_that_has_ended_meanwhile_has_no_details_but_a_sentence(
    following: Following,
) -> None:
    following.feed.want(Wanted(ALL.connections, details_of="99"))
    wait_until(lambda: following.snapshot.ending)
    assert following.snapshot.ending == "there is no connection 99: it ended 1 s ago, kicked"
    assert following.snapshot.details is None


def test_connections_that_cannot_be_listed_so_leave_the_figures_and_a_sentence(
    following: Following,
) -> None:
    following.feed.want(Wanted({"where": {}, "sort": "colour", "limit": 100}))
    wait_until(lambda: following.snapshot.refusal)
    assert following.snapshot.refusal == "connections are not sorted by 'colour'"
    assert (following.snapshot.page, following.snapshot.trouble) == (None, "")
    assert following.snapshot.status is not None


def test_a_request_is_carried_out_and_shows_in_the_figures_at_once(scripted: Scripted) -> None:
    with closing(Following(scripted.place, interval=3600)) as following:
        wait_until(lambda: following.snapshot.page is not None)
        assert following.ask("connections.close", id="2")
        assert following.answer() == Answer({"closed": ["2"], "gone": []})
        wait_until(lambda: ids(following.snapshot) == ["1", "3"])
        assert scripted.looks == 2


def test_what_the_server_refuses_is_answered_with_its_sentence(following: Following) -> None:
    following.ask("connections.close", id="99")
    assert following.answer().trouble == "there is no connection 99: it ended 1 s ago, kicked"
    following.ask("frobnicate")
    assert following.answer().trouble == "there is no verb frobnicate"


def test_the_verbs_of_the_server_are_known(scripted: Scripted, following: Following) -> None:
    assert following.snapshot.verbs == frozenset(scripted.verbs)


def test_a_server_without_a_list_of_verbs_is_followed_too(scripted: Scripted) -> None:
    scripted.verbs = ("status", "connections.list")
    with closing(Following(scripted.place)) as following:
        wait_until(lambda: following.snapshot.page is not None)
        assert following.snapshot.verbs == frozenset()


def test_a_server_that_ends_is_told_of_and_its_last_figures_stay(
    scripted: Scripted, following: Following
) -> None:
    scripted.end()
    wait_until(lambda: following.snapshot.trouble)
    assert ids(following.snapshot) == ["1", "2", "3"]


def test_a_request_without_a_server_is_answered_with_why_not(
    scripted: Scripted, following: Following
) -> None:
    scripted.end()
    wait_until(lambda: following.snapshot.trouble)
    following.ask("connections.close", id="1")
    assert following.answer().trouble
    assert scripted.asked == []


def test_a_server_that_is_started_anew_is_another_session(
    scripted: Scripted, following: Following
) -> None:
    scripted.end()
    wait_until(lambda: following.snapshot.trouble)
    scripted.hello |= {"pid": 72, "started": "2026-03-01T13:00:00+00:00"}
    scripted.connections = [connection(7)]
    scripted.begin()
    wait_until(lambda: following.snapshot.session == 2 and following.snapshot.page is not None)
    assert (ids(following.snapshot), following.snapshot.trouble) == (["7"], "")


def test_the_same_process_found_again_is_the_same_session(
    scripted: Scripted, following: Following
) -> None:
    scripted.end()
    wait_until(lambda: following.snapshot.trouble)
    scripted.begin()
    wait_until(lambda: not following.snapshot.trouble)
    assert following.snapshot.session == 1


def test_a_request_for_the_process_before_is_not_carried_out(
    scripted: Scripted, following: Following
) -> None:
    following.ask("connections.close", session=0, id="1")
    assert following.answer().trouble == (
        "the server has been started anew meanwhile: nothing was done"
    )
    assert scripted.asked == []


def test_requests_that_wait_have_a_bound(scripted: Scripted, following: Following) -> None:
    gate = threading.Event()
    scripted.before_answer = lambda verb: gate.wait()
    try:
        taken = 0
        while following.ask("connections.close", id="99"):
            taken += 1
            assert taken <= MOST_WAITING + 1
    finally:
        gate.set()
    assert following.answer().trouble


def test_the_end_of_a_feed_is_the_end_of_its_connection(scripted: Scripted) -> None:
    following = Following(scripted.place)
    wait_until(lambda: following.snapshot.page is not None)
    following.close()
    wait_until(lambda: not following.feed.is_alive)


def test_a_fault_in_the_thread_is_not_kept_silent(scripted: Scripted) -> None:
    told = threading.Event()

    class Faulty(Follower):
        def connect(self):
            raise RuntimeError("a fault")

    feed = Feed(Faulty(scripted.place), 0.02, told.set)
    feed.start()
    assert told.wait(10)
    assert str(feed.failure) == "a fault"
