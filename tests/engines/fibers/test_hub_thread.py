"""The thread of the fibers: how long its end is waited for."""

import threading

from gevent import get_hub

from manyhands.engines.fibers.hub_thread import HubThread
from tests.support import wait_until


def test_an_end_that_was_waited_for_in_vain_is_not_waited_for_again() -> None:
    is_under_way, may_return = threading.Event(), threading.Event()

    def compute() -> None:
        is_under_way.set()
        may_return.wait()

    hub_thread = HubThread()
    assert hub_thread.hold()
    hub_thread.spawn(lambda: get_hub().threadpool.spawn(compute))
    assert is_under_way.wait(20)
    hub_thread.call(hub_thread.release)
    wait_until(lambda: hub_thread.is_ending)
    hub_thread.end_if_unused(0.05)
    assert hub_thread.is_held_up
    hub_thread.end(timeout=1000)
    assert hub_thread.is_held_up
    may_return.set()
    hub_thread.end_if_unused()
    assert not hub_thread.is_held_up
