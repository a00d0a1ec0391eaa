"""Clients that connect, echo and close at a steady rate, until standard input ends: a process of their own.

``python -m bench.workers.callers PORT RATE`` prints as JSON how many calls there were, how many failed, and
the slowest's time in milliseconds. A call counts from the moment at which it was due.
"""

import json
import socket
import sys
import threading
import time

THREADS = 10

PATIENCE = 10.0
"""Seconds after which a call has failed."""

SAID = b"a line of text, and not a long one\n"


class Callers:
    """Several threads that call in turn."""

    def __init__(self, port: int, rate: float) -> None:
        self._port = port
        self._pause = THREADS / rate
        self._began = time.monotonic()
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._took: list[float] = []
        self._wrong: list[str] = []

    def run(self) -> dict[str, object]:
        """Call until standard input ends; return what became of it."""
        threads = [
            threading.Thread(target=self._call_on, args=(number,)) for number in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        sys.stdin.read()
        self._is_over.set()
        for thread in threads:
            thread.join()
        return {
            "calls": len(self._took),
            "errors": len(self._wrong),
            "first_error": self._wrong[0] if self._wrong else "",
            "slowest_ms": max(self._took, default=0.0) * 1000,
        }

    def _call_on(self, number: int) -> None:
        due = self._began + self._pause * number / THREADS
        while not self._is_over.wait(max(0.0, due - time.monotonic())):
            wrong = self._call()
            took = time.monotonic() - due
            with self._lock:
                self._took.append(took)
                if wrong:
                    self._wrong.append(wrong)
            due += self._pause

    def _call(self) -> str:
        """Connect, echo and close; return what was wrong."""
        try:
            with socket.create_connection(("127.0.0.1", self._port), PATIENCE) as peer:
                peer.sendall(SAID)
                heard = b""
                while len(heard) < len(SAID) and (data := peer.recv(4096)):
                    heard += data
                peer.shutdown(socket.SHUT_WR)
                heard += peer.recv(4096)
        except OSError as error:
            return str(error)
        return "" if heard == SAID else f"{heard!r} came back"


if __name__ == "__main__":
    print(json.dumps(Callers(int(sys.argv[1]), float(sys.argv[2])).run()))
