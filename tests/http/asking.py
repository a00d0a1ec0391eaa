"""Asking for a page, with whatever stands in the request."""

import contextlib

from manyhands.testing import call, everything


def request(address: tuple[str, int], *lines: str) -> bytes:
    """Send the head of a request; return all that is answered."""
    with call(address) as peer:
        with contextlib.suppress(ConnectionError):  # it may have had enough
            peer.sendall("\r\n".join([*lines, "", ""]).encode())
        return everything(peer)
