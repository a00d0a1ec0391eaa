"""The page's own server: which request gets what, after it was found who asks."""

import contextlib
import select
from collections.abc import Iterable
from functools import partial
from http import HTTPStatus
from typing import Any, Self

from manyhands.dropin.handlers import BaseRequestHandler
from manyhands.model.addresses import Address
from manyhands.runtime.locks import Latch
from manyhands.runtime.sockets import descriptor_of, is_ready
from manyhands.server import Server
from manyhands.web.eviction import MOST_CONNECTIONS, MOST_STREAMS, Eviction
from manyhands.web.feed import Feed
from manyhands.web.guards import Hosts, TokenCheck, Verdict, is_same_origin
from manyhands.web.http_connection import HTTPConnection, Refusal, Request, Response
from manyhands.web.relay import Relay
from manyhands.web.static_files import static_files
from manyhands.web.stream import COMMENT, MEDIA_TYPE, resumed

STREAM, CALLS = "/events", "/calls"

CHALLENGE = ("WWW-Authenticate", 'Bearer realm="manyhands"')
"""By this header a tab knows that its token was refused, and stops; what a proxy refuses may pass."""

LOOK = 1.0
"""Seconds between two looks whether a browser that gets nothing has gone."""

QUIET_LOOKS = 10
"""Looks after which it gets a comment: so it notices whether the page is there, and so do proxies."""


class Page:
    """The page: its server, and what all its connections share. A context, within which the server runs.

    Parameters
    ----------
    feed : Feed
        What is shown.
    token : str
        What browsers have to know.
    hosts : iterable of str
        The names by which they may call.
    *addresses
        Where it is served.
    is_admin : bool
        Whether the page may change anything.
    **options
        Of its server.

    Attributes
    ----------
    server : Server
        Its server, which does not run yet.

    Raises
    ------
    Mistake
        As of `Server`.
    """

    def __init__(
        self,
        feed: Feed,
        token: str,
        hosts: Iterable[str],
        *addresses: str | Address,
        is_admin: bool,
        **options: Any,
    ) -> None:
        self.feed = feed
        self.hosts = Hosts(hosts)
        self.tokens = TokenCheck(token)
        self.is_admin = is_admin
        self.relay = Relay(lambda: feed.now, may_write=is_admin)
        self.files = static_files()
        self.streams: set[_Browser] = set()
        """The connections on which a browser watches."""

        # A stream receives nothing: what ends silent browsers is in `http_connection` and in `write_timeout`.
        self.server = Server(
            partial(_Browser, shown=self),
            *addresses,
            max_connections=MOST_CONNECTIONS,
            idle_timeout=None,
            write_timeout=15,
            drain_timeout=2,
            **options,
        )
        self.eviction = Eviction(lambda: self.server.connections)

    def __enter__(self) -> Self:
        self.eviction.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self.eviction.__exit__(*exception)
        self.relay.close()


class _Browser(BaseRequestHandler):
    """One connection of a browser."""

    shown: Page
    http: HTTPConnection

    def handle(self) -> None:
        self.http = HTTPConnection(self.request)
        # A browser that has gone is no error of the page's.
        with contextlib.suppress(ConnectionError):
            while not self.server.draining and self._serve_next():
                pass

    def goodbye(self) -> None:
        """Have the stream see that the page ends. Called by the drain."""
        self.shown.feed.now.changed.set()

    def _serve_next(self) -> bool:
        try:
            request = self.http.receive()
        except Refusal as refusal:
            self.http.send(refusal.response)
            return False
        if request is None:
            return False
        try:
            self._let_in(request)
            if request.path == STREAM:
                self._check(request, "GET")
                self._stream(request)
                return False
            response = self._answer(request)
        except Refusal as refusal:
            response = refusal.response
        self.http.send(response)
        return True

    def _let_in(self, request: Request) -> None:
        """Refuse what comes from elsewhere, whatever it asks for."""
        if not self.shown.hosts.has(request.headers.get("host", "")):
            raise Refusal(
                HTTPStatus.MISDIRECTED_REQUEST,
                "this page has another name: open the link that manyhands web printed, or give it this "
                "name with --host",
            )
        if not is_same_origin(request.headers):
            raise Refusal(
                HTTPStatus.FORBIDDEN,
                "the request comes from another site: copy the link into the browser's address line",
            )

    def _answer(self, request: Request) -> Response:
        if request.path == CALLS:
            self._check(request, "POST")
            media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if media_type != "application/json":
                raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a call is application/json")
            return self.shown.relay.answer(request.body)
        file = self.shown.files.get(request.path)
        if file is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "there is no such page")
        _refuse_other_methods(request, "GET", "HEAD")
        return file

    def _check(self, request: Request, method: str) -> None:
        """Refuse other methods than one, and browsers that do not know the token."""
        _refuse_other_methods(request, method)
        tokens, client = self.shown.tokens, self.client_address
        verdict = tokens.judge(request.headers.get("authorization"), client)
        if verdict is Verdict.TOO_MANY:
            seconds = int(tokens.seconds_to_wait(client)) + 1
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"too many wrong tokens: wait {seconds} s",
                ("Retry-After", str(seconds)),
                CHALLENGE,
            )
        if verdict is not Verdict.RIGHT:
            raise Refusal(
                HTTPStatus.UNAUTHORIZED,
                "the token is wrong or missing: open the link that manyhands web printed",
                CHALLENGE,
            )
        self.shown.eviction.note_right_token()

    def _waits_for(self, changed: Latch) -> bool:
        """Wait for news, or until a comment is due; return False when the browser has gone."""
        for _ in range(QUIET_LOOKS):
            if changed.wait(LOOK):
                break
            if self.has_gone:
                return False
        return True

    @property
    def has_gone(self) -> bool:
        """Whether the browser has closed its end."""
        descriptor = descriptor_of(self.request)
        return descriptor < 0 or is_ready(descriptor, select.POLLRDHUP)

    def _stream(self, request: Request) -> None:
        page, stream = self.shown, resumed(request.headers.get("last-event-id"))
        page.streams.add(self)
        try:
            # After the entry: so many at once find each other.
            if sum(not each.has_gone for each in tuple(page.streams)) > MOST_STREAMS:
                raise Refusal(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    f"{MOST_STREAMS} browsers watch already: close one",
                    ("Retry-After", "10"),
                )
            page.eviction.note_stream()
            self.http.begin_stream(MEDIA_TYPE)
            while True:
                now = page.feed.now
                self.http.send_piece(stream.news(now, may_write=page.is_admin) or COMMENT)
                if now.is_over or self.server.draining:
                    break
                if not self._waits_for(now.changed):
                    return
            self.http.end_stream()
        finally:
            page.streams.discard(self)


def _refuse_other_methods(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise Refusal(
            HTTPStatus.METHOD_NOT_ALLOWED,
            f"{request.path} takes {' and '.join(methods)}",
            ("Allow", ", ".join(methods)),
        )
