"""A worker that does not take what others tell holds up nobody; what it misses is counted, and told it."""

import pytest

from manyhands.hub.frames import LONGEST
from manyhands.testing import call, read_line, wait_until
from tests.hub.kit import Workers, several_workers
from tests.support import ENGINES

FLOOD = 200_000
"""Bytes of a piece: some dozens are more than may wait for a worker."""


def flood(under_test: Workers) -> None:
    """Stop the last worker, and tell its members more than may wait for it."""
    telling, *_, stopped = under_test.workers
    stopped.stop()
    for _ in range(100):
        telling.ask("tell_much", "red", FLOOD)


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_a_stopped_worker_counts_as_none_and_is_waited_for_once(engine: str) -> None:
    with several_workers(3, engine, answers_within=0.05) as under_test:
        anna, bob, carl = map(under_test.client, range(3))
        for client in (anna, bob, carl):
            assert client.ask("join red") == "True"
        under_test.workers[2].stop()
        for number in range(3):
            assert anna.ask(f"tell red {number}") == "1"
            assert bob.hear() == str(number)
        under_test.workers[2].go_on()
        # It was only late.
        assert [carl.hear() for _ in range(3)] == ["0", "1", "2"]
        wait_until(lambda: under_test.workers[0].ask("tell", "blue", "nobody") == 0)
        wait_until(lambda: anna.ask("tell red all") == "2")


@pytest.mark.parametrize("engine", ENGINES)
def test_members_of_a_worker_that_has_missed_pieces_are_closed(engine: str) -> None:
    options = {"outbox": 10_000_000}
    with several_workers(2, engine, answers_within=0.05, **options) as under_test:
        anna = under_test.client(1)
        assert anna.ask("join red") == "True"
        flood(under_test)
        stopped = under_test.workers[1]
        stopped.go_on()
        wait_until(lambda: stopped.ask("ends").get("did_not_read") == 1)
        assert stopped.ask("missed") > 0
        wait_until(lambda: "MissedFromWorkers" in stopped.ask("heard_events"))


def test_members_of_a_worker_that_has_missed_pieces_have_them_counted() -> None:
    options = {"outbox": 10_000_000, "when_behind": "drop_new"}
    with several_workers(2, "threads", answers_within=0.05, **options) as under_test:
        anna = under_test.client(1)
        assert anna.ask("join red") == "True"
        flood(under_test)
        stopped = under_test.workers[1]
        # After all that was dropped: it misses nothing.
        bob = under_test.callers.enter_context(call(stopped.address))
        bob.sendall(b"join red\n")
        stopped.go_on()
        assert [read_line(bob), read_line(bob)][1] == b"True\n"
        wait_until(lambda: stopped.ask("missed_by_clients")[0])
        assert stopped.ask("missed_by_clients") == [stopped.ask("missed"), 0]
        received = 0
        while received < FLOOD * (100 - stopped.ask("missed")):
            received += len(anna.socket.recv(1 << 20))
        assert under_test.workers[0].ask("tell", "red", "on") in {0, 2}
        assert anna.hear() == "on"
        assert read_line(bob) == b"on\n"


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_subscriptions_of_a_worker_that_has_missed_messages_know_it(engine: str) -> None:
    with several_workers(2, engine) as under_test:
        anna, bob, carl = (under_test.client(1) for _ in range(3))
        assert anna.ask("subscribe prices") == "subscribed"
        assert bob.ask("subscribe prices drop_new") == "subscribed"
        assert carl.ask("subscribe others") == "subscribed"
        publishing, stopped = under_test.workers
        stopped.stop()
        publishing.ask("publish", "prices", "x" * 60_000, 1000)
        publishing.ask("publish", "others", "on", 1)
        stopped.go_on()
        while not (line := anna.hear()).startswith("fell behind"):
            assert line.startswith("xxx")
        assert carl.hear() == "on 0"
        wait_until(lambda: stopped.ask("missed"))
        publishing.ask("publish", "prices", "the last")
        while not (line := bob.hear()).startswith("the last"):
            assert line.startswith("xxx")
        assert int(line.split()[-1]) >= stopped.ask("missed") > 0


def test_rooms_of_a_worker_are_served_while_another_worker_floods_its_subjects() -> None:
    with several_workers(2, "threads", answers_within=0.05) as under_test:
        anna, bob = under_test.client(1), under_test.client(1)
        assert anna.ask("subscribe prices drop_new") == "subscribed"
        assert bob.ask("join red") == "True"
        telling, stopped = under_test.workers
        stopped.stop()
        for _ in range(5):
            telling.ask("publish", "prices", "x" * 60_000, 100)
            # The hub has all of it once this has had its turn.
            assert telling.ask("members", "red") == []
        assert telling.ask("tell", "red", "y" * 60_000) == 0
        stopped.go_on()
        assert bob.hear() == "y" * 60_000


def test_what_did_not_get_to_the_hub_is_missed_by_the_others_too() -> None:
    with several_workers(2, "threads") as under_test:
        anna = under_test.client(1)
        assert anna.ask("subscribe prices drop_new") == "subscribed"
        publishing, listening = under_test.workers
        under_test.hub.stop()
        publishing.ask("publish", "prices", "x" * 60_000, 400)
        under_test.hub.go_on()
        wait_until(lambda: listening.ask("missed"))
        publishing.ask("publish", "prices", "the last")
        while not (line := anna.hear()).startswith("the last"):
            assert line.startswith("xxx")
        assert int(line.split()[-1]) >= listening.ask("missed") > 0


def test_a_piece_that_is_longer_than_the_hub_takes_is_missed_by_members_elsewhere() -> None:
    with several_workers(2, "threads", outbox=2 * LONGEST, when_behind="drop_new") as under_test:
        anna, bob = under_test.client(1), under_test.client(1)
        assert anna.ask("join red") == bob.ask("join blue") == "True"
        telling, other = under_test.workers
        assert telling.ask("tell_much", "red", LONGEST + 1) == 0
        wait_until(lambda: other.ask("missed_by_clients") == [1, 0])
        assert telling.ask("tell", "red", "shorter") == 1
        assert anna.hear() == "shorter"
