"""How the figures of several workers become one: rules, without a process."""

from typing import Any

import pytest

from manyhands.control.fleet_status import process_use, server_status
from manyhands.control.worker_totals import Counted, WorkerTotals

FIRST, SECOND = (1, 101), (1, 202)


def told(**figures: Any) -> dict[str, Any]:
    server = {
        "engines": [{"name": "fibers", "running": 2, "limit": 10, "hub_delay": 0.25}],
        "listeners": [],
        "dropped": {},
        "rooms": 1,
        "bytes_in": None,
        "bytes_out": None,
        "bytes_age": 0.0,
        "certificates": {},
        **figures,
    }
    use = {"cpu_seconds": 1.5, "rss": 10, "descriptors": 5, "descriptor_limit": 10, "threads": 3}
    return {"servers": [server], "process": use}


def test_no_sum_falls_when_a_worker_goes_and_none_is_counted_twice() -> None:
    totals = WorkerTotals()
    totals.note(FIRST, told(bytes_in=5, dropped={"full": 2}))
    totals.note(FIRST, told(bytes_in=7, dropped={"full": 3}))
    totals.gone(FIRST)
    totals.gone(FIRST)
    assert totals.sums().figures["bytes_in"] == 7
    totals.note(SECOND, told(bytes_in=1))
    assert (totals.sums().figures["bytes_in"], totals.sums().dropped) == (8, {"full": 3})
    assert totals.sums().figures["cpu_seconds"] == 3


def test_bytes_that_no_worker_has_counted_are_not_known() -> None:
    totals = WorkerTotals()
    totals.note(FIRST, told())
    own = told()["servers"][0]
    status = server_status(own, [told()], totals.sums(), 0.5)
    assert (status["bytes_in"], status["bytes_age"]) == (None, 0.5)
    totals.note(FIRST, told(bytes_in=0))
    assert server_status(own, [], totals.sums(), 0.0)["bytes_in"] == 0


@pytest.mark.parametrize(("limits", "limit"), [((10, 20), 30), ((10, None), None)])
def test_engines_are_added_up_and_the_hub_is_as_late_as_the_latest(
    limits: tuple[int | None, ...], limit: int | None
) -> None:
    several = [
        told(engines=[{"name": "fibers", "running": 2, "limit": each, "hub_delay": late}])
        for each, late in zip(limits, (0.5, None), strict=True)
    ]
    own = told(engines=[])["servers"][0]
    [engine] = server_status(own, several, Counted.nothing(), 0.0)["engines"]
    assert engine == {"name": "fibers", "running": 4, "limit": limit, "hub_delay": 0.5}


def test_of_a_certificate_in_two_generations_the_earlier_end_is_told() -> None:
    own = told()["servers"][0]
    several = [told(certificates={"cert.pem": 20.0}), told(certificates={"cert.pem": 10.0})]
    status = server_status(own, several, Counted.nothing(), 0.0)
    assert status["certificates"] == {"cert.pem": 10.0}


def test_datagrams_that_were_dropped_are_those_of_all_workers() -> None:
    def listener(dropped: int | None) -> dict[str, Any]:
        return {"address": "127.0.0.1:53", "is_suspended": False, "dropped": dropped}

    own = told(listeners=[listener(None)])["servers"][0]
    several = [told(listeners=[listener(2)]), told(listeners=[listener(3)])]
    status = server_status(own, several, Counted.nothing(), 0.0)
    assert status["listeners"][0]["dropped"] == 5


def test_of_descriptors_the_process_is_told_that_has_the_fewest_left() -> None:
    own = {"cpu_seconds": 1, "rss": 5, "descriptors": 9, "descriptor_limit": 100, "threads": 2}
    totals = WorkerTotals()
    totals.note(FIRST, told())
    use = process_use(own, [told()], totals.sums())
    assert use == {
        "cpu_seconds": 2.5,
        "rss": 15,
        "descriptors": 5,
        "descriptor_limit": 10,
        "threads": 5,
    }
