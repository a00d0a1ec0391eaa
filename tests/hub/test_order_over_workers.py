"""What the documentation promises of rooms, between workers: clients join and tell, workers are killed."""

import threading

import pytest

from manyhands.testing import wait_until
from tests.dealing.kit import join_while_others_are_told
from tests.hub.kit import several_workers
from tests.support.waiting import PATIENCE


@pytest.mark.parametrize("engine", ["threads", "fibers", "processes"])
def test_each_member_hears_each_sender_in_order_and_nothing_twice(engine: str) -> None:
    pieces = 200
    with several_workers(3, engine, outbox=10_000_000) as under_test:
        several = [under_test.client(number % 3) for number in range(6)]
        for client in several:
            assert client.ask("join red") == "True"
        for client in several:
            client.say(f"count red {pieces}")

        def listen(client: object) -> None:
            heard = dict.fromkeys((str(each.number) for each in several if each is not client), 0)
            told = 0
            while not told or set(heard.values()) != {pieces}:
                words = client.hear().split()  # type: ignore[attr-defined]
                if len(words) == 1:
                    told = int(words[0])
                    continue
                assert int(words[1]) == heard[words[0]]
                heard[words[0]] += 1
            assert told == pieces * (len(several) - 1)
            is_done.append(client)

        is_done: list[object] = []
        listening = [threading.Thread(target=listen, args=(client,)) for client in several]
        for thread in listening:
            thread.start()
        for thread in listening:
            thread.join(PATIENCE)
        assert len(is_done) == len(several)


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_nothing_comes_that_was_told_in_another_worker_before_a_handler_has_joined(
    engine: str,
) -> None:
    with several_workers(2, engine) as under_test:
        telling, client = under_test.workers[0], under_test.client(1)
        join_while_others_are_told([client], 20, lambda room, text: telling.ask("tell", room, text))


def test_a_worker_that_is_killed_changes_nothing_for_the_others() -> None:
    with several_workers(3, "threads", outbox=10_000_000) as under_test:
        anna, bob, carl = map(under_test.client, range(3))
        for client in (anna, bob, carl):
            assert client.ask(f"join red {client.number}") == "True"
        bob.say("count red 1000000")
        carl.say("count red 1000000")
        heard = {str(client.number): 0 for client in (bob, carl)}

        def hear() -> None:
            sender, number = anna.hear().split()
            assert int(number) == heard[sender]
            heard[sender] += 1

        while min(heard.values()) < 50:
            hear()
        under_test.workers[1].process.kill()
        until = heard[str(carl.number)] + 500
        while heard[str(carl.number)] < until:
            hear()
        worker = under_test.workers[2]
        wait_until(lambda: len(worker.ask("members", "red")) == 2)
