"""What a server does to itself during the soak: kicks, standing still, new certificates, no threads."""

import queue
import random
import threading
from collections import Counter

from manyhands import Server
from soak.authority import Authority
from soak.handler import volunteers

PAUSE = 0.5
"""Seconds, on average, between two troubles."""

STANDING_STILL = 0.2
"""Seconds for which the listeners are suspended."""


WITHOUT_THREADS = 0.5
"""Seconds for which the system has no thread: of ten minutes, about one."""

NO_STACK = 1 << 47
"""Bytes of a stack that no address space holds, so that no thread can be made (mmap(2))."""


class Troubles:
    """Makes trouble in a thread of its own until it is stopped."""

    def __init__(self, server: Server, authority: Authority) -> None:
        self._server = server
        self._authority = authority
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="troubles", daemon=True)
        self.counts: Counter[str] = Counter()
        """How often each kind of trouble was made."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Make no more trouble; what has been begun is ended. Returns at once."""
        self._ended.set()

    def _run(self) -> None:
        dice = random.Random(4)
        kinds = (self._kick, self._kick, self._stand_still, self._reissue, self._deny_threads)
        while not self._ended.wait(dice.expovariate(1 / PAUSE)):
            dice.choice(kinds)()

    def _kick(self) -> None:
        while True:
            try:
                listener, address = volunteers.get_nowait()
            except queue.Empty:
                return
            for connection in list(self._server.connections.values()):
                is_meant = connection.server is listener and connection.client_address == address
                if is_meant and connection.close():
                    self.counts["kicks"] += 1

    def _stand_still(self) -> None:
        self._server.suspend()
        self._ended.wait(STANDING_STILL)
        self._server.resume()
        self.counts["suspensions"] += 1

    def _deny_threads(self) -> None:
        threading.stack_size(NO_STACK)
        try:
            self._ended.wait(WITHOUT_THREADS)
        finally:
            threading.stack_size(0)
        self.counts["times without threads"] += 1

    def _reissue(self) -> None:
        self._authority.issue()
        if self._server.reload():
            self.counts["reloads"] += 1
