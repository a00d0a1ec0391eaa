"""Just so much of HTTP as a scrape is made of (RFC 9112)."""

from typing import NamedTuple

LONGEST = 16 * 1024
"""Bytes of a request's head: twice what web servers take; a scrape has some hundred."""

END = b"\r\n\r\n"
"""What ends the head."""


class Request(NamedTuple):
    """What a client asks for.

    Attributes
    ----------
    method, path : str
        As they stand in the first line, the path without its query.
    accept : str
        The formats that the client takes.
    """

    method: str
    path: str
    accept: str


def parse(head: bytes) -> Request | None:
    """Read the head of a request; return None where that is none."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return None
    headers = (line.partition(":") for line in lines)
    accept = [value.strip() for name, _, value in headers if name.strip().lower() == "accept"]
    return Request(words[0], words[1].partition("?")[0], ",".join(accept))
