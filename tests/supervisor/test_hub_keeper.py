"""The process of the hub, as its supervisor starts it."""

import os
import select
import signal
import socket
import time
from contextlib import ExitStack

from manyhands.supervisor.hub_keeper import HubKeeper
from manyhands.supervisor.polling import Polling
from tests.support.waiting import PATIENCE


def test_what_a_terminal_sends_to_all_does_not_end_a_hub_that_is_still_loading() -> None:
    with ExitStack() as stack:
        polling = Polling(lambda: None, lambda: None, lambda now: now + 1)
        stack.callback(polling.close)
        keeper = HubKeeper(polling)
        stack.callback(keeper.close)
        keeper.look(time.monotonic())
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            os.kill(keeper.pid, number)
        end = os.pidfd_open(keeper.pid)
        stack.callback(os.close, end)
        worker = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        worker.connect(keeper.address.encode("latin-1"))
        happened, _, _ = select.select([worker, end], [], [], PATIENCE)
        # It greets a worker, and has not ended.
        assert happened == [worker]
