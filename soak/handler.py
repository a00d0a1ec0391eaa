"""The handler that the crowd talks with."""

import queue
from typing import Any

from manyhands import StreamRequestHandler

KICK_ME = b"kick me\n"
"""A client that says this wants to be kicked."""

POUR = b"pour\n"
"""A client that says this is sent more than any buffer holds."""

LOAD = b"x" * 65536
LOADS = 1024

volunteers: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
"""Who wants to be kicked: listener and address, for each listener may have a client of that address."""


class Echo(StreamRequestHandler):
    """Sends every line back; pours, or has the client kicked, when it is asked to."""

    def handle(self) -> None:
        """Serve until the client says that no more comes."""
        for line in self.rfile:
            if line == KICK_ME:
                volunteers.put((self.server, self.client_address))
            elif line == POUR:
                for _ in range(LOADS):
                    self.wfile.write(LOAD)
            else:
                self.wfile.write(line)
