"""The kit for testing servers and handlers: servers that run, peers that misbehave, clocks that obey.

It is for the tests of whoever uses this library, as it is for its own. It needs no framework for tests: what
fails raises `AssertionError`. Nothing in it waits for time to pass, but for `dripping`.
"""

from .clock import FakeClock
from .flaky_listener import FlakyListener
from .peers import (
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
from .servers import ServerUnderTest, running, serving, socket_address
from .waiting import PATIENCE, wait_until

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
