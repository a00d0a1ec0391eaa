"""What a server does to itself during the soak: kicks, standing still, new certificates, shortages."""

import os
import random
import resource
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from manyhands import Server
from soak.authority import Authority
from soak.handler import volunteers

PAUSE = 0.5
"""Seconds, on average, between two troubles."""

STANDING_STILL = 0.2
"""Seconds for which the listeners are suspended."""

SHORTAGE = 0.5
"""Seconds for which the system has no thread, or no descriptor: less than any client is refused after."""

NO_STACK = 1 << 47
"""Bytes of a stack that no address space holds, so that no thread can be made (mmap(2))."""


class Threads:
    """Whether the system has threads for this process: while nothing denies them. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._denials = 0

    def deny(self) -> None:
        """Have none made until each denial has been taken back."""
        self._change(1)

    def allow(self) -> None:
        """Take a denial back."""
        self._change(-1)

    def _change(self, by: int) -> None:
        with self._lock:
            self._denials += by
            threading.stack_size(NO_STACK if self._denials else 0)


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    """Leave the process those descriptors that it has (RLIMIT_NOFILE, getrlimit(2))."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


class Troubles:
    """Makes trouble in a thread of its own until it is stopped."""

    def __init__(self, server: Server, authority: Authority) -> None:
        self._server = server
        self._authority = authority
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="troubles", daemon=True)
        self.threads = Threads()
        self.counts: Counter[str] = Counter()
        """How often each kind of trouble was made."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Make no more trouble; wait for the end of what has been begun."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        dice = random.Random(4)
        kinds = (
            self._kick,
            self._kick,
            self._stand_still,
            self._reissue,
            self._deny_threads,
            self._deny_descriptors,
        )
        while not self._ended.wait(dice.expovariate(1 / PAUSE)):
            dice.choice(kinds)()

    def _kick(self) -> None:
        for listener, client in volunteers():
            for connection in list(self._server.connections.values()):
                is_meant = connection.client_address == client
                is_meant = is_meant and connection.server.server_address == listener
                if is_meant and connection.close():
                    self.counts["kicks"] += 1

    def _stand_still(self) -> None:
        self._server.suspend()
        self._ended.wait(STANDING_STILL)
        self._server.resume()
        self.counts["suspensions"] += 1

    def _deny_threads(self) -> None:
        self.threads.deny()
        self._ended.wait(SHORTAGE)
        self.threads.allow()
        self.counts["times without threads"] += 1

    def _deny_descriptors(self) -> None:
        with no_more_descriptors():
            self._ended.wait(SHORTAGE)
        self.counts["times without descriptors"] += 1

    def _reissue(self) -> None:
        self._authority.issue()
        if self._server.reload():
            self.counts["reloads"] += 1
