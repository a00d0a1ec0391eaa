"""One browser's connection: requests of HTTP/1.1 in, responses out, with the headers that keep them safe.

On h11, unlike the pages for tools (`manyhands.http.messages`): a browser sends several requests on a
connection, and bodies, and gets answers that come piece by piece.
"""

import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from manyhands.model.usage_errors import MissingExtra

try:
    import h11
except ImportError:
    raise MissingExtra("manyhands web", "h11", "web") from None

LONGEST_HEAD = 16 * 1024
"""Bytes of a request's head."""

LONGEST_BODY = 64 * 1024
"""Bytes of a request's body: as much as the control socket takes."""

REQUEST_TIMEOUT = 10.0
"""Seconds from the first byte of a request to its last."""

KEEP_ALIVE = 30.0
"""Seconds that a connection stays without a request."""

_AT_ONCE = 16 * 1024
"""Bytes of one receive. A head that comes whole may be longer than `LONGEST_HEAD` by so much."""

SAFETY = (
    # No code but that of these files, no text that becomes markup, no frame around the page.
    (
        "Content-Security-Policy",
        (
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
            "require-trusted-types-for 'script'; trusted-types 'none'"
        ),
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
"""Headers of every response."""

_ONCE = {"host", "authorization", "origin", "sec-fetch-site", "content-type", "last-event-id"}
"""Headers by which a request is judged: one that comes twice could be read in two ways."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a browser asks for.

    Attributes
    ----------
    method, path : str
        As they stand in its first line, the path without a query.
    headers : mapping
        By their names in small letters.
    body : bytes
        What it brings.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer."""

    status: HTTPStatus
    media_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = field(default=())


class Refusal(Exception):  # noqa: N818 - what happened
    """A request is not carried out: a status, and a sentence."""

    def __init__(self, status: HTTPStatus, sentence: str, *headers: tuple[str, str]) -> None:
        super().__init__(sentence)
        self.status = status
        self.headers = headers

    @property
    def response(self) -> Response:
        """The answer that says so."""
        return Response(
            self.status, "text/plain; charset=utf-8", f"{self}\n".encode(), self.headers
        )


class HTTPConnection:
    """The connection of one browser. For one thread at a time.

    Parameters
    ----------
    connection : socket.socket
        The connection.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST_HEAD)
        self._deadline = 0.0
        """When the request that is awaited must be there."""

        self._has_begun = False
        self._is_asked_for_head = False

    def receive(self) -> Request | None:
        """Return the next request; None when the browser has closed, or sends none in time.

        Raises
        ------
        Refusal
            It is no request that could be answered; after the answer nothing more is to be received.
        """
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        if self._http.our_state is not h11.IDLE:
            return None
        self._deadline = time.monotonic() + KEEP_ALIVE
        self._has_begun = self._is_asked_for_head = False
        try:
            head = self._next_event(h11.Request)
            if head is None:
                return None
            # Known before anything is refused: what says so has no body either.
            self._is_asked_for_head = head.method == b"HEAD"
            headers = _headers(head)
            body = bytearray()
            while (data := self._next_event(h11.Data)) is not None:
                body += data.data
                if len(body) > LONGEST_BODY:
                    raise Refusal(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                        f"a request has at most {LONGEST_BODY} bytes",
                    )
            if self._http.their_state is h11.SEND_BODY:
                return None  # the browser has gone before the end of its request
            # `Upgrade` is passed over: the page speaks no other protocol (RFC 9110, section 7.8).
            path = head.target.decode("latin-1").partition("?")[0]
            return Request(head.method.decode("ascii"), path, headers, bytes(body))
        except h11.RemoteProtocolError as error:
            status = HTTPStatus(error.error_status_hint)
            raise Refusal(status, f"this is no request: {error}") from None

    def send(self, response: Response) -> None:
        """Send a whole answer; without its body for HEAD, whose answer tells the length all the same."""
        length = ("Content-Length", str(len(response.body)))
        has_body = response.body and not self._is_asked_for_head
        self._send(
            self._head(response.status, response.media_type, [length, *response.headers]),
            *([h11.Data(data=response.body)] if has_body else []),
            h11.EndOfMessage(),
        )

    def begin_stream(self, media_type: str) -> None:
        """Begin an answer that comes piece by piece, also through nginx, which would gather them."""
        self._send(self._head(HTTPStatus.OK, media_type, [("X-Accel-Buffering", "no")]))

    def send_piece(self, piece: bytes) -> None:
        """Send a piece of the answer that `begin_stream` has begun."""
        self._send(h11.Data(data=piece))

    def end_stream(self) -> None:
        """Say that no piece follows."""
        self._send(h11.EndOfMessage())

    def _head(
        self, status: HTTPStatus, media_type: str, more: Iterable[tuple[str, str]]
    ) -> h11.Response:
        date = ("Date", formatdate(usegmt=True))
        return h11.Response(
            status_code=int(status),
            reason=status.phrase,
            headers=[date, *SAFETY, ("Content-Type", media_type), *more],
        )

    def _send(self, *events: Any) -> None:
        # The server's `write_timeout` resets a browser that takes nothing.
        self._connection.settimeout(None)
        self._connection.sendall(b"".join(self._http.send(event) or b"" for event in events))

    def _next_event(self, kind: Any) -> Any:
        """Return the next event if it is of a kind; None where it is another, or none comes in time."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if not self._receive_more():
                return None
            if not self._has_begun:
                self._has_begun, self._deadline = True, time.monotonic() + REQUEST_TIMEOUT
        return event if isinstance(event, kind) else None

    def _receive_more(self) -> bool:
        """Receive; return False where nothing comes in time."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            return False
        self._connection.settimeout(left)
        try:
            data = self._connection.recv(_AT_ONCE)
        except TimeoutError:
            return False
        self._http.receive_data(data)
        return True


def _headers(head: h11.Request) -> dict[str, str]:
    """Return the headers of a request; refuse one that could be read in two ways."""
    headers: dict[str, str] = {}
    for raw_name, value in head.headers:
        name = raw_name.decode("ascii")
        if name in headers and name in _ONCE:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"the header {name} comes twice")
        headers[name] = value.decode("latin-1")
    # A proxy in front may read its end elsewhere (RFC 9112, section 6.1).
    if "transfer-encoding" in headers and (
        "content-length" in headers or head.http_version < b"1.1"
    ):
        raise Refusal(HTTPStatus.BAD_REQUEST, "a request has its length or its pieces, not both")
    if not head.target.startswith(b"/"):
        # An absolute one would overrule the Host header (RFC 9112, section 3.2.2).
        raise Refusal(HTTPStatus.BAD_REQUEST, "a target begins with a slash")
    return headers
