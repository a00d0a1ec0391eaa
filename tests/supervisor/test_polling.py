"""What a supervisor waits for: its listeners, and what its workers tell."""

import math
import os
import selectors
import socket

from manyhands.supervisor.polling import Polling


def test_a_listener_that_is_closed_takes_its_number_from_nobody() -> None:
    heard: list[int] = []
    polling = Polling(lambda: None, lambda: None, lambda _: math.inf)
    with socket.socket() as listener:
        number = listener.fileno()
        polling.register(listener, selectors.EVENT_READ)
    # The accept loop notices the end of its listener later; what a worker tells on has the number by then.
    reading, writing = os.pipe()
    assert reading == number
    polling.watch(reading, lambda _: heard.append(os.read(reading, 1)[0]))
    polling.unregister(number)
    os.write(writing, b"!")
    polling.select(0)
    assert heard == [ord("!")]
    polling.forget(reading)
    polling.end()
    os.close(reading)
    os.close(writing)
