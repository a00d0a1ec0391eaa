"""The kit for testing servers and handlers: servers that run, peers that misbehave, clocks that obey.

It is for the tests of programs that use this library, and for the library's own. It needs no framework for
tests: what fails raises `AssertionError`. Nothing in it waits for time to pass, but for `dripping`.
"""

from manyhands.testing.peers import (
    ask,
    call,
    deaf,
    drip,
    dripping,
    everything,
    half_close,
    hear,
    read_line,
    reset,
    stalled,
)
from manyhands.testing.servers import (
    FlakyListener,
    ServerUnderTest,
    running,
    serving,
    socket_address,
)
from manyhands.testing.waiting import PATIENCE, FakeClock, wait_until

__all__ = [
    "PATIENCE",
    "FakeClock",
    "FlakyListener",
    "ServerUnderTest",
    "ask",
    "call",
    "deaf",
    "drip",
    "dripping",
    "everything",
    "half_close",
    "hear",
    "read_line",
    "reset",
    "running",
    "serving",
    "socket_address",
    "stalled",
    "wait_until",
]
