"""The hub is killed, or stopped, and workers go on: by themselves first, and together once it is back."""

import pytest

from manyhands.testing import wait_until
from tests.hub.kit import several_workers
from tests.support import ENGINES
from tests.support.waiting import PATIENCE


@pytest.mark.parametrize("engine", ENGINES)
def test_a_hub_that_is_killed_leaves_each_worker_its_own_and_the_next_one_brings_them_together(
    engine: str,
) -> None:
    with several_workers(2, engine) as under_test:
        anna, bob = under_test.client(0), under_test.client(1)
        assert anna.ask("join red anna") == bob.ask("join red bob") == "True"
        assert anna.ask("tell red one") == "1"
        assert bob.hear() == "one"
        under_test.hub.kill()
        for worker in under_test.workers:
            wait_until(lambda: not worker.ask("is_connected"))  # noqa: B023 - called at once
        assert anna.ask("tell red two") == "0"
        assert anna.ask("members red") == "['anna']"
        assert under_test.workers[1].ask("tell", "red", "alone") == 1
        assert bob.hear() == "alone"
        assert bob.ask("join blue bob") == "True"
        under_test.hub.start()
        under_test.until_all_are_connected()
        wait_until(lambda: anna.ask("members blue") == "['bob']")
        assert anna.ask("members red") == "['anna', 'bob']"
        assert anna.ask("tell red three") == "1"
        assert bob.hear() == "three"
        for worker in under_test.workers:
            wait_until(lambda: worker.ask("heard_events")[-2:] == ["HubLost", "HubReached"])  # noqa: B023


def test_a_worker_that_waits_for_the_hub_goes_on_when_that_is_killed() -> None:
    # They wait for much longer than their clients do.
    with several_workers(2, "threads", waits=10 * PATIENCE) as under_test:
        anna, bob = under_test.client(0), under_test.client(1)
        assert bob.ask("join red") == "True"
        under_test.hub.stop()
        anna.say("tell red one")
        bob.say("join blue")
        wait_until(lambda: under_test.workers[0].ask("asks"))
        under_test.hub.kill()
        assert anna.hear() == "0"
        assert bob.hear() == "True"


def test_a_hub_that_is_stopped_is_waited_for_once_and_hands_on_when_it_goes_on() -> None:
    with several_workers(2, "threads", waits=0.05) as under_test:
        anna, bob = under_test.client(0), under_test.client(1)
        assert anna.ask("join red") == bob.ask("join red") == "True"
        worker = under_test.workers[0]
        before = worker.ask("waited")
        under_test.hub.stop()
        for number in range(3):
            assert worker.ask("tell", "red", number) == 1
        assert worker.ask("waited") == before + 1
        under_test.hub.go_on()
        assert [bob.hear() for _ in range(3)] == ["0", "1", "2"]
        wait_until(lambda: worker.ask("tell", "red", "all") == 2)


def test_workers_may_come_before_the_hub() -> None:
    with several_workers(2, "threads", hub_is_there=False) as under_test:
        anna, bob = under_test.client(0), under_test.client(1)
        assert anna.ask("join red anna") == bob.ask("join red bob") == "True"
        assert anna.ask("tell red alone") == "0"
        under_test.hub.start()
        wait_until(lambda: anna.ask("members red") == "['anna', 'bob']")
