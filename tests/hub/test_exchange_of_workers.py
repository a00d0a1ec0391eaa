"""The exchange over several workers, on every engine."""

import pytest

from tests.hub.kit import several_workers
from tests.support import ENGINES


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_published_in_one_worker_reaches_the_subscribers_in_all(engine: str) -> None:
    with several_workers(3, engine) as under_test:
        anna, bob, carl = map(under_test.client, range(3))
        for client in (bob, carl):
            assert client.ask("subscribe prices") == "subscribed"
        assert anna.ask("publish prices 42") == "None"
        assert bob.hear() == carl.hear() == "42 0"
        under_test.workers[1].ask("publish", "prices", "43")
        assert bob.hear() == carl.hear() == "43 0"
        assert anna.ask("publish others 1") == "None"
        under_test.workers[2].ask("publish", "prices", "44")
        assert bob.hear() == carl.hear() == "44 0"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_request_is_answered_by_another_worker(engine: str) -> None:
    with several_workers(3, engine) as under_test:
        anna, bob = under_test.client(0), under_test.client(1)
        assert anna.ask("request time now").startswith("NoAnswer: ")
        assert bob.ask("subscribe time") == "subscribed"
        assert anna.ask("request time now") == "to now"
        assert [bob.hear(), bob.hear()] == ["now 0", "replied 1"]
        assert under_test.workers[2].ask("request", "time", "then") == "to then"
        assert [bob.hear(), bob.hear()] == ["then 0", "replied 1"]
        assert under_test.workers[1].ask("request", "time", "here") == "to here"


def test_of_several_answers_the_first_one_counts() -> None:
    with several_workers(3, "threads") as under_test:
        several = [under_test.client(worker) for worker in range(3)]
        for client in several:
            assert client.ask("subscribe time") == "subscribed"
        assert under_test.workers[0].ask("request", "time", "now") == "to now"
        replied = []
        for client in several:
            assert client.hear() == "now 0"
            replied.append(client.hear())
        assert sorted(replied) == ["replied 0", "replied 0", "replied 1"]


def test_a_subscription_that_ends_is_known_to_the_other_workers() -> None:
    with several_workers(2, "threads") as under_test:
        anna = under_test.client(0)
        assert anna.ask("subscribe time") == "subscribed"
        other = under_test.workers[1]
        assert other.ask("request", "time", "now") == "to now"
        under_test.workers[0].ask("close_subscriptions")
        assert [anna.hear(), anna.hear(), anna.hear()] == ["now 0", "replied 1", "ended"]
        other.until_nobody_is_asked_to("request", "time", "now", answer=None)
        asks = other.ask("asks")
        other.ask("publish", "time", "now")
        assert other.ask("asks") == asks


def test_what_was_published_before_a_subscription_does_not_come_later() -> None:
    with several_workers(2, "threads") as under_test:
        publishing, listening = under_test.workers
        anna, bob = under_test.client(1), under_test.client(1)
        assert anna.ask("subscribe prices") == "subscribed"
        listening.ask("hold")
        publishing.ask("publish", "prices", "before")
        assert bob.ask("subscribe prices") == "subscribed"
        listening.ask("release")
        assert anna.hear() == "before 0"
        publishing.ask("publish", "prices", "after")
        assert anna.hear() == bob.hear() == "after 0"
