"""The handlers that the workers serve; they are imported by the workers alone."""

from manyhands import BaseRequestHandler

TURNS = 20_000
"""Turns of a loop for each message: about a millisecond, beside which a message costs nothing."""


class Echo(BaseRequestHandler):
    """Says what it hears."""

    def handle(self) -> None:
        """Serve a client until it closes its half."""
        while data := self.request.recv(65536):
            self.request.sendall(data)


class Compute(BaseRequestHandler):
    """Computes, then says what it has heard."""

    def handle(self) -> None:
        """Serve a client until it closes its half."""
        while data := self.request.recv(65536):
            for _ in range(TURNS):
                pass
            self.request.sendall(data)
