"""Just enough of HTTP for pages that tools read: the head of a request, and a whole response (RFC 9112).

Written by hand rather than on h11, since a connection carries one request, of which only the head is read,
and one response: that is less code than h11's events would need around them, and no dependency.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

LONGEST_HEAD = 16 * 1024
"""Bytes of a request's head: twice what web servers take; a scrape has some hundred."""

END_OF_HEAD = b"\r\n\r\n"

TEXT = "text/plain; charset=utf-8"
"""The media type of a sentence, or a word."""


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


class Content(NamedTuple):
    """What a page shows: its media type, its bytes, and the status of the response."""

    media_type: str
    body: bytes
    status: HTTPStatus = HTTPStatus.OK


Page = Callable[[Request], Content]
"""Makes a page's content at each request for it, GET or HEAD."""


def parse(head: bytes) -> Request | None:
    """Read the head of a request, without the empty line at its end; return None where it is not HTTP/1."""
    # Latin-1 has a character for each byte, so that this cannot fail.
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return None
    headers = (line.partition(":") for line in lines)
    # A list that is sent in several lines counts as one (RFC 9110, section 5.3).
    accept = [value.strip() for name, _, value in headers if name.strip().lower() == "accept"]
    return Request(words[0], words[1].partition("?")[0], ",".join(accept))


def answering(pages: Mapping[str, Page], hint: str) -> Callable[[Request | None], bytes]:
    """Return what answers requests for `pages`, as `PageServer` takes it.

    Parameters
    ----------
    pages
        The pages by their paths.
    hint
        A sentence for a client that asks for another path: where the pages are.
    """

    def answer(request: Request | None) -> bytes:
        if request is None:
            return _refusal(HTTPStatus.BAD_REQUEST, "this is no request of HTTP")
        if request.method not in {"GET", "HEAD"}:
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED, "only GET is answered here")
        page = pages.get(request.path)
        if page is None:
            return _refusal(HTTPStatus.NOT_FOUND, hint)
        content = page(request)
        head = _head(content)
        # The head tells the length of what GET would get (RFC 9110, section 9.3.2).
        return head if request.method == "HEAD" else head + content.body

    return answer


def _refusal(status: HTTPStatus, sentence: str) -> bytes:
    content = Content(TEXT, f"{sentence}\n".encode(), status)
    return _head(content) + content.body


def _head(content: Content) -> bytes:
    lines = (
        # Of version 1.0, in which the end of the connection is the end of the response.
        f"HTTP/1.0 {content.status.value} {content.status.phrase}",
        f"Content-Type: {content.media_type}",
        f"Content-Length: {len(content.body)}",
        "Connection: close",
        "",
        "",
    )
    return "\r\n".join(lines).encode("latin-1")
