"""Rooms, connections and the exchange over several workers, on every engine."""

import pytest

from manyhands.testing import wait_until
from tests.dealing.kit import hang_up
from tests.hub.kit import several_workers
from tests.support import ENGINES


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_told_in_one_worker_reaches_the_members_in_all(engine: str) -> None:
    with several_workers(3, engine) as under_test:
        anna, bob, carl = map(under_test.client, range(3))
        for client, name in ((anna, "anna"), (carl, "carl"), (bob, "bob")):
            assert client.ask(f"join red {name}") == "True"
        assert anna.ask("tell red hello") == "2"
        assert bob.hear() == carl.hear() == "hello"
        assert bob.ask("members red") == "['anna', 'carl', 'bob']"
        assert under_test.workers[1].ask("tell", "red", "of the program") == 3
        assert [client.hear() for client in (anna, bob, carl)] == ["of the program"] * 3
        assert carl.ask("leave red") == "None"
        assert bob.ask("tell red bye") == "1"
        assert anna.hear() == "bye"
        assert anna.ask("all hello") == bob.hear() == carl.hear() == "hello"
        assert anna.hear() == "3"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_handler_sends_to_the_connection_of_another_worker(engine: str) -> None:
    with several_workers(3, engine) as under_test:
        anna, bob = under_test.client(0), under_test.client(2)
        assert bob.ask("join red bob") == "True"
        for text in ("psst", "by the way that is known now"):
            assert anna.ask(f"send {bob.number} {text}") == "True"
            assert bob.hear() == text
        assert anna.ask(f"address {bob.number}") == str(bob.socket.getsockname())
        assert anna.ask("send 99999 nothing") == "KeyError: 99999"
        assert under_test.workers[1].ask("send", bob.number, "of the program")
        assert bob.hear() == "of the program"
        assert anna.ask(f"close {bob.number}").startswith(
            f"RuntimeError: connection {bob.number} cannot be closed here"
        )


def test_a_room_in_which_nobody_is_left_costs_no_message() -> None:
    with several_workers(2, "threads") as under_test:
        anna, bob = under_test.client(0), under_test.client(1)
        assert anna.ask("join red") == bob.ask("join red") == "True"
        assert anna.ask("tell red hello") == "1"
        assert bob.hear() == "hello"
        hang_up(bob.socket)
        under_test.workers[0].until_nobody_is_asked_to("tell", "red", "alone", answer=1)


def test_a_worker_with_more_rooms_than_it_tells_the_hub_gets_what_is_told_of_any() -> None:
    with several_workers(2, "threads", most_topics=2) as under_test:
        anna, bob = under_test.client(0), under_test.client(1)
        for room in range(5):
            assert bob.ask(f"join room-{room} bob") == "True"
        for turn in range(2):
            for room in range(5):
                assert anna.ask(f"tell room-{room} {room}") == "1"
                assert bob.hear() == str(room)
            assert anna.ask("tell room-5 nobody") == "0"
            if not turn:
                under_test.hub.start_anew()
                under_test.until_all_are_connected()
                wait_until(lambda: anna.ask("members room-4") == "['bob']")
        assert bob.ask("leave room-0") == "None"
        assert anna.ask("members room-0") == "[]"
        assert anna.ask("members room-1") == "['bob']"


def test_what_is_told_before_a_handler_has_joined_does_not_come_later() -> None:
    with several_workers(2, "threads", waits=0.05) as under_test:
        telling, listening = under_test.workers
        anna, bob = under_test.client(1), under_test.client(1)
        assert anna.ask("join red") == "True"
        listening.ask("hold")
        # It has returned: what comes is what was told before.
        assert telling.ask("tell", "red", "before") == 0
        assert bob.ask("join red") == "True"
        listening.ask("release")
        assert anna.hear() == "before"
        assert telling.ask("tell", "red", "after") in {0, 2}
        assert anna.hear() == bob.hear() == "after"


def test_members_are_in_the_order_in_which_they_joined_and_a_new_name_changes_none() -> None:
    with several_workers(2, "threads") as under_test:
        several = [under_test.client(number % 2) for number in range(6)]
        for number, client in enumerate(several):
            assert client.ask(f"join red {number}") == "True"
        assert several[0].ask("join red anna") == "True"
        for worker in under_test.workers:
            assert worker.ask("members", "red") == ["anna", "1", "2", "3", "4", "5"]


def test_a_worker_that_leaves_the_others_takes_its_members_along() -> None:
    with several_workers(2, "threads") as under_test:
        anna, bob = under_test.client(0), under_test.client(1)
        assert anna.ask("join red anna") == bob.ask("join red bob") == "True"
        under_test.workers[1].ask("leave_the_others")
        wait_until(lambda: anna.ask("members red") == "['anna']")
        assert bob.ask("members red") == "['bob']"
        assert bob.ask("all hello") == "hello"
        assert bob.hear() == "1"
        # It follows nothing any more.
        under_test.workers[0].until_nobody_is_asked_to("tell", "red", "hello", answer=1)


def test_an_operator_s_tool_asks_each_worker_so_each_tells_its_own_members() -> None:
    with several_workers(2, "threads") as under_test:
        anna, bob = under_test.client(0), under_test.client(1)
        assert anna.ask("join red") == bob.ask("join red") == "True"
        assert under_test.workers[0].ask("operators_tell", "red", "hello") == 1
        assert anna.hear() == "hello"
        assert bob.ask("members blue") == "[]"
